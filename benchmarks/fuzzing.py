"""Mutated input files for every reader of annotations, results, tables and images, and the law that readers keep.

    python -m benchmarks.fuzzing --count 5000 --seed 0

Law: a mutated file is either refused by a `DatasetError` of one line, with less than 500 characters and the name of a
file of the set in it; or it is read, a second reading gives the same, and what is read fulfils the reader's conditions
(finite boxes with a size inside their images, known labels, …). A harmless mutation (order of records, byte order mark,
extra fields, unused categories, hidden files) changes nothing that is read. No reader hangs, runs out of memory, or
raises anything else.

`tests/test_fuzzing.py` tries a few hundred mutations by the same functions.
"""

from __future__ import annotations

import argparse
import collections
import copy
import csv
import faulthandler
import io
import json
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from helpers import coco
from helpers.digits.dataset import DIGIT_NAMES, DigitDataset
from helpers.digits.metrics import NO_NUMBER
from helpers.digits.reading import check_numbers, read_predictions
from helpers.digits.splits import has_truth
from helpers.digits.svhn import convert, read_digit_struct
from helpers.images import read_image_sizes, read_images, write_image
from helpers.records import DatasetError

LONGEST_MESSAGE = 500  # characters, the path included
LONGEST_READING = 10.0  # seconds
LARGEST_GROWTH = 2**30  # bytes of memory
CLASSES = ("circle", "square", "triangle")
POINTS = ("head", "hand", "foot")
SIZE = (40, 60)  # (height, width) of all images, pixels
IDS = np.array([1, 2, 5])

Content = tuple[Any, ...]
"""Arrays and strings that a reader returns, comparable by `same`."""


@dataclass(frozen=True)
class Reader:
    """A reader, the sound file that is mutated for it, and the conditions for what it returns."""

    name: str
    target: str  # the mutated file, relative to the folder of the set
    read: Callable[[Path], Content]  # takes the folder of the set
    check: Callable[[Content], None]  # raises AssertionError
    kind: str  # "json", "csv", "png" or "mat"


@dataclass(frozen=True)
class Outcome:
    """Result of reading one mutated file."""

    reader: str
    mutation: str
    verdict: str  # "refused", "read" or the violated rule
    detail: str  # message of a refusal, or what is wrong


# Sound files


def write_sound_set(folder: Path) -> None:
    """Write one small sound file for every reader, and the images that belong to them."""
    rng = np.random.default_rng(0)
    names = tuple(f"{image_id}.png" for image_id in IDS)
    sizes = np.tile(np.array(SIZE), (3, 1))
    boxes = np.array([[1, 2, 17, 18], [10, 0, 60, 40], [5, 5, 35, 35], [20.25, 8, 40, 38]])
    file = coco.BoxFile.of(IDS, names, sizes, np.array([0, 0, 1, 2]), boxes, np.array([0, 2, 1, 0]))
    for dialect in ("coco", "handout"):
        coco.write_boxes(folder / f"boxes_{dialect}.json", file, dialect, CLASSES)
        points = np.array([[[10, 20], [30, 5], [11, 39]], [[0, 0], [59, 39], [7, 8]], [[1, 1], [2, 30], [50, 9]]]) + 0.5
        figures = coco.PointFile(IDS, names, sizes, points)
        coco.write_points(folder / f"points_{dialect}.json", figures, dialect, POINTS, [(0, 1)])
    coco.write_boxes(folder / "train.json", file, "coco", DIGIT_NAMES)
    results = coco.ResultFile(IDS[[0, 0, 1, 2]], boxes, np.array([0, 2, 1, 0]), np.array([0.9, 0.25, 0.5, 1.0]))
    coco.write_results(folder / "pred.json", results)
    (folder / "pred.csv").write_text("image_id,pred_label\n1,02\n2,1\n5,-1\n", encoding="utf-8")
    for split, shape in (("train", (*SIZE, 3)), ("grey", SIZE)):
        (folder / split).mkdir()
        for name in names:
            write_image(folder / split / name, rng.integers(0, 256, shape, np.uint8))
    write_digit_struct(folder / "digitStruct.mat", names)


