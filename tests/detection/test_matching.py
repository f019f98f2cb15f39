"""Matching of anchors to objects, and hard-negative mining."""

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from helpers.detection.anchors import FEATURE_MAP_SIZES, generate_anchors
from helpers.detection.matching import (
    BACKGROUND,
    IGNORED,
    IMAGES_AT_ONCE,
    POSITIVES_STEP,
    count_positives,
    hard_negative_mining,
    list_positives,
    match_anchors_to_targets,
    match_cells,
)

ANCHORS = torch.cat(generate_anchors())


def draw_targets(num_images: int, num_objects: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return square boxes [M, N, 4] with whole-number corners inside a 224-pixel image, and labels [M, N]."""
    generator = torch.Generator().manual_seed(seed)
    half_sizes = torch.randint(8, 97, (num_images, num_objects, 1), generator=generator)
    free_space = 224 - 2 * half_sizes
    corners = (torch.rand(num_images, num_objects, 2, generator=generator) * (free_space + 1)).long()
    labels = torch.randint(-1, 3, (num_images, num_objects), generator=generator)
    return torch.cat([corners, corners + 2 * half_sizes], dim=-1).float(), labels


def mirror(boxes: torch.Tensor) -> torch.Tensor:
    """Return the boxes of the image with left and right exchanged."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([224 - x2, y1, 224 - x1, y2], dim=-1)


# by hand


def test_anchors_are_positive_ignored_or_background_by_their_iou():
    anchors = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 5], [0.0, 0, 10, 4], [0.0, 0, 10, 3], [50.0, 50, 60, 60]])
    matches = match_anchors_to_targets(anchors, torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([2]))
    assert_close(matches.iou, torch.tensor([1.0, 0.5, 0.4, 0.3, 0.0]))
    assert matches.index.tolist() == [0, 0, IGNORED, BACKGROUND, BACKGROUND]  # both thresholds belong to their side


def test_a_cell_is_matched_to_the_object_of_its_best_positive_anchor():
    index = torch.tensor([[0, 2], [IGNORED, 1], [BACKGROUND, IGNORED], [BACKGROUND, BACKGROUND]])
    iou = torch.tensor([[0.6, 0.7], [0.4, 0.5], [0.1, 0.4], [0.0, 0.2]])
    cells = match_cells(index.flatten(), iou.flatten(), num_anchors=2)
    assert cells.tolist() == [2, 1, IGNORED, BACKGROUND]


def test_an_anchor_is_matched_to_the_object_of_higher_iou():
    targets = torch.tensor([[0.0, 0.0, 10.0, 6.0], [0.0, 0.0, 10.0, 8.0]])
    matches = match_anchors_to_targets(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), targets, torch.tensor([0, 0]))
    assert matches.index.tolist() == [1]


def test_of_two_equal_ious_the_first_row_is_matched():
    targets = torch.tensor([[0.0, 0.0, 10.0, 6.0], [0.0, 4.0, 10.0, 10.0]])
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert match_anchors_to_targets(anchors, targets, torch.tensor([0, 1])).index.tolist() == [0]
    assert match_anchors_to_targets(anchors, targets.flip(0), torch.tensor([1, 0])).index.tolist() == [0]


def test_no_anchor_is_matched_to_an_ignored_object_and_none_on_it_is_background():
    anchors = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 4], [0.0, 0, 10, 3]])
    box, label = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([0])
    matches = match_anchors_to_targets(anchors, box, label, ignored=torch.tensor([True]))
    assert matches.index.tolist() == [IGNORED, IGNORED, BACKGROUND]


def test_an_anchor_on_an_ignored_object_is_matched_to_another_object():
    targets = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0]])  # the ignored object has the higher IoU
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    matches = match_anchors_to_targets(anchors, targets, torch.tensor([0, 0]), ignored=torch.tensor([True, False]))
    assert matches.index.tolist() == [1]
    assert_close(matches.iou, torch.tensor([0.6]))


def test_the_anchors_matched_to_each_object_are_counted():
    index = torch.tensor([[2, BACKGROUND, 0, 2, IGNORED, 2], [BACKGROUND] * 6])
    assert count_positives(index, num_objects=4).tolist() == [[1, 0, 3, 0], [0, 0, 0, 0]]


def test_an_iou_of_exactly_both_thresholds_is_positive_and_swapped_thresholds_are_refused():
    anchors, boxes = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[0.0, 0, 4, 2]])  # IoU 1/2
    labels = torch.tensor([0])
    assert match_anchors_to_targets(anchors, boxes, labels, 0.5, 0.5).index.tolist() == [0]
    with pytest.raises(ValueError, match=r"neg_threshold 0\.5 is above pos_threshold 0\.3"):
        match_anchors_to_targets(anchors, boxes, labels, 0.3, 0.5)


