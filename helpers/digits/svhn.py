"""Conversion of SVHN to the assignment's layout (command: `workbook svhn`).

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
from typing import NamedTuple

import h5py
import numpy as np
from jaxtyping import Float64, Int64
from tqdm.auto import tqdm

from helpers import coco
from helpers.digits.dataset import DIGIT_NAMES

_FIELDS = ("left", "top", "width", "height", "label")
_REMEDY = "Unpack train.tar.gz, test.tar.gz or extra.tar.gz of SVHN's format 1 again and name its digitStruct.mat"


class DigitStruct(NamedTuple):
    """What `digitStruct.mat` says of M images and their N digits."""

    file_names: tuple[str, ...]
    owners: Int64[np.ndarray, " N"]  # row of the image that a digit belongs to
    corners: Float64[np.ndarray, "N 4"]  # (x1, y1, x2, y2) pixels, as annotated: some leave their image
    digits: Int64[np.ndarray, " N"]  # 0 to 9; SVHN's label of 0 is 10


def read_digit_struct(path: Path) -> DigitStruct:
    """Returns what the file says; a minute for SVHN's 33,402 training images.

    Raises:
        coco.DatasetError: it is missing, no HDF5, or does not hold what SVHN's files hold.
    """
    try:
        with h5py.File(path, "r") as file:
            names, groups = (file[f"digitStruct/{name}"][:, 0] for name in ("name", "bbox"))
            file_names = tuple("".join(map(chr, file[name][:, 0])) for name in names)
            rows = [
                np.array([_read_field(file, file[group][field]) for field in _FIELDS], float).T
                for group in tqdm(groups, desc=path.name, unit="image")
            ]
    except FileNotFoundError:
        raise coco.DatasetError(f"{path}: the file is missing. {_REMEDY}") from None
    # What h5py raises for a damaged or foreign file depends on what it was about to read.
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise coco.DatasetError(f"{path}: not a digitStruct.mat of SVHN ({error}). {_REMEDY}") from error
    left, top, width, height, label = np.concatenate([*rows, np.empty((0, 5))]).T
    if not np.isin(label, np.arange(1, 11)).all():
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        row = int((~np.isin(label, np.arange(1, 11))).argmax())
        raise coco.DatasetError(
            f"{path}: a digit of {file_names[owners[row]]} has the label {label[row]:g}. SVHN's labels are 1 to 9, and "
            f"10 for 0. {_REMEDY}"
        )
    return DigitStruct(
        file_names,
        np.repeat(np.arange(len(rows)), [len(row) for row in rows]),
        np.stack([left, top, left + width, top + height], axis=1),
        label.astype(np.int64) % 10,
    )


def _read_field(file: h5py.File, values: h5py.Dataset) -> list[float]:
    """Returns one number per digit: what is there, or what the references there lead to."""
    column = values[:, 0]
    if h5py.check_ref_dtype(values.dtype) is None:
        return column.tolist()
    return [file[reference][0, 0] for reference in column]


def convert(struct: DigitStruct, images: Path, out: Path, valid_share: float = 0.0) -> dict[str, tuple[int, int]]:
    """Writes `<out>/*.png` and `<out>.json`, and returns how many images and digits each split has.

    Boxes stay as they were annotated; reading cuts them at the border. One that no reader would take, because it is
    empty or more than half outside, is left out. Images are linked where the file system can, and copied elsewhere. The
    annotations come last: a split that has them is whole.

    Args:
        out: the split, e.g. data/svhn/train; `images` itself may be it.
        valid_share: share of the images that become the split `valid` beside it, by lot but always the same. The
            assignment's own two splits are 0.9 and 0.1 of SVHN's train.

    Raises:
        coco.DatasetError: an image is missing or damaged, or its name is no number.
        ValueError: `valid_share` is not from 0 to less than 1.
    """
    if not 0 <= valid_share < 1:
        raise ValueError(f"valid_share is {valid_share}; it is a share from 0 to less than 1")
    for name in struct.file_names:
        if not Path(name).stem.isdecimal() or Path(name).name != name:
            raise coco.DatasetError(f"{images / name}: SVHN names its images by numbers, 1.png, 2.png, … {_REMEDY}")
    sizes = coco.read_image_sizes(images, struct.file_names)
    taken = _is_usable(struct.corners, sizes[struct.owners])
    num_images = len(struct.file_names)
    order = np.random.default_rng(0).permutation(num_images)
    num_valid = round(valid_share * num_images)
    splits = {out: np.sort(order[num_valid:])}
    if num_valid:
        splits[out.with_name("valid")] = np.sort(order[:num_valid])
    return {folder.name: _write_split(struct, taken, sizes, rows, images, folder) for folder, rows in splits.items()}


def _is_usable(corners: Float64[np.ndarray, "N 4"], sizes: Int64[np.ndarray, "N 2"]) -> np.ndarray:
    """Returns which boxes [N] have a size, and at least half of it in their image."""
    sides = corners[:, 2:] - corners[:, :2]
    inside = np.minimum(corners[:, 2:], sizes[:, ::-1]) - np.maximum(corners[:, :2], 0)
    return (sides > 0).all(axis=1) & (np.maximum(inside, 0).prod(axis=1) >= sides.prod(axis=1) / 2)


def _write_split(
    struct: DigitStruct, taken: np.ndarray, sizes: Int64[np.ndarray, "M 2"], rows: np.ndarray, images: Path, out: Path
) -> tuple[int, int]:
    """Writes the images at `rows` and their annotations; returns the number of both."""
    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        _link(images / struct.file_names[row], out / struct.file_names[row])
    place = np.full(len(sizes), -1)
    place[rows] = np.arange(len(rows))
    digits = taken & (place[struct.owners] >= 0)
    corners = struct.corners[digits]
    file = coco.BoxFile(
        image_ids=np.array([int(Path(struct.file_names[row]).stem) for row in rows], np.int64),
        file_names=tuple(struct.file_names[row] for row in rows),
        image_sizes=sizes[rows],
        owners=place[struct.owners[digits]],
        boxes=corners,
        labels=struct.digits[digits],
        areas=np.prod(corners[:, 2:] - corners[:, :2], axis=1),
        visibility=np.ones(len(corners)),
        ignored=np.zeros(len(corners), bool),
    )
    coco.write_boxes(out.with_name(f"{out.name}.json"), file, "coco", DIGIT_NAMES)
    return len(rows), len(corners)


def _link(source: Path, target: Path) -> None:
    """Makes `target` the same image as `source`, which may be the same file already."""
    if target.exists() and target.samefile(source):
        return
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
