"""Checked reading of text files and JSON records, and the error that refuses them.

Every reader of annotations, results and tables starts here, so that all treat encodings, sizes and broken syntax alike.
Types of fields are checked against JSON schemas; what a schema cannot express (unique ids, references) is checked by
`Records.refuse`. PyTorch is not imported.
"""

from __future__ import annotations

import functools
import json
import reprlib
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastjsonschema
import numpy as np
from jaxtyping import Int64

RESTORE = "Restore it (`workbook data` draws the workbook's own data)"
CHECK_PATH = "Check the path"
LARGEST_FILE = 2**28
"""Bytes of a text file or an image: all detections in SVHN's 13,068 test images, a hundred each, are half as many."""
LARGEST_TABLE = 2**24
"""Bytes of a CSV file: a line for each image is a hundredth of it."""
LARGEST_NUMBER_OF_LISTS = 2**23
"""Lists and objects in a JSON file: each takes 60 to 250 bytes of memory, and may take two in the file."""
LARGEST_NUMBER_OF_VALUES = 2**25
"""Commas in a JSON file: a number takes up to 32 bytes of memory, and may take two in the file."""
LARGEST_NUMBER = 1e9
"""Bound of coordinates and areas: products of two of them are still finite."""
LONGEST_MESSAGE = 480
LONGEST_NAME = 150
"""Characters of a file name in an annotation file."""

Record = dict[str, Any]
Schema = dict[str, Any]

ID: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1, "description": "an integer"}
NUMBER: Schema = {"type": "number", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}
TEXT: Schema = {"type": "string", "description": "a string"}


class DatasetError(ValueError):
    """A dataset on disk is missing, broken or of another kind than expected; the message names file, record and remedy.

    A message of more than `LONGEST_MESSAGE` characters loses its middle: the path is at its start, the remedy at its
    end.
    """

    def __init__(self, message: str):
        """Store the message, shortened if need be."""
        if len(message) > LONGEST_MESSAGE:
            half = LONGEST_MESSAGE // 2 - 3
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(message)


# Values in messages

_shortener = reprlib.Repr()  # its arguments are attributes before Python 3.12
_shortener.maxlevel, _shortener.maxlist, _shortener.maxdict, _shortener.maxstring = 4, 6, 4, 50


def shorten(value: object, length: int = 60) -> str:
    """Return `repr(value)` with at most `length` characters; long or deep values are never written out in full."""
    return cut(_shortener.repr(value), length)


def cut(text: str, length: int = 60) -> str:
    """Return `text` in at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def explain(error: BaseException, length: int = 100) -> str:
    """Return the reason that an exception gives, in one line of at most `length` characters."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return cut(" ".join(str(text).split()), length)


# Files


def require_file(path: Path, kind: str, remedy: str = CHECK_PATH, largest: int | None = None) -> int:
    """Return the size in bytes of the regular file `path`; the file is not opened, because opening a FIFO waits.

    Args:
        kind: name of the file in messages, such as "annotation file".
        remedy: what to do if it is missing.
        largest: bytes that it may have, `LARGEST_FILE` by default.

    Raises:
        DatasetError: it is missing, a folder, a FIFO or a device, or it has more than `largest` bytes.
    """
    largest = LARGEST_FILE if largest is None else largest
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(f"{path}: the {kind} is missing. {remedy}") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: the {kind} cannot be read ({explain(error)}). {CHECK_PATH}") from None
    if stat.S_ISDIR(status.st_mode):
        raise DatasetError(f"{path}: the {kind} is a folder. {CHECK_PATH}")
    if not stat.S_ISREG(status.st_mode):
        raise DatasetError(f"{path}: the {kind} is no regular file, but a pipe, a socket or a device. {CHECK_PATH}")
    if status.st_size > largest:
        size = f"{status.st_size / 2**20:.0f} MB, more than the {largest / 2**20:.0f} MB that are read"
        raise DatasetError(f"{path}: the {kind} has {size}. {CHECK_PATH}")
    return status.st_size


