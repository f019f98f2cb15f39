"""Right implementations of the detection loss, and its contract."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

from helpers.course.checks import catalogue, detection_loss, matching
from helpers.course.checks.detection_loss import PlainLoss
from helpers.detection.anchors import generate_anchors
from helpers.tasks.judging import judge
from helpers.tasks.running import run_cases


class FromTorchvision(nn.Module):
    """Matching and encoding of torchvision, and a loop over images and levels."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.outputs = 5 + num_classes

    def forward(self, predictions, targets, anchors):
        sums = torch.zeros(3)
        for image, target in enumerate(targets):
            rows = [level[image].reshape(-1, self.outputs, *level.shape[2:]) for level in predictions]
            flat = torch.cat([level.permute(2, 3, 0, 1).reshape(-1, self.outputs) for level in rows])
            sums = sums + torch.stack(self.compute_image(flat, torch.cat(anchors), target))
        objectness, class_loss, box_loss = sums / len(targets)
        total = objectness + class_loss + 2 * box_loss
        return {"loss_obj": objectness, "loss_cls": class_loss, "loss_loc": box_loss, "loss_total": total}

    def compute_image(self, flat, anchors, target):
        if len(target["boxes"]) == 0:
            return [flat.sum() * 0] * 3
        index = Matcher(0.5, 0.3)(box_iou(target["boxes"], anchors))
        rows = (index >= 0).nonzero(as_tuple=True)[0]
        background = flat[index == -1, 4].sort(descending=True).values[: 3 * len(rows)]
        logits = torch.cat([flat[rows, 4], background])
        wanted = torch.cat([torch.ones(len(rows)), torch.zeros(len(background))])
        offsets = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(target["boxes"][index[rows]], anchors[rows])
        return [
            F.binary_cross_entropy_with_logits(logits, wanted),
            F.cross_entropy(flat[rows, 5:], target["labels"][index[rows]]),
            F.smooth_l1_loss(flat[rows, :4], offsets),
        ]


class OverPositives(PlainLoss):
    def average_objectness(self, losses, positive, negative):
        used = positive | matching.hard_negative_mining(losses, positive, negative)
        return losses[used].sum() / positive.sum().clamp(min=1)


class TwoMeans(PlainLoss):
    def average_objectness(self, losses, positive, negative):
        if not positive.any():
            return losses.sum() * 0
        hard = matching.hard_negative_mining(losses, positive, negative)
        return losses[positive].mean() + losses[hard].mean()


class SumOfFourOffsets(PlainLoss):
    def compute_box_loss(self, offsets, boxes, anchors, positive):
        return 4 * super().compute_box_loss(offsets, boxes, anchors, positive)


class OverAllUsed(PlainLoss):
    def compute_box_loss(self, offsets, boxes, anchors, positive):
        return super().compute_box_loss(offsets, boxes, anchors, positive) * positive.sum() / (4 * positive.sum())


class ThreeHardNegativesWithoutObjects(PlainLoss):
    def average_objectness(self, losses, positive, negative):
        if positive.any():
            return super().average_objectness(losses, positive, negative)
        return losses[negative].topk(3).values.sum()


class AllNegativesOnAverageWithoutObjects(PlainLoss):
    def average_objectness(self, losses, positive, negative):
        if positive.any():
            return super().average_objectness(losses, positive, negative)
        return losses[negative].mean()


class Forced(PlainLoss):
    def match(self, anchors, target):
        return matching.match_with_forcing(anchors, target["boxes"], target["labels"])


class LevelByLevel(PlainLoss):
    def forward(self, predictions, targets, anchors):
        levels = [
            PlainLoss.forward(self, [level], targets, [level_anchors])
            for level, level_anchors in zip(predictions, anchors, strict=True)
        ]
        return {name: sum(level[name] for level in levels) for name in levels[0]}


class LevelByLevelOnAverage(LevelByLevel):
    def forward(self, predictions, targets, anchors):
        terms = super().forward(predictions, targets, anchors)
        return {name: value / len(predictions) for name, value in terms.items()}


class AnchorMajor(PlainLoss):
    def flatten(self, level):
        return level.unflatten(1, (-1, 5 + self.num_classes)).permute(0, 1, 3, 4, 2).flatten(1, 3)


ORACLES = {"DetectionLoss": FromTorchvision}
"""An independent right implementation of each task."""

VARIATIONS = {
    "DetectionLoss": {
        variation.__name__: variation
        for variation in (
            PlainLoss,
            OverPositives,
            TwoMeans,
            SumOfFourOffsets,
            OverAllUsed,
            ThreeHardNegativesWithoutObjects,
            AllNegativesOnAverageWithoutObjects,
            Forced,
            LevelByLevel,
            LevelByLevelOnAverage,
        )
    }
}
"""Legitimate variations of each task."""


def generate_anchor_by_anchor(sizes, scales, image_size):
    levels = generate_anchors(sizes, scales, image_size)
    return [
        level.unflatten(0, (-1, len(level_scales))).transpose(0, 1).flatten(0, 1)
        for level, level_scales in zip(levels, scales, strict=True)
    ]


@pytest.mark.parametrize(
    ("loss", "generate", "is_right"),
    [
        (PlainLoss, generate_anchors, True),
        (AnchorMajor, generate_anchor_by_anchor, True),
        (AnchorMajor, generate_anchors, False),
        (PlainLoss, generate_anchor_by_anchor, False),
    ],
)
def test_loss_and_anchors_must_agree_on_an_order_and_either_order_is_right(loss, generate, is_right):
    task = catalogue.compile_visible("DetectionLoss")
    verdict = judge(task, run_cases(loss, task.cases, {"generate_anchors": generate}))
    assert verdict.is_passed == is_right
    assert {task.cases[failure.number].group for failure in verdict.failures} <= {"pairs"}


def test_the_losses_of_the_example_by_hand():
    anchors = detection_loss.make_grid_anchors(3, 5)
    target = detection_loss.make_target([anchors[6].tolist()], [2])
    terms = detection_loss.DetectionLoss()([torch.zeros(1, 8, 3, 5)], [target], [anchors])
    assert terms["loss_obj"] == pytest.approx(math.log(2))
    assert terms["loss_cls"] == pytest.approx(math.log(3))
    assert terms["loss_loc"] == 0


def test_the_probe_with_two_positive_anchors_by_hand():
    anchors = generate_anchors([(4, 4)], [[16, 24, 32]], 64)
    target = detection_loss.make_target([[28.0, 12, 52, 36]], [1])
    terms = detection_loss.DetectionLoss()([torch.zeros(1, 24, 4, 4)], [target], anchors)
    assert terms["loss_obj"] == pytest.approx(0.6931, abs=1e-4)
    assert terms["loss_cls"] == pytest.approx(1.0986, abs=1e-4)
    assert terms["loss_loc"] == pytest.approx(0.0103, abs=1e-4)
