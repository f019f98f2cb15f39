"""Explorer of box losses: its description by hand, and a picture that follows the controls."""

import numpy as np
import pytest

from helpers.digits.box_explorers import describe_pair, explore_losses
from helpers.digits.loss import BOX_LOSSES
from tests.support import find_control, read_picture


def test_a_box_beside_the_truth_by_hand():
    """Width 1, height 2, shift 1.5: the boxes cover 4 of the enclosing 2.5 × 2; 1.5² / (2.5² + 2²) = 0.2195."""
    description = describe_pair(1.5, 0.0, 1.0, 1.0)
    assert description.predicted.tolist() == [1.5, 0, 2.5, 2]
    assert description.iou == 0
    expected = {"smooth-l1": 1.5 - 1 / 180, "iou": 1.0, "giou": 1.2, "diou": 1.2195, "ciou": 1.2195}
    assert dict(zip(BOX_LOSSES, description.losses.round(4).tolist(), strict=True)) == pytest.approx(expected, abs=1e-4)
    assert not description.gradients[BOX_LOSSES.index("iou")].any()


def test_a_box_without_shift_and_scale_is_the_true_box():
    description = describe_pair(0.0, 0.0, 1.0, 1.0)
    assert description.iou == pytest.approx(1)
    assert description.losses == pytest.approx(np.zeros(5), abs=1e-6)


@pytest.mark.parametrize(
    ("description", "value"), [("right (widths)", -0.4), ("down (widths)", 0.5), ("width ×", 1.6), ("height ×", 0.5)]
)
def test_every_slider_moves_the_picture_and_moves_it_back(description, value):
    box = explore_losses()
    before = read_picture(box)
    control = find_control(box, description)
    start, control.value = control.value, value
    assert (read_picture(box) != before).any()
    control.value = start
    np.testing.assert_array_equal(read_picture(box), before)


def test_the_arrows_change_with_the_chosen_loss():
    box = explore_losses()
    before = read_picture(box)
    find_control(box, "arrows of").value = BOX_LOSSES.index("smooth-l1")
    assert (read_picture(box) != before).any()
