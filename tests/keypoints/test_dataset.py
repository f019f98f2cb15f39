"""Keypoint data sets: files against drawing, selection, and mirrored figures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from helpers.handout import HandoutConfig, ensure_handout
from helpers.keypoints.dataset import MIRRORED_ROWS, KeypointDataset, mirror, prepare_images
from helpers.keypoints.scenes import POINT_NAMES, FigureConfig, paint_figure


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ensure_handout(tmp_path_factory.mktemp("data") / "handout", HandoutConfig(num_train=12, num_val=3))


@pytest.fixture(scope="module")
def drawn():
    return KeypointDataset.draw(12, 5)


def assert_equal(first, second):
    for field in dataclasses.fields(first):
        assert_close(getattr(first, field.name), getattr(second, field.name), rtol=0, atol=0)


def test_both_dialects_read_the_same_figures(folder):
    assert_equal(*(KeypointDataset.read(folder / "keypoints", "train", dialect) for dialect in ("coco", "handout")))


def test_the_points_that_are_read_paint_the_images_that_are_read(folder):
    read = KeypointDataset.read(folder / "keypoints", "train")
    assert len(read) == 12
    for image, points in zip(read.images, read.points, strict=True):
        assert np.array_equal(paint_figure(points.double().numpy()), image.numpy())


def test_validation_images_have_the_ids_of_their_files(folder):
    assert KeypointDataset.read(folder / "keypoints", "val").image_ids.tolist() == [12, 13, 14]


def test_an_item_is_an_image_from_0_to_1_and_its_points(drawn):
    image, targets = drawn[2]
    assert image.shape == (1, 128, 128)
    assert (image.min(), image.max()) == (0, 1)
    assert_close((image[0] * 255).round().byte(), drawn.images[2])
    assert_close(targets["points"], drawn.points[2])
    assert targets["image_id"] == 2


def test_a_data_loader_collates_the_dataset(drawn):
    shapes = [tuple(targets["points"].shape) for _, targets in DataLoader(drawn, batch_size=5)]
    assert shapes == [(5, 5, 2), (5, 5, 2), (2, 5, 2)]


def test_the_same_seed_gives_the_same_points_in_every_look(drawn):
    marked = KeypointDataset.draw(12, 5, FigureConfig(tellable_hands=True))
    assert_close(marked.points, drawn.points)
    assert not torch.equal(marked.images, drawn.images)
    assert not torch.equal(KeypointDataset.draw(12, 6).points, drawn.points)


@pytest.mark.parametrize(
    ("indices", "ids"),
    [([4, 1], [4, 1]), (slice(2, 5), [2, 3, 4]), (torch.tensor([0, 0]), [0, 0]), ([], []), (range(2), [0, 1])],
)
def test_a_selection_has_the_images_at_the_indices(drawn, indices, ids):
    selected = drawn.select(indices)
    assert selected.image_ids.tolist() == ids
    assert_close(selected.images, drawn.images[ids])
    assert_close(selected.points, drawn.points[ids])


def test_moving_to_the_same_device_changes_nothing(drawn):
    assert_equal(drawn.to(torch.device("cpu")), drawn)


def test_a_dataset_may_be_empty():
    assert len(KeypointDataset.draw(0, 0)) == 0


def test_prepared_images_have_one_channel_and_white_is_1(drawn):
    prepared = prepare_images(drawn.images)
    assert prepared.shape == (12, 1, 128, 128)
    assert_close(prepared[:, 0] == 1, drawn.images == 255)


def test_mirroring_moves_a_marked_pixel_and_its_point_together():
    image, points = torch.zeros(128, 128, dtype=torch.uint8), torch.full((5, 2), 64.5)
    column, row = 3, 70
    image[row, column] = 255
    points[0] = torch.tensor([column + 0.5, row + 0.5])
    mirrored, mirrored_points = mirror(image, points)
    x, y = mirrored_points[0].floor().int().tolist()
    assert (x, y) == (124, 70)
    assert mirrored[y, x] == 255
    assert mirrored.count_nonzero() == 1


def test_mirroring_exchanges_left_and_right_names():
    exchanged = {"left": "right", "right": "left"}
    for name, row in zip(POINT_NAMES, MIRRORED_ROWS, strict=True):
        assert "_".join(exchanged.get(word, word) for word in name.split("_")) == POINT_NAMES[row]


def test_mirrored_figures_obey_the_handouts_layout(drawn):
    _, points = mirror(drawn.images, drawn.points)
    head, left_foot, right_foot = points[:, 0, 0], points[:, 3, 0], points[:, 4, 0]
    assert (left_foot < head).all()
    assert_close(left_foot + right_foot, 2 * head)


def test_mirroring_twice_changes_nothing(drawn):
    images, points = mirror(*mirror(drawn.images, drawn.points))
    assert_close(images, drawn.images, rtol=0, atol=0)
    assert_close(points, drawn.points, rtol=0, atol=0)


def test_repainted_figures_are_the_same_figures_in_another_look(drawn):
    tellable = FigureConfig(tellable_hands=True)
    repainted = drawn.repaint(tellable)
    assert_close(repainted.images, KeypointDataset.draw(12, 5, tellable).images)
    assert_close(repainted.points, drawn.points)
    assert_close(repainted.repaint(FigureConfig()).images, drawn.images)
    assert drawn.select([]).repaint(tellable).images.shape == (0, 128, 128)
