"""Coverage: the best IoU of each object, and the IoU guaranteed at any position."""

import pytest
import torch
from torch.testing import assert_close

from helpers.detection.anchors import generate_anchors
from helpers.detection.boxes import compute_iou
from helpers.detection.coverage import (
    OBJECTS_AT_ONCE,
    compute_best_iou,
    compute_guaranteed_iou,
    compute_shared_length,
)


def place_everywhere(sizes: torch.Tensor, first: float, last: float, step: float = 1) -> torch.Tensor:
    """Return squares [S, P, 4] of all `sizes` around all P centres on a grid from `first` to `last` pixels."""
    centres = torch.cartesian_prod(*[torch.arange(first, last + step, step)] * 2)
    half_sizes = sizes.reshape(-1, 1, 1) / 2
    return torch.cat([centres - half_sizes, centres + half_sizes], dim=-1)


# by hand


def test_the_guaranteed_iou_of_the_smallest_circle_is_0_620():
    guaranteed = compute_guaranteed_iou(torch.tensor([16.0]))
    assert_close(guaranteed, torch.tensor([14**2 / (2 * 16**2 - 14**2)]))  # 2 pixels off, across and down: 0.620


def test_a_square_between_two_sizes_is_guaranteed_the_smaller_anchor_inside_it():
    guaranteed = compute_guaranteed_iou(torch.tensor([78.0]))
    assert_close(
        guaranteed, torch.tensor([64**2 / 78**2])
    )  # 0.673: the square is 14 pixels larger, so the shift costs nothing


def test_a_coarse_grid_guarantees_a_small_object_little():
    guaranteed = compute_guaranteed_iou(torch.tensor([16.0]), [(14, 14)], [(16,)])
    assert_close(guaranteed, torch.tensor([8**2 / (2 * 16**2 - 8**2)]))  # a quarter is shared: 0.143


def test_shifted_intervals_share_the_shorter_one_or_what_the_shift_leaves_or_nothing():
    shared = compute_shared_length(torch.tensor([16.0, 40.0, 2.0]), 16, stride=4)
    assert shared.tolist() == [14, 16, 2]
    assert compute_shared_length(torch.tensor([2.0]), 2, stride=8).tolist() == [0]


def test_the_best_anchor_of_an_anchor_is_itself():
    anchors = torch.cat(generate_anchors())
    assert_close(compute_best_iou(anchors[::500], anchors), torch.ones(25))


# law


@pytest.mark.parametrize("ratios", [(1.0,), (0.5, 1.0, 2.0), (0.5, 2.0)])
def test_the_guaranteed_iou_is_the_lowest_over_all_positions(ratios):
    sizes = torch.arange(16.0, 193.0, 3)
    maps, scales = [(8, 8), (4, 4), (2, 2)], [(16, 24, 32), (48, 64, 96), (96, 128, 192)]
    window = torch.cat(generate_anchors(maps, scales, 32, ratios))  # strides 4, 8, 16 as in the assignment
    best = compute_iou(place_everywhere(sizes, 8, 24), window).amax(dim=-1)
    guaranteed = compute_guaranteed_iou(sizes, maps, scales, 32, ratios)
    assert_close(best.amin(dim=1), guaranteed)


def test_the_guarantee_holds_at_the_border_too():
    sizes = torch.arange(16.0, 193.0, 8)
    along, zero = torch.cartesian_prod(sizes, torch.arange(17.0)), torch.zeros(len(sizes) * 17)
    at_the_edge = torch.stack([zero, along[:, 1], along[:, 0], along.sum(dim=1)], dim=1)
    best = compute_best_iou(at_the_edge, torch.cat(generate_anchors()))
    assert (best >= compute_guaranteed_iou(along[:, 0]) - 1e-6).all()


def test_a_ratio_of_two_covers_no_square_better_than_a_square_anchor_does():
    sizes = torch.arange(16.0, 193.0)
    assert torch.equal(compute_guaranteed_iou(sizes, aspect_ratios=(0.5, 1, 2)), compute_guaranteed_iou(sizes))


def test_objects_are_measured_in_parts_as_all_at_once():
    boxes = place_everywhere(torch.tensor([20.0, 90.0]), 50, 66, step=2).flatten(0, 1)
    assert len(boxes) > OBJECTS_AT_ONCE
    (anchors, *_) = generate_anchors()
    assert torch.equal(compute_best_iou(boxes, anchors), compute_iou(boxes, anchors).amax(dim=1))


# edge


def test_no_objects_have_no_best_anchor():
    assert compute_best_iou(torch.zeros(0, 4), torch.cat(generate_anchors())).shape == (0,)


def test_an_object_without_area_is_covered_by_nothing():
    assert compute_best_iou(torch.tensor([[50.0, 50.0, 50.0, 50.0]]), torch.cat(generate_anchors())) == 0
