"""Scale performance: the highest objectness and score of each level on each object, and means by size."""

import math

import numpy as np
import torch
from torch.testing import assert_close

from helpers.detection.anchors import generate_anchors
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import MultiScaleDetector
from helpers.detection.recipes import TUNED
from helpers.detection.scales import (
    ScalePerformance,
    analyze_scale_performance,
    group_by_size,
    tabulate_detecting_levels,
)
from helpers.detection.training import Detector


class ConstantNetwork(MultiScaleDetector):
    """A network with the same maps for every image."""

    def __init__(self, maps: list[torch.Tensor]):
        super().__init__(width=1)
        self.maps = maps

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [level.expand(len(images), -1, -1, -1) for level in self.maps]


def build_maps_without_objects() -> list[torch.Tensor]:
    """Return maps [1, 3 · 8, h, w] whose boxes are the anchors and whose objectness is 0."""
    maps = [torch.zeros(1, 24, size, size) for size in (56, 28, 14)]
    for level in maps:
        level.unflatten(1, (3, 8))[:, :, 4] = -math.inf
    return maps


def build_scene(label: int, box: tuple[int, int, int, int], visibility: float = 1.0) -> ShapeDetectionDataset:
    """Return a white image with one annotated object that is not painted."""
    return ShapeDetectionDataset(
        torch.full((1, 224, 224, 3), 255, dtype=torch.uint8),
        torch.tensor([[box]], dtype=torch.float32),
        torch.tensor([[label]]),
        torch.tensor([[visibility]]),
        torch.tensor([[False]]),
        torch.tensor([0]),
    )


def build_detector(maps: list[torch.Tensor]) -> Detector:
    return Detector(TUNED, ConstantNetwork(maps), torch.cat(generate_anchors()), [])


def test_a_prediction_belongs_to_the_object_that_its_box_overlaps():
    maps = build_maps_without_objects()
    row, column = 10, 12  # of level 1: centre (100, 84)
    maps[1].unflatten(1, (3, 8))[0, 1, 4:, row, column] = torch.tensor([0.0, 0.0, 20.0, 0.0])  # its 64-pixel anchor
    detector = build_detector(maps)
    performance = analyze_scale_performance(detector, build_scene(1, (68, 52, 132, 116)))
    assert_close(performance.objectness, torch.tensor([[0.0], [0.5], [0.0]]))
    assert_close(performance.scores, torch.tensor([[0.0], [0.5], [0.0]]))
    assert performance.sizes.tolist() == [64]
    wrong_class = analyze_scale_performance(detector, build_scene(2, (68, 52, 132, 116)))
    assert_close(wrong_class.objectness, torch.tensor([[0.0], [0.5], [0.0]]))
    assert wrong_class.scores.max() < 1e-6
    elsewhere = analyze_scale_performance(detector, build_scene(1, (10, 10, 74, 74)))
    assert elsewhere.objectness.max() == 0


def test_ignored_objects_are_left_out():
    detector = build_detector(build_maps_without_objects())
    scene = build_scene(1, (68, 52, 132, 116), visibility=0.05)
    assert len(analyze_scale_performance(detector, scene).sizes) == 1
    assert len(analyze_scale_performance(detector, scene.hide(0.1)).sizes) == 0


def test_padding_is_no_object_and_images_come_in_order():
    dataset = ShapeDetectionDataset.draw(5, seed=641)
    torch.manual_seed(0)
    model = MultiScaleDetector(dilations=TUNED.dilations, width=4).eval()
    detector = Detector(TUNED, model, torch.cat(generate_anchors()), [])
    at_once = analyze_scale_performance(detector, dataset)
    in_parts = analyze_scale_performance(detector, dataset, batch_size=2)
    assert at_once.labels.tolist() == dataset.labels[dataset.labels >= 0].tolist()
    for expected, column in zip(at_once, in_parts, strict=True):
        assert_close(column, expected)


def test_the_level_of_the_highest_score_wins_and_none_below_the_threshold():
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.2, 0.3, 0.1], [0.6, 0.8, 0.1]])
    performance = ScalePerformance(torch.ones(3), torch.zeros(3, dtype=torch.int64), scores, scores)
    assert performance.winners(0.5).tolist() == [2, 0, -1]


def test_the_table_of_detecting_levels_by_hand():
    winners = torch.tensor([0, 0, -1, 1, 2])
    everything, nothing = torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)
    table = tabulate_detecting_levels(winners, {"all": everything, "none": nothing, "first": winners == 0})
    assert table["objects"].tolist() == [5, 0, 2]
    assert table["level 0 (%)"].tolist() == [40, 0, 100]
    assert table["level 1 (%)"].tolist() == [20, 0, 0]
    assert table["level 2 (%)"].tolist() == [20, 0, 0]
    assert table["no level (%)"].tolist() == [20, 0, 0]
    assert table.index.tolist() == ["all", "none", "first"]


def test_size_groups_by_hand():
    scores = torch.tensor([[0.9, 0.8, 0.0, 0.0], [0.1, 0.0, 0.9, 0.1], [0.0, 0.0, 0.2, 0.2]])
    sizes, labels = torch.tensor([16.0, 17.0, 96.0, 192.0]), torch.tensor([0, 0, 1, 2])
    groups = group_by_size(ScalePerformance(sizes, labels, scores, scores), score_threshold=0.5)
    assert groups.edges[[0, 3, 4, 9, 10, 15]].tolist() == [
        [16, 20], [28, 32], [48, 56], [88, 96], [96, 112], [176, 192]
    ]  # fmt: skip
    assert groups.labels.tolist() == [0] * 4 + [1] * 6 + [2] * 6
    assert {group: count for group, count in enumerate(groups.counts.tolist()) if count} == {0: 2, 9: 1, 15: 1}
    np.testing.assert_allclose(groups.objectness[:, [0, 9, 15]], [[0.85, 0, 0], [0.05, 0.9, 0.1], [0, 0.2, 0.2]])
    assert groups.shares[:, [0, 9, 15]].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_the_shares_of_a_group_with_objects_add_up_to_1_and_of_an_empty_group_to_0():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 40, generator=generator)
    labels = torch.randint(0, 3, (40,), generator=generator)
    sizes = torch.tensor([20.0, 60.0, 130.0])[labels] + 10 * torch.rand(40, generator=generator)
    groups = group_by_size(ScalePerformance(sizes, labels, scores, scores), score_threshold=0.7)
    assert groups.counts.sum() == 40
    np.testing.assert_allclose(groups.shares.sum(axis=0), groups.counts > 0)
