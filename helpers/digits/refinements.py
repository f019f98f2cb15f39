"""Pairs of boxes on which Faster R-CNN computes its box losses, in both stages.

The RoI head compares the boxes that it predicts for proposals with the true boxes (`collect_refinements`). The RPN
compares the boxes that it predicts for anchors with the true boxes (`collect_matched_anchors`).
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from helpers.digits.anchors import STRIDES, AnchorSet, Resize, pad_sizes
from helpers.digits.dataset import DigitDataset, prepare_images
from helpers.digits.loss import BOX_CODER, iou_loss

RPN_THRESHOLDS = (0.7, 0.3)
"""IoU from which torchvision's RPN makes an anchor positive, and below which it is background."""


class Refinements(NamedTuple):
    """Boxes (x1, y1, x2, y2) of P proposals that are matched to a digit, in pixels of the resized image."""

    proposals: Float[Tensor, "P 4"]  # inputs of the RoI head
    refined: Float[Tensor, "P 4"]  # boxes that it predicts for the class of the digit
    true: Float[Tensor, "P 4"]  # boxes of the digits


@torch.no_grad()
def collect_refinements(network: FasterRCNN, dataset: DigitDataset) -> Refinements:
    """Return the refinements in all images, sampled as in training, from a network in evaluation mode.

    torchvision adds the true boxes to the proposals before it samples. Here they are excluded, because they need no
    correction.
    """
    device = next(network.parameters()).device
    heads = cast(RoIHeads, network.roi_heads)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for index in range(len(dataset)):
        image, target = dataset[index]
        target = {name: value.to(device) for name, value in target.items()}
        images, targets = network.transform(prepare_images([image], device), [target])
        features = network.backbone(images.tensors)
        proposals, _ = network.rpn(images, features)
        sampled, rows, labels, _ = heads.select_training_samples(proposals, targets)
        pooled = heads.box_head(heads.box_roi_pool(features, sampled, images.image_sizes))
        _, offsets = heads.box_predictor(pooled)
        true = targets[0]["boxes"][rows[0]]
        matched = (labels[0] > 0) & (sampled[0] != true).any(1)
        offsets = offsets.unflatten(1, (-1, 4))[matched, labels[0][matched]]
        refined = BOX_CODER.decode_single(offsets, sampled[0][matched])
        columns.append((sampled[0][matched], refined, true[matched]))
    return Refinements(*(torch.cat(column).cpu() for column in zip(*columns, strict=True)))


class MatchedAnchors(NamedTuple):
    """Boxes (x1, y1, x2, y2) of P anchors that are matched to a digit, in pixels of the resized image."""

    anchors: Float[Tensor, "P 4"]
    true: Float[Tensor, "P 4"]  # boxes of the digits


def collect_matched_anchors(
    dataset: DigitDataset, anchors: AnchorSet, resize: Resize | None = None, strides: tuple[int, ...] = STRIDES
) -> MatchedAnchors:
    """Return all positive anchors of torchvision's RPN in all images: those that its box loss is computed for.

    An anchor is positive if its IoU with a digit is at least 0.7, or if no other anchor has a higher IoU with a digit
    (a low-quality match). The network does not matter, only the anchors and the resize. Training uses a sample of
    these anchors: at most 128 of an image.

    Args:
        resize: resize of the model; `None` is `Resize()`, torchvision's default. Each image is a batch of its own.
        strides: pixels per cell; as many levels as `anchors` has are used.
    """
    resize = resize or Resize()
    generator = anchors.build_generator()
    matcher = Matcher(*RPN_THRESHOLDS, allow_low_quality_matches=True)
    owners, image_sizes = torch.from_numpy(dataset.owners), torch.from_numpy(dataset.sizes)
    boxes = resize.boxes(torch.from_numpy(dataset.boxes), image_sizes[owners])
    padded_sizes = pad_sizes(resize.sizes(image_sizes))
    columns: list[tuple[Tensor, Tensor]] = []
    for index in torch.unique(owners).tolist():
        height, width = padded_sizes[index].tolist()
        images = ImageList(torch.zeros(1, 1, height, width), [(height, width)])
        maps = [torch.zeros(1, 1, -(-height // stride), -(-width // stride)) for stride in strides]
        (placed_anchors,) = generator(images, maps[: len(anchors.sizes)])
        image_boxes = boxes[owners == index]
        rows = matcher(box_iou(image_boxes, placed_anchors))
        columns.append((placed_anchors[rows >= 0], image_boxes[rows[rows >= 0]]))
    return MatchedAnchors(*(torch.cat(column) for column in zip(*columns, strict=True)))


def summarise_pairs(boxes: Float[Tensor, "P 4"], true: Float[Tensor, "P 4"]) -> dict[str, float]:
    """Return how boxes lie to the true boxes in the same rows: their number, mean IoU and shares of all pairs.

    Returns:
        "boxes"; "mean IoU"; "IoU below 0.5", "apart" (IoU 0) and "inside" (the box lies inside the true one), shares.
        Without a box all but the number are NaN.
    """
    iou = 1 - iou_loss(boxes, true)
    inside = (boxes[:, :2] >= true[:, :2]).all(1) & (boxes[:, 2:] <= true[:, 2:]).all(1)
    return {
        "boxes": len(boxes),
        "mean IoU": iou.mean().item(),
        "IoU below 0.5": (iou < 0.5).float().mean().item(),
        "apart": (iou == 0).float().mean().item(),
        "inside": inside.float().mean().item(),
    }