def write_digit_struct(path: Path, names: tuple[str, ...]) -> None:
    """Write a file of the structure of SVHN's: `digitStruct(i).name` and `digitStruct(i).bbox(j).height`, …"""
    with h5py.File(path, "w") as file:
        refs = file.create_group("#refs#")

        def store(values: np.ndarray) -> h5py.Reference:
            return refs.create_dataset(str(len(refs)), data=values).ref

        name_refs, group_refs = [], []
        for row, name in enumerate(names):
            name_refs.append(store(np.array([[ord(letter)] for letter in name], np.uint16)))
            group = refs.create_group(str(len(refs)))
            for field, value in (("height", 20), ("label", 10), ("left", 5), ("top", 6), ("width", 8)):
                if row == 0:
                    cells = [[store(np.array([[value + step]], float))] for step in (0, 0)]
                    group.create_dataset(field, data=np.array(cells, dtype=object), dtype=h5py.ref_dtype)
                else:
                    group.create_dataset(field, data=np.array([[value]], float))
            group_refs.append(group.ref)
        for field, column in (("name", name_refs), ("bbox", group_refs)):
            cells = np.array([[reference] for reference in column], dtype=object)
            file.create_dataset(f"digitStruct/{field}", data=cells, dtype=h5py.ref_dtype)


# Readers and the conditions for what they return


def require(condition: ArrayLike, text: str) -> None:
    """Raise AssertionError with `text` unless `condition` is true, everywhere if it is an array."""
    if not np.all(condition):
        raise AssertionError(text)


def check_boxes(content: Content) -> None:
    """Require that every box has a size, lies in its image and has a known label."""
    image_ids, names, sizes, owners, boxes, labels, areas, visibility, _ = content
    check_images(image_ids, names, sizes)
    require(np.isfinite(boxes), "boxes are finite")
    require(boxes[:, 2:] > boxes[:, :2], "boxes have a size")
    require(boxes >= -0.02, "boxes lie in their images")
    require(boxes[:, 2:] <= sizes[owners, ::-1] + 0.02, "boxes lie in their images")
    require(np.abs(boxes).max(axis=1, initial=0) > 1, "boxes are no shares")
    require(np.diff(owners) >= 0, "objects stand in the order of their images")
    require(np.isin(labels, np.arange(10)), "labels are known")
    require(np.isfinite(areas), "areas are finite")
    require((visibility >= 0) & (visibility <= 1), "visibility is a share")


def check_images(image_ids: np.ndarray, names: tuple[str, ...], sizes: np.ndarray) -> None:
    """Require that ids ascend, names are different and sizes are positive."""
    require(image_ids[1:] > image_ids[:-1], "ids ascend")
    require(len(set(names)) == len(names) == len(image_ids) == len(sizes), "names are different")
    require(sizes > 0, "sizes are positive")
    require([".." not in name and not name.startswith("/") for name in names], "names stay in the folder")


def check_points(content: Content) -> None:
    """Require that every point is within the pixel centres of its image."""
    image_ids, names, sizes, points = content
    check_images(image_ids, names, sizes)
    require((points >= 0.5) & (points <= sizes[:, None, ::-1] - 0.5), "points lie in their images")
    require(np.abs(points - 0.5).max(axis=(1, 2)) > 1, "points are no shares")


def check_results(content: Content) -> None:
    """Require that every detection has a box with a size, a score from 0 to 1 and a known label."""
    for boxes, scores, labels in content:
        require(np.isfinite(boxes), "boxes are finite")
        require(boxes[:, 2:] > boxes[:, :2], "boxes have a size")
        require((scores >= 0) & (scores <= 1), "scores are 0 to 1")
        require(np.diff(scores) <= 0, "the best score comes first")
        require(len(boxes) == 0 or np.abs(boxes).max() > 1, "boxes are no shares")
        require(np.isin(labels, np.arange(1, 11)), "labels are known")


