"""Batches of an epoch: every figure once, mirrored or not."""

from __future__ import annotations

import torch

from helpers.keypoints.batches import FigureBatches
from helpers.keypoints.dataset import KeypointDataset, mirror, prepare_images

FIGURES = KeypointDataset.draw(5, seed=5)
ORDER = torch.tensor([3, 0, 4, 1, 2])


def test_an_epoch_has_every_figure_once_in_the_given_order():
    batches = FigureBatches(FIGURES, ORDER, None, batch_size=2)
    assert len(batches) == 3
    assert [len(batch.images) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat([batch.points for batch in batches]), FIGURES.points[ORDER])
    assert torch.equal(torch.cat([batch.images for batch in batches]), prepare_images(FIGURES.images[ORDER]))


def test_the_marked_figures_are_mirrored_with_their_points_and_no_others():
    is_mirrored = torch.tensor([True, False, False, True, True])
    batches = list(FigureBatches(FIGURES, ORDER, is_mirrored, batch_size=2))
    images, points = (torch.cat(column) for column in zip(*batches, strict=True))
    mirrored_images, mirrored_points = mirror(FIGURES.images[ORDER], FIGURES.points[ORDER])
    assert torch.equal(images[is_mirrored], prepare_images(mirrored_images[is_mirrored]))
    assert torch.equal(points[is_mirrored], mirrored_points[is_mirrored])
    assert torch.equal(images[~is_mirrored], prepare_images(FIGURES.images[ORDER][~is_mirrored]))
    assert torch.equal(points[~is_mirrored], FIGURES.points[ORDER][~is_mirrored])


def test_the_batches_do_not_change_the_data_set():
    figures = KeypointDataset.draw(5, seed=5)
    list(FigureBatches(figures, ORDER, torch.ones(5, dtype=torch.bool), batch_size=5))
    assert torch.equal(figures.images, FIGURES.images)
    assert torch.equal(figures.points, FIGURES.points)


def test_no_figures_are_no_batches():
    batches = FigureBatches(FIGURES.select([]), ORDER[:0], None, batch_size=2)
    assert len(batches) == len(list(batches)) == 0
