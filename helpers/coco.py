"""COCO annotation and result files in two dialects: writing, reading and conversion.

Both dialects hold the same truth. No field of a file tells its dialect, so every caller passes it:

    "coco"     `bbox` is `[x, y, width, height]`, keypoints are flat triples `[x, y, v, ...]`, annotations count from 1
    "handout"  `bbox` is `[x1, y1, x2, y2]`, although the handout calls it COCO-style, keypoints are pairs, from 0

Inside the program boxes are `(x1, y1, x2, y2)` pixels, and pixel i covers [i, i + 1): only this module converts. Both
dialects name a keypoint by the index of its pixel, whose centre is half a pixel further: reading adds 0.5, writing
subtracts it. A file with one wrong record is refused as a whole.

The order of records is irrelevant: images and annotations are returned in the order of their ids. Fields and
categories that no record refers to are passed over.

Source: https://cocodataset.org/#format-data; the handout, section 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from helpers.files import write_text
from helpers.images import LARGEST_IMAGE, leaves_folder
from helpers.records import (
    CHECK_PATH,
    ID,
    LONGEST_NAME,
    NUMBER,
    TEXT,
    DatasetError,
    Record,
    Records,
    Schema,
    check_schema,
    list_of,
    read_document,
    read_json,
    shorten,
)

Dialect = Literal["coco", "handout"]
_MEANING: dict[Dialect, str] = {"coco": "[x, y, width, height]", "handout": "[x1, y1, x2, y2]"}
_FILE_NAMES: dict[Dialect, str] = {"coco": "{split}_coco.json", "handout": "{split}_annotations.json"}
_OTHER: dict[Dialect, Dialect] = {"coco": "handout", "handout": "coco"}

PIXEL_CENTRE = 0.5  # from a pixel's index to its centre
_ROUNDING = 0.01  # pixels by which decimals written to two places may leave the image
_SHARES = "shares of the image's sides, not pixels; scale them"


@dataclass(frozen=True)
class BoxFile:
    """Content of a detection file: M images and N objects, in the program's conventions."""

    image_ids: Int64[np.ndarray, " M"]
    file_names: tuple[str, ...]  # of the M images, relative to the split's folder
    image_sizes: Int64[np.ndarray, "M 2"]  # (height, width) pixels
    owners: Int64[np.ndarray, " N"]  # row of the image that an object belongs to
    boxes: Float64[np.ndarray, "N 4"]  # (x1, y1, x2, y2) pixels
    labels: Int64[np.ndarray, " N"]  # index into the class names
    areas: Float64[np.ndarray, " N"]  # square pixels; the handout counts an odd size's last pixel, the box does not
    visibility: Float64[np.ndarray, " N"]  # share from 0 to 1; 1 where a file has no such field
    ignored: Bool[np.ndarray, " N"]  # marked so, or a crowd

    @classmethod
    def of(
        cls,
        image_ids: Int64[np.ndarray, " M"],
        file_names: Sequence[str],
        image_sizes: Int64[np.ndarray, "M 2"],
        owners: Int64[np.ndarray, " N"] | None = None,
        boxes: Float64[np.ndarray, "N 4"] | None = None,
        labels: Int64[np.ndarray, " N"] | None = None,
    ) -> BoxFile:
        """Return a file of fully visible objects, none of them ignored; without boxes, a file of images alone."""
        owners = np.empty(0, np.int64) if owners is None else owners
        boxes = np.empty((0, 4)) if boxes is None else boxes
        labels = np.empty(0, np.int64) if labels is None else labels
        areas, visible = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.ones(len(boxes))
        ignored = np.zeros(len(boxes), bool)
        return cls(image_ids, tuple(file_names), image_sizes, owners, boxes, labels, areas, visible, ignored)

    def take(self, images: Int64[np.ndarray, " K"]) -> BoxFile:
        """Return the records of the images at the rows `images`, the objects of each in their present order."""
        order = np.argsort(self.owners, kind="stable")
        starts = np.searchsorted(self.owners[order], np.arange(len(self.file_names) + 1))
        counts = np.diff(starts)[images]
        # Rank of each object among the taken ones, minus the rank of the first of its image, plus its image's start.
        ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = order[np.repeat(starts[:-1][images], counts) + ranks]
        return BoxFile(
            self.image_ids[images],
            tuple(self.file_names[image] for image in images),
            self.image_sizes[images],
            np.repeat(np.arange(len(images)), counts),
            *(column[rows] for column in (self.boxes, self.labels, self.areas, self.visibility, self.ignored)),
        )


