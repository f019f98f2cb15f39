"""Identity of a result: the JSON values that decided it, their digest, and the differences between two identities.

Checkpoints, executed lessons, runs of a grid and generated folders each store the identity that made them. A result is
used again only if its identity is the expected one; otherwise `differences` lists what changed.

Only the standard library is imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Identity = dict[str, Any]
"""Whatever decides a result (configuration, data, code), as JSON values by name."""

LONGEST_VALUE = 48  # characters of a value in a message
LONGEST_LIST = 240  # characters of all differences in a message
_ABSENT = object()  # stands for a key that one of two identities lacks


def normalise(identity: Mapping[str, Any]) -> Identity:
    """Return `identity` as it is read back from a JSON file: lists for tuples, text for the keys of every mapping.

    Raises:
        TypeError: a value is not a JSON value.
    """
    return json.loads(json.dumps(identity))


def digest(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 of `identity` as 64 hexadecimal digits.

    Law: two identities have the same digest exactly when `differences` yields nothing; the order of keys is irrelevant.
    """
    return hashlib.sha256(_to_text(normalise(identity)).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a file: the part of an identity that stands for it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def differences(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each value, however deep, in which two identities differ: "recipe.width is 4 there and 8 here".

    Values are compared as JSON, so 1, 1.0 and true differ. Long values are shortened to the part that differs.

    Args:
        stored: the identity of a result that exists ("there").
        expected: the identity of the result that is asked for ("here").
    """
    yield from _differences(normalise(stored), normalise(expected), "")


def describe_differences(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the differences in one line of at most about 300 characters, "" where there are none."""
    lines = list(differences(stored, expected))
    num_shown, length = 0, 0
    for line in lines:
        length += len(line) + 2
        if num_shown and length > LONGEST_LIST:
            break
        num_shown += 1
    num_hidden = len(lines) - num_shown
    return "; ".join(lines[:num_shown]) + (f"; and {num_hidden} more" if num_hidden else "")


def _differences(stored: Any, expected: Any, name: str) -> Iterator[str]:
    """Yield the differences of two values that both lie at `name`."""
    if isinstance(stored, dict) and isinstance(expected, dict):
        for key in sorted(stored.keys() | expected.keys()):
            path = f"{name}.{key}" if name else key
            yield from _differences(stored.get(key, _ABSENT), expected.get(key, _ABSENT), path)
    elif isinstance(stored, list) and isinstance(expected, list) and len(stored) == len(expected):
        for index, (stored_item, expected_item) in enumerate(zip(stored, expected, strict=True)):
            yield from _differences(stored_item, expected_item, f"{name}[{index}]")
    elif _to_text(stored) != _to_text(expected):
        stored_text, expected_text = _shorten((_show(stored), _show(expected)))
        yield f"{_shorten_name(name)} is {stored_text} there and {expected_text} here"


def _to_text(value: Any) -> str:
    """Return the one JSON text of a value; no value has that of an absent one."""
    return "" if value is _ABSENT else json.dumps(value, sort_keys=True, separators=(",", ":"))


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)


def _shorten(texts: Sequence[str]) -> list[str]:
    """Return each text cut to `LONGEST_VALUE` characters around the first character in which the two differ."""
    first, second = texts
    position = next((i for i, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), 0)
    start = position - LONGEST_VALUE // 4 if position > LONGEST_VALUE // 2 else 0
    end = start + LONGEST_VALUE
    return [("…" if start else "") + text[start:end] + ("…" if len(text) > end else "") for text in texts]


def _shorten_name(name: str) -> str:
    return name if len(name) <= 2 * LONGEST_VALUE else f"{name[:LONGEST_VALUE]}…{name[-LONGEST_VALUE:]}"
