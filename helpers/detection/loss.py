"""What the detector is punished for: objectness, class and box, anchor by anchor.

Shape letters: B images, N objects per image (padded), A anchors, C classes, P positive anchors of the batch.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from helpers.detection.boxes import decode, encode
from helpers.detection.matching import IGNORED, NEGATIVE, hard_negative_mining

BoxLoss = Literal["smooth-l1", "giou"]
Objectness = Literal["mined", "quality"]


class DetectionLoss(nn.Module):
    """Returns the losses of a batch as scalars: "loss" = objectness x 1 + class x 1 + box x 2 (handout, problem 1).

    Args:
        box_loss: "smooth-l1" on the offsets (the handout's), or "giou" on the decoded boxes (Rezatofighi et al. 2019).
        objectness: "mined" asks every positive anchor for 1 and the hardest three negatives per positive for 0 (the
            handout's); "quality" asks every positive for the overlap that its own predicted box reaches, and weighs
            all anchors by how wrong they are (quality focal loss, Li et al. 2020), so that scores rank boxes by how
            good they are.
    """

    def __init__(self, box_loss: BoxLoss = "smooth-l1", objectness: Objectness = "mined") -> None:
        super().__init__()
        self.box_loss = box_loss
        self.objectness = objectness

    def forward(
        self,
        predictions: Float[Tensor, "B A outputs"],
        anchors: Float[Tensor, "A 4"],
        index: Int[Tensor, "B A"],
        boxes: Float[Tensor, "B N 4"],
        labels: Int[Tensor, "B N"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Returns "loss" and its three parts.

        Args:
            predictions: per anchor 4 offsets, 1 objectness logit, C class logits.
            index: for each anchor the row of its object, `matching.NEGATIVE` or `matching.IGNORED`.
        """
        positive = index >= 0
        image, anchor = positive.nonzero(as_tuple=True)
        row = index[image, anchor].long()
        matched, chosen = predictions[image, anchor].float(), anchors[anchor]
        num_positives = max(1, len(row))

        true_boxes = boxes[image, row]
        if self.box_loss == "smooth-l1":
            box = F.smooth_l1_loss(matched[:, :4], encode(true_boxes, chosen), reduction="sum") / (4 * num_positives)
        else:
            box = generalized_box_iou_loss(decode(matched[:, :4], chosen), true_boxes, reduction="sum") / num_positives
        label = F.cross_entropy(matched[:, 5:], labels[image, row], reduction="sum") / num_positives

        logits = predictions[..., 4].float()
        if self.objectness == "mined":
            losses = F.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")
            kept = positive | hard_negative_mining(losses.detach(), positive, index == NEGATIVE)
            objectness = losses[kept].sum() / max(1, int(kept.sum()))
        else:
            quality = torch.zeros_like(logits)
            quality[image, anchor] = paired_iou(decode(matched[:, :4], chosen), true_boxes).detach()
            weight = (quality - logits.detach().sigmoid()).square_().mul_(index != IGNORED)
            objectness = F.binary_cross_entropy_with_logits(logits, quality, weight, reduction="sum") / num_positives
        return {"loss": objectness + label + 2 * box, "objectness": objectness, "class": label, "box": box}


def paired_iou(boxes: Float[Tensor, "P 4"], others: Float[Tensor, "P 4"]) -> Float[Tensor, " P"]:
    """Returns the intersection over union of each box with the one in the same row."""
    corners = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    intersection = (corners[1] - corners[0]).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (others[:, 2:] - others[:, :2]).prod(dim=1)
    return intersection / (areas - intersection).clamp(min=1e-6)