@dataclass(frozen=True)
class PointFile:
    """Content of a keypoint file: M images with one figure each and its K points."""

    image_ids: Int64[np.ndarray, " M"]
    file_names: tuple[str, ...]
    image_sizes: Int64[np.ndarray, "M 2"]  # (height, width) pixels
    points: Float64[np.ndarray, "M K 2"]  # (x, y) pixels: centres of the pixels that the file names


@dataclass(frozen=True)
class ResultFile:
    """Content of a result file: D detections, in the program's conventions."""

    image_ids: Int64[np.ndarray, " D"]
    boxes: Float64[np.ndarray, "D 4"]  # (x1, y1, x2, y2) pixels
    labels: Int64[np.ndarray, " D"]  # index into the class names
    scores: Float64[np.ndarray, " D"]  # 0 to 1


def annotation_path(folder: Path, split: str, dialect: Dialect) -> Path:
    """Return the path of a split's annotations: in the folder of the set, beside the folder of the images.

    Raises:
        ValueError: there is no such dialect.
    """
    if dialect not in _FILE_NAMES:
        raise ValueError(f"dialect is {dialect!r}; choose one of {', '.join(_FILE_NAMES)}")
    return folder / _FILE_NAMES[dialect].format(split=split)


# Geometry


def from_corners(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
    """Return `[x, y, width, height]` for `(x1, y1, x2, y2)`."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _to_corners(values: Float64[np.ndarray, "N 4"], dialect: Dialect) -> Float64[np.ndarray, "N 4"]:
    """Return `(x1, y1, x2, y2)` for the values of `bbox` in `dialect`."""
    if dialect == "handout":
        return values
    return np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)


def are_mostly_outside(boxes: Float64[np.ndarray, "N 4"], sizes: Int64[np.ndarray, "N 2"]) -> Bool[np.ndarray, " N"]:
    """Return which boxes (x1, y1, x2, y2) have no area, or less than half of it in their image of (height, width)."""
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    inside = np.minimum(boxes[:, 2:], sizes[:, ::-1]) - np.maximum(boxes[:, :2], 0)
    return (areas == 0) | (np.maximum(inside, 0).prod(axis=1) < areas / 2)


def are_shares(boxes: Float64[np.ndarray, "N 4"]) -> Bool[np.ndarray, " N"]:
    """Return which boxes (x1, y1, x2, y2) lie within one pixel of the corner: they are given as shares of the sides.

    Rounded decimals may add up to a little more than 1.
    """
    return np.abs(boxes).max(axis=1, initial=0) <= 1 + _ROUNDING


# Writing


def write_boxes(path: Path, file: BoxFile, dialect: Dialect, class_names: Sequence[str], first_id: int = 0) -> None:
    """Write `file` in `dialect`, whole or not at all.

    Args:
        first_id: id of the first annotation where counting starts at 0. COCO files count from 1, because pycocotools
            takes a match with annotation 0 for no match; so do their categories, where 0 is often the background.

    Raises:
        ValueError: a number is not finite; nothing is written then.
    """
    start = 1 if dialect == "coco" else 0
    boxes = from_corners(file.boxes) if dialect == "coco" else file.boxes
    # COCO assigns its size classes by the area of the box, so its files hold that area.
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
    """Write `file` in `dialect`, whole or not at all.

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
    boxes = from_corners(corners)
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
    """Write detections in COCO's format for results, whole or not at all: a list, whose categories count from 1.

    Raises:
        ValueError: a number is not finite; nothing is written then.
    """
    columns = (results.image_ids, results.labels + 1, from_corners(results.boxes), results.scores)
    records = [
        {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
        for image_id, category_id, box, score in zip(*(column.tolist() for column in columns), strict=True)
    ]
    write_text(path, json.dumps(records, allow_nan=False))


def _write_document(path: Path, document: Record, dialect: Dialect) -> None:
    # The handout's files are indented by two and end without a newline; COCO files are not read line by line.
    write_text(path, json.dumps(document, indent=2 if dialect == "handout" else None, allow_nan=False))


def _image_records(image_ids: np.ndarray, file_names: Sequence[str], sizes: np.ndarray) -> list[Record]:
    rows = zip(image_ids.tolist(), file_names, sizes.tolist(), strict=True)
    return [{"id": id_, "file_name": name, "width": width, "height": height} for id_, name, (height, width) in rows]


def _to_plain(values: np.ndarray) -> list:
    """Return nested lists for JSON, of integers where every value is whole."""
    whole = np.isfinite(values).all() and np.array_equal(np.rint(values), values)
    return (values.astype(np.int64) if whole else values).tolist()


# Schemas

_NAME_LENGTH = f"a string of 1 to {LONGEST_NAME} characters"
_FILE_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "description": _NAME_LENGTH}
_SIDE_RANGE = f"a positive integer, at most {LARGEST_IMAGE}"
_SIDE: Schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_IMAGE, "description": _SIDE_RANGE}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_FLAG: Schema = {"enum": [0, 1], "description": "0 or 1"}
_IMAGES = list_of("image", {"id": ID, "file_name": _FILE_NAME, "height": _SIDE, "width": _SIDE})
_CATEGORIES = list_of("category", {"id": ID, "name": TEXT})


