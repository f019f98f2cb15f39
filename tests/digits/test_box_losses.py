"""Box losses of two boxes: values by hand, gradients against finite differences, and descents."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import box_iou

from helpers.digits.box_losses import SCENARIOS, descend, measure_loss, measure_scenario, place_boxes
from helpers.digits.loss import BOX_LOSSES

TRUE = torch.tensor([40.0, 20.0, 60.0, 60.0])


@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_the_true_box_has_loss_0_and_a_step_against_the_gradient_lowers_the_loss(loss):
    assert measure_loss(loss, TRUE.unsqueeze(0), TRUE.unsqueeze(0))[0].item() == pytest.approx(0, abs=1e-6)
    near = place_boxes(TRUE, "apart", torch.tensor([0.3]))
    losses, gradients = measure_loss(loss, near, TRUE.unsqueeze(0))
    assert measure_loss(loss, near - gradients, TRUE.unsqueeze(0))[0] < losses


@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_gradients_equal_finite_differences(loss):
    predicted = torch.tensor([[43.0, 15.0, 66.0, 52.0]], dtype=torch.float64)
    true = TRUE.double().unsqueeze(0)
    _, gradients = measure_loss(loss, predicted, true)
    for corner in range(4):
        step = torch.zeros(1, 4, dtype=torch.float64)
        step[0, corner] = 1e-5
        difference = measure_loss(loss, predicted + step, true)[0] - measure_loss(loss, predicted - step, true)[0]
        # The weight of CIoU's last term is held fixed in its gradient (Zheng et al. 2020, section 3.3).
        tolerance = 0.01 if loss == "ciou" else 1e-6
        assert gradients[0, corner].item() == pytest.approx(difference.item() / 2e-5, abs=tolerance)


def test_disjoint_boxes_have_a_gradient_towards_the_truth_under_every_loss_except_iou():
    disjoint = place_boxes(TRUE, "apart", torch.tensor([1.5, 3.0]))
    for loss in BOX_LOSSES:
        losses, gradients = measure_loss(loss, disjoint, TRUE.expand(2, 4))
        slope_to_the_right = gradients[:, [0, 2]].sum(1)  # of the loss, when both vertical sides move to the right
        if loss == "iou":
            assert losses.tolist() == [1.0, 1.0]
            assert not gradients.any()
        else:
            assert losses[1] > losses[0]
            assert (slope_to_the_right > 0).all()


def test_inside_the_true_box_only_diou_ciou_and_smooth_l1_depend_on_the_position():
    nested = place_boxes(TRUE, "nested", torch.tensor([0.0, 0.2]))
    for loss in BOX_LOSSES:
        centred_loss, shifted_loss = measure_loss(loss, nested, TRUE.expand(2, 4))[0].tolist()
        if loss in ("iou", "giou"):
            assert centred_loss == pytest.approx(shifted_loss) == pytest.approx(0.75)  # a quarter of the area
        else:
            assert shifted_loss > centred_loss + 0.005


def test_stretched_boxes_keep_centre_and_area_and_ciou_adds_a_term_of_their_shape():
    stretched = place_boxes(TRUE, "stretched", torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(stretched, torch.tensor([TRUE.tolist(), [45.0, 0.0, 55.0, 80.0]]))
    diou, ciou = (measure_loss(loss, stretched, TRUE.expand(2, 4))[0] for loss in ("diou", "ciou"))
    assert diou.tolist() == pytest.approx([0, 1 - 400 / 1200], abs=1e-6)
    assert ciou[1] > diou[1] + 0.001


def test_slopes_of_equal_boxes_side_by_side_by_hand():
    """IoU is (1 - s) / (1 + s) up to s = 1, so its loss has the slope 2 / (1 + s)²; smooth-L1 has its factor of 10."""
    positions = torch.tensor([0.25, 0.5, 2.0], dtype=torch.float64)
    losses, slopes = measure_scenario("iou", TRUE.double(), "apart", positions)
    assert losses.tolist() == pytest.approx([0.4, 2 / 3, 1])
    assert slopes.tolist() == pytest.approx([2 / 1.25**2, 2 / 1.5**2, 0])
    assert measure_scenario("smooth-l1", TRUE.double(), "apart", positions)[1].tolist() == pytest.approx([10] * 3)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("loss", BOX_LOSSES)
def test_slopes_equal_differences_of_the_losses(loss, scenario):
    positions = torch.linspace(0.15, 0.7, 56, dtype=torch.float64)
    losses, slopes = measure_scenario(loss, TRUE.double(), scenario, positions)
    differences = (losses[2:] - losses[:-2]) / 0.02
    # CIoU's weight of shapes is held fixed in its gradient, see above.
    torch.testing.assert_close(slopes[1:-1], differences, atol=0.25 if loss == "ciou" else 0.02, rtol=0.02)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_from_a_disjoint_box_the_descent_reaches_the_truth_under_every_loss_except_iou(scale):
    start = place_boxes(TRUE, "apart", torch.tensor([1.5]))[0]
    for loss in BOX_LOSSES:
        path = descend(loss, scale * start, scale * TRUE, num_steps=300)
        assert path.shape == (301, 4)
        final_iou = box_iou(path[-1:], scale * TRUE.unsqueeze(0)).item()
        assert final_iou == 0 if loss == "iou" else final_iou > 0.8, loss


def test_an_unknown_loss_or_scenario_is_refused():
    with pytest.raises(ValueError, match="choose one of smooth-l1, iou, giou, diou, ciou"):
        measure_loss("l2", TRUE.unsqueeze(0), TRUE.unsqueeze(0))
    with pytest.raises(ValueError, match="choose one of apart, nested, stretched"):
        place_boxes(TRUE, "above", torch.ones(1))
