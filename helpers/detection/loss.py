"""What the detector is punished for: objectness, class and box, anchor by anchor.

Shape letters: B images, N objects per image (padded), A anchors, C classes, P positive anchors per image (padded).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from helpers.detection.boxes import decode, encode, paired_overlap
from helpers.detection.dataset import PADDING
from helpers.detection.matching import IGNORED, NEGATIVE, hard_negative_mining

BoxLoss = Literal["smooth-l1", "giou"]
Objectness = Literal["mined", "quality"]


class DetectionLoss(nn.Module):
    """Returns the losses of a batch as scalars: "loss" = objectness x 1 + class x 1 + box x 2 (handout, problem 1).

    Args:
        box_loss: "smooth-l1" on the offsets (the handout's), or "giou" on the decoded boxes (Rezatofighi et al. 2019).
        objectness: "mined" asks every positive anchor for 1 and the hardest three negatives per positive for 0 (the
            handout's); "quality" asks every positive for the overlap that its own predicted box reaches, and weighs
            positives and negatives by how wrong they are (quality focal loss, Li et al. 2020), so that scores rank
            boxes by how good they are.

    Raises:
        ValueError: a name is none of these.
    """

    def __init__(self, box_loss: BoxLoss = "smooth-l1", objectness: Objectness = "mined") -> None:
        super().__init__()
        if box_loss not in get_args(BoxLoss) or objectness not in get_args(Objectness):
            raise ValueError(
                f"box_loss {box_loss!r} and objectness {objectness!r}: choose of {get_args(BoxLoss)} and of "
                f"{get_args(Objectness)}"
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
        """Returns "loss" and its three parts.

        No shape depends on a value, so nothing has to be read before the next operation can be queued: a GPU is never
        waited for, and can replay the whole step as one graph (`helpers.cuda_graphs`).

        Args:
            predictions: per anchor 4 offsets, 1 objectness logit, C class logits.
            index: for each anchor the row of its object, `matching.NEGATIVE` or `matching.IGNORED`.
            positives: the anchors that answer for an object, as `matching.list_positives` has them.
        """
        is_real = positives >= 0
        num_positives = is_real.sum().clamp(min=1)
        anchor = positives.clamp(min=0).long()
        row = index.gather(1, anchor).clamp(min=0).long()
        offsets, _, class_logits = _pick(predictions, anchor).float().split([4, 1, predictions.shape[-1] - 5], dim=-1)
        chosen, true_boxes = anchors[anchor], _pick(boxes, row)
        iou, giou = paired_overlap(decode(offsets, chosen), true_boxes)

        true_labels = labels.gather(1, row).masked_fill(~is_real, PADDING)
        label = F.cross_entropy(class_logits.mT, true_labels, ignore_index=PADDING, reduction="sum") / num_positives
        if self.box_loss == "smooth-l1":
            box = F.smooth_l1_loss(offsets, encode(true_boxes, chosen), reduction="none").mean(-1)
        else:
            box = 1 - giou
        box = torch.where(is_real, box, 0.0).sum() / num_positives

        logits = predictions[..., 4].float()
        if self.objectness == "mined":
            positive, negative, most = index >= 0, index == NEGATIVE, positives.shape[1]
            losses = F.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")
            kept = positive | hard_negative_mining(losses, positive, negative, most_positives=most)
            objectness = torch.where(kept, losses, 0.0).sum() / kept.sum().clamp(min=1)
        else:
            quality = torch.zeros_like(logits).scatter_add_(1, anchor, torch.where(is_real, iou.detach(), 0.0))
            weight = (quality - logits.detach().sigmoid()).square_().mul_(index != IGNORED)
            objectness = F.binary_cross_entropy_with_logits(logits, quality, weight, reduction="sum") / num_positives
        return {"loss": objectness + label + 2 * box, "objectness": objectness, "class": label, "box": box}


def _pick(rows: Float[Tensor, "B M K"], chosen: Int[Tensor, "B P"]) -> Float[Tensor, "B P K"]:
    """Returns the chosen rows of each image."""
    return rows.gather(1, chosen.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
