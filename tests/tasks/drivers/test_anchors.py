"""Drivers of anchors and flattened predictions."""

import numpy as np
import torch

from helpers.detection.anchors import flatten_predictions, generate_anchors
from helpers.tasks.drivers import anchors


def test_a_level_is_described_by_its_shape_its_first_and_its_last_anchor():
    levels = [np.array([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])]
    (level,) = anchors.describe_levels(lambda: levels)
    assert level["shape"] == [3, 4]
    assert level["first"].tolist() == [1, 2, 3, 4]
    assert level["last"].tolist() == [9, 10, 11, 12]
    assert anchors.describe_levels(lambda: torch.zeros(7, 4)) == [7, 4]


def test_a_painted_anchor_is_found_at_its_own_row_and_nowhere_else():
    def generate(map_sizes, scales, image_size):
        return generate_anchors([tuple(size) for size in map_sizes], scales, image_size)

    setting = ([[2, 3], [1, 2]], [[2, 4], [6, 8]], 12)
    found = anchors.find_painted_anchor(flatten_predictions, generate, *setting, [0, 1, 2, 1])
    assert found.tolist() == [[8, 7, 12, 11]]  # centre (10, 9), size 4
    found = anchors.find_painted_anchor(flatten_predictions, generate, *setting, [1, 0, 0, 0])
    assert found.tolist() == [[0, 3, 6, 9]]  # centre (3, 6), size 6


def test_numbers_that_are_cut_without_permute_lie_in_several_rows():
    def flatten(maps, num_anchors):
        return torch.cat([level.reshape(len(level), -1, level.shape[1] // num_anchors) for level in maps], dim=1)

    def generate(map_sizes, scales, image_size):
        return generate_anchors([tuple(size) for size in map_sizes], scales, image_size)

    assert len(anchors.find_painted_anchor(flatten, generate, [[2, 3]], [[2, 4]], 12, [0, 1, 2, 1])) > 1


def test_the_gradient_of_a_map_is_the_place_of_each_number():
    (gradient,) = anchors.compute_map_gradients(lambda maps, num_anchors: maps[0].flatten(1), [torch.zeros(1, 2, 3)], 1)
    assert gradient.tolist() == [[[0, 1, 2], [3, 4, 5]]]
