"""Boxes: area, IoU, and encoding and decoding of offsets."""

import pytest
import torch
import torchvision
from torch.testing import assert_close
from torchvision.models.detection._utils import BoxCoder

from helpers.detection.boxes import MAXIMUM_LOG_SCALE, area, compute_iou, decode, encode, paired_overlap


def draw_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return boxes [*shape, 4] with sides of 4 to 100 pixels and random centres in a 224-pixel image."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(*shape, 2, generator=generator) * 224
    half_sizes = torch.rand(*shape, 2, generator=generator) * 48 + 2
    return torch.cat([centres - half_sizes, centres + half_sizes], dim=-1)


# by hand


def test_a_box_of_three_by_four_pixels_covers_twelve():
    assert_close(area(torch.tensor([[10.0, 20.0, 13.0, 24.0]])), torch.tensor([12.0]))


def test_a_box_with_swapped_corners_is_empty():
    assert area(torch.tensor([13.0, 24.0, 10.0, 20.0])) == 0


def test_two_boxes_that_share_a_quarter_have_iou_one_seventh():
    square = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    shifted = torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    assert_close(compute_iou(square, shifted), torch.tensor([[1 / 7]]))  # 1 of 4 + 4 - 1 square pixels


def test_every_box_is_compared_with_every_other():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 4.0]])
    others = torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 1.0]])
    expected = torch.tensor([[1.0, 1 / 2, 1 / 4], [1 / 2, 0.0, 2 / 10]])
    assert_close(compute_iou(boxes, others), expected)


def test_offsets_are_shifts_in_anchor_sizes_and_logarithms_of_sizes():
    anchor = torch.tensor([10.0, 10.0, 30.0, 50.0])  # 20 x 40 pixels around (20, 30)
    box = torch.tensor([20.0, 30.0, 40.0, 50.0])  # 20 x 20 pixels around (30, 40)
    assert_close(encode(box, anchor), torch.tensor([0.5, 0.25, 0.0, -0.6931472]))


def test_offsets_of_zero_decode_to_the_anchor():
    anchors = draw_boxes(5)
    assert_close(decode(torch.zeros(5, 4), anchors), anchors)


# law


def test_a_box_has_iou_one_with_itself():
    boxes = draw_boxes(50)
    assert_close(compute_iou(boxes, boxes).diagonal(), torch.ones(50))


def test_iou_is_symmetric():
    boxes, others = draw_boxes(20), draw_boxes(30, seed=1)
    assert torch.equal(compute_iou(boxes, others), compute_iou(others, boxes).mT)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda boxes: boxes + torch.tensor([5.0, -3.0, 5.0, -3.0]), id="moved"),
        pytest.param(lambda boxes: boxes * 3.0, id="scaled"),
        pytest.param(lambda boxes: boxes * torch.tensor([2.0, 0.5, 2.0, 0.5]), id="stretched"),
        pytest.param(
            lambda boxes: torch.tensor([224.0, 0, 224, 0]) + boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]),
            id="mirrored",
        ),
        pytest.param(lambda boxes: boxes[:, [1, 0, 3, 2]], id="transposed"),
    ],
)
def test_iou_is_unchanged_when_both_sides_are(change):
    boxes, others = draw_boxes(20), draw_boxes(30, seed=1)
    assert_close(compute_iou(change(boxes), change(others)), compute_iou(boxes, others), atol=1e-5, rtol=0)


def test_decoding_undoes_encoding():
    boxes, anchors = draw_boxes(1000), draw_boxes(1000, seed=1)
    assert_close(decode(encode(boxes, anchors), anchors), boxes, atol=1e-3, rtol=0)


def test_offsets_do_not_depend_on_place_or_scale():
    boxes, anchors = draw_boxes(20), draw_boxes(20, seed=1)
    assert_close(encode(boxes * 4 + 7, anchors * 4 + 7), encode(boxes, anchors), atol=1e-4, rtol=1e-4)


