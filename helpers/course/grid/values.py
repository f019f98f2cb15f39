"""Parameter values as text: the option `-p` reads them, the table of a grid shows them.

Law: `read_value(show_value(value))` is `value`, so a cell of the table can be given to `-p`, and two different values
are never shown alike.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from helpers.course import lessons

CLOSING = {"(": ")", "[": "]", "{": "}"}
PLAIN_TEXT = re.compile(r"[\w./][\w ./:+=@-]*")  # text that no spreadsheet takes for a formula or splits


def split_values(text: str) -> list[str]:
    """Return the parts of `text` between commas; commas inside brackets and quotes do not separate.

    A quote opens a quotation at the start of a part or inside brackets; elsewhere it is an apostrophe.

    Raises:
        ValueError: a bracket or a quotation is not closed.
    """
    parts = []
    start = 0
    expected: list[str] = []  # brackets that are still to be closed
    quote = ""
    is_escaped = False
    for position, character in enumerate(text):
        if quote:
            if character == quote and not is_escaped:
                quote = ""
            is_escaped = character == "\\" and not is_escaped
        elif character in "\"'" and (expected or not text[start:position].strip()):
            quote = character
        elif character in CLOSING:
            expected.append(CLOSING[character])
        elif expected and character == expected[-1]:
            expected.pop()
        elif character == "," and not expected:
            parts.append(text[start:position])
            start = position + 1
    if quote or expected:
        raise ValueError(f"a {quote or expected[-1]} is missing; put a text that contains brackets in quotes")
    return [*parts, text[start:]]


def read_value(text: str) -> Any:
    """Return the value of a number as papermill reads one, of a JSON or Python literal, or else the text itself.

    Spaces around the value are ignored. Tuples become lists, because papermill cannot pass tuples.

    Raises:
        ValueError: `text` starts with a bracket but is no literal, has a key twice, or is not valid Unicode.
    """
    text = text.strip()
    for read in (int, float, _read_json, _read_python):
        try:
            value = lessons.to_json(read(text))
            break
        except RepeatedKey as error:
            raise ValueError(f"the key {error} comes twice; keep one of the two") from None
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    else:
        if text[:1] in CLOSING:
            raise ValueError('it is not a JSON or Python literal; put texts in quotes, as in ["a", "b"] or "[a]"')
        value = text
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it is not valid Unicode") from None
    return value


class RepeatedKey(Exception):
    """A key that comes twice in a literal; the message shows it."""


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_build_dict)


def _build_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the dictionary of `pairs`, of which JSON and Python would keep the last of equal keys."""
    keys = [key for key, _ in pairs]
    for row, key in enumerate(keys):
        if key in keys[:row]:
            raise RepeatedKey(show_text(repr(key), 40))
    return dict(pairs)


def _read_python(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # "\d" is not an escape sequence, but accepted
        expression = ast.parse(text, mode="eval")
        for node in ast.walk(expression):
            if isinstance(node, ast.Dict):
                _build_dict([(key.value, None) for key in node.keys if isinstance(key, ast.Constant)])
        return ast.literal_eval(expression)


def show_value(value: Any) -> str:
    """Return the text that `read_value` reads as `value`; no spreadsheet takes it for a formula.

    Text is shown without quotes if nothing else could be meant by it. Everything else that is not a number is shown as
    JSON, without characters that control a terminal.
    """
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, str) and PLAIN_TEXT.fullmatch(value) and value == value.strip() and read_value(value) == value:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def show_short(value: Any, length: int) -> str:
    """Return the text of `show_value`, cut to `length`."""
    text = show_value(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def show_text(text: str, length: int = 500) -> str:
    """Return a message on one line, without control characters, cut to `length`; never a spreadsheet's formula."""
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    return f"'{text}" if text[:1] in tuple("=+-@") else text
