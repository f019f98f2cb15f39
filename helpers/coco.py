"""The one door to disk: writes, reads and checks annotation files and their images.

Two dialects hold the same truth, and nothing in a file says which one it speaks, so every caller has to:

    "coco"     `bbox` is `[x, y, width, height]`, keypoints are flat triples `[x, y, v, ...]`, annotations count from 1
    "handout"  `bbox` is `[x1, y1, x2, y2]`, although the handout calls it COCO-style, keypoints are pairs, from 0

Inside the program boxes are `(x1, y1, x2, y2)` pixels and pixel i covers [i, i + 1): only this module converts. Both
dialects name a keypoint by the index of its pixel, whose centre is half a pixel further: reading adds 0.5, writing
takes it away. A file that cannot be what it is said to be is refused as a whole, before anything is computed from it.

Source: https://cocodataset.org/#format-data; the handout, section 1.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image, UnidentifiedImageError

from helpers.files import write_text

Dialect = Literal["coco", "handout"]
_MEANING: dict[Dialect, str] = {"coco": "[x, y, width, height]", "handout": "[x1, y1, x2, y2]"}
_FILE_NAMES: dict[Dialect, str] = {"coco": "{split}_coco.json", "handout": "{split}_annotations.json"}
_OTHER: dict[Dialect, Dialect] = {"coco": "handout", "handout": "coco"}

PIXEL_CENTRE = 0.5  # from a pixel's index to its centre
_ROUNDING = 0.01  # pixels by which decimals written to two places may leave the image
_REMEDY = "Restore it (`make data` makes the workbook's own), or take it and its record out"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_Record = dict[str, Any]


class DatasetError(ValueError):
    """A dataset on disk is missing, broken or not what it is said to be; the message names file, record and remedy."""


@dataclass(frozen=True)
class BoxFile:
    """What a detection file says: M images and N objects, in the program's conventions."""

    image_ids: Int64[np.ndarray, " M"]
    file_names: tuple[str, ...]  # of the M images, relative to the split's folder
    image_sizes: Int64[np.ndarray, "M 2"]  # (height, width) pixels
    owners: Int64[np.ndarray, " N"]  # row of the image that an object belongs to
    boxes: Float64[np.ndarray, "N 4"]  # (x1, y1, x2, y2) pixels
    labels: Int64[np.ndarray, " N"]  # index into the class names
    areas: Float64[np.ndarray, " N"]  # square pixels; the handout counts an odd size's last pixel, the box does not
    visibility: Float64[np.ndarray, " N"]  # share from 0 to 1; 1 where a file does not say
    ignored: Bool[np.ndarray, " N"]  # marked so, or a crowd


@dataclass(frozen=True)
class PointFile:
    """What a keypoint file says: M images with one figure each and its K points."""

    image_ids: Int64[np.ndarray, " M"]
    file_names: tuple[str, ...]
    image_sizes: Int64[np.ndarray, "M 2"]  # (height, width) pixels
    points: Float64[np.ndarray, "M K 2"]  # (x, y) pixels: centres of the pixels that the file names


@dataclass(frozen=True)
class ResultFile:
    """What a result file says: D detections, in the program's conventions."""

    image_ids: Int64[np.ndarray, " D"]
    boxes: Float64[np.ndarray, "D 4"]  # (x1, y1, x2, y2) pixels
    labels: Int64[np.ndarray, " D"]  # index into the class names
    scores: Float64[np.ndarray, " D"]  # 0 to 1


def annotation_path(folder: Path, split: str, dialect: Dialect) -> Path:
    """Returns where the annotations of `split` lie in the folder of a set: beside the folder of its images.

    Raises:
        ValueError: there is no such dialect.
    """
    if dialect not in _FILE_NAMES:
        raise ValueError(f"dialect is {dialect!r}; choose one of {', '.join(_FILE_NAMES)}")
    return folder / _FILE_NAMES[dialect].format(split=split)


# Writing


