"""Data sets of house numbers: valid folders are read, broken ones are refused, and images are decoded on demand."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from torch.testing import assert_close

from helpers.digits import dataset as dataset_module
from helpers.digits.batches import build_loader
from helpers.digits.dataset import DigitDataset, prepare_images
from helpers.digits.drawn import DrawnConfig
from helpers.digits.scenes import TRAIN_NUMBERS, draw_scene
from helpers.records import DatasetError


def edit(folder, change):
    document = json.loads((folder / "train.json").read_text())
    change(document)
    (folder / "train.json").write_text(json.dumps(document))


# Reading


def test_an_item_is_the_drawn_scene_with_labels_from_1(dataset):
    rng = np.random.default_rng((DrawnConfig().seed, 0))
    for index in range(len(dataset)):
        scene = draw_scene(rng, TRAIN_NUMBERS)
        image, target = dataset[index]
        assert_array_equal(image.permute(1, 2, 0).numpy(), scene.image)
        assert_array_equal(target["boxes"].numpy(), scene.boxes)
        assert_array_equal(target["labels"].numpy(), scene.digits + 1)
        assert target["image_id"] == index + 1
    assert (image.dtype, target["boxes"].dtype, target["labels"].dtype) == (torch.uint8, torch.float32, torch.int64)


def test_columns_of_the_dataset_join_those_of_its_items(dataset):
    targets = [dataset[index][1] for index in range(len(dataset))]
    assert_array_equal(dataset.boxes, np.concatenate([target["boxes"] for target in targets]))
    assert_array_equal(dataset.labels, np.concatenate([target["labels"] for target in targets]))
    assert_array_equal(dataset.owners, np.repeat(np.arange(24), [len(target["labels"]) for target in targets]))
    assert_array_equal(dataset.sizes, [dataset[index][0].shape[1:] for index in range(24)])


def test_annotations_in_any_order_belong_to_their_images(folder, dataset):
    edit(folder, lambda document: document["annotations"].sort(key=lambda record: -record["image_id"]))
    read = DigitDataset.read(folder, "train")
    for index in range(len(read)):
        assert_close(read[index][1], dataset[index][1])


@pytest.mark.parametrize(
    ("indices", "ids"),
    [([4, 1], [5, 2]), (slice(2, 5), [3, 4, 5]), (torch.tensor([0, 0]), [1, 1]), ([], []), (np.arange(2), [1, 2])],
)
def test_select_returns_the_images_at_the_indices_in_that_order(dataset, indices, ids):
    selected = dataset.select(indices)
    assert selected.image_ids.tolist() == ids
    assert len(selected) == len(ids)
    for index, image_id in enumerate(ids):
        for column, expected in zip(selected[index], dataset[image_id - 1], strict=True):
            assert_close(column, expected)
    assert len(selected.boxes) == sum(len(dataset[image_id - 1][1]["labels"]) for image_id in ids)


def test_an_image_without_annotations_has_no_boxes(folder):
    def remove(document):
        document["annotations"] = [record for record in document["annotations"] if record["image_id"] != 2]

    edit(folder, remove)
    target = DigitDataset.read(folder, "train")[1][1]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)


def test_images_without_an_annotation_file_are_ordered_by_the_numbers_in_their_names(folder):
    (folder / "train.json").unlink()
    (folder / "train" / "10.png").rename(folder / "train" / "100.png")
    read = DigitDataset.read_unlabelled(folder, "train")
    assert read.image_ids.tolist() == [*range(1, 10), *range(11, 25), 100]
    image, target = read[23]
    assert image.shape[1:] == tuple(read.sizes[23])
    assert (target["image_id"], len(target["boxes"]), len(target["labels"])) == (100, 0, 0)
    assert len(list(build_loader(read, 5))) == 5


def test_boxes_across_the_border_are_clipped(folder):
    def move_across_border(document):
        record, image = document["annotations"][0], document["images"][0]
        record["bbox"] = [-1, -2, 10, image["height"] + 5]
        record["area"] = 10 * (image["height"] + 5)

    edit(folder, move_across_border)
    read = DigitDataset.read(folder, "train")
    height = int(read.sizes[0, 0])
    assert_array_equal(read.boxes[0], (0, 0, 9, height))
    assert read.file.areas[0] == 9 * height


def test_an_image_is_decoded_when_it_is_requested_and_not_before(folder, dataset):
    path = folder / "train" / "3.png"
    path.write_bytes(path.read_bytes()[:-40])
    read = DigitDataset.read(folder, "train")
    assert_close(read[1][0], dataset[1][0])
    with pytest.raises(DatasetError, match=r"3\.png: the image is truncated or damaged.*Restore it"):
        read[2]


def test_real_photos_are_read(svhn_folder):
    read = DigitDataset.read(svhn_folder, "train")
    assert len(read) >= 256
    assert (read.boxes >= 0).all()
    assert (read.boxes[:, 2:] <= read.sizes[read.owners, ::-1]).all()  # in the file, some boxes cross the border
    assert np.bincount(read.labels).argmax() == 2  # label 2 is the digit 1, the most frequent one of house numbers


# Refusing


def remove_annotations(folder):
    (folder / "train.json").unlink()


def remove_images(folder):
    shutil.rmtree(folder / "train")


def remove_image(folder):
    (folder / "train" / "7.png").unlink()


def make_empty(folder):
    (folder / "train" / "7.png").write_bytes(b"")


def make_jpeg(folder):
    Image.open(folder / "train" / "7.png").save(folder / "train" / "7.png", "JPEG")


def resize(folder):
    Image.new("RGB", (5, 4)).save(folder / "train" / "7.png")


def set_first(**values):
    return lambda folder: edit(folder, lambda document: document["annotations"][0].update(values))


def add_category(folder):
    """Give the first annotation a category that is no digit."""
    edit(folder, lambda document: document["categories"].append({"id": 11, "name": "ten"}))
    edit(folder, lambda document: document["annotations"][0].update(category_id=11))


BROKEN = {
    "no annotations": (remove_annotations, r"train\.json: the annotation file is missing.*check the path"),
    "no images": (remove_images, r"train: the folder of the images is missing.*check the path"),
    "an image is missing": (remove_image, r"7\.png: the image is missing.*move it away and take its record out"),
    "an empty image": (make_empty, r"7\.png: no PNG image.*Restore it"),
    "another format": (make_jpeg, r"7\.png: no PNG image, but JPEG.*save them as PNG"),
    "another size": (resize, r"7\.png: the image is \(4, 5\) \(height, width\), its record has.*not of the same set"),
    "zero width": (set_first(bbox=[1, 1, 0, 5], area=0), r"annotation 1 \(record 1\): bbox.*no width or no height"),
    "zero height": (set_first(bbox=[1, 1, 5, 0], area=0), r"annotation 1 \(record 1\): bbox.*no width or no height"),
    "negative width": (set_first(bbox=[9, 1, -5, 5], area=25), r"bbox \[9, 1, -5, 5\].*no width or no height"),
    "no number": (set_first(bbox=[1, 1, float("nan"), 5]), r"bbox is \[1, 1, nan, 5\].*four finite numbers"),
    "outside": (set_first(bbox=[5000, 1, 5, 5], area=25), r"annotation 1 .*lies mostly outside the \d+ × \d+ image"),
    "mostly outside": (set_first(bbox=[-6, 1, 10, 5], area=50), r"lies mostly outside"),
    "unknown category": (set_first(category_id=11), r"category_id 11 is not in `categories`"),
    "a class that is no digit": (add_category, r"the name 'ten' is unknown.*the classes are 0, 1"),
    "unknown image": (set_first(image_id=99), r"image_id 99 is not in `images`"),
    "a crowd": (set_first(iscrowd=1), r"a digit of image 1 is a crowd.*remove the annotation"),
    "corners for sides": (
        lambda folder: edit(
            folder,
            lambda document: [
                record.update(bbox=[x, y, x + width, y + height])
                for record in document["annotations"]
                for x, y, width, height in [record["bbox"]]
            ],
        ),
        r"dialect='handout'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused_with_file_record_and_remedy(folder, name):
    damage, message = BROKEN[name]
    damage(folder)
    with pytest.raises(DatasetError, match=message):
        DigitDataset.read(folder, "train")


def test_a_split_without_truth_is_refused_if_it_has_no_image_or_an_image_without_a_number(tmp_path):
    with pytest.raises(DatasetError, match="test: the folder of the images is missing"):
        DigitDataset.read_unlabelled(tmp_path, "test")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match="test: holds no image"):
        DigitDataset.read_unlabelled(tmp_path, "test")
    for name in ("1.png", "2.jpg", "front.png"):
        Image.new("RGB", (5, 4)).save(tmp_path / "test" / name)
    with pytest.raises(DatasetError, match=r"2\.jpg: the name is not an image_id with \.png \(2 of 3 images\)"):
        DigitDataset.read_unlabelled(tmp_path, "test")


@pytest.fixture
def photos(tmp_path):
    """A folder with 1.png, 2.png and 10.png in `test/`, and nothing else."""
    (tmp_path / "test").mkdir()
    for name in ("1.png", "10.png", "2.png"):
        Image.new("RGB", (5, 4)).save(tmp_path / "test" / name)
    return tmp_path


def list_images(folder, *names, **more):
    images = [{"id": 30 - row, "file_name": name, "width": 5, "height": 4} for row, name in enumerate(names)]
    (folder / "test.json").write_text(json.dumps({"images": images, **more}))


def test_hidden_files_are_skipped(photos):
    for name in ("._1.png", ".2.png", ".DS_Store"):
        (photos / "test" / name).write_bytes(b"\0\5\x16\7")
    assert DigitDataset.read_unlabelled(photos, "test").image_ids.tolist() == [1, 2, 10]


def test_ids_of_images_without_truth_are_those_of_their_list(photos):
    list_images(photos, "1.png", "10.png")
    read = DigitDataset.read_unlabelled(photos, "test")
    assert (read.image_ids.tolist(), read.file.file_names) == ([29, 30], ("10.png", "1.png"))
    assert len(read.boxes) == 0
    assert read[0][0].shape == (3, 4, 5)
    list_images(photos, "1.png", annotations=[], categories=[])
    assert DigitDataset.read_unlabelled(photos, "test").image_ids.tolist() == [30]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"test\.json: lists no image"),
        (["7.png"], r"7\.png: the image is missing"),
        (["../test/1.png"], r"test\.json: image 30 \(record 1\): file_name '\.\./test/1\.png' leaves the folder"),
    ],
)
def test_a_list_without_images_or_with_missing_ones_is_refused(photos, names, message):
    list_images(photos, *names)
    with pytest.raises(DatasetError, match=message):
        DigitDataset.read_unlabelled(photos, "test")


def test_two_images_with_one_id_and_images_of_other_formats_are_refused(photos):
    shutil.copy(photos / "test" / "2.png", photos / "test" / "02.png")
    with pytest.raises(DatasetError, match=r"2\.png: its image_id is also that of 02\.png"):
        DigitDataset.read_unlabelled(photos, "test")
    (photos / "test" / "02.png").unlink()
    for name in ("front.png", "3.jpg", "\u0661.png", "9" * 30 + ".png"):
        Image.new("RGB", (5, 4)).save(photos / "test" / name)
        remedy = "save them as PNG" if name.endswith("jpg") else "rename them to <image_id>"
        with pytest.raises(DatasetError, match=rf"the name is not an image_id with \.png.*Remedy: {remedy}"):
            DigitDataset.read_unlabelled(photos, "test")
        (photos / "test" / name).unlink()
    Image.new("RGB", (5, 4)).save(photos / "test" / "2.png", "JPEG")
    with pytest.raises(DatasetError, match=r"2\.png: no PNG image, but JPEG.*save them as PNG"):
        DigitDataset.read_unlabelled(photos, "test")


def test_an_annotation_file_without_annotations_is_refused(folder):
    edit(folder, lambda document: document.update(annotations=[]))
    with pytest.raises(DatasetError, match=r"train\.json: no annotations: the split has no truth"):
        DigitDataset.read(folder, "train")


def test_the_order_of_the_records_has_no_effect(folder, dataset):
    def reverse(document):
        for records in document.values():
            records.reverse()

    edit(folder, reverse)
    read = DigitDataset.read(folder, "train")
    assert read.file.file_names == dataset.file.file_names
    for name in ("image_ids", "owners", "boxes", "labels", "sizes"):
        assert_array_equal(getattr(read, name), getattr(dataset, name))


def test_a_pipe_in_place_of_a_file_is_refused_without_waiting_for_it(folder):
    for name in ("train/7.png", "train.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(DatasetError, match=rf"{name}: .* no regular file"):
            DigitDataset.read(folder, "train")


def test_a_grey_image_is_refused_when_it_is_decoded(folder, dataset):
    height, width = dataset.sizes[6].tolist()
    Image.new("L", (width, height)).save(folder / "train" / "7.png")
    with pytest.raises(DatasetError, match=r"7\.png: its mode is L, not RGB"):
        DigitDataset.read(folder, "train")[6]


def test_the_first_images_are_decoded_once_and_the_cache_is_safe_from_changes(folder, monkeypatch):
    read = DigitDataset.read(folder, "train")
    decoded = []

    def read_image(path, size, mode, decode=dataset_module.read_image):
        decoded.append(path.stem)
        return decode(path, size, mode)

    monkeypatch.setattr(dataset_module, "read_image", read_image)
    monkeypatch.setattr(dataset_module, "CACHE_BYTES", int(3 * read.sizes[:4].prod(axis=1).sum()))
    first = [read[row][0] for row in range(6)]
    expected = [image.clone() for image in first]
    for image in first:
        image.zero_()  # the caller's copy, not the cached image
    assert_close([read[row][0] for row in range(6)], expected)
    assert decoded == ["1", "2", "3", "4", "5", "6", "5", "6"]


def test_prepared_images_are_floats_from_0_to_1():
    images = [torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1), torch.zeros(3, 4, 5, dtype=torch.uint8)]
    prepared = prepare_images(images, torch.device("cpu"))
    assert prepared[0].flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert [image.shape for image in prepared] == [image.shape for image in images]
    assert images[0].flatten().tolist() == [0, 51, 255]  # the input is unchanged