def check_table(content: Content) -> None:
    """Require that every image has digits or the sign for none."""
    require(len(content) == len(IDS), "every image has a number")
    require([number == NO_NUMBER or (number.isascii() and number.isdecimal()) for number in content], "digits")


def check_struct(content: Content) -> None:
    """Require that every digit has a finite box, an image and one of ten labels."""
    names, owners, corners, digits, counts = content
    require(np.isfinite(corners), "boxes are finite")
    require(np.isin(digits, np.arange(10)), "labels are known")
    require(len(owners) == len(corners) == len(digits), "every digit has an image")
    require(owners < len(names), "every digit has an image")
    require(counts[0] == len(names), "every image is converted")


def check_pixels(content: Content) -> None:
    """Require that the images have the recorded size."""
    sizes, pixels = content
    require(pixels.shape[:3] == (3, *SIZE), "images have the recorded size")
    require(sizes == SIZE, "headers have the recorded size")


def _columns(file: coco.BoxFile | coco.PointFile) -> Content:
    return tuple(vars(file).values())


def _read_set(folder: Path) -> Content:
    dataset = DigitDataset.read(folder, "train")
    for index in range(len(dataset)):
        dataset[index]
    return _columns(dataset.file)


def _read_unlabelled(folder: Path) -> Content:
    has_truth(folder, "train")
    dataset = DigitDataset.read_unlabelled(folder, "train")
    return dataset.image_ids, dataset.file.file_names, dataset.sizes


def _read_predictions(folder: Path) -> Content:
    images = DigitDataset(folder / "train", coco.BoxFile.of(IDS, ("1", "2", "5"), np.tile(np.array(SIZE), (3, 1))))
    predictions = read_predictions(folder / "pred.json", images)
    return tuple(tuple(column.numpy() for column in detections) for detections in predictions)


def _read_struct(folder: Path) -> Content:
    struct_ = read_digit_struct(folder / "digitStruct.mat")
    counts = convert(struct_, folder / "train", folder / "converted")["converted"]
    return *struct_, counts


def _read_pixels(split: str, mode: Any) -> Callable[[Path], Content]:
    names = [f"{image_id}.png" for image_id in IDS]

    def read(folder: Path) -> Content:
        sizes = read_image_sizes(folder / split, names)
        return sizes, read_images(folder / split, names, np.tile(np.array(SIZE), (3, 1)), mode)

    return read


def list_readers() -> list[Reader]:
    """Return every reader with the file that is mutated for it."""
    readers = [
        Reader("digit dataset", "train.json", _read_set, check_boxes, "json"),
        Reader("images alone", "train.json", _read_unlabelled, lambda content: check_images(*content), "json"),
        Reader("pred.json", "pred.json", _read_predictions, check_results, "json"),
        Reader("pred.csv", "pred.csv", lambda d: tuple(check_numbers(d / "pred.csv", IDS)), check_table, "csv"),
        Reader("RGB images", "train/2.png", _read_pixels("train", "RGB"), check_pixels, "png"),
        Reader("grey images", "grey/2.png", _read_pixels("grey", "L"), check_pixels, "png"),
        Reader("digitStruct", "digitStruct.mat", _read_struct, check_struct, "mat"),
    ]
    for dialect in ("coco", "handout"):

        def read_boxes(folder: Path, dialect: Any = dialect) -> Content:
            return _columns(coco.read_boxes(folder / f"boxes_{dialect}.json", dialect, CLASSES))

        def read_points(folder: Path, dialect: Any = dialect) -> Content:
            return _columns(coco.read_points(folder / f"points_{dialect}.json", dialect, POINTS, SIZE))

        readers += [
            Reader(f"{dialect} boxes", f"boxes_{dialect}.json", read_boxes, check_boxes, "json"),
            Reader(f"{dialect} points", f"points_{dialect}.json", read_points, check_points, "json"),
        ]
    return readers


