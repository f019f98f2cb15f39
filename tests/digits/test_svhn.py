"""Conversion of SVHN's annotation file, written here in MATLAB's structure, to the assignment's layout."""

import errno
import json
import os
import shutil

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from helpers.course import cli
from helpers.digits import svhn
from helpers.digits.dataset import DigitDataset
from helpers.digits.svhn import convert, read_digit_struct
from helpers.records import DatasetError

FIELDS = ("height", "label", "left", "top", "width")

# As in SVHN: label 10 is digit 0, one image has a single digit, and boxes may leave the image by a little.
NUMBERS = {
    "1.png": [(219, 1, 246, 77, 81), (219, 9, 323, 81, 96)],
    "2.png": [(32, 10, 77, 29, 23)],
    "3.png": [(15, 2, -1, 5, 9), (15, 10, 12, 5, 8), (15, 10, 20, 5, 8)],
}
SIZES = {"1.png": (350, 741), "2.png": (83, 199), "3.png": (23, 52)}


def write_struct(path, numbers):
    """Write a file in MATLAB 7.3's structure of `digitStruct(i).name` and `digitStruct(i).bbox(j).height`, …"""
    with h5py.File(path, "w") as file:
        refs = file.create_group("#refs#")

        def store(values):
            return refs.create_dataset(str(len(refs)), data=values).ref

        names, groups = [], []
        for name, digits in numbers.items():
            names.append(store(np.array([[ord(letter)] for letter in name], np.uint16)))
            group = refs.create_group(str(len(refs)))
            for field, column in zip(FIELDS, zip(*digits, strict=True), strict=True):
                if len(column) == 1:
                    group.create_dataset(field, data=np.array([column], float))
                else:
                    cells = [[store(np.array([[value]], float))] for value in column]
                    group.create_dataset(field, data=np.array(cells, dtype=object), dtype=h5py.ref_dtype)
            groups.append(group.ref)
        for name, column in (("name", names), ("bbox", groups)):
            cells = np.array([[reference] for reference in column], dtype=object)
            file.create_dataset(f"digitStruct/{name}", data=cells, dtype=h5py.ref_dtype)
    return path


@pytest.fixture
def source(tmp_path):
    """A folder in the form of an unpacked archive of SVHN."""
    folder = tmp_path / "source"
    folder.mkdir()
    write_struct(folder / "digitStruct.mat", NUMBERS)
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        Image.new("RGB", (width, height), (40 * number, 0, 0)).save(folder / name)
    return folder


def test_names_boxes_and_digits_are_read_by_following_the_references(source):
    struct = read_digit_struct(source / "digitStruct.mat")
    assert struct.file_names == ("1.png", "2.png", "3.png")
    assert_array_equal(struct.owners, [0, 0, 1, 2, 2, 2])
    assert_array_equal(struct.digits, [1, 9, 0, 2, 0, 0])
    assert_array_equal(struct.corners[:2], [[246, 77, 327, 296], [323, 81, 419, 300]])
    assert_array_equal(struct.corners[3], [-1, 5, 8, 20])


def test_the_dataset_reads_the_converted_split(source, tmp_path):
    cli.main(["svhn", str(source / "digitStruct.mat"), str(source), str(tmp_path / "svhn" / "train")])
    dataset = DigitDataset.read(tmp_path / "svhn", "train")
    assert dataset.image_ids.tolist() == [1, 2, 3]
    assert_array_equal(dataset.sizes, list(SIZES.values()))
    assert_array_equal(dataset.labels, [2, 10, 1, 3, 1, 1])
    assert_array_equal(dataset.boxes[3], [0, 5, 8, 20])  # clipped by the reader, not by the conversion
    document = json.loads((tmp_path / "svhn" / "train.json").read_text())
    assert document["annotations"][3]["bbox"] == [-1, 5, 9, 15]
    assert [record["category_id"] for record in document["annotations"]] == [2, 10, 1, 3, 1, 1]
    assert dataset[2][0].unique().tolist() == [0, 80]


