"""What lesson 8's explorer computes, and that its picture follows the sliders."""

import io

import numpy as np
import pytest
from matplotlib.pyplot import imread

from helpers.digits.box_explorers import describe_pair, explore_losses
from helpers.digits.loss import BOX_LOSSES


def see(box) -> np.ndarray:
    """Returns the picture below the sliders."""
    return imread(io.BytesIO(box.children[-1].value))


def test_a_box_beside_the_truth_by_hand():
    """1 wide, 2 high, 1.5 to the right: a hull of 2.5 × 2 holds 4 of 5, and 1.5² / (2.5² + 2²) = .2195."""
    seen = describe_pair(1.5, 0.0, 1.0, 1.0)
    assert seen.predicted.tolist() == [1.5, 0, 2.5, 2]
    assert seen.iou == 0
    expected = {"smooth-l1": 1.5 - 1 / 180, "iou": 1.0, "giou": 1.2, "diou": 1.2195, "ciou": 1.2195}
    assert dict(zip(BOX_LOSSES, seen.losses.round(4).tolist(), strict=True)) == pytest.approx(expected, abs=1e-4)
    assert not seen.gradients[BOX_LOSSES.index("iou")].any()


def test_sliders_at_rest_hit_the_truth():
    seen = describe_pair(0.0, 0.0, 1.0, 1.0)
    assert seen.iou == pytest.approx(1)
    assert seen.losses == pytest.approx(np.zeros(5), abs=1e-6)


@pytest.mark.parametrize(
    ("description", "value"), [("right (widths)", -0.4), ("down (widths)", 0.5), ("width ×", 1.6), ("height ×", 0.5)]
)
def test_every_slider_moves_the_picture_and_moves_it_back(description, value):
    box = explore_losses()
    before = see(box)
    control = next(one for one in box.children[:-1] if one.description == description)
    first, control.value = control.value, value
    assert (see(box) != before).any()
    control.value = first
    np.testing.assert_array_equal(see(box), before)


def test_the_arrows_are_those_of_the_chosen_loss():
    box = explore_losses()
    before = see(box)
    box.children[-2].value = BOX_LOSSES.index("giou")
    assert (see(box) != before).any()
