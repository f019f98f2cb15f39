"""Losses of the RoI head against torchvision's, the schedule of the report, and the mixture of box losses."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import box_iou, generalized_box_iou

from helpers.digits.loss import (
    BOX_CODER,
    OVERLAP_LOSSES,
    REPORT_SCHEDULE,
    BoxLossConfig,
    Schedule,
    compute_region_losses,
    iou_loss,
)

TRUE = torch.tensor([40.0, 20.0, 60.0, 60.0])


def draw_boxes(count: int, seed: int = 0) -> torch.Tensor:
    corner, size = torch.rand(2, count, 2, generator=torch.Generator().manual_seed(seed)) * 40
    return torch.cat([corner, corner + size + 1], dim=1)


def draw_proposals(num_proposals: int = 30, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the arguments of `compute_region_losses`; two thirds of the proposals have a digit."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, 11, (num_proposals,), generator=generator)
    labels[::3] = 0
    return {
        "class_logits": torch.randn(num_proposals, 11, generator=generator, requires_grad=True),
        "offsets": torch.randn(num_proposals, 44, generator=generator, requires_grad=True),
        "labels": labels,
        "proposals": draw_boxes(num_proposals, seed=1),
        "true_boxes": draw_boxes(num_proposals, seed=2),
    }


def test_class_loss_smooth_l1_and_their_gradients_equal_torchvisions():
    proposals = draw_proposals()
    losses = compute_region_losses(**proposals, term="ciou")
    targets = BOX_CODER.encode_single(proposals["true_boxes"], proposals["proposals"])
    expected = fastrcnn_loss(proposals["class_logits"], proposals["offsets"], [proposals["labels"]], [targets])
    names, inputs = ("class", "smooth-l1"), ("class_logits", "offsets")
    for name, input_name, expected_loss in zip(names, inputs, expected, strict=True):
        torch.testing.assert_close(losses[name], expected_loss)
        gradient, expected_gradient = (
            torch.autograd.grad(loss, proposals[input_name], retain_graph=True)[0]
            for loss in (losses[name], expected_loss)
        )
        torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("term", OVERLAP_LOSSES)
def test_the_term_is_the_overlap_loss_of_the_boxes_of_the_true_class(term):
    proposals = draw_proposals()
    expected = 0.0
    for row in range(30):
        label = int(proposals["labels"][row])
        if label:
            offsets = proposals["offsets"][row, 4 * label : 4 * label + 4].unsqueeze(0)
            box = BOX_CODER.decode_single(offsets, proposals["proposals"][row : row + 1])
            expected += OVERLAP_LOSSES[term](box, proposals["true_boxes"][row : row + 1]).item() / 30
    assert compute_region_losses(**proposals, term=term)["term"].item() == pytest.approx(expected, rel=1e-5)


def test_the_term_has_a_gradient_for_the_offsets_of_the_true_class_only():
    proposals = draw_proposals()
    compute_region_losses(**proposals, term="giou")["term"].backward()
    has_gradient = proposals["offsets"].grad.unflatten(1, (11, 4)).abs().sum(-1) > 0
    expected = torch.nn.functional.one_hot(proposals["labels"], 11).bool()
    expected[:, 0] = False
    assert torch.equal(has_gradient, expected)
    assert proposals["class_logits"].grad is None


def test_proposals_without_a_digit_have_a_class_loss_only():
    proposals = draw_proposals()
    proposals["labels"] = torch.zeros_like(proposals["labels"])
    losses = compute_region_losses(**proposals, term="diou")
    assert (losses["smooth-l1"].item(), losses["term"].item()) == (0.0, 0.0)
    assert losses["class"].item() > 0
    sum(losses.values()).backward()
    assert proposals["offsets"].grad.abs().sum() == 0


def test_without_proposals_all_losses_are_0():
    proposals = {name: column[:0] for name, column in draw_proposals().items()}
    assert [loss.item() for loss in compute_region_losses(**proposals, term="iou").values()] == [0, 0, 0]


def test_the_reports_schedule_by_hand():
    weights = [REPORT_SCHEDULE.weight(epoch) for epoch in range(15)]
    assert weights == pytest.approx([0] * 6 + [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5])
    assert REPORT_SCHEDULE.weight(40) == 0.5
    assert [Schedule().weight(epoch) for epoch in range(3)] == [1, 1, 1]


def measure_gradient(config: BoxLossConfig, epoch: int) -> torch.Tensor:
    proposals = draw_proposals()
    losses = compute_region_losses(**proposals, term=config.term)
    return torch.autograd.grad(config.mix(losses["smooth-l1"], losses["term"], epoch), proposals["offsets"])[0]


@pytest.mark.parametrize("term", OVERLAP_LOSSES)
def test_a_constant_term_only_scales_the_gradient_of_smooth_l1(term):
    config = BoxLossConfig(term, REPORT_SCHEDULE, constant=True)
    plain = measure_gradient(BoxLossConfig(), 10)
    torch.testing.assert_close(measure_gradient(config, 3), plain)
    torch.testing.assert_close(measure_gradient(config, 10), (1 - 0.3) * plain)
    with_gradient = measure_gradient(BoxLossConfig(term, REPORT_SCHEDULE), 10)
    assert (with_gradient - (1 - 0.3) * plain).abs().max() > 1e-4


def test_the_mixture_of_losses_by_hand():
    mixed = BoxLossConfig("iou", REPORT_SCHEDULE, constant=True).mix(torch.tensor(2.0), torch.tensor(0.5), 10)
    assert mixed.item() == pytest.approx(0.7 * 2 + 0.3 * 0.5)
    assert BoxLossConfig("iou", gain=10).mix(torch.tensor(2.0), torch.tensor(0.5), 0).item() == pytest.approx(5.0)
    assert BoxLossConfig().mix(torch.tensor(2.0), torch.tensor(0.5), 0).item() == 2.0


def test_overlap_losses_equal_1_minus_torchvisions_overlaps():
    predicted, true = draw_boxes(50, seed=3), draw_boxes(50, seed=4)
    torch.testing.assert_close(iou_loss(predicted, true), 1 - box_iou(predicted, true).diagonal())
    giou = OVERLAP_LOSSES["giou"](predicted, true)
    torch.testing.assert_close(giou, 1 - generalized_box_iou(predicted, true).diagonal())