def test_the_command_prints_the_numbers_of_images_digits_and_omitted_boxes(source, tmp_path, capsys):
    write_struct(source / "digitStruct.mat", NUMBERS | {"2.png": [(32, 10, 77, 29, 0), (30, 1, -20, 5, 25)]})
    cli.main(["svhn", str(source / "digitStruct.mat"), str(source), str(tmp_path / "train")])
    assert capsys.readouterr().out == (
        "train: 3 images, 5 digits\nleft out: 2 boxes that are empty, mostly outside or within the corner pixel\n"
    )
    assert len(DigitDataset.read(tmp_path, "train")[1][1]["labels"]) == 0


def test_the_folder_of_the_images_can_become_the_split(source):
    cli.main(["svhn", str(source / "digitStruct.mat"), str(source), str(source)])
    assert len(DigitDataset.read(source.parent, "source")) == 3


def test_images_are_linked_or_copied(source, tmp_path, monkeypatch):
    struct = read_digit_struct(source / "digitStruct.mat")
    convert(struct, source, tmp_path / "linked")
    assert (tmp_path / "linked" / "1.png").samefile(source / "1.png")

    def refuse(*arguments):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    convert(struct, source, tmp_path / "copied")
    assert not (tmp_path / "copied" / "1.png").samefile(source / "1.png")
    assert (tmp_path / "copied" / "1.png").read_bytes() == (source / "1.png").read_bytes()
    convert(struct, source, tmp_path / "linked")  # replaces the first conversion
    assert (tmp_path / "linked" / "1.png").exists()


def test_a_share_of_the_images_becomes_valid_and_no_image_is_in_both_splits(source, tmp_path):
    struct = read_digit_struct(source / "digitStruct.mat")
    counts = convert(struct, source, tmp_path / "train", 1 / 3)
    assert {split: num_images for split, (num_images, _) in counts.items()} == {"train": 2, "valid": 1}
    train, valid = (DigitDataset.read(tmp_path, split) for split in ("train", "valid"))
    assert sorted([*train.image_ids, *valid.image_ids]) == [1, 2, 3]
    assert len(train.boxes) + len(valid.boxes) == sum(num_digits for _, num_digits in counts.values()) == 6
    reverse = dict(reversed(NUMBERS.items()))
    write_struct(source / "digitStruct.mat", reverse)
    convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "reverse" / "train", 1 / 3)
    for split, expected in (("train", train), ("valid", valid)):
        read = DigitDataset.read(tmp_path / "reverse", split)
        assert_array_equal(read.image_ids, expected.image_ids)
        assert_array_equal(read.boxes, expected.boxes)
    with pytest.raises(DatasetError, match="valid_share is 1"):
        convert(struct, source, tmp_path / "train", 1.0)