# Mutations: each takes a random generator and the sound content, and returns a name and the mutated content

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, 1.5, -0.0, 7, 10**6, 2**31, 2**40, 2**63, -(2**63), 10**30, 1e-300, 1e300,
    float("nan"), float("inf"), float("-inf"), "", "1", "nan", "\u0661", "a" * 100_000, "\ud800", "\0", "x\ny",
    "../1.png", "/etc/passwd", "..\\1.png", "C:\\1.png", "sub/../../1.png", ".", "1.png", "999.png",
    [], {}, [[]], [1, 2], [1, 2, 3, 4], [0.1, 0.1, 0.2, 0.2], [1e9, 1e9, 1e9, 1e9], {"id": 1}, [None] * 5,
    list(range(50_000)), [[[[[[[[[[1]]]]]]]]]],
)  # fmt: skip


def _find_places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value in a JSON document."""
    yield place
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _find_places(child, (*place, key))


def _set_place(document: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    return document


def _get_place(document: Any, place: tuple) -> Any:
    for key in place:
        document = document[key]
    return document


def _write(document: Any) -> bytes:
    return json.dumps(document).encode()


def replace_value(rng: random.Random, document: Any) -> bytes:
    """Replace one value anywhere by an odd one."""
    return _write(_set_place(document, rng.choice(list(_find_places(document))), rng.choice(ODD_VALUES)))


def exchange_values(rng: random.Random, document: Any) -> bytes:
    """Replace one value by a copy of another."""
    first, second = rng.sample(list(_find_places(document)), 2)
    return _write(_set_place(document, first, copy.deepcopy(_get_place(document, second))))


def remove_value(rng: random.Random, document: Any) -> bytes:
    """Remove one key or one entry of a list."""
    place = rng.choice([place for place in _find_places(document) if place])
    del _get_place(document, place[:-1])[place[-1]]
    return _write(document)


def repeat_entry(rng: random.Random, document: Any) -> bytes:
    """Repeat one entry of a list, up to a thousand times."""
    lists = [place for place in _find_places(document) if isinstance(_get_place(document, place), list)]
    entries = _get_place(document, rng.choice(lists))
    if entries:
        entries += [copy.deepcopy(rng.choice(entries)) for _ in range(rng.choice((1, 2, 1000)))]
    return _write(document)


def scale_numbers(rng: random.Random, document: Any) -> bytes:
    """Multiply all numbers in boxes and points, and areas likewise: shares, other units, other signs."""
    factor = rng.choice((1 / 60, 1 / 40, 1e-3, 0.5, 2, 100, -1, 1e30))

    def scale(value: Any) -> Any:
        if isinstance(value, list):
            return [scale(item) for item in value]
        return value * factor if isinstance(value, int | float) else value

    records = document if isinstance(document, list) else [*document["images"], *document.get("annotations", [])]
    for record in records:
        record |= {name: scale(record[name]) for name in ("bbox", "keypoints") if name in record}
        if "area" in record:
            record["area"] *= factor**2
    return _write(document)


def repeat_key(rng: random.Random, document: Any) -> bytes:
    """Write one key of one record twice."""
    text = json.dumps(document)
    place = rng.choice([index for index, letter in enumerate(text) if text[index : index + 2] == '{"'])
    return f'{text[: place + 1]}"id": 1, "id": 2, {text[place + 1 :]}'.encode()


def write_odd_number(rng: random.Random, document: Any) -> bytes:
    """Replace a number by one that only JSON's text can hold."""
    text = json.dumps(document)
    digits = [index for index, letter in enumerate(text) if letter.isdigit()]
    place = rng.choice(digits)
    odd = rng.choice(
        ("1e999", "-1e999", "9" * 5000, "0." + "9" * 5000, "NaN", "-Infinity", "1E400", "00", "0x1", "1_0")
    )
    return (text[:place] + odd + text[place + 1 :]).encode()


def nest(rng: random.Random, document: Any) -> bytes:
    """Replace one value by deeply nested lists or objects."""
    depth = rng.choice((50, 500, 900, 5000, 100_000))
    text = _write(_set_place(document, rng.choice(list(_find_places(document))), "NEST")).decode()
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    return text.replace('"NEST"', opening * depth + "1" + closing * depth).encode()


