"""Detection dataset: the same objects read and drawn, padding, selection, and what is ignored."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from helpers import coco
from helpers.detection.dataset import PADDING, ShapeDetectionDataset, prepare_images, rank_within_groups
from helpers.detection.scenes import CLASS_NAMES, SceneConfig
from helpers.handout import HandoutConfig, ensure_handout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ensure_handout(tmp_path_factory.mktemp("data") / "handout", HandoutConfig(num_train=12, num_val=3))


@pytest.fixture(scope="module")
def drawn():
    return ShapeDetectionDataset.draw(12, 641)


def assert_equal(first, second):
    for field in dataclasses.fields(first):
        assert_close(getattr(first, field.name), getattr(second, field.name), rtol=0, atol=0)


@pytest.mark.parametrize("dialect", ["coco", "handout"])
def test_a_split_is_read_as_it_was_drawn(folder, drawn, dialect):
    read = ShapeDetectionDataset.read(folder / "detection", "train", dialect)
    assert_equal(read, drawn)


def test_validation_images_keep_the_numbers_of_their_files(folder):
    read = ShapeDetectionDataset.read(folder / "detection", "val")
    assert read.image_ids.tolist() == [12, 13, 14]


def test_every_row_that_is_no_object_is_padding(drawn):
    padding = drawn.labels == PADDING
    assert padding.any()
    assert (drawn.boxes[padding] == 0).all()
    assert (drawn.visibility[padding] == 0).all()
    assert not drawn.ignored[padding].any()
    sides = drawn.boxes[..., 2:] - drawn.boxes[..., :2]
    assert (sides[~padding] > 0).all()
    assert (drawn.labels[~padding] < len(CLASS_NAMES)).all()


def test_an_item_is_an_image_and_its_objects_without_padding(drawn):
    image, targets = drawn[2]
    assert image.shape == (3, 224, 224)
    assert image.dtype == torch.float32
    assert_close((image * 255).round().byte(), drawn.images[2].permute(2, 0, 1))
    count = int((drawn.labels[2] != PADDING).sum())
    assert 2 <= count < 5
    assert {name: len(value) for name, value in targets.items() if value.dim()} == dict.fromkeys(
        ("boxes", "labels", "visibility", "ignored"), count
    )
    assert_close(targets["boxes"], drawn.boxes[2, :count])
    assert targets["image_id"] == 2


def test_an_example_is_the_image_as_bytes_and_its_objects_without_padding(drawn):
    example, (_, targets) = drawn.example(2), drawn[2]
    assert_close(torch.from_numpy(example.image), drawn.images[2])
    for name in ("boxes", "labels", "visibility", "ignored"):
        assert_close(torch.from_numpy(getattr(example, name)), targets[name])


def test_images_become_input_from_zero_to_one_and_stay_channels_last():
    images = torch.randint(256, (2, 224, 224, 3), dtype=torch.uint8)
    prepared = prepare_images(images)
    assert prepared.shape == (2, 3, 224, 224)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    assert_close(prepared[1, 2, 3, 4], images[1, 3, 4, 2] / 255)


def test_ranks_start_at_zero_in_every_group():
    assert rank_within_groups(np.array([0, 0, 3, 3, 3, 7])).tolist() == [0, 1, 0, 1, 2, 0]
    assert rank_within_groups(np.zeros(0, np.int64)).tolist() == []


def test_a_loader_takes_the_dataset(drawn):
    batches = list(DataLoader(drawn, batch_size=5, collate_fn=lambda items: tuple(zip(*items, strict=True))))
    assert [len(images) for images, _ in batches] == [5, 5, 2]


def test_the_same_seed_holds_the_same_objects_under_every_look(drawn):
    other = ShapeDetectionDataset.draw(12, 641, SceneConfig(palette="shared", noise=5.0))
    for name in ("boxes", "labels", "visibility"):
        assert_close(getattr(other, name), getattr(drawn, name))
    assert not torch.equal(other.images, drawn.images)
    assert not torch.equal(ShapeDetectionDataset.draw(12, 642).boxes, drawn.boxes)


def test_hiding_ignores_objects_of_lower_visibility_and_nothing_else(drawn):
    assert drawn.hide(0.0).ignored.sum() == 0
    hidden = drawn.hide(0.3)
    real = drawn.labels != PADDING
    assert_close(hidden.ignored, (drawn.visibility < 0.3) & real)
    assert hidden.ignored.any()
    assert_equal(dataclasses.replace(hidden, ignored=drawn.ignored), drawn)
    assert_equal(hidden, ShapeDetectionDataset.draw(12, 641, SceneConfig(minimum_visibility=0.3)))
    assert_equal(hidden.hide(0.0), hidden)  # an ignored object stays ignored


def test_an_unknown_dialect_is_refused(folder):
    # The tests check types, so that the check of the type may come before that of the value.
    with pytest.raises((ValueError, TypeError), match="dialect"):
        ShapeDetectionDataset.read(folder / "detection", "train", "COCO")


@pytest.mark.parametrize(
    ("indices", "ids"),
    [([4, 1], [4, 1]), (slice(2, 5), [2, 3, 4]), (torch.tensor([0, 0]), [0, 0]), ([], []), (range(2), [0, 1])],
)
def test_a_selection_holds_the_images_at_the_indices_in_their_order(drawn, indices, ids):
    selected = drawn.select(indices)
    assert selected.image_ids.tolist() == ids
    assert_close(selected.images, drawn.images[ids])
    assert_close(selected.labels, drawn.labels[ids])


def test_a_mask_selects_too(drawn):
    mask = drawn.image_ids % 2 == 1
    assert drawn.select(mask).image_ids.tolist() == [1, 3, 5, 7, 9, 11]


def test_moving_to_the_same_device_changes_nothing(drawn):
    assert_equal(drawn.to(torch.device("cpu")), drawn)


def test_no_images_are_a_dataset_too():
    assert len(ShapeDetectionDataset.draw(0, 0)) == 0


def test_annotations_in_any_order_belong_to_their_images(folder, drawn, tmp_path):
    path = folder / "detection" / "train_coco.json"
    file = coco.read_boxes(path, "coco", CLASS_NAMES)
    order = np.random.default_rng(0).permutation(len(file.owners))
    names = ("owners", "boxes", "labels", "areas", "visibility", "ignored")
    shuffled = dataclasses.replace(file, **{name: getattr(file, name)[order] for name in names})
    coco.write_boxes(tmp_path / "train_coco.json", shuffled, "coco", CLASS_NAMES)
    (tmp_path / "train").symlink_to(folder / "detection" / "train")
    read = ShapeDetectionDataset.read(tmp_path, "train")
    assert_close(read.labels != PADDING, drawn.labels != PADDING)
    for index in range(len(read)):
        expected, boxes = ({tuple(box) for box in dataset[index][1]["boxes"].tolist()} for dataset in (drawn, read))
        assert boxes == expected