def test_a_missing_image_is_refused_by_name_and_no_annotations_are_written(source, tmp_path):
    (source / "2.png").unlink()
    with pytest.raises(DatasetError, match=r"2\.png: the image is missing"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")
    assert not (tmp_path / "train.json").exists()


@pytest.mark.parametrize("name", ["front.png", "../1.png"])
def test_an_image_name_without_a_number_is_refused(source, tmp_path, name):
    write_struct(source / "digitStruct.mat", {name: NUMBERS["2.png"]})
    with pytest.raises(DatasetError, match="the name is not a number"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")


@pytest.mark.parametrize("label", [0, 11, 2.5])
def test_an_unknown_label_is_refused(source, label):
    write_struct(source / "digitStruct.mat", NUMBERS | {"2.png": [(32, label, 77, 29, 23)]})
    with pytest.raises(DatasetError, match=rf"a digit of 2\.png has the label {label:g}.*10 for 0"):
        read_digit_struct(source / "digitStruct.mat")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize(("column", "name"), [(0, "height"), (2, "left"), (3, "top"), (4, "width")])
def test_a_box_without_finite_numbers_is_refused(source, column, name, value):
    digit = [32, 10, 77, 29, 23]
    digit[column] = value
    write_struct(source / "digitStruct.mat", NUMBERS | {"2.png": [tuple(digit)]})
    with pytest.raises(DatasetError, match=rf"a digit of 2\.png has the {name} .*It has to be a finite number"):
        read_digit_struct(source / "digitStruct.mat")


def test_boxes_that_are_shares_of_the_image_are_refused(source, tmp_path):
    write_struct(source / "digitStruct.mat", {"1.png": [(0.5, 1, 0.2, 0.3, 0.1), (0.5, 2, 0.4, 0.3, 0.1)]})
    with pytest.raises(DatasetError, match=r"no box .* exceeds 1: shares of the image's sides, not pixels; scale them"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_a_single_box_within_the_corner_pixel_is_omitted(source, tmp_path):
    write_struct(source / "digitStruct.mat", {"1.png": [(0.5, 1, 0.2, 0.3, 0.1), (219, 2, 246, 77, 81)]})
    assert convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train") == {"train": (1, 1)}
    assert len(DigitDataset.read(tmp_path, "train").boxes) == 1


def test_two_images_with_one_id_a_grey_image_and_a_pipe_are_refused(source, tmp_path):
    write_struct(source / "digitStruct.mat", {"1.png": NUMBERS["1.png"], "01.png": NUMBERS["2.png"]})
    with pytest.raises(DatasetError, match=r"01\.png: two records have this image_id"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")
    write_struct(source / "digitStruct.mat", NUMBERS)
    Image.new("L", (199, 83)).save(source / "2.png")
    with pytest.raises(DatasetError, match=r"2\.png: its mode is L, not RGB"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")
    (source / "2.png").unlink()
    os.mkfifo(source / "2.png")
    with pytest.raises(DatasetError, match=r"2\.png: the image is no regular file"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")
    os.mkfifo(source / "pipe.mat")
    with pytest.raises(DatasetError, match=r"pipe\.mat: the file is no regular file"):
        read_digit_struct(source / "pipe.mat")


def test_a_split_that_cannot_be_written_is_refused_with_its_path(source, tmp_path):
    (tmp_path / "train").write_text("a file")
    with pytest.raises(DatasetError, match=r"train: the split cannot be written"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")


def drop_field(path):
    with h5py.File(path, "a") as file:
        del file[file["digitStruct/bbox"][1, 0]]["left"]


def shorten_field(path):
    with h5py.File(path, "a") as file:
        group = file[file["digitStruct/bbox"][0, 0]]
        shortened = group["left"][:1]
        del group["left"]
        group.create_dataset("left", data=shortened, dtype=h5py.ref_dtype)


def make_foreign(path):
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)


DAMAGES = {
    "missing": (lambda path: path.unlink(), "the file is missing"),
    "no HDF5": (lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file"), r"not a digitStruct\.mat"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:3000]), r"not a digitStruct\.mat"),
    "foreign": (make_foreign, r"not a digitStruct\.mat"),
    "a field is missing": (drop_field, r"not a digitStruct\.mat"),
    "fields of different lengths": (shorten_field, r"not a digitStruct\.mat"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_with_the_remedy(source, name):
    damage, message = DAMAGES[name]
    damage(source / "digitStruct.mat")
    with pytest.raises(DatasetError, match=rf"digitStruct\.mat: {message}.*Unpack train\.tar\.gz"):
        read_digit_struct(source / "digitStruct.mat")


def test_a_file_without_images_is_converted_to_an_empty_split(tmp_path):
    struct = svhn.DigitStruct((), np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, np.int64))
    assert convert(struct, tmp_path, tmp_path / "train") == {"train": (0, 0)}


def test_a_full_disk_is_reported_and_leaves_no_annotations(source, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(OSError, match=r"the disk is full .*: free some space and run it again: .*train"):
        convert(read_digit_struct(source / "digitStruct.mat"), source, tmp_path / "train")
    assert not (tmp_path / "train.json").exists()