def _list_schema(length: int, item: Schema, description: str) -> Schema:
    return {"type": "array", "minItems": length, "maxItems": length, "items": item, "description": description}


def _document_schema(**lists: Schema) -> Schema:
    return {"type": "object", "required": list(lists), "properties": lists}


def _box_schema(dialect: Dialect) -> Schema:
    return _list_schema(4, NUMBER, f"four finite numbers, {_MEANING[dialect]}")


def _annotation_schema(dialect: Dialect) -> Schema:
    area = NUMBER | {"description": "a finite number of square pixels"}
    fields = {"id": ID, "image_id": ID, "category_id": ID, "bbox": _box_schema(dialect), "area": area}
    share = _SHARE | {"description": "a share from 0 to 1"}
    return list_of("annotation", fields, {"visibility": share, "ignored": _FLAG, "iscrowd": _FLAG})


# Reading


def lists_annotations(path: Path) -> bool:
    """Return whether the file at `path` has at least one annotation: a split may list its images alone.

    Raises:
        DatasetError: the file is missing, broken or no object.
    """
    document = read_document(path, {"type": "object", "required": []})
    return bool(document.get("annotations"))


def read_image_list(path: Path) -> BoxFile:
    """Return the images that the file at `path` lists, in the order of their ids; annotations are passed over.

    Raises:
        DatasetError: the file is missing or broken, or a record of an image is.
    """
    document = read_document(path, _document_schema(images=_IMAGES))
    image_ids, file_names, sizes = _read_images(Records(path, "image", document["images"]))
    return BoxFile.of(image_ids, file_names, sizes).take(np.argsort(image_ids))


def read_boxes(path: Path, dialect: Dialect, class_names: Sequence[str], *, clip: bool = False) -> BoxFile:
    """Return the content of the detection file at `path`, images and the objects of each in the order of their ids.

    Args:
        dialect: the dialect of the file; it is never guessed.
        class_names: the classes in the program's order; the file's category ids are matched to them by name.
        clip: for boxes drawn by annotators, some of them across the border: a box is cut there, and refused only if
            less than half of it lies inside.

    Raises:
        DatasetError: the file is missing or broken, or its boxes cannot be what `dialect` means by them.
    """
    annotations = _annotation_schema(dialect)
    document = read_document(path, _document_schema(images=_IMAGES, annotations=annotations, categories=_CATEGORIES))
    image_ids, file_names, sizes = _read_images(Records(path, "image", document["images"]))
    records = Records(path, "annotation", document["annotations"])
    ids = np.array(records.require_unique("id"), np.int64)
    owners = records.find_images(image_ids)
    labels = _read_labels(records, Records(path, "category", document["categories"]), class_names)
    values = np.array(records.column("bbox"), float).reshape(-1, 4)
    areas = np.array(records.column("area"), float)
    outlined = np.array([bool(outline) for outline in records.column("segmentation")], bool)
    _check_boxes(records, dialect, values, areas, sizes[owners], outlined, clip)
    boxes = _to_corners(values, dialect)
    if clip:
        inside = np.clip(boxes, 0, np.tile(sizes[owners, ::-1], 2))
        are_cut = (inside != boxes).any(axis=1)
        areas[are_cut] = np.prod(inside[are_cut, 2:] - inside[are_cut, :2], axis=1)
        boxes = inside
    visibility = np.array(records.column("visibility", 1.0), float)
    ignored = np.array(records.column("ignored", 0), bool) | np.array(records.column("iscrowd", 0), bool)
    order = np.argsort(ids)
    columns = [column[order] for column in (owners, boxes, labels, areas, visibility, ignored)]
    return BoxFile(image_ids, file_names, sizes, *columns).take(np.argsort(image_ids))


