"""Right implementations of the tasks of box losses, and their contracts by hand."""

import math

import pytest
import torch
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from helpers.course.checks import box_losses

ORACLES = {
    "giou_loss": generalized_box_iou_loss,
    "diou_loss": distance_box_iou_loss,
    "ciou_loss": complete_box_iou_loss,
}


def _loop(boxes, others, name):
    """The three losses of each pair of boxes, number by number; alpha takes part in the gradient."""
    losses = []
    for (x1, y1, x2, y2), (a1, b1, a2, b2) in zip(boxes, others, strict=True):
        width, height = torch.min(x2, a2) - torch.max(x1, a1), torch.min(y2, b2) - torch.max(y1, b1)
        shared = width * height if width > 0 and height > 0 else torch.zeros(())
        union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared
        outer_width, outer_height = torch.max(x2, a2) - torch.min(x1, a1), torch.max(y2, b2) - torch.min(y1, b1)
        iou = shared / (union + 1e-7)
        if name == "giou_loss":
            losses.append(1 - iou + 1 - union / (outer_width * outer_height))
            continue
        distance = ((x1 + x2 - a1 - a2) ** 2 + (y1 + y2 - b1 - b2) ** 2) / 4
        loss = 1 - iou + distance / (outer_width**2 + outer_height**2)
        if name == "ciou_loss":
            angles = torch.atan((y2 - y1) / (x2 - x1)) - torch.atan((b2 - b1) / (a2 - a1))  # height / width: the same v
            v = 4 / math.pi**2 * angles**2
            loss = loss + v * v / (1 - iou + v + 1e-6)
        losses.append(loss)
    return torch.stack(losses) if losses else boxes.sum(1)


def _make_variations(name):
    def in_double(boxes, others):
        return ORACLES[name](boxes.double(), others.double())

    return {"loops": lambda boxes, others: _loop(boxes, others, name), "float64": in_double}


VARIATIONS = {name: _make_variations(name) for name in ORACLES}

BY_HAND = {  # overlapping, apart, same centre, another centre
    "giou_loss": [1.0794, 1.3333, 0.9167, 0.9167],
    "diou_loss": [0.9683, 1.4, 0.6667, 0.7292],
    "ciou_loss": [0.9683, 1.4, 0.6845, 0.747],
}
MISTAKES = {
    "BL1": [1.1429, 1.5, 1.0, 1.0],
    "BL2": [1.746, 2.0, 1.4167],
    "BL3a": [-0.0794, -0.3333, 0.0833],
    "BL4": [1.1905, 1.6325, 0.6667, 0.9167],
    "BL5": [3.2142, 13.65, 0.6667, 2.0642],
    "BL6": [0.746, 0.6, 0.6667, 0.6042],
    "BL9b": [0.9796, 1, 0.8889],
}


def measure(function, count=4):
    others = torch.tensor(list(box_losses.OTHERS.values()))[:count]
    return function(torch.tensor([box_losses.SQUARE]).expand_as(others), others).tolist()


@pytest.mark.parametrize("definition", box_losses.DEFINITIONS, ids=lambda definition: definition.name)
def test_losses_by_hand(definition):
    assert measure(definition.reference) == pytest.approx(BY_HAND[definition.name], abs=1e-4)


def test_the_values_of_known_mistakes_by_hand():
    mistakes = {mistake.code: mistake for task in box_losses.DEFINITIONS for mistake in task.mistakes}
    for code, values in MISTAKES.items():
        assert measure(mistakes[code].function, len(values)) == pytest.approx(values, abs=1e-3)
    assert measure(mistakes["BL7"].function)[2:] == pytest.approx([0.785, 0.8475], abs=1e-4)
    assert measure(mistakes["BL8a"].function)[2:] == pytest.approx([0.7556, 0.8181], abs=1e-4)


def test_both_conventions_of_alpha_have_the_same_value_and_another_gradient():
    boxes, others = torch.tensor([[0.0, 0, 10, 10]]).requires_grad_(), torch.tensor([[1.0, 2, 23, 9]])
    first, second = box_losses.ciou_loss(boxes, others), box_losses._alpha_in_the_gradient(boxes, others)
    torch.testing.assert_close(first, second)
    gradients = [torch.autograd.grad(loss.sum(), boxes)[0] for loss in (first, second)]
    assert not torch.allclose(*gradients, atol=1e-4)