def reverse_records(rng: random.Random, document: Any) -> bytes:
    """Harmless: shuffle the records of every list."""
    lists = [document] if isinstance(document, list) else [v for k, v in document.items() if k != "keypoint_names"]
    for records in lists:
        if isinstance(records, list):
            rng.shuffle(records)
    return _write(document)


def add_fields(rng: random.Random, document: Any) -> bytes:
    """Harmless: give every record an extra field with an odd value."""
    for place in list(_find_places(document)):
        value = _get_place(document, place)
        if isinstance(value, dict):
            value["extra"] = rng.choice(ODD_VALUES)
    return _write(document)


def add_category(rng: random.Random, document: Any) -> bytes:
    """Harmless: add a category that no annotation uses."""
    if isinstance(document, dict) and "categories" in document:
        document["categories"].insert(0, {"id": 77, "name": rng.choice(("digits", "", "0", "circle"))})
    return _write(document)


def mark_byte_order(rng: random.Random, content: bytes) -> bytes:
    """Harmless: put a byte order mark in front."""
    return b"\xef\xbb\xbf" + content


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    """Flip a few bits."""
    mutated = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        mutated[rng.randrange(len(mutated))] ^= 1 << rng.randrange(8)
    return bytes(mutated)


def cut_off(rng: random.Random, content: bytes) -> bytes:
    """Cut the file off."""
    return content[: rng.randrange(len(content))]


def insert_bytes(rng: random.Random, content: bytes) -> bytes:
    """Insert, repeat or overwrite a few bytes."""
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((1, 4, 40)))
    piece = rng.choice(
        (rng.randbytes(4), b"\0" * 8, b"\xff" * 8, content[start:end] * 3, b'"', b"[", b"}", b",", b"\n")
    )
    return content[:start] + piece + content[rng.choice((start, end)) :]


def encode_otherwise(rng: random.Random, content: bytes) -> bytes:
    """Save the text in another encoding."""
    return content.decode("utf-8").encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7"))) + b"\xe9"


def change_field(rng: random.Random, content: bytes) -> bytes:
    """Replace one field of a table by an odd one."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = rng.choice(rows)
    odd = ("", "1.0", "1e3", "-2", "\u0661", "9" * 5000, '"', "1,234", "nan", "\0", "a" * 200_000, " 2 ", "-1", "\n")
    row[rng.randrange(len(row))] = rng.choice(odd)
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def change_lines(rng: random.Random, content: bytes) -> bytes:
    """Remove, repeat or add lines of a table."""
    lines = content.decode().splitlines()
    row = rng.randrange(len(lines))
    odd = rng.choice((lines[row], "7,7", "1;2", "1,2,3", "1", '"1', "x" * 300_000))
    return "\n".join(rng.choice((lines[:row] + lines[row + 1 :], [*lines, odd], [odd, *lines]))).encode()


def add_blank_lines(rng: random.Random, content: bytes) -> bytes:
    """Harmless: blank lines, empty fields at the ends, an extra column, Windows' or old line ends."""
    lines = content.decode().splitlines()
    for _ in range(3):
        lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(("", "  ", ",", ",,,")))
    if rng.random() < 0.5:
        lines = [f"{number},{line}" if line.strip(", ") else line for number, line in enumerate(lines)]
        lines[0] = lines[0].replace("0,", ",", 1)
    return (rng.choice(("\n", "\r\n", "\r")).join(lines) + rng.choice(("", "\n\n\n"))).encode()


def _pack_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def change_header(rng: random.Random, content: bytes) -> bytes:
    """Write another header with a right checksum: other sizes, modes, bombs."""
    height, width, depth, colour, interlace = *SIZE, 8, content[25], 0
    match rng.randrange(4):
        case 0:
            height, width = rng.choice(((2**31 - 1, 2**31 - 1), (9000, 9000), (0, 5), (2**24, 1), (41, 60), (60, 40)))
        case 1:
            depth, colour = rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 1, 2, 3, 4, 6))
        case 2:
            interlace = rng.choice((1, 2))
        case _:
            height, width, depth, colour = (rng.randrange(2**16), rng.randrange(2**16), 8, colour)
    header = _pack_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return content[:8] + rng.choice((header, content[8:33] + header)) + content[33:]