def _read_images(records: Records, default_size: tuple[int, int] | None = None) -> tuple[np.ndarray, tuple, np.ndarray]:
    """Return ids [M], file names and sizes [M, 2] (height, width) of the images, in the order of the file.

    Args:
        default_size: (height, width) of every image, pixels, if the dialect does not record it.
    """
    image_ids = np.array(records.require_unique("id"), np.int64)
    file_names = records.require_unique("file_name")
    records.refuse(
        [leaves_folder(name) for name in file_names],
        lambda row: f"file_name {shorten(file_names[row])} leaves the folder of the images",
        "name the file within that folder",
    )
    if default_size is not None:
        return image_ids, tuple(file_names), np.tile(np.array(default_size, np.int64), (len(image_ids), 1))
    sizes = np.array([records.column("height"), records.column("width")], np.int64).T
    records.refuse(
        sizes.prod(axis=1) > LARGEST_IMAGE,
        lambda row: f"its size (height, width) is {tuple(sizes[row].tolist())}, more than {LARGEST_IMAGE} pixels",
        "correct the size, or scale the image down and its annotations with it",
    )
    return image_ids, tuple(file_names), sizes


def _read_labels(records: Records, categories: Records, class_names: Sequence[str]) -> Int64[np.ndarray, " N"]:
    """Return the label of each annotation: the place of its category's name in `class_names`.

    Categories that no annotation uses are passed over: some exporters write a category for all classes together.
    """
    ids, names = categories.require_unique("id"), categories.column("name")
    category_ids = records.column("category_id")
    listed, used = set(ids), set(category_ids)
    records.refuse(
        [category_id not in listed for category_id in category_ids],
        lambda row: f"category_id {category_ids[row]} is not in `categories` ({shorten(sorted(listed))})",
        "give the annotation one of those ids or list its category",
    )
    categories.refuse(
        [id_ in used and name not in class_names for id_, name in zip(ids, names, strict=True)],
        lambda row: f"the name {shorten(names[row])} is unknown",
        f"the classes are {', '.join(class_names)}",
    )
    first: dict[str, int] = {}
    for row, id_ in enumerate(ids):
        if id_ in used:
            first.setdefault(names[row], row)
    categories.refuse(
        [id_ in used and first[name] != row for row, (id_, name) in enumerate(zip(ids, names, strict=True))],
        lambda row: f"name {shorten(names[row])} is already that of record {first[names[row]] + 1}",
        "every category has a different name",
    )
    label_of = {id_: list(class_names).index(name) for id_, name in zip(ids, names, strict=True) if id_ in used}
    return np.array([label_of[category_id] for category_id in category_ids], np.int64)


