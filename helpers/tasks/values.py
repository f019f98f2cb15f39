"""Plain values: what a checked function receives and returns, as data that can be stored, sent and compared.

A plain value is `None`, a bool, a number, a text, a NumPy array, a `Failure`, or a list or dict (with text keys) of
plain values. Tensors become arrays; tuples and lists of numbers are lists; a list that holds numbers alone, at any
depth and of equal lengths, equals the array of these numbers. No class of a student's code survives the conversion, so
no method of such a class can take part in a comparison.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LARGEST_ARRAY = 500_000
"""Numbers in one array, and items in one list or dict."""
LONGEST_TEXT = 20_000
"""Characters of one text."""
DEEPEST = 8
"""Lists and dicts inside one another."""

Plain = Any
"""A plain value (see the module's docstring)."""


class NotPlain(ValueError):
    """A value that cannot be made plain: the message says which type or which limit."""


@dataclass(frozen=True)
class Failure:
    """The exception that a function raised in place of returning a value.

    Two failures are equal if their kinds are: the wording of a message depends on versions of libraries.
    """

    kind: str  # name of the exception's class
    message: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and self.kind == other.kind

    def __hash__(self) -> int:
        return hash(self.kind)


def to_plain(value: Any, depth: int = 0) -> Plain:
    """Return `value` as a plain value.

    Raises:
        NotPlain: it is of another type, too large, or nested too deeply.
    """
    if depth > DEEPEST:
        raise NotPlain(f"lists are nested more than {DEEPEST} deep")
    torch = sys.modules.get("torch")  # a process that has not imported it holds no tensor, and starts faster
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise NotPlain(f"an array of type {value.dtype}")
        if value.size > LARGEST_ARRAY:
            raise NotPlain(f"an array of {value.size} numbers, more than {LARGEST_ARRAY}")
        return np.array(value)
    if value is None or type(value) in (bool, Failure):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else float(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise NotPlain(f"a text of {len(value)} characters, more than {LONGEST_TEXT}")
        return str(value)
    if isinstance(value, Mapping | Sequence | set) and len(value) > LARGEST_ARRAY:
        raise NotPlain(f"{len(value)} items, more than {LARGEST_ARRAY}")
    if isinstance(value, Mapping):
        return {_to_key(key): to_plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [to_plain(item, depth + 1) for item in value]
    raise NotPlain(f"a value of type {type(value).__name__}")


def _to_key(key: Any) -> str:
    if not isinstance(key, str | int | float):
        raise NotPlain(f"a dict with a key of type {type(key).__name__}")
    return str(key)


def to_json(value: Plain) -> Any:
    """Return a plain value as JSON can hold it; `from_json` is the inverse.

    Arrays, failures and dicts become objects with one key that names their kind. NaN and infinities become texts.
    """
    if isinstance(value, np.ndarray):
        flat = value.ravel().tolist()
        numbers = [_number_to_json(number) for number in flat] if value.dtype.kind == "f" else flat
        return {"array": numbers, "shape": list(value.shape), "type": str(value.dtype)}
    if isinstance(value, Failure):
        return {"failure": value.kind, "message": value.message}
    if isinstance(value, float):
        number = _number_to_json(value)
        return {"number": number} if isinstance(number, str) else number
    if isinstance(value, dict):
        return {"dict": {key: to_json(item) for key, item in value.items()}}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    return value


def _number_to_json(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


def from_json(value: Any) -> Plain:
    """Return the plain value that `to_json` has turned into `value`.

    Raises:
        NotPlain: `value` was not made by `to_json`, or is too large.
    """
    try:
        return _from_json(value, 0)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NotPlain(f"not the JSON of a plain value: {type(error).__name__}: {str(error)[:200]}") from None


def _from_json(value: Any, depth: int) -> Plain:
    if depth > DEEPEST:
        raise NotPlain(f"lists are nested more than {DEEPEST} deep")
    if isinstance(value, list):
        if len(value) > LARGEST_ARRAY:
            raise NotPlain(f"{len(value)} items, more than {LARGEST_ARRAY}")
        return [_from_json(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return to_plain(value)
    match value:
        case {"array": list(numbers), "shape": list(shape), "type": str(name)}:
            data_type = np.dtype(name)
            if data_type.kind not in "biuf" or len(numbers) > LARGEST_ARRAY:
                raise NotPlain(f"an array of {len(numbers)} numbers of type {name[:40]}")
            return (
                np.array([float(number) if isinstance(number, str) else number for number in numbers])
                .astype(data_type)
                .reshape([int(length) for length in shape])
            )
        case {"failure": str(kind), "message": str(message)}:
            return Failure(kind[:200], message[:LONGEST_TEXT])
        case {"number": str(number)}:
            return float(number)
        case {"dict": dict(items)}:
            return {str(key): _from_json(item, depth + 1) for key, item in items.items()}
    raise NotPlain(f"an object with the keys {', '.join(map(str, list(value)[:4]))}")


def to_inputs(value: Plain) -> Any:
    """Return a plain value as the input of a function: a new tensor for each array, all else as it is."""
    if isinstance(value, np.ndarray):
        import torch

        return torch.from_numpy(value.copy())
    if isinstance(value, list):
        return [to_inputs(item) for item in value]
    if isinstance(value, dict):
        return {key: to_inputs(item) for key, item in value.items()}
    return value


def are_equal(first: Plain, second: Plain, tolerance: float = 1e-4) -> bool:
    """Return whether two plain values are equal.

    Numbers may differ by `tolerance` and by the same share of the larger one; NaN equals NaN. Types of numbers do not
    matter, shapes do.
    """
    numbers, other_numbers = _to_array(first), _to_array(second)
    if numbers is not None and other_numbers is not None:
        if numbers.shape != other_numbers.shape:
            return False
        return bool(np.allclose(numbers, other_numbers, rtol=tolerance, atol=tolerance, equal_nan=True))
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(
            are_equal(item, other, tolerance) for item, other in zip(first, second, strict=True)
        )
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(are_equal(first[key], second[key], tolerance) for key in first)
    return type(first) is type(second) and not isinstance(first, np.ndarray) and bool(first == second)


def _to_array(value: Plain) -> np.ndarray | None:
    """Return the array of a plain value that holds numbers alone, else None; an empty list has shape (0,)."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, bool | int | float):
        return np.array(float(value))
    if isinstance(value, list) and not any(isinstance(item, np.ndarray) for item in value):
        parts = [part for item in value if (part := _to_array(item)) is not None]
        if len(parts) == len(value) and len({part.shape for part in parts}) <= 1:
            return np.stack(parts) if parts else np.zeros(0)
    return None


def describe(value: Plain, longest: int = 600) -> str:
    """Return a plain value as a short text for a reader, numbers rounded to four digits behind the point."""
    text = _describe(value)
    return text if len(text) <= longest else f"{text[: longest - 2]} …"


def _describe(value: Plain) -> str:
    if isinstance(value, np.ndarray):
        if value.size > 60:
            return f"array of shape {list(value.shape)}, first numbers {_describe(value.ravel()[:6])}"
        text = np.array2string(value, precision=4, suppress_small=True, separator=", ", max_line_width=100)
        return text if value.size else f"empty array of shape {list(value.shape)}"
    if isinstance(value, Failure):
        return f"{value.kind}: {value.message}" if value.message else value.kind
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1e6 else f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_describe, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_describe(item)}" for key, item in value.items()) + "}"
    return repr(value)