def add_chunk(rng: random.Random, content: bytes) -> bytes:
    """Insert a chunk with a right checksum: compressed text that unpacks to 50 MB, palettes, frames, nonsense."""
    bomb = zlib.compress(b"\0" * 50_000_000)
    chunks = (
        _pack_chunk(b"zTXt", b"k\0\0" + bomb),
        _pack_chunk(b"iCCP", b"k\0\0" + bomb),
        _pack_chunk(b"PLTE", b"\0" * 3),
        _pack_chunk(b"tRNS", b"\0" * 2),
        _pack_chunk(b"acTL", struct.pack(">II", 2**31, 0)),
        _pack_chunk(b"IDAT", bomb[:1000]),
        _pack_chunk(b"IEND", b""),
        struct.pack(">I", 2**31 - 1) + b"tEXt",
        _pack_chunk(b"\xff\0ab", b"x"),
    )
    place = rng.choice((33, len(content) - 12))
    return content[:place] + rng.choice(chunks) + content[place:]


def save_otherwise(rng: random.Random, content: bytes) -> bytes:
    """Save the image in another format or mode, with the same name."""
    stream = io.BytesIO()
    name = rng.choice(("JPEG", "GIF", "BMP", "TIFF", "WEBP", "EPS", "PPM", "ICO"))
    with Image.open(io.BytesIO(content)) as image:
        mode = rng.choice(("L", "RGB"))
        image.convert(mode).save(stream, name)
    return stream.getvalue()


def find_group(file: h5py.File, name: str) -> h5py.Group:
    """Return the group `name` of an HDF5 file."""
    group = file[name]
    assert isinstance(group, h5py.Group)
    return group


def change_numbers(rng: random.Random, content: bytes) -> bytes:
    """Replace one value of an HDF5 file by an odd one, or by an array of another length or type."""
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        groups = [group for group in find_group(file, "#refs#").values() if isinstance(group, h5py.Group)]
        group, name = rng.choice(groups), rng.choice(("left", "top", "width", "height", "label"))
        odd = rng.choice((float("nan"), float("inf"), -1.0, 0.0, 1e300, 2.5, 11.0, 1e12))
        values = rng.choice(
            (np.array([[odd]]), np.array([[odd]] * 3), np.array([odd]), np.array(odd), np.empty((0, 1)))
        )
        del group[name]
        group.create_dataset(name, data=values if rng.random() < 0.9 else "text")
    return stream.getvalue()


def change_name(rng: random.Random, content: bytes) -> bytes:
    """Replace the letters of an image's name in an HDF5 file."""
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        row = rng.randrange(len(IDS))
        letters = rng.choice(
            ("1.png", "9.png", "../1.png", "1.jpg", "\ud800.png", "a" * 90, "9" * 5000, "\0", "", "01.png")
        )
        names = file["digitStruct/name"]
        assert isinstance(names, h5py.Dataset)
        codes = np.array([[ord(letter)] for letter in letters], np.uint16).reshape(-1, 1)
        names[row, 0] = find_group(file, "#refs#").create_dataset("odd", data=codes).ref
    return stream.getvalue()


HARMLESS = (reverse_records, add_fields, add_category, mark_byte_order, add_blank_lines)
"""A reader returns the same after these."""
_JSON = (replace_value, replace_value, exchange_values, remove_value, repeat_entry, scale_numbers, repeat_key)
_JSON += (write_odd_number, nest, reverse_records, add_fields, add_category)
_BYTES = (flip_bits, cut_off, insert_bytes)
MUTATIONS: dict[str, tuple[Callable, ...]] = {
    "json": (*_JSON, *_BYTES, mark_byte_order, encode_otherwise),
    "csv": (change_field, change_lines, add_blank_lines, *_BYTES, mark_byte_order, encode_otherwise),
    "png": (change_header, add_chunk, save_otherwise, *_BYTES),
    "mat": (*_BYTES, change_numbers, change_name),
}