def test_leading_axes_are_independent_calls():
    boxes, others = draw_boxes(2, 3, 5), draw_boxes(2, 3, 7, seed=1)
    batched = compute_iou(boxes, others)
    assert batched.shape == (2, 3, 5, 7)
    assert torch.equal(batched[1, 2], compute_iou(boxes[1, 2], others[1, 2]))


def test_one_set_of_anchors_is_broadcast_over_a_batch():
    boxes, anchors = draw_boxes(4, 7), draw_boxes(7, seed=1)
    assert torch.equal(compute_iou(boxes, anchors)[3], compute_iou(boxes[3], anchors))
    assert torch.equal(encode(boxes, anchors)[3], encode(boxes[3], anchors))


# oracle


def test_iou_is_torchvisions():
    boxes, others = draw_boxes(200), draw_boxes(300, seed=1)
    assert_close(compute_iou(boxes, others), torchvision.ops.box_iou(boxes, others))


def test_the_gradient_of_iou_is_torchvisions():
    ours, theirs = draw_boxes(20).requires_grad_(), draw_boxes(20).requires_grad_()
    others = draw_boxes(30, seed=1)
    compute_iou(ours, others).square().sum().backward()
    torchvision.ops.box_iou(theirs, others).square().sum().backward()
    assert_close(ours.grad, theirs.grad)


def test_paired_overlaps_are_the_diagonals_of_torchvisions_matrices():
    boxes, others = draw_boxes(50), draw_boxes(50, seed=1)
    iou, giou = paired_overlap(boxes, others)
    assert_close(iou, torchvision.ops.box_iou(boxes, others).diagonal())
    assert_close(giou, torchvision.ops.generalized_box_iou(boxes, others).diagonal())


def test_paired_overlaps_of_empty_boxes_are_finite():
    empty = torch.zeros(1, 4, requires_grad=True)
    iou, giou = paired_overlap(empty, torch.zeros(1, 4))
    (iou + giou).backward()
    assert (iou.item(), giou.item()) == (0, 0)
    assert torch.isfinite(empty.grad).all()


def test_offsets_are_those_of_torchvisions_coder():
    boxes, anchors, coder = draw_boxes(100), draw_boxes(100, seed=1), BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    offsets = coder.encode_single(boxes, anchors)
    assert_close(encode(boxes, anchors), offsets, atol=1e-5, rtol=1e-5)
    assert_close(decode(offsets, anchors), coder.decode_single(offsets, anchors))


# edge


@pytest.mark.parametrize("empty", [(0.0, 0, 0, 0), (50.0, 50, 50, 90), (60.0, 60, 50, 50)])
def test_a_box_without_area_overlaps_nothing_not_even_itself(empty):
    boxes = torch.tensor([empty])
    assert torch.equal(compute_iou(boxes, torch.cat([boxes, draw_boxes(9)])), torch.zeros(1, 10))


def test_boxes_that_only_touch_do_not_overlap():
    assert compute_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[2.0, 0.0, 4.0, 2.0]])) == 0


def test_no_boxes_give_an_empty_table():
    assert compute_iou(torch.zeros(0, 4), draw_boxes(3)).shape == (0, 3)
    assert compute_iou(draw_boxes(3), torch.zeros(0, 4)).shape == (3, 0)
    assert decode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)


def test_a_padding_row_has_finite_offsets():
    anchor = torch.tensor([10.0, 10.0, 30.0, 50.0])
    offsets = encode(torch.zeros(4), anchor)
    assert offsets.isfinite().all()
    assert_close(decode(offsets, anchor), torch.zeros(4), atol=1e-5, rtol=0)


def test_an_extreme_prediction_is_decoded_to_a_finite_box():
    anchor = torch.tensor([0.0, 0.0, 16.0, 16.0])
    boxes = decode(torch.tensor([[0.0, 0.0, 1e4, 1e4]]), anchor)
    side = 16 * torch.tensor(MAXIMUM_LOG_SCALE).exp()
    assert_close(boxes, torch.stack([8 - side / 2, 8 - side / 2, 8 + side / 2, 8 + side / 2]).unsqueeze(0))