def write_boxes(path: Path, file: BoxFile, dialect: Dialect, class_names: Sequence[str], first_id: int = 0) -> None:
    """Writes `file` in `dialect`, whole or not at all.

    Args:
        first_id: id of the first annotation where counting starts at 0. COCO files count from 1, because pycocotools
            takes a match with annotation 0 for no match; so do their categories, where 0 is often the background.

    Raises:
        ValueError: a number is not finite; nothing is written then.
    """
    start = 1 if dialect == "coco" else 0
    boxes = _from_corners(file.boxes) if dialect == "coco" else file.boxes
    # COCO's own size classes are cut at the area of the box, so its files carry just that.
    areas = boxes[:, 2] * boxes[:, 3] if dialect == "coco" else file.areas
    columns = [_to_plain(column) for column in (file.image_ids[file.owners], file.labels + start, boxes, areas)]
    columns += [file.visibility.tolist(), file.ignored.tolist()]
    annotations = []
    rows = zip(*columns, strict=True)
    for number, (image_id, category_id, box, area, visibility, ignored) in enumerate(rows, first_id + start):
        record = {"id": number, "image_id": image_id, "category_id": category_id, "bbox": box, "area": area}
        if dialect == "coco":
            record |= {"iscrowd": 0, "ignored": int(ignored)}
        annotations.append(record | {"visibility": visibility})
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start)]
    images = _image_records(file.image_ids, file.file_names, file.image_sizes)
    document = {"images": images, "annotations": annotations, "categories": categories}
    _write_document(path, document, dialect)


def write_points(
    path: Path,
    file: PointFile,
    dialect: Dialect,
    point_names: Sequence[str],
    skeleton: Sequence[tuple[int, int]],
    first_id: int = 0,
) -> None:
    """Writes `file` in `dialect`, whole or not at all.

    Args:
        skeleton: pairs of points that a limb joins, counted from 0; COCO's files count them from 1.
        first_id: id of the first figure where counting starts at 0; COCO's files count from 1.
    """
    named = _to_plain(file.points - PIXEL_CENTRE)
    if dialect == "handout":
        images = [
            {"id": image_id, "file_name": file_name, "keypoints": points}
            for image_id, file_name, points in zip(file.image_ids.tolist(), file.file_names, named, strict=True)
        ]
        document = {"images": images, "keypoint_names": list(point_names), "num_keypoints": len(point_names)}
        return _write_document(path, document, dialect)
    corners = np.concatenate([file.points.min(axis=1), file.points.max(axis=1)], axis=1)
    boxes = _from_corners(corners)
    annotations = [
        {
            "id": number,
            "image_id": image_id,
            "category_id": 1,
            "keypoints": [value for point in points for value in (*point, 2)],  # 2: labelled and visible
            "num_keypoints": len(points),
            "bbox": box,
            "area": area,
            "iscrowd": 0,
        }
        for number, (image_id, points, box, area) in enumerate(
            zip(file.image_ids.tolist(), named, _to_plain(boxes), _to_plain(boxes[:, 2] * boxes[:, 3]), strict=True),
            first_id + 1,
        )
    ]
    limbs = [[start + 1, end + 1] for start, end in skeleton]
    person = {"id": 1, "name": "person", "keypoints": list(point_names), "skeleton": limbs}
    images = _image_records(file.image_ids, file.file_names, file.image_sizes)
    return _write_document(path, {"images": images, "annotations": annotations, "categories": [person]}, dialect)