def read_bytes(path: Path, kind: str, remedy: str = CHECK_PATH, largest: int | None = None) -> bytes:
    """Return the content of a regular file.

    Raises:
        DatasetError: as `require_file`, or the file cannot be read.
    """
    require_file(path, kind, remedy, largest)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: the {kind} cannot be read ({explain(error)}). {CHECK_PATH}") from None


def read_text(path: Path, kind: str, remedy: str = CHECK_PATH, largest: int | None = None) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        DatasetError: as `read_bytes`, or the content is not UTF-8.
    """
    content = read_bytes(path, kind, remedy, largest)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DatasetError(f"{path}: the {kind} is UTF-16 text. Save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: the {kind} is not UTF-8 text ({explain(error)}). {CHECK_PATH}") from None


class _NotFinite:
    """NaN or an infinity in a JSON file: no schema's number, so that the record that holds it is named."""

    def __init__(self, name: str):
        """Store JavaScript's name: NaN, Infinity or -Infinity."""
        self._name = name

    def __repr__(self) -> str:
        return self._name.lower()


def read_json(path: Path, kind: str = "annotation file", remedy: str = RESTORE) -> Any:
    """Return the value in a JSON file; numbers that are not finite become objects that no schema accepts.

    Args:
        remedy: what to do if the file is missing, empty or not JSON.

    Raises:
        DatasetError: as `read_text`, or the content is empty, not JSON or nested too deeply, or a key comes twice.
    """
    text = read_text(path, kind, remedy)
    if not text.strip():
        raise DatasetError(f"{path}: the file is empty. {remedy}")
    if text.count("[") + text.count("{") > LARGEST_NUMBER_OF_LISTS:
        raise DatasetError(f"{path}: more than {LARGEST_NUMBER_OF_LISTS} lists and objects. {CHECK_PATH}")
    if text.count(",") > LARGEST_NUMBER_OF_VALUES:
        raise DatasetError(f"{path}: more than {LARGEST_NUMBER_OF_VALUES} values. {CHECK_PATH}")

    def build_object(pairs: list[tuple[str, Any]]) -> Record:
        record = dict(pairs)
        if len(record) != len(pairs):
            keys = [key for key, _ in pairs]
            key = next(key for row, key in enumerate(keys) if key in keys[:row])
            place = f" in the object with id {shorten(record['id'])}" if "id" in record else ""
            raise DatasetError(f"{path}: the key {shorten(key)} comes twice{place}. Remedy: keep one of the two")
        return record

    try:
        return json.loads(text, object_pairs_hook=build_object, parse_constant=_NotFinite)
    except DatasetError:
        raise
    except ValueError as error:  # malformed, or an integer of thousands of digits
        raise DatasetError(f"{path}: not JSON ({explain(error)}). {remedy}") from None
    except RecursionError:
        raise DatasetError(f"{path}: nested too deeply for any {kind}. {CHECK_PATH}") from None


# Schemas


def list_of(kind: str, fields: Mapping[str, Schema], optional: Mapping[str, Schema] = {}) -> Schema:
    """Return the schema of a list of records.

    Args:
        kind: name of one record in messages, such as "annotation".
        fields: schemas of the fields that every record has; their `description` completes "it has to be …".
        optional: schemas of the fields that a record may have. All others are passed over.
    """
    properties = {**fields, **optional}
    items = {"type": "object", "required": list(fields), "properties": properties}
    return {"type": "array", "title": kind, "items": items}


def check_schema(path: Path, document: Any, schema: Schema) -> None:
    """Refuse a list of records, or an object that holds lists of records, that does not fit `schema`.

    Args:
        schema: that of an object with lists of records, or `list_of(…)` itself.

    Raises:
        DatasetError: names the record by its kind, id and number, the field, its value and what it has to be.
    """
    try:
        _compile(json.dumps(schema))(document)
    except fastjsonschema.JsonSchemaValueException as error:
        place = error.path[1:]
    else:
        return
    if schema["type"] == "object":
        name, *place = place
        document, schema = document[name], schema["properties"][name]
    kind, fields = schema["title"], schema["items"]["properties"]
    if not place:
        raise DatasetError(f"{path}: the {kind} records are a {type(document).__name__}. They have to be a list")
    records, row = Records(path, kind, document), int(place[0])
    record = document[row]
    if not isinstance(record, dict):
        problem, remedy = f"it is a {type(record).__name__}", "every record is an object"
    elif len(place) == 1:
        name = next(name for name in schema["items"]["required"] if name not in record)
        problem, remedy = f"{name!r} is missing", f"it is {fields[name]['description']}"
    else:
        name = place[1]
        problem, remedy = f"{name} is {shorten(record[name])}", f"it has to be {fields[name]['description']}"
    records.refuse_row(row, problem, remedy)


