"""Detection loss: objectness, class and box terms.

Shape letters: B images, N objects per image (padded), A anchors, C classes, P positive anchors per image (padded).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from helpers.detection.boxes import decode, encode, paired_overlap
from helpers.detection.dataset import PADDING
from helpers.detection.matching import BACKGROUND, IGNORED, hard_negative_mining

BoxLoss = Literal["smooth-l1", "giou"]
Objectness = Literal["mined", "quality"]


class DetectionLoss(nn.Module):
    """Losses of a batch as scalars: "loss" = objectness x 1 + class x 1 + box x 2 (handout, problem 1).

    Args:
        box_loss: "smooth-l1" on the offsets (the handout's), or "giou" on the decoded boxes (Rezatofighi et al. 2019).
        objectness: "mined" has the target 1 for every positive anchor and 0 for the three hardest negatives per
            positive (the handout's). "quality" has as target of a positive the IoU of its predicted box with the true
            box, and weights each anchor by its squared error (quality focal loss, Li et al. 2020), so that scores rank
            boxes by their IoU.

    Raises:
        ValueError: `box_loss` or `objectness` is another name.
    """

    def __init__(self, box_loss: BoxLoss = "smooth-l1", objectness: Objectness = "mined") -> None:
        super().__init__()
        if box_loss not in get_args(BoxLoss) or objectness not in get_args(Objectness):
            raise ValueError(
                f"box_loss is {box_loss!r} and objectness is {objectness!r}; choose box_loss from {get_args(BoxLoss)} "
                f"and objectness from {get_args(Objectness)}"
            )
        self.box_loss = box_loss
        self.objectness = objectness

    def forward(
        self,
        predictions: Float[Tensor, "B A outputs"],
        anchors: Float[Tensor, "A 4"],
        index: Int[Tensor, "B A"],
        positives: Int[Tensor, "B P"],
        boxes: Float[Tensor, "B N 4"],
        labels: Int[Tensor, "B N"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Return "loss" and its three terms.

        No shape depends on a value, so the CPU never waits for a result of the GPU, and the whole step can be recorded
        as one CUDA graph (`helpers.cuda_graphs`).

        Args:
            predictions: per anchor 4 offsets, 1 objectness logit, C class logits.
            anchors: boxes in pixels.
            index: for each anchor the row of its object, `matching.BACKGROUND` or `matching.IGNORED`.
            positives: the positive anchors, from `matching.list_positives`.
            boxes: true boxes in pixels.
            labels: true classes.
        """
        batch = _gather_positives(predictions, anchors, index, positives, boxes, labels)
        class_loss = compute_class_loss(batch)
        iou = giou = None
        if self.box_loss == "giou" or self.objectness == "quality":  # the other two terms need no decoded boxes
            iou, giou = paired_overlap(decode(batch.offsets, batch.positive_anchors), batch.matched_boxes)
        if giou is not None and self.box_loss == "giou":
            num_positives = batch.is_real.sum().clamp(min=1)
            box_loss = torch.where(batch.is_real, 1 - giou, 0.0).sum() / num_positives
        else:
            box_loss = compute_offset_loss(batch)
        if iou is not None and self.objectness == "quality":
            objectness = compute_quality_objectness(batch, positives, iou)
        else:
            objectness = compute_mined_objectness(batch)
        loss = objectness + class_loss + 2 * box_loss
        return {"loss": loss, "objectness": objectness, "class": class_loss, "box": box_loss}


class MatchedPredictions(NamedTuple):
    """Predictions of a batch with the objects that its positive anchors are matched to."""

    predictions: Float[Tensor, "B A outputs"]
    anchors: Float[Tensor, "A 4"]
    index: Int[Tensor, "B A"]  # row of the anchor's object, or `matching.BACKGROUND`, or `matching.IGNORED`
    boxes: Float[Tensor, "B N 4"]  # of the objects
    labels: Int[Tensor, "B N"]
    is_real: Bool[Tensor, "B P"]  # False where the list of positive anchors is padded
    offsets: Float[Tensor, "B P 4"]  # outputs of the positive anchors
    class_logits: Float[Tensor, "B P C"]
    positive_anchors: Float[Tensor, "B P 4"]  # pixels
    matched_boxes: Float[Tensor, "B P 4"]  # true boxes of their objects
    matched_labels: Int[Tensor, "B P"]  # -1 is padding


def compute_class_loss(batch: MatchedPredictions) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the positive anchors' classes; 0 without any."""
    num_positives = batch.is_real.sum().clamp(min=1)
    losses = F.cross_entropy(batch.class_logits.mT, batch.matched_labels, ignore_index=PADDING, reduction="sum")
    return losses / num_positives


def compute_offset_loss(batch: MatchedPredictions) -> Float[Tensor, ""]:
    """Return the mean smooth-L1 loss of the positive anchors' offsets; 0 without any."""
    num_positives = batch.is_real.sum().clamp(min=1)
    true_offsets = encode(batch.matched_boxes, batch.positive_anchors)
    losses = F.smooth_l1_loss(batch.offsets, true_offsets, reduction="none").mean(-1)
    return torch.where(batch.is_real, losses, 0.0).sum() / num_positives


def compute_mined_objectness(batch: MatchedPredictions) -> Float[Tensor, ""]:
    """Return the mean binary cross-entropy of the positive anchors and of three hard negatives per positive."""
    logits = batch.predictions[..., 4].float()
    positive, negative = batch.index >= 0, batch.index == BACKGROUND
    losses = F.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")
    used = positive | hard_negative_mining(losses, positive, negative, most_positives=batch.is_real.shape[1])
    return torch.where(used, losses, 0.0).sum() / used.sum().clamp(min=1)


def compute_quality_objectness(
    batch: MatchedPredictions, positives: Int[Tensor, "B P"], iou: Float[Tensor, "B P"]
) -> Float[Tensor, ""]:
    """Return the quality focal loss: the sum over all anchors, divided by the number of positive ones.

    The target q of a positive anchor is the IoU of its predicted box with its object, and 0 for background. An anchor
    with the objectness p has the loss (q - p)² · binary cross-entropy(p, q). Ignored anchors have none. The weight
    (q - p)² is detached: gradients pass through the cross-entropy only, whereas those of the paper pass through both.

    Example: an image has 5 anchors and the positives [1, 3, -1] with the IoUs [0.8, 0.6, 0.3]. The last row is padding.
    The targets q of the 5 anchors are [0, 0.8, 0, 0.6, 0].

    Args:
        batch: predictions [B, A, outputs] and matches. `index` [B, A] is the row of each anchor's object, `BACKGROUND`
            or `IGNORED`. `is_real` [B, P] is False in the padded rows of `positives`.
        positives: the numbers of the positive anchors, padded with -1.
        iou: of the predicted box of each positive anchor with the true box.

    Source: Li et al. 2020, "Generalized focal loss" (arXiv:2006.04388).
    """
    logits = batch.predictions[..., 4].float()  # [B, A]
    target = torch.where(batch.is_real, iou.detach(), 0.0)  # [B, P], 0 in padded rows
    anchor = positives.clamp(min=0).long()  # [B, P]; a padded row becomes anchor 0, to which its target adds 0
    quality = torch.zeros_like(logits).scatter_add_(1, anchor, target)  # [B, A], target q of each anchor
    is_used = batch.index != IGNORED  # [B, A]
    weight = (quality - logits.detach().sigmoid()).square_().mul_(is_used)  # [B, A], 0 for ignored anchors
    losses = F.binary_cross_entropy_with_logits(logits, quality, weight, reduction="sum")
    return losses / batch.is_real.sum().clamp(min=1)


def _gather_positives(
    predictions: Float[Tensor, "B A outputs"],
    anchors: Float[Tensor, "A 4"],
    index: Int[Tensor, "B A"],
    positives: Int[Tensor, "B P"],
    boxes: Float[Tensor, "B N 4"],
    labels: Int[Tensor, "B N"],
) -> MatchedPredictions:
    """Return the batch with the outputs and objects of its positive anchors; the arguments are those of `forward`."""
    is_real = positives >= 0
    anchor = positives.clamp(min=0).long()
    row = index.gather(1, anchor).clamp(min=0).long()
    offsets, _, class_logits = (
        _gather_rows(predictions, anchor).float().split([4, 1, predictions.shape[-1] - 5], dim=-1)
    )
    return MatchedPredictions(
        predictions=predictions,
        anchors=anchors,
        index=index,
        boxes=boxes,
        labels=labels,
        is_real=is_real,
        offsets=offsets,
        class_logits=class_logits,
        positive_anchors=anchors[anchor],
        matched_boxes=_gather_rows(boxes, row),
        matched_labels=labels.gather(1, row).masked_fill(~is_real, PADDING),
    )


def _gather_rows(rows: Float[Tensor, "B M K"], indices: Int[Tensor, "B P"]) -> Float[Tensor, "B P K"]:
    """Return the rows of each image at `indices`."""
    return rows.gather(1, indices.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