def write_results(path: Path, results: ResultFile) -> None:
    """Writes detections in COCO's format for results, whole or not at all: a list, whose categories count from 1.

    Raises:
        ValueError: a number is not finite; nothing is written then.
    """
    columns = (results.image_ids, results.labels + 1, _from_corners(results.boxes), results.scores)
    records = [
        {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
        for image_id, category_id, box, score in zip(*(column.tolist() for column in columns), strict=True)
    ]
    write_text(path, json.dumps(records, allow_nan=False))


def write_image(path: Path, image: UInt8[np.ndarray, "H W *C"]) -> None:
    """Writes a grey [H, W] or colour [H, W, 3] image as PNG.

    Each row is stored as its difference to the row above, and runs of equal bytes are all that is looked for: a drawing
    becomes as small as PIL makes it by default, in a fifth of the time.

    Source: PNG specification, third edition, sections 5 and 9.
    """
    height, width = image.shape[:2]
    pixels = image.reshape(height, -1)
    rows = np.empty((height, 1 + pixels.shape[1]), np.uint8)
    rows[:, 0] = 2  # the filter "up"
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    deflate = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    compressed = deflate.compress(rows) + deflate.flush()
    colour_type = 0 if image.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", compressed), (b"IEND", b""))
    path.write_bytes(_PNG_SIGNATURE + b"".join(_pack_chunk(name, data) for name, data in chunks))


def _pack_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def _write_document(path: Path, document: _Record, dialect: Dialect) -> None:
    # The handout's files are indented by two and end without a newline; nobody reads COCO files line by line.
    write_text(path, json.dumps(document, indent=2 if dialect == "handout" else None, allow_nan=False))


def _image_records(image_ids: np.ndarray, file_names: Sequence[str], sizes: np.ndarray) -> list[_Record]:
    rows = zip(image_ids.tolist(), file_names, sizes.tolist(), strict=True)
    return [{"id": id_, "file_name": name, "width": width, "height": height} for id_, name, (height, width) in rows]


def _to_plain(values: np.ndarray) -> list:
    """Returns nested lists for JSON, of integers where every value is whole."""
    whole = np.isfinite(values).all() and np.array_equal(np.rint(values), values)
    return (values.astype(np.int64) if whole else values).tolist()


def _from_corners(boxes: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N 4"]:
    """Returns `[x, y, width, height]` for `(x1, y1, x2, y2)`."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _to_corners(values: Float64[np.ndarray, "N 4"], dialect: Dialect) -> Float64[np.ndarray, "N 4"]:
    """Returns `(x1, y1, x2, y2)` for what `bbox` holds in `dialect`."""
    if dialect == "handout":
        return values
    return np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)


# Reading


def read_boxes(path: Path, dialect: Dialect, class_names: Sequence[str], *, clip: bool = False) -> BoxFile:
    """Returns what the detection file at `path` says, after every record has been checked.

    Args:
        dialect: what the file claims to be; it is never guessed.
        class_names: the classes in the program's order; the file's category ids are matched to them by name.
        clip: whether people drew the boxes, some of them across the border: a box is then cut there, and refused only
            if less than half of it lies inside.

    Raises:
        DatasetError: the file is missing, broken, or its boxes cannot be what `dialect` says.
    """
    document = _read_document(path, ("images", "annotations", "categories"))
    image_ids, file_names, sizes = _read_images_list(path, document)
    label_of = _read_categories(path, document, class_names)

    records = _Records(path, "annotation", document["annotations"])
    records.require_unique("id")
    owners = records.find_images(image_ids)
    category_ids = records.column("category_id", _is_whole, "an integer")
    records.refuse(
        [category_id not in label_of for category_id in category_ids],
        lambda row: f"category_id {category_ids[row]} is not in `categories` ({sorted(label_of)})",
        "give the annotation one of those ids or list its category",
    )
    values = np.array(records.column("bbox", _is_box, f"four finite numbers, {_MEANING[dialect]}"), float)
    values = values.reshape(-1, 4)
    areas = np.array(records.column("area", _is_finite, "a finite number of square pixels"), float)
    outlined = np.array([bool(record.get("segmentation")) for record in records.rows], bool)
    _check_boxes(records, dialect, values, areas, sizes[owners], outlined, clip)
    boxes = _to_corners(values, dialect)
    if clip:
        limits = np.tile(sizes[owners, ::-1], 2).astype(float)
        inside = np.clip(boxes, 0, limits)
        cut = (inside != boxes).any(axis=1)
        areas[cut] = np.prod(inside[cut, 2:] - inside[cut, :2], axis=1)
        boxes = inside
    shares = [record.get("visibility", 1.0) for record in records.rows]
    records.refuse(
        [not (_is_finite(share) and 0 <= share <= 1) for share in shares],
        lambda row: f"visibility is {shares[row]!r}",
        "it is a share from 0 to 1",
    )
    flags = [(record.get("ignored", 0), record.get("iscrowd", 0)) for record in records.rows]
    records.refuse(
        [any(flag not in (0, 1) for flag in pair) for pair in flags],
        lambda row: f"ignored and iscrowd are {flags[row]!r}",
        "each is 0 or 1",
    )
    return BoxFile(
        image_ids,
        file_names,
        sizes,
        owners,
        boxes,
        np.array([label_of[category_id] for category_id in category_ids], np.int64),
        areas,
        np.array(shares, float),
        np.array([any(pair) for pair in flags], bool),
    )


def read_points(path: Path, dialect: Dialect, point_names: Sequence[str], image_size: tuple[int, int]) -> PointFile:
    """Returns what the keypoint file at `path` says, after every record has been checked.

    The files name the pixel (column, row) that a point falls on; what comes back is that pixel's centre, half a pixel
    further right and down.

    Args:
        image_size: (height, width) of every image, pixels; the handout's files do not say.

    Raises:
        DatasetError: the file is missing, broken, or its points cannot be what `dialect` says.
    """
    if dialect == "handout":
        document = _read_document(path, ("images", "keypoint_names", "num_keypoints"))
        records = _Records(path, "image", document["images"])
        image_ids, file_names = _read_image_names(records)
        sizes = np.tile(np.array(image_size, np.int64), (len(image_ids), 1))
        named = document["keypoint_names"]
    else:
        document = _read_document(path, ("images", "annotations", "categories"))
        image_ids, file_names, sizes = _read_images_list(path, document)
        images = _Records(path, "image", document["images"])
        images.refuse(
            (sizes != image_size).any(axis=1),
            lambda row: f"its size (height, width) is {tuple(sizes[row].tolist())}",
            f"every image of this set is {tuple(image_size)}",
        )
        people = _Records(path, "category", document["categories"])
        named = (
            people.column("keypoints", lambda value: isinstance(value, list), "a list of names")[0] if people else []
        )
        records = _Records(path, "annotation", document["annotations"])
        records.require_unique("id")
        category_ids = records.column("category_id", _is_whole, "an integer")
        known = people.require_unique("id")[:1]
        records.refuse(
            [category_id not in known for category_id in category_ids],
            lambda row: f"category_id {category_ids[row]} is not that of the first category, whose keypoints are read",
            "every figure of this set is of that one category",
        )
        owners = records.find_images(image_ids)
        order = np.argsort(owners)
        if not np.array_equal(owners[order], np.arange(len(image_ids))):
            counts = np.bincount(owners, minlength=len(image_ids))
            images.refuse(
                counts != 1,
                lambda row: f"{counts[row]} figures are annotated in it",
                "every image of this set shows exactly one figure",
            )
    if named != list(point_names):
        raise DatasetError(
            f"{path}: its keypoints are {_shorten(named, 120)}, not {list(point_names)}. "
            "Remedy: bring its names, and the points of every record, into that order"
        )
    if dialect == "handout" and document["num_keypoints"] != len(named):
        raise DatasetError(
            f"{path}: num_keypoints is {_shorten(document['num_keypoints'])}, but it names {len(named)} keypoints. "
            f"Remedy: make it {len(named)} if every record has as many points"
        )
    points = _read_points_column(records, dialect, len(point_names))
    if dialect == "coco":
        points, records = points[order], _Records(path, "annotation", [records.rows[row] for row in order])
    height, width = image_size
    records.refuse(
        np.ptp(points, axis=1).max(axis=1) == 0,
        lambda row: f"all its keypoints are at {points[row, 0].tolist()}",
        "a figure has a size, which errors are measured against: correct it or drop the image",
    )
    largest = np.abs(points).max(axis=(1, 2))
    records.refuse(
        largest <= 1,
        lambda row: f"its keypoints, none beyond {largest[row]:g}, are shares of the image's sides and not pixels",
        f"scale them to the {width} × {height} pixels of the image",
    )
    outside = ((points < 0) | (points > (width - 1, height - 1))).any(axis=-1)
    records.refuse(
        outside.any(axis=1),
        lambda row: (
            f"keypoint {point_names[outside[row].argmax()]} is at {points[row, outside[row].argmax()].tolist()}"
        ),
        f"it names a pixel of the {width} × {height} image: correct it or drop the image",
    )
    return PointFile(image_ids, file_names, sizes, points + PIXEL_CENTRE)


def read_results(
    path: Path,
    class_names: Sequence[str],
    image_ids: Int64[np.ndarray, " M"],
    image_sizes: Int64[np.ndarray, "M 2"] | None = None,
) -> ResultFile:
    """Returns what the result file at `path` says of the M images, after every record has been checked.

    Args:
        class_names: the classes in the order of their category ids, which count from 1.
        image_sizes: (height, width) of the images, pixels, where they are known: most of a box has to lie inside.

    Raises:
        DatasetError: the file is missing, broken, or its detections are none of these images.
    """
    document = _read_json(path, "result file")
    if not isinstance(document, list):
        raise DatasetError(
            f"{path}: the top level is a {type(document).__name__}, not a list of detections. "
            "Results are a list of image_id, bbox, score and category_id; check the path"
        )
    records = _Records(path, "detection", document)
    owners = records.find_images(image_ids, "the results are of other images: check the path, and the split")
    count = len(class_names)
    category_ids = np.array(records.column("category_id", _is_whole, "an integer"), np.int64)
    records.refuse(
        (category_ids < 1) | (category_ids > count),
        lambda row: f"category_id is {category_ids[row]}",
        f"ids are 1 to {count}, for {class_names[0]!r} to {class_names[-1]!r}; a 0 among them counts from 0: add 1",
    )
    values = np.array(records.column("bbox", _is_box, f"four finite numbers, {_MEANING['coco']}"), float).reshape(-1, 4)
    records.refuse(
        (values[:, 2:] <= 0).any(axis=1),
        lambda row: f"bbox {_to_plain(values[row])} has no width or no height",
        f"it is {_MEANING['coco']}: correct it, or take the record out",
    )
    if image_sizes is not None:
        _check_inside(records, values, image_sizes[owners])
    scores = np.array(records.column("score", _is_finite, "a finite number"), float)
    records.refuse(
        (scores < 0) | (scores > 1),
        lambda row: f"score is {scores[row]:g}",
        "it is a probability, 0 to 1: write what comes after the softmax",
    )
    return ResultFile(image_ids[owners], _to_corners(values, "coco"), category_ids - 1, scores)


def _check_inside(records: _Records, values: Float64[np.ndarray, "D 4"], sizes: Int64[np.ndarray, "D 2"]) -> None:
    """Refuses detections of which less than half lies inside the image, and says where corners would fit them all."""

    def judge(assumed: Dialect) -> np.ndarray:
        corners = _to_corners(values, assumed)
        shared = np.minimum(corners[:, 2:], sizes[:, ::-1]) - np.maximum(corners[:, :2], 0)
        areas = np.maximum(corners[:, 2:] - corners[:, :2], 0).prod(axis=1)
        return np.maximum(shared, 0).prod(axis=1) < np.maximum(areas, 1e-9) / 2

    outside = judge("coco")
    are_corners = outside.any() and not judge("handout").any()
    records.refuse(
        outside,
        lambda row: f"bbox {_to_plain(values[row])} leaves the {sizes[row, 1]} × {sizes[row, 0]} image",
        f"all boxes fit as {_MEANING['handout']}, but results hold {_MEANING['coco']}: convert them"
        if are_corners
        else "boxes are pixels of the image as it is on disk, not of a resized one, and of this image",
    )


def read_images(
    folder: Path, file_names: Sequence[str], sizes: Int64[np.ndarray, "M 2"], mode: Literal["L", "RGB"]
) -> UInt8[np.ndarray, "M H W *C"]:
    """Returns the images as one array, [M, H, W] for mode "L" and [M, H, W, 3] for "RGB".

    One thread decodes: on images this small a second one costs more in handing over than it decodes.

    Raises:
        DatasetError: an image is missing, truncated, of another mode or size than recorded, or the sizes differ.
    """
    channels = (3,) if mode == "RGB" else ()
    if len(file_names) == 0:
        return np.empty((0, 0, 0, *channels), np.uint8)
    height, width = sizes[0].tolist()
    differing = int((sizes != sizes[0]).any(axis=1).argmax())
    if differing:
        raise DatasetError(
            f"{folder / file_names[differing]}: it is recorded as {tuple(sizes[differing].tolist())} (height, width), "
            f"the first image as {(height, width)}. Images of one set have one size: resize them and their annotations"
        )
    pixels = np.empty((len(file_names), height, width, *channels), np.uint8)
    problems = []
    for index, name in enumerate(file_names):
        try:
            pixels[index] = read_image(folder / name, (height, width), mode)
        except DatasetError as error:
            problems.append(error)
    if problems:
        others = f" ({len(problems)} of {len(file_names)} images are broken)" if len(problems) > 1 else ""
        raise DatasetError(f"{problems[0]}{others}")
    return pixels


def read_image(path: Path, size: tuple[int, int], mode: Literal["L", "RGB"]) -> UInt8[np.ndarray, "H W *C"]:
    """Returns one image, [H, W] for mode "L" and [H, W, 3] for "RGB"; it cannot be written to.

    Raises:
        DatasetError: it is missing, truncated, of another mode, or not as large as `size` (height, width).
    """
    try:
        data = path.read_bytes()
        Image.open(io.BytesIO(data)).verify()  # every chunk's checksum, which decoding alone does not look at
        image = Image.open(io.BytesIO(data))
        pixels = np.asarray(image)
    except FileNotFoundError:
        raise DatasetError(f"{path}: the image is missing. {_REMEDY}") from None
    except UnidentifiedImageError:
        raise DatasetError(f"{path}: no image, or one whose beginning is damaged. {_REMEDY}") from None
    # PIL reports a damaged file by any of these, depending on the byte where it breaks off.
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise DatasetError(f"{path}: the image is truncated or damaged ({error}). {_REMEDY}") from error
    if (image.height, image.width) != size:
        found = (image.height, image.width)
        raise DatasetError(f"{path}: the image is {found} (height, width), its record says {size}. {_REMEDY}")
    if image.mode != mode:
        raise DatasetError(f"{path}: its mode is {image.mode}, not {mode}. Convert the image to {mode}")
    return pixels


def read_image_sizes(folder: Path, file_names: Sequence[str]) -> Int64[np.ndarray, "M 2"]:
    """Returns (height, width) of PNG images by their first 24 bytes: thirty thousand take a second.

    Raises:
        DatasetError: an image is missing or no PNG.

    Source: PNG specification, third edition, sections 5.2 and 11.2.1.
    """
    sizes = np.empty((len(file_names), 2), np.int64)
    for row, name in enumerate(file_names):
        path = folder / name
        try:
            with path.open("rb") as stream:
                header = stream.read(24)
        except OSError as error:
            raise DatasetError(f"{path}: the image cannot be read ({error.strerror}). {_REMEDY}") from None
        if len(header) < 24 or header[:8] != _PNG_SIGNATURE or header[12:16] != b"IHDR":
            raise DatasetError(f"{path}: no PNG image, or one whose beginning is damaged. {_REMEDY}")
        sizes[row] = struct.unpack(">II", header[16:])[::-1]
    return sizes


def _read_json(path: Path, kind: str = "annotation file") -> Any:
    """Returns what the JSON in `path`, a file of `kind`, says."""
    again = "restore it (`make data` makes the handout's)" if kind == "annotation file" else "write it again"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "`make data` makes the handout's files" if kind == "annotation file" else "Check the path"
        raise DatasetError(f"{path}: the {kind} is missing. {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as text ({error}). Check the path and the file") from error
    if not text.strip():
        raise DatasetError(f"{path}: the file is empty. Delete it and {again}")
    try:
        return json.loads(text)
    except ValueError as error:  # malformed, or an integer of thousands of digits
        raise DatasetError(f"{path}: not JSON ({error}). Delete the file and {again}") from error
    except RecursionError:
        raise DatasetError(f"{path}: nested too deeply for any {kind}. Check the path") from None


def _read_document(path: Path, keys: Sequence[str]) -> _Record:
    """Returns the JSON object in `path`, which has all of `keys`."""
    document = _read_json(path)
    if not isinstance(document, dict):
        raise DatasetError(
            f"{path}: the top level is a {type(document).__name__}, not an object with {', '.join(keys)}. "
            "A list of results is not an annotation file: check the path"
        )
    missing = [key for key in keys if key not in document]
    if missing:
        raise DatasetError(
            f"{path}: the key {missing[0]!r} is missing; the file has {', '.join(document) or 'none'}. "
            f"An annotation file of this dialect has {', '.join(keys)}: check the path and the dialect"
        )
    return document


def _read_image_names(records: _Records) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns ids [M] and file names of the images, each of which is there once."""
    image_ids = np.array(records.require_unique("id"), np.int64)
    return image_ids, tuple(records.require_unique("file_name", lambda value: isinstance(value, str), "a string"))


def _read_images_list(path: Path, document: _Record) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Returns ids [M], file names and sizes [M, 2] (height, width) of the images."""
    records = _Records(path, "image", document["images"])
    image_ids, file_names = _read_image_names(records)
    sides = [
        records.column(name, lambda value: _is_whole(value) and value > 0, "a positive integer")
        for name in ("height", "width")
    ]
    return image_ids, file_names, np.array(sides, np.int64).T


def _read_categories(path: Path, document: _Record, class_names: Sequence[str]) -> dict[int, int]:
    """Returns the label of each category id of the file."""
    categories = _Records(path, "category", document["categories"])
    ids = categories.require_unique("id")
    names = categories.require_unique("name", lambda value: isinstance(value, str), "a string")
    categories.refuse(
        [name not in class_names for name in names],
        lambda row: f"the name {names[row]!r} is unknown",
        f"the classes are {', '.join(class_names)}",
    )
    return {id_: list(class_names).index(name) for id_, name in zip(ids, names, strict=True)}


def _read_points_column(records: _Records, dialect: Dialect, num_points: int) -> Float64[np.ndarray, "M K 2"]:
    """Returns the named pixels of each record, before the half pixel."""
    if dialect == "handout":
        expected = f"{num_points} pairs [x, y] of finite numbers"
        rows = records.column("keypoints", lambda value: _is_list(value, num_points, _is_pair), expected)
        return np.array(rows, float).reshape(-1, num_points, 2)
    expected = f"{num_points} triples x, y, v of finite numbers in one list"
    rows = records.column("keypoints", lambda value: _is_list(value, 3 * num_points, _is_finite), expected)
    triples = np.array(rows, float).reshape(-1, num_points, 3)
    labels = triples[..., 2]
    unlabelled = ~np.isin(labels, (1, 2))

    def describe(row: int) -> str:
        number = int(unlabelled[row].argmax())
        return f"keypoint number {number + 1} is not labelled (v = {labels[row, number]:g})"

    records.refuse(
        unlabelled.any(axis=1),
        describe,
        "every point of this set is labelled, v is 1 or 2: add it or drop the image",
    )
    counts = [record.get("num_keypoints", num_points) for record in records.rows]
    records.refuse(
        [count != num_points for count in counts],
        lambda row: f"num_keypoints is {_shorten(counts[row])}, but {num_points} points are labelled",
        "correct the number",
    )
    return triples[..., :2]


def _check_boxes(
    records: _Records,
    dialect: Dialect,
    values: Float64[np.ndarray, "N 4"],
    areas: Float64[np.ndarray, " N"],
    sizes: Int64[np.ndarray, "N 2"],
    outlined: Bool[np.ndarray, " N"],
    clip: bool,
) -> None:
    """Refuses boxes that cannot be what `dialect` says, and names the other dialect where that fits them all."""

    def judge(assumed: Dialect) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        corners = _to_corners(values, assumed)
        width, height = (corners[:, 2:] - corners[:, :2]).T
        empty = (width <= 0) | (height <= 0)
        limits = sizes[:, ::-1]  # (width, height)
        outside = ((corners[:, :2] < -_ROUNDING) | (corners[:, 2:] > limits + _ROUNDING)).any(axis=1)
        product = np.maximum(width, 0) * np.maximum(height, 0)
        if clip:
            inside = np.minimum(corners[:, 2:], limits) - np.maximum(corners[:, :2], 0)
            outside = np.maximum(inside, 0).prod(axis=1) < product / 2
        if assumed == "handout":  # its area is the size as drawn by lot, at most one pixel more than the box's
            wrong = np.abs(np.sqrt(np.maximum(areas, 0)) - np.sqrt(product)) > 1 + _ROUNDING
        else:  # an outline's area is smaller than its box's
            wrong = areas > product * 1.01 + 1
            wrong |= ~outlined & (areas < product * 0.99 - 1)
        return empty, outside, wrong

    empty, outside, wrong = judge(dialect)
    broken = empty | outside | wrong
    if not broken.any():
        return
    other = _OTHER[dialect]
    fits_other = not np.any(judge(other))
    hint = (
        f"as {_MEANING[other]} all {len(values)} boxes of the file fit: read it with dialect={other!r}"
        if fits_other
        else "correct the record, or take it out"
    )

    def describe(row: int) -> str:
        height, width = sizes[row].tolist()
        box = f"bbox {_to_plain(values[row])}, claimed to be {_MEANING[dialect]},"
        if empty[row]:
            return f"{box} has " + ("x2 <= x1 or y2 <= y1" if dialect == "handout" else "no width or no height")
        if outside[row]:
            return f"{box} {'lies mostly outside' if clip else 'leaves'} the {width} × {height} image"
        return f"{box} does not have the recorded area of {areas[row]:g}"

    records.refuse(broken, describe, hint)


class _Records:
    """The records of one list of one file, and the way to refuse them by name."""

    def __init__(self, path: Path, kind: str, rows: Any):
        """Takes the list `rows` of objects of a `kind`; refuses anything else."""
        self.path, self.kind = path, kind
        if not isinstance(rows, list):
            raise DatasetError(f"{path}: the {kind} records are a {type(rows).__name__}. They have to be a list")
        self.rows: list[_Record] = []  # empty while refuse() names rows that are no objects
        bad = [not isinstance(row, dict) for row in rows]
        self.refuse(bad, lambda row: f"it is a {type(rows[row]).__name__}", "every record is an object")
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def refuse(self, bad: Sequence[bool] | np.ndarray, describe: Callable[[int], str], remedy: str) -> None:
        """Raises for the first row that is `bad`, with the number of such rows."""
        bad = np.asarray(bad, bool)
        if not bad.any():
            return
        row, count = int(bad.argmax()), int(bad.sum())
        identity = self.rows[row].get("id") if self.rows else None
        name = f"{self.kind} {identity}" if identity is not None else self.kind
        others = f" ({count} of {len(bad)} records are so)" if count > 1 else ""
        raise DatasetError(f"{self.path}: {name} (record {row + 1}): {describe(row)}{others}. Remedy: {remedy}")

    def column(self, name: str, is_valid: Callable[[Any], bool], expected: str) -> list:
        """Returns the field `name` of every record; it has to be there and valid."""
        self.refuse([name not in row for row in self.rows], lambda row: f"{name!r} is missing", f"it is {expected}")
        values = [row[name] for row in self.rows]
        self.refuse(
            [not is_valid(value) for value in values],
            lambda row: f"{name} is {_shorten(values[row])}",
            f"it has to be {expected}",
        )
        return values

    def require_unique(
        self, name: str, is_valid: Callable[[Any], bool] | None = None, expected: str = "an integer"
    ) -> list:
        """Returns the field `name` of every record; no two may share it."""
        values = self.column(name, is_valid or _is_whole, expected)
        first: dict[Any, int] = {}
        for row, value in enumerate(values):
            first.setdefault(value, row)
        self.refuse(
            [first[value] != row for row, value in enumerate(values)],
            lambda row: f"{name} {values[row]!r} is already that of record {first[values[row]] + 1}",
            f"every {self.kind} has its own {name}",
        )
        return values

    def find_images(
        self, image_ids: Int64[np.ndarray, " M"], remedy: str = "add the image's record or take the annotation out"
    ) -> Int64[np.ndarray, " N"]:
        """Returns the row of the image that each record belongs to."""
        row_of = {image_id: row for row, image_id in enumerate(image_ids.tolist())}
        owners = self.column("image_id", _is_whole, "an integer")
        self.refuse(
            [owner not in row_of for owner in owners],
            lambda row: f"image_id {owners[row]} is not in `images`",
            remedy,
        )
        return np.array([row_of[owner] for owner in owners], np.int64)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_finite(value: Any) -> bool:
    """Whether `value` is a number that can be computed with: Python's JSON reader lets NaN and Infinity through."""
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_list(value: Any, length: int, is_valid: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == length and all(is_valid(item) for item in value)


def _is_pair(value: Any) -> bool:
    return _is_list(value, 2, _is_finite)


def _is_box(value: Any) -> bool:
    return _is_list(value, 4, _is_finite)


def _shorten(value: Any, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