@functools.cache
def _compile(schema: str) -> Callable[[Any], Any]:
    return fastjsonschema.compile(json.loads(schema), use_default=False)


def read_document(path: Path, schema: Schema) -> Record:
    """Return the JSON object in `path`, which has every key that `schema` requires, with records that fit it.

    Raises:
        DatasetError: the file is missing or broken, a key is missing, or a record does not fit the schema.
    """
    document, keys = read_json(path), schema["required"]
    if not isinstance(document, dict):
        raise DatasetError(
            f"{path}: the top level is a {type(document).__name__}, not an object with {', '.join(keys)}. "
            "A list of results is not an annotation file: check the path"
        )
    missing = [key for key in keys if key not in document]
    if missing:
        raise DatasetError(
            f"{path}: the key {missing[0]!r} is missing; the file has {cut(', '.join(map(repr, document))) or 'none'}. "
            f"An annotation file of this dialect has {', '.join(keys)}: check the path and the dialect"
        )
    check_schema(path, document, schema)
    return document


class Records:
    """The records of one list of one file; `refuse` names the first that breaks a rule."""

    def __init__(self, path: Path, kind: str, rows: list):
        """Store a list that fits its schema; `kind` is the name of one record, such as "annotation"."""
        self.path, self.kind, self.rows = path, kind, rows

    def __len__(self) -> int:
        return len(self.rows)

    def refuse_row(self, row: int, problem: str, remedy: str, others: str = "") -> None:
        """Raise the error of the record at `row`."""
        record = self.rows[row]
        identity = record.get("id") if isinstance(record, dict) else None
        name = self.kind if identity is None else f"{self.kind} {shorten(identity, 24).strip(chr(39))}"
        raise DatasetError(f"{self.path}: {name} (record {row + 1}): {problem}{others}. Remedy: {remedy}")

    def refuse(self, bad: Sequence[bool] | np.ndarray, describe: Callable[[int], str], remedy: str) -> None:
        """Raise an error for the first record that is `bad`, with the number of such records."""
        bad = np.asarray(bad, bool)
        if not bad.any():
            return
        count = int(bad.sum())
        others = f" ({count} of {len(bad)} records fail this check)" if count > 1 else ""
        row = int(bad.argmax())
        self.refuse_row(row, describe(row), remedy, others)

    def column(self, name: str, default: Any = None) -> list:
        """Return the field `name` of every record, `default` where a record does not have it."""
        return [row.get(name, default) for row in self.rows]

    def require_unique(self, name: str) -> list:
        """Return the field `name` of every record; no two records may share a value."""
        values = self.column(name)
        first: dict[Any, int] = {}
        for row, value in enumerate(values):
            first.setdefault(value, row)
        self.refuse(
            [first[value] != row for row, value in enumerate(values)],
            lambda row: f"{name} {shorten(values[row])} is already that of record {first[values[row]] + 1}",
            f"every {self.kind} has a different {name}",
        )
        return values

    def find_images(
        self, image_ids: Int64[np.ndarray, " M"], remedy: str = "add the image's record or take the annotation out"
    ) -> Int64[np.ndarray, " N"]:
        """Return the row of the image that each record belongs to."""
        row_of = {image_id: row for row, image_id in enumerate(image_ids.tolist())}
        owners = self.column("image_id")
        self.refuse(
            [owner not in row_of for owner in owners],
            lambda row: f"image_id {shorten(owners[row])} is not in `images`",
            remedy,
        )
        return np.array([row_of[owner] for owner in owners], np.int64)