def _check_boxes(
    records: Records,
    dialect: Dialect,
    values: Float64[np.ndarray, "N 4"],
    areas: Float64[np.ndarray, " N"],
    sizes: Int64[np.ndarray, "N 2"],
    outlined: Bool[np.ndarray, " N"],
    clip: bool,
) -> None:
    """Refuse boxes that cannot be what `dialect` means; name the other dialect where it fits all of them."""
    _refuse_shares(records, values, dialect, are_shares(_to_corners(values, dialect)) & (values > 0).any(axis=1))

    def check_as(assumed: Dialect) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        corners = _to_corners(values, assumed)
        width, height = (corners[:, 2:] - corners[:, :2]).T
        empty = (width <= 0) | (height <= 0)
        limits = sizes[:, ::-1]  # (width, height)
        outside = ((corners[:, :2] < -_ROUNDING) | (corners[:, 2:] > limits + _ROUNDING)).any(axis=1)
        if clip:
            outside = are_mostly_outside(corners, sizes)
        product = np.maximum(width, 0) * np.maximum(height, 0)
        if assumed == "handout":  # its area is the size as drawn, at most one pixel more than the box's
            wrong = np.abs(np.sqrt(np.maximum(areas, 0)) - np.sqrt(product)) > 1 + _ROUNDING
        else:  # an outline's area is smaller than its box's
            wrong = areas > product * 1.01 + 1
            wrong |= ~outlined & (areas < product * 0.99 - 1)
        return empty, np.asarray(outside), wrong

    empty, outside, wrong = check_as(dialect)
    broken = empty | outside | wrong
    if not broken.any():
        return
    other = _OTHER[dialect]
    fits_other = not np.any(check_as(other))
    hint = (
        f"as {_MEANING[other]} all {len(values)} boxes of the file fit: read it with dialect={other!r}"
        if fits_other
        else "correct the record, or take it out"
    )

    def describe(row: int) -> str:
        height, width = sizes[row].tolist()
        box = f"bbox {_describe_box(values[row])}, claimed to be {_MEANING[dialect]},"
        if empty[row]:
            return f"{box} has " + ("x2 <= x1 or y2 <= y1" if dialect == "handout" else "no width or no height")
        if outside[row]:
            return f"{box} {'lies mostly outside' if clip else 'leaves'} the {width} × {height} image"
        return f"{box} does not have the recorded area of {areas[row]:g}"

    records.refuse(broken, describe, hint)