@pytest.mark.parametrize("pos_threshold", [0, -0.1])
def test_a_positive_threshold_that_an_anchor_without_overlap_reaches_is_refused(pos_threshold):
    anchors, padding = torch.tensor([[0.0, 0, 4, 4]]), torch.zeros(1, 4)
    with pytest.raises(ValueError, match=rf"pos_threshold is {pos_threshold}: .*choose pos_threshold > 0"):
        match_anchors_to_targets(anchors, padding, torch.tensor([-1]), pos_threshold, neg_threshold=-0.2)


def test_positives_are_listed_in_order_with_padding_behind_them():
    index = torch.tensor([[0, BACKGROUND, 2, 2, IGNORED], [BACKGROUND, 0, BACKGROUND, IGNORED, BACKGROUND]])
    listed = list_positives(index)
    assert listed.shape == (2, POSITIVES_STEP)
    assert listed[:, :4].tolist() == [[0, 2, 3, -1], [1, -1, -1, -1]]
    assert (listed[:, 4:] == -1).all()
    assert torch.equal(list_positives(index[:, None]), listed[:, None])  # with any leading axes


def test_the_list_holds_every_positive_of_the_fullest_image():
    index = torch.zeros(2, POSITIVES_STEP + 1, dtype=torch.int8)
    index[1, 1:] = BACKGROUND
    listed = list_positives(index)
    assert listed.shape == (2, 2 * POSITIVES_STEP)
    assert (listed >= 0).sum(1).tolist() == [POSITIVES_STEP + 1, 1]
    assert list_positives(torch.full((3, 9), BACKGROUND)).shape == (3, 0)
    assert list_positives(torch.zeros(0, 9, dtype=torch.int8)).shape == (0, 0)


def test_mining_uses_the_hardest_three_per_positive():
    losses = torch.tensor([[9.0, 1, 5, 3, 4, 8, 2]])
    positive = torch.tensor([[True, False, False, False, False, False, False]])
    negative = torch.tensor([[False, True, True, True, True, False, True]])  # column 5 is neither
    used = hard_negative_mining(losses, positive, negative, ratio=3)
    assert used.tolist() == [[False, False, True, True, True, False, False]]


# law


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_matches_of_a_mirrored_image_are_those_of_the_mirrored_anchors(horizontal, vertical):
    boxes, labels = draw_targets(20)
    ignored = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    mirrored = boxes
    if horizontal:
        mirrored = mirror(mirrored)
    if vertical:
        mirrored = mirror(mirrored[..., [1, 0, 3, 2]])[..., [1, 0, 3, 2]]
    axes = [axis for axis, mirrored in enumerate((vertical, horizontal)) if mirrored]
    rows = torch.arange(len(ANCHORS)).split([3 * height * width for height, width in FEATURE_MAP_SIZES])
    grids = (level.unflatten(0, (*size, 3)) for level, size in zip(rows, FEATURE_MAP_SIZES, strict=True))
    order = torch.cat([grid.flip(axes).flatten() for grid in grids])
    straight = match_anchors_to_targets(ANCHORS, boxes, labels, ignored=ignored)
    flipped = match_anchors_to_targets(ANCHORS, mirrored, labels, ignored=ignored)
    assert torch.equal(flipped.index, straight.index[:, order])
    assert torch.equal(flipped.iou, straight.iou[:, order])


def test_many_images_are_matched_as_each_alone():
    boxes, labels = draw_targets(IMAGES_AT_ONCE + 3)
    together = match_anchors_to_targets(ANCHORS, boxes, labels)
    for image in (0, IMAGES_AT_ONCE - 1, IMAGES_AT_ONCE, IMAGES_AT_ONCE + 2):
        alone = match_anchors_to_targets(ANCHORS, boxes[image], labels[image])
        assert torch.equal(together.index[image], alone.index)
        assert torch.equal(together.iou[image], alone.iou)


def test_any_leading_axes_may_stand_before_the_objects():
    boxes, labels = draw_targets(6)
    flat = match_anchors_to_targets(ANCHORS, boxes, labels)
    nested = match_anchors_to_targets(ANCHORS, boxes.unflatten(0, (2, 3)), labels.unflatten(0, (2, 3)))
    assert nested.index.shape == (2, 3, 12348)
    assert torch.equal(nested.index.flatten(0, 1), flat.index)


def test_the_thresholds_separate_the_anchors_by_their_iou():
    boxes, labels = draw_targets(20)
    index, iou = match_anchors_to_targets(ANCHORS, boxes, labels, pos_threshold=0.6, neg_threshold=0.4)
    assert torch.equal(index >= 0, iou >= 0.6)
    assert torch.equal(index == BACKGROUND, iou <= 0.4)


