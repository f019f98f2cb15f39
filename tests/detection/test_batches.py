"""Batches: every image once per epoch, with the matches of its boxes."""

from __future__ import annotations

import torch

from helpers.detection.anchors import generate_anchors
from helpers.detection.batches import MatchedBatches, match_dataset
from helpers.detection.dataset import ShapeDetectionDataset, prepare_images
from helpers.detection.matching import BACKGROUND, match_anchors_to_targets

ANCHORS = torch.cat(generate_anchors())
SCENES = ShapeDetectionDataset.draw(12, seed=5)
ORDER = torch.randperm(12, generator=torch.Generator().manual_seed(0))


def test_an_epoch_has_every_image_once_in_the_given_order():
    batches = MatchedBatches(match_dataset(SCENES, ANCHORS), ORDER, batch_size=5)
    assert len(batches) == 3
    assert [len(batch.images) for batch in batches] == [5, 5, 2]
    assert torch.equal(torch.cat([batch.images for batch in batches]), prepare_images(SCENES.images[ORDER]))
    assert torch.equal(torch.cat([batch.boxes for batch in batches]), SCENES.boxes[ORDER])
    assert torch.equal(torch.cat([batch.labels for batch in batches]), SCENES.labels[ORDER])


def test_a_batch_has_the_matches_and_the_positives_of_its_boxes():
    for batch in MatchedBatches(match_dataset(SCENES, ANCHORS, (0.6, 0.5)), ORDER, batch_size=5):
        matches = match_anchors_to_targets(ANCHORS, batch.boxes, batch.labels, 0.6, 0.5)
        assert torch.equal(batch.index.long(), matches.index)
        for image, positives in enumerate(batch.positives):
            assert positives[positives >= 0].tolist() == (matches.index[image] >= 0).nonzero().flatten().tolist()
            assert (positives >= 0).any()


def test_no_anchor_is_matched_to_an_ignored_object_nor_is_background_on_it():
    scenes = ShapeDetectionDataset.draw(60, seed=641).hide(0.1)
    assert scenes.ignored.any()
    matched = match_dataset(scenes, ANCHORS)
    matched_objects = matched.index.long().clamp(min=0)
    is_positive = matched.index >= 0
    assert not (is_positive & scenes.ignored.gather(1, matched_objects)).any()
    everything = match_dataset(ShapeDetectionDataset.draw(60, seed=641), ANCHORS)
    was_background = everything.index == BACKGROUND
    assert torch.equal(matched.index == BACKGROUND, was_background)