def _describe_box(values: Float64[np.ndarray, " 4"]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"


def _refuse_shares(
    records: Records, values: Float64[np.ndarray, "N 4"], dialect: Dialect, shares: Bool[np.ndarray, " N"]
) -> None:
    """Refuse the boxes that are `shares`."""
    of_all = "no box exceeds 1" if shares.all() else "no side of it exceeds 1"
    records.refuse(
        shares,
        lambda row: f"bbox {_describe_box(values[row])}: {of_all}: {_SHARES}",
        f"{_MEANING[dialect]} are pixels: multiply x and width by the image's width, y and height by its height",
    )


# Points


def read_points(path: Path, dialect: Dialect, point_names: Sequence[str], image_size: tuple[int, int]) -> PointFile:
    """Return the content of the keypoint file at `path`, images in the order of their ids.

    The files name the pixel (column, row) of a point; returned is that pixel's centre, half a pixel further right and
    down.

    Args:
        image_size: (height, width) of every image, pixels; the handout's files do not record it.

    Raises:
        DatasetError: the file is missing or broken, or its points cannot be what `dialect` means by them.
    """
    read = {"coco": _read_coco_figures, "handout": _read_handout_figures}[dialect]
    figures = read(path, point_names, image_size)
    _check_points(figures.records, figures.points, point_names, image_size)
    points = figures.points[np.argsort(figures.owners)] + PIXEL_CENTRE
    order = np.argsort(figures.image_ids)
    names = tuple(figures.file_names[row] for row in order)
    return PointFile(figures.image_ids[order], names, figures.image_sizes[order], points[order])


@dataclass(frozen=True)
class _Figures:
    """Figures as a file holds them: one in each of M images, in the order of the records."""

    records: Records
    image_ids: Int64[np.ndarray, " M"]
    file_names: tuple[str, ...]
    image_sizes: Int64[np.ndarray, "M 2"]
    owners: Int64[np.ndarray, " M"]  # row of the image of each figure
    points: Float64[np.ndarray, "M K 2"]  # (x, y), indices of pixels


def _read_handout_figures(path: Path, point_names: Sequence[str], image_size: tuple[int, int]) -> _Figures:
    """Return the figures of a file in the handout's dialect: points are pairs in the records of the images."""
    count = len(point_names)
    pair = _list_schema(2, NUMBER, "")
    pairs = _list_schema(count, pair, f"{count} pairs [x, y] of finite numbers")
    images = list_of("image", {"id": ID, "file_name": _FILE_NAME, "keypoints": pairs})
    document = read_document(path, _document_schema(images=images, keypoint_names={}, num_keypoints={}))
    _check_point_names(path, document["keypoint_names"], point_names)
    if document["num_keypoints"] != count:
        raise DatasetError(
            f"{path}: num_keypoints is {shorten(document['num_keypoints'])}, but it names {count} keypoints. "
            f"Remedy: make it {count} if every record has as many points"
        )
    records = Records(path, "image", document["images"])
    image_ids, file_names, sizes = _read_images(records, image_size)
    points = np.array(records.column("keypoints"), float).reshape(-1, count, 2)
    return _Figures(records, image_ids, file_names, sizes, np.arange(len(image_ids)), points)


def _read_coco_figures(path: Path, point_names: Sequence[str], image_size: tuple[int, int]) -> _Figures:
    """Return the figures of a COCO file: points are triples in the annotations, one annotation for each image."""
    count = len(point_names)
    triples = _list_schema(3 * count, NUMBER, f"{count} triples x, y, v of finite numbers in one list")
    annotations = list_of("annotation", {"id": ID, "image_id": ID, "category_id": ID, "keypoints": triples})
    categories = list_of("category", {"id": ID})
    # Annotations are checked after the images' sizes, because a wrong size identifies a file of another set.
    document = read_document(path, _document_schema(images=_IMAGES, annotations={}, categories=categories))
    images = Records(path, "image", document["images"])
    image_ids, file_names, sizes = _read_images(images)
    images.refuse(
        (sizes != np.array(image_size)).any(axis=1),
        lambda row: f"its size (height, width) is {tuple(sizes[row].tolist())}",
        f"every image of this set is {tuple(image_size)}",
    )
    check_schema(path, document["annotations"], annotations)
    records = Records(path, "annotation", document["annotations"])
    records.require_unique("id")
    _check_figure_category(records, Records(path, "category", document["categories"]), point_names)
    owners = records.find_images(image_ids)
    counts = np.bincount(owners, minlength=len(image_ids))
    images.refuse(
        counts != 1,
        lambda row: f"{counts[row]} figures are annotated in it",
        "every image of this set shows exactly one figure",
    )
    values = np.array(records.column("keypoints"), float).reshape(-1, count, 3)
    labels = values[..., 2]
    unlabelled = ~np.isin(labels, (1, 2))
    first = unlabelled.argmax(axis=1)
    records.refuse(
        np.asarray(unlabelled.any(axis=1)),
        lambda row: f"keypoint number {first[row] + 1} is not labelled (v = {labels[row, first[row]]:g})",
        "every point of this set is labelled, v is 1 or 2: add it, or take the image's record out",
    )
    numbers = records.column("num_keypoints", count)
    records.refuse(
        [number != count for number in numbers],
        lambda row: f"num_keypoints is {shorten(numbers[row])}, but {count} points are labelled",
        "correct the number",
    )
    return _Figures(records, image_ids, file_names, sizes, owners, values[..., :2])


def _check_figure_category(records: Records, categories: Records, point_names: Sequence[str]) -> None:
    """Refuse figures of more than one category, and a category with other points than `point_names`.

    Categories that no figure uses are passed over.
    """
    ids, category_ids = categories.require_unique("id"), records.column("category_id")
    records.refuse(
        [category_id not in ids for category_id in category_ids],
        lambda row: f"category_id {category_ids[row]} is not in `categories` ({shorten(sorted(ids))})",
        "every figure of this set is of that one category",
    )
    records.refuse(
        [category_id != category_ids[0] for category_id in category_ids],
        lambda row: f"category_id {category_ids[row]} is not that of the first figure, {category_ids[0]}",
        "every figure of this set is of that one category",
    )
    for row, category in enumerate(categories.rows):
        if ids[row] in category_ids:
            if not isinstance(category.get("keypoints"), list):
                keypoints = shorten(category.get("keypoints"))
                problem = f"keypoints is {keypoints}" if "keypoints" in category else "'keypoints' is missing"
                categories.refuse_row(row, problem, "it is a list of names")
            _check_point_names(categories.path, category["keypoints"], point_names)


def _check_point_names(path: Path, names: object, expected: Sequence[str]) -> None:
    if names != list(expected):
        raise DatasetError(
            f"{path}: its keypoints are {shorten(names, 100)}, not {shorten(list(expected), 100)}. "
            "Remedy: bring its names, and the points of every record, into that order"
        )


def _check_points(
    records: Records, points: Float64[np.ndarray, "M K 2"], point_names: Sequence[str], image_size: tuple[int, int]
) -> None:
    """Refuse figures without a size, shares of the image, and points that name no pixel of it."""
    height, width = image_size
    records.refuse(
        np.ptp(points, axis=1).max(axis=1) == 0,
        lambda row: f"all its keypoints are at {points[row, 0].tolist()}",
        "a figure has a size, which errors are measured against: correct it, or take the image's record out",
    )
    largest = np.abs(points).max(axis=(1, 2))
    records.refuse(
        largest <= 1 + _ROUNDING,
        lambda row: f"its keypoints, none beyond {largest[row]:g}, are shares of the image's sides and not pixels",
        f"scale them to the {width} × {height} pixels of the image",
    )
    outside = np.asarray(((points < 0) | (points > (width - 1, height - 1))).any(axis=-1))
    first = outside.argmax(axis=1)
    records.refuse(
        np.asarray(outside.any(axis=1)),
        lambda row: f"keypoint {point_names[first[row]]} is at {points[row, first[row]].tolist()}",
        f"it names a pixel of the {width} × {height} image: correct it, or take the image's record out",
    )


# Results


def read_results(
    path: Path,
    class_names: Sequence[str],
    image_ids: Int64[np.ndarray, " M"],
    image_sizes: Int64[np.ndarray, "M 2"] | None = None,
) -> ResultFile:
    """Return the content of the result file at `path`, detections of the M images, in the order of the file.

    Args:
        class_names: the classes in the order of their category ids, which count from 1.
        image_sizes: (height, width) of the images, pixels, where they are known: at least half of a box lies inside.

    Raises:
        DatasetError: the file is missing or broken, or its detections are not of these images.
    """
    document = read_json(path, "result file", CHECK_PATH)
    if not isinstance(document, list):
        raise DatasetError(
            f"{path}: the top level is a {type(document).__name__}, not a list of detections. "
            "Results are a list of image_id, bbox, score and category_id; check the path"
        )
    score = NUMBER | {"description": "a finite number"}
    fields = {"image_id": ID, "category_id": ID, "bbox": _box_schema("coco"), "score": score}
    check_schema(path, document, list_of("detection", fields))
    records = Records(path, "detection", document)
    owners = records.find_images(image_ids, "the results are of other images: check the path, and the split")
    count = len(class_names)
    category_ids = np.array(records.column("category_id"), np.int64)
    records.refuse(
        (category_ids < 1) | (category_ids > count),
        lambda row: f"category_id is {category_ids[row]}",
        f"ids are 1 to {count}, for {class_names[0]!r} to {class_names[-1]!r}; a 0 among them counts from 0: add 1",
    )
    values = np.array(records.column("bbox"), float).reshape(-1, 4)
    records.refuse(
        values[:, 2:].min(axis=1) <= 0,
        lambda row: f"bbox {_describe_box(values[row])} has no width or no height",
        f"it is {_MEANING['coco']}: correct it, or take the record out",
    )
    # A weak detector may place one box within the corner pixel; all boxes of an image are not there by accident.
    shares = are_shares(_to_corners(values, "coco"))
    num_pixels = np.bincount(owners, weights=~shares, minlength=len(image_ids))
    _refuse_shares(records, values, "coco", shares & (num_pixels[owners] == 0))
    if image_sizes is not None:
        _check_inside(records, values, image_sizes[owners])
    scores = np.array(records.column("score"), float)
    records.refuse(
        (scores < 0) | (scores > 1),
        lambda row: f"score is {scores[row]:g}",
        "it is a probability, 0 to 1: write what comes after the softmax",
    )
    return ResultFile(image_ids[owners], _to_corners(values, "coco"), category_ids - 1, scores)


def _check_inside(records: Records, values: Float64[np.ndarray, "D 4"], sizes: Int64[np.ndarray, "D 2"]) -> None:
    """Refuse detections of which less than half lies inside the image; the message notes if all fit as corners."""
    outside = are_mostly_outside(_to_corners(values, "coco"), sizes)
    are_corners = outside.any() and not are_mostly_outside(values, sizes).any()
    records.refuse(
        outside,
        lambda row: f"bbox {_describe_box(values[row])} leaves the {sizes[row, 1]} × {sizes[row, 0]} image",
        f"all boxes fit as {_MEANING['handout']}, but results hold {_MEANING['coco']}: convert them"
        if are_corners
        else "boxes are pixels of the image as it is on disk, not of a resized one, and of this image",
    )
