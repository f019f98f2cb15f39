"""Conversion of SVHN to COCO files (command: `workbook svhn`).

SVHN, format 1, comes as a folder of images and `digitStruct.mat`. That is a MATLAB 7.3 file, in other words HDF5: for
every image a reference to the letters of its name and one to a group with the fields `height`, `label`, `left`, `top`
and `width`. A field of one digit is the number itself, of several digits a column of references to one number each.

Source: http://ufldl.stanford.edu/housenumbers (Netzer et al. 2011). Its images are for non-commercial use only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import h5py
import numpy as np
from jaxtyping import Float64, Int64
from tqdm.auto import tqdm

from helpers import coco
from helpers.digits.dataset import DIGIT_NAMES, find_image_id
from helpers.files import DISK_REASONS, name_disk_errors
from helpers.images import read_image_sizes
from helpers.records import LARGEST_NUMBER, DatasetError, explain, require_file, shorten

_FIELDS = ("left", "top", "width", "height", "label")
LONGEST_COLUMN = 2**20  # images in one file; SVHN's largest split, extra, has 202,353
LONGEST_NAME = 100  # characters of a file name
LARGEST_NUMBER_OF_DIGITS = 1000  # in one image
_REMEDY = "Unpack train.tar.gz, test.tar.gz or extra.tar.gz of SVHN's format 1 again and name its digitStruct.mat"


class DigitStruct(NamedTuple):
    """Content of a `digitStruct.mat`: M images and their N digits."""

    file_names: tuple[str, ...]
    owners: Int64[np.ndarray, " N"]  # row of the image that a digit belongs to
    corners: Float64[np.ndarray, "N 4"]  # (x1, y1, x2, y2) pixels, as annotated: some leave their image
    digits: Int64[np.ndarray, " N"]  # 0 to 9; SVHN's label of 0 is 10


T = TypeVar("T")


def read_digit_struct(path: Path) -> DigitStruct:
    """Return the content of the file; SVHN's 33,402 training images take a minute.

    Raises:
        DatasetError: the file is missing, is no HDF5 file, or has not the structure of SVHN's.
    """
    require_file(path, "file", _REMEDY)
    try:
        with h5py.File(path, "r") as file:
            names, groups = (
                _read_column(_read_item(file, f"digitStruct/{name}", h5py.Dataset)) for name in ("name", "bbox")
            )
            file_names = tuple(
                "".join(map(chr, _read_column(_read_item(file, name, h5py.Dataset), LONGEST_NAME))) for name in names
            )
            rows = [
                np.array([_read_field(file, _read_item(file, group, h5py.Group), field) for field in _FIELDS], float).T
                for group in tqdm(groups, desc=path.name, unit="image")
            ]
        if len(names) != len(groups):
            raise ValueError(f"{len(names)} names, but {len(groups)} groups of boxes")
        values = np.concatenate([*rows, np.empty((0, len(_FIELDS)))])
    except Exception as error:  # for a damaged or foreign file, h5py raises errors of many types
        raise DatasetError(f"{path}: not a digitStruct.mat of SVHN ({explain(error)}). {_REMEDY}") from error
    owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])

    def refuse(bad: np.ndarray, problem: str, name: str, rule: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            image = shorten(file_names[owners[row]]).strip("'")
            value = f"{values[row, _FIELDS.index(name)]:g}"
            raise DatasetError(f"{path}: a digit of {image} has {problem} {value}. {rule}. {_REMEDY}")

    refuse(~np.isin(values[:, 4], np.arange(1, 11)), "the label", "label", "SVHN's labels are 1 to 9, and 10 for 0")
    for column, name in enumerate(_FIELDS[:4]):
        bad = ~(np.abs(values[:, column]) <= LARGEST_NUMBER)
        refuse(bad, f"the {name}", name, "It has to be a finite number of pixels")
    left, top, width, height, label = values.T
    return DigitStruct(
        file_names,
        owners,
        np.stack([left, top, left + width, top + height], axis=1),
        label.astype(np.int64) % 10,
    )


def _read_column(values: h5py.Dataset, longest: int = LONGEST_COLUMN) -> np.ndarray:
    """Return the first column of a two-dimensional dataset; its recorded length is checked before it is read."""
    if len(values) > longest:
        raise ValueError(f"a column of {len(values)} values where at most {longest} are expected")
    return values[:, 0]


def _read_item(container: h5py.Group, key: Any, kind: type[T]) -> T:
    """Return the item at `key`, a name or a reference; raise ValueError if it has another type than `kind`."""
    value = container[key]
    if not isinstance(value, kind):
        raise ValueError(f"{key!r} is a {type(value).__name__}, no {kind.__name__}")
    return value


def _read_field(file: h5py.File, group: h5py.Group, field: str) -> list[float]:
    """Return one number per digit: the values of a field, or the values at its references."""
    values = _read_item(group, field, h5py.Dataset)
    column = _read_column(values, LARGEST_NUMBER_OF_DIGITS)
    if h5py.check_ref_dtype(values.dtype) is None:
        return column.tolist()
    return [float(_read_item(file, reference, h5py.Dataset)[0, 0]) for reference in column]


def convert(struct: DigitStruct, images: Path, out: Path, valid_share: float = 0.0) -> dict[str, tuple[int, int]]:
    """Write `<out>/*.png` and `<out>.json`; return the number of images and of digits in each split.

    Boxes are written as they are annotated; reading clips them at the border. Boxes that reading would refuse are
    omitted: empty ones, ones that are more than half outside, and ones within the corner pixel. Images are linked if
    the file system allows it, and else copied. The annotations are written last, so a split that has them is complete.

    Args:
        out: the split, e.g. data/svhn/train; `images` itself may be it.
        valid_share: share of the images that become the split `valid` beside it, chosen at random with a fixed seed.
            The assignment's own two splits are 0.9 and 0.1 of SVHN's train.

    Raises:
        DatasetError: an image is missing, damaged or not in colour; its name is no number or occurs twice; boxes are
            shares of the image; `valid_share` is not from 0 to less than 1; or the split cannot be written.
        OSError: the disk is full or read-only.
    """
    if not 0 <= valid_share < 1:
        raise DatasetError(f"{out}: valid_share is {valid_share}; choose a share from 0 to less than 1")
    names = struct.file_names
    first_rows: dict[int, int] = {}  # by image id
    for row, name in enumerate(names):
        image_id = find_image_id(name)
        if image_id is None:
            text = shorten(name).strip("'")
            raise DatasetError(f"{images / text}: the name is not a number, as in 1.png, 2.png, … {_REMEDY}")
        if row != first_rows.setdefault(image_id, row):
            raise DatasetError(f"{images / name}: two records have this image_id. {_REMEDY}")
    if coco.are_shares(struct.corners).all() and len(struct.corners):
        raise DatasetError(
            f"{images}: no box of its digitStruct.mat exceeds 1: shares of the image's sides, not pixels; scale them"
        )
    sizes = read_image_sizes(images, names, "RGB")
    is_valid = ~(coco.are_mostly_outside(struct.corners, sizes[struct.owners]) | coco.are_shares(struct.corners))
    num_images = len(names)
    by_id = np.argsort(list(first_rows))  # so that the order of the records has no effect
    order = by_id[np.random.default_rng(0).permutation(num_images)]
    num_valid = round(valid_share * num_images)
    splits = {out: np.sort(order[num_valid:])}
    if num_valid:
        splits[out.with_name("valid")] = np.sort(order[:num_valid])
    try:
        with name_disk_errors(out):
            return {
                folder.name: _write_split(struct, is_valid, sizes, rows, images, folder)
                for folder, rows in splits.items()
            }
    except OSError as error:
        if error.errno in DISK_REASONS:
            raise
        raise DatasetError(f"{out}: the split cannot be written ({explain(error)}). Check the path") from error


def _write_split(
    struct: DigitStruct,
    is_valid: np.ndarray,
    sizes: Int64[np.ndarray, "M 2"],
    rows: np.ndarray,
    images: Path,
    out: Path,
) -> tuple[int, int]:
    """Write the images at `rows` and their annotations; return the number of images and of digits."""
    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        _link(images / struct.file_names[row], out / struct.file_names[row])
    place = np.full(len(sizes), -1)
    place[rows] = np.arange(len(rows))
    digits = is_valid & (place[struct.owners] >= 0)
    file = coco.BoxFile.of(
        np.array([find_image_id(struct.file_names[row]) for row in rows], np.int64),
        [struct.file_names[row] for row in rows],
        sizes[rows],
        place[struct.owners[digits]],
        struct.corners[digits],
        struct.digits[digits],
    )
    coco.write_boxes(out.with_name(f"{out.name}.json"), file, "coco", DIGIT_NAMES)
    return len(rows), int(digits.sum())


def _link(source: Path, target: Path) -> None:
    """Link or copy the image `source` to `target`, which may already be the same file."""
    if target.exists() and target.samefile(source):
        return
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