def test_mining_uses_three_per_positive_and_only_the_hardest_negatives():
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(0, 12, (16, 500), generator=generator)
    losses, positive, negative = torch.rand(16, 500, generator=generator), kind == 0, kind > 1
    used = hard_negative_mining(losses, positive, negative, ratio=3)
    assert torch.equal(used.sum(dim=1), 3 * positive.sum(dim=1))
    assert not (used & ~negative).any()
    easiest_used = losses.masked_fill(~used, torch.inf).amin(dim=1)
    hardest_unused = losses.masked_fill(used | ~negative, -torch.inf).amax(dim=1)
    assert (easiest_used >= hardest_unused).all()


# oracle


@pytest.mark.parametrize(("pos_threshold", "neg_threshold"), [(0.5, 0.3), (0.7, 0.3), (0.5, 0.5)])
def test_matches_are_those_of_torchvisions_matcher(pos_threshold, neg_threshold):
    matcher = Matcher(pos_threshold, neg_threshold, allow_low_quality_matches=False)
    boxes, _ = draw_targets(10)
    labels = torch.zeros(10, 5, dtype=torch.long)
    matches = match_anchors_to_targets(ANCHORS, boxes, labels, pos_threshold, neg_threshold)
    for image in range(10):
        theirs = matcher(box_iou(boxes[image], ANCHORS))
        decided = (
            matches.iou[image] != neg_threshold
        )  # an IoU equal to the threshold is ignored there and background here
        assert torch.equal(matches.index[image][decided], theirs[decided])


# edge


def test_an_image_without_objects_is_all_background():
    for boxes, labels in [
        (torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long)),
        (torch.zeros(2, 3, 4), torch.full((2, 3), -1)),
    ]:
        index, iou = match_anchors_to_targets(ANCHORS, boxes, labels)
        assert (index == BACKGROUND).all()
        assert (iou == 0).all()


def test_no_images_have_no_matches():
    index, iou = match_anchors_to_targets(ANCHORS, torch.zeros(0, 5, 4), torch.zeros(0, 5, dtype=torch.long))
    assert index.shape == iou.shape == (0, 12348)


def test_padding_matches_nothing_whatever_its_box_is():
    box = torch.tensor([[80.0, 80.0, 144.0, 144.0]])
    assert (match_anchors_to_targets(ANCHORS, box, torch.tensor([0])).index >= 0).any()
    for ignored in (None, torch.tensor([True])):
        assert (match_anchors_to_targets(ANCHORS, box, torch.tensor([-1]), ignored=ignored).index == BACKGROUND).all()


def test_an_object_without_area_matches_nothing():
    boxes = torch.tensor([[100.0, 100.0, 100.0, 140.0]])
    assert (match_anchors_to_targets(ANCHORS, boxes, torch.tensor([1])).index == BACKGROUND).all()


@pytest.mark.parametrize("corner", [(0.0, 0.0), (208.0, 0.0), (0.0, 208.0), (208.0, 208.0)])
def test_an_object_in_a_corner_of_the_image_has_an_anchor(corner):
    box = torch.tensor([[*corner, corner[0] + 16, corner[1] + 16]])
    assert (match_anchors_to_targets(ANCHORS, box, torch.tensor([0])).index == 0).any()


def test_mining_without_positives_uses_nothing():
    used = hard_negative_mining(
        torch.rand(2, 9), torch.zeros(2, 9, dtype=torch.bool), torch.ones(2, 9, dtype=torch.bool)
    )
    assert not used.any()


def test_mining_uses_all_negatives_where_there_are_too_few():
    positive = torch.tensor([[True, True, False, False], [True, False, False, False]])
    used = hard_negative_mining(torch.rand(2, 4), positive, ~positive, ratio=3)
    assert torch.equal(used, ~positive)


def test_a_known_number_of_positives_changes_no_choice():
    generator = torch.Generator().manual_seed(0)
    losses, positive = torch.rand(4, 50, generator=generator), torch.rand(4, 50, generator=generator) < 0.1
    expected = hard_negative_mining(losses, positive, ~positive)
    for most in (int(positive.sum(1).max()), 30):
        assert torch.equal(hard_negative_mining(losses, positive, ~positive, most_positives=most), expected)


def test_mining_an_empty_batch_uses_nothing():
    empty = torch.zeros(0, 9, dtype=torch.bool)
    assert hard_negative_mining(torch.zeros(0, 9), empty, empty).shape == (0, 9)


def test_mining_needs_no_gradient_of_the_losses():
    losses = torch.rand(1, 9, requires_grad=True)
    positive = torch.arange(9).unsqueeze(0) == 0
    assert not hard_negative_mining(losses, positive, ~positive).requires_grad