# The law


def same(first: Any, second: Any) -> bool:
    """Return whether two contents are equal: arrays with all their values, tuples with all their entries."""
    if isinstance(first, tuple):
        return len(first) == len(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return bool(np.array_equal(first, second))


def try_mutation(reader: Reader, mutation: Callable, rng: random.Random, folder: Path, sound: Content) -> Outcome:
    """Return the outcome of reading a set whose target is mutated; the target is sound again afterwards.

    Args:
        sound: what the reader returns for the sound file.
    """
    target = folder / reader.target
    content = target.read_bytes()
    argument = json.loads(content) if mutation in _JSON else content

    def conclude(verdict: str, detail: str = "") -> Outcome:
        return Outcome(reader.name, mutation.__name__, verdict, detail)

    start = time.perf_counter()
    try:
        target.write_bytes(mutation(rng, argument))
        first = reader.read(folder)
        reader.check(first)
        second = reader.read(folder)
    except DatasetError as error:
        message = str(error)
        names = [reader.target, "train", "converted"] if reader.kind == "mat" else [reader.target, "train/"]
        if not any(str(folder / name) in message for name in names):
            return conclude("message without the file", message)
        if len(message) >= LONGEST_MESSAGE or "\n" in message:
            return conclude("message that is too long", message)
        if mutation in HARMLESS:
            return conclude("harmless, but refused", message)
        return conclude("refused", message)
    except Exception as error:
        return conclude("another exception", f"{type(error).__name__}: {error}"[:300])
    finally:
        target.write_bytes(content)
    if time.perf_counter() - start > LONGEST_READING:
        return conclude("slow", f"{time.perf_counter() - start:.1f} s")
    if not same(first, second):
        return conclude("a second reading differs")
    if mutation in HARMLESS and not same(first, sound):
        return conclude("harmless, but read otherwise")
    return conclude("read")


def fuzz(folder: Path, count: int, seed: int) -> Iterator[Outcome]:
    """Yield the outcomes of `count` mutations for the readers in turn; `folder` is empty before."""
    write_sound_set(folder)
    readers = list_readers()
    sound = {reader.name: reader.read(folder) for reader in readers}
    for number in range(count):
        reader, rng = readers[number % len(readers)], random.Random(f"{seed} {number}")
        mutations = MUTATIONS[reader.kind]
        mutation = mutations[number // len(readers) % len(mutations)]
        yield try_mutation(reader, mutation, rng, folder, sound[reader.name])


def measure_memory() -> int:
    """Return the largest memory that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Print how many mutated files each reader refused and read, and every violation of the law."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzzing", description=main.__doc__)
    parser.add_argument("--count", type=int, default=5000, help="number of mutated files (default: 5000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    before, start = measure_memory(), time.perf_counter()
    try:
        outcomes = []
        for outcome in fuzz(folder, options.count, options.seed):
            outcomes.append(outcome)
            faulthandler.dump_traceback_later(6 * LONGEST_READING, exit=True)
    finally:
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(folder)
    counts = collections.Counter((outcome.reader, outcome.verdict) for outcome in outcomes)
    for reader in list_readers():
        verdicts = {verdict: count for (name, verdict), count in sorted(counts.items()) if name == reader.name}
        print(f"{reader.name:16}", ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
    violations = [outcome for outcome in outcomes if outcome.verdict not in ("refused", "read")]
    for outcome in violations:
        print(outcome)
    growth = measure_memory() - before
    longest = max((len(outcome.detail) for outcome in outcomes if outcome.verdict == "refused"), default=0)
    print(
        f"{len(outcomes)} files in {time.perf_counter() - start:.0f} s, memory grew by {growth / 2**20:.0f} MB, "
        f"longest message {longest} characters, {len(violations)} violations of the law"
    )
    return 1 if violations or growth > LARGEST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
