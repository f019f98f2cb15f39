"""Non-maximum suppression, hard and soft: from the candidates of each image to its detections.

Shape letters: M images, B batch, K candidates of an image, R of them that remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import batched_nms

from helpers.average_precision import Detections
from helpers.detection.boxes import compute_iou

Suppression = Literal["hard", "soft"]


@dataclass(frozen=True)
class InferenceConfig:
    """How candidates become detections."""

    nms: Suppression = "hard"
    nms_threshold: float = 0.5  # IoU from which the weaker box of a class is dropped (hard) or keeps 1/e of its score
    num_candidates: int = 300  # best anchors per image that enter the suppression
    max_detections: int = 100  # per image; COCO evaluates no more
    levels: tuple[int, ...] = (0, 1, 2)  # levels used for detection


class Candidates(NamedTuple):
    """The best anchors of each image before suppression, best score first."""

    boxes: Float[Tensor, "M K 4"]  # (x1, y1, x2, y2) in pixels
    scores: Float[Tensor, "M K"]
    labels: Int[Tensor, "M K"]


def suppress(candidates: Candidates, config: InferenceConfig) -> list[Detections]:
    """Return the detections of each image: overlapping candidates of one class are reduced to the best one."""
    if config.nms == "soft":
        return suppress_softly(candidates, config)
    images = list(zip(*(column.cpu() for column in candidates), strict=True))  # on a GPU every image would synchronise
    detections = []
    for boxes, scores, labels in images:
        rows = batched_nms(boxes, scores, labels, config.nms_threshold)[: config.max_detections]
        detections.append(Detections(boxes[rows], scores[rows], labels[rows]))
    return detections


def find_suppressors(
    boxes: Float[Tensor, "K 4"], remaining: Int[Tensor, " R"], iou_threshold: float
) -> Int[Tensor, " K"]:
    """Return for each box of one class the row of the box that removed it, or its own row if it remains.

    Args:
        boxes: before suppression.
        remaining: rows that hard NMS returned, best score first.
        iou_threshold: of the suppression.
    """
    overlaps = compute_iou(boxes, boxes[remaining]) > iou_threshold
    suppressors = remaining[overlaps.int().argmax(dim=1)]
    suppressors[remaining] = remaining
    return suppressors


def suppress_softly(candidates: Candidates, config: InferenceConfig) -> list[Detections]:
    """Return the detections of each image with the scores that `soft_nms` leaves."""
    lowered = soft_nms(*candidates, config.nms_threshold, num_rounds=config.max_detections)
    scores, rows = lowered.topk(min(config.max_detections, lowered.shape[1]), dim=1)
    boxes = candidates.boxes.gather(1, rows.unsqueeze(-1).expand(-1, -1, 4))
    labels = candidates.labels.gather(1, rows)
    return [Detections(*image) for image in zip(boxes.cpu(), scores.cpu(), labels.cpu(), strict=True)]


def soft_nms(
    boxes: Float[Tensor, "B K 4"],
    scores: Float[Tensor, "B K"],
    labels: Int[Tensor, "B K"],
    threshold: float,
    num_rounds: int,
) -> Float[Tensor, "B K"]:
    """Return the scores after each box, best first, has lowered the scores of the boxes of its class that it overlaps.

    A box with IoU o to the selected box keeps exp(-(o / threshold)⁴) of its score instead of being dropped, so that
    both boxes of two overlapping objects survive. The Gaussian of the paper has the power 2. The power 4 is closer to a
    step: it keeps neighbours that overlap by half and still suppresses duplicates. All images take each round together.

    Args:
        boxes: candidates in pixels.
        scores: of the candidates, in any order.
        labels: of the candidates.
        threshold: IoU at which a box keeps 1/e of its score.
        num_rounds: number of boxes selected per image; boxes that are never selected get the score 0.

    Source: Bodla et al. 2017, "Soft-NMS" (arXiv:1704.04503).
    """
    kept_shares = torch.exp(-(compute_iou(boxes, boxes) / threshold).pow(4))  # [B, K, K], for each pair of boxes
    is_same_class = labels.unsqueeze(-1) == labels.unsqueeze(-2)  # [B, K, K]
    kept_shares = torch.where(is_same_class, kept_shares, 1.0)
    image = torch.arange(len(scores), device=scores.device)  # [B]
    lowered = scores.clone()  # [B, K], scores so far of all boxes
    final_scores = torch.zeros_like(scores)
    is_selected = torch.zeros_like(scores, dtype=torch.bool)
    for _ in range(min(num_rounds, scores.shape[1])):
        # [B], in each image the best box that is not selected yet; -1 is below every score, also below 0
        best = lowered.masked_fill(is_selected, -1.0).argmax(dim=1)
        final_scores[image, best] = lowered[image, best]  # final: later rounds change `lowered` only
        is_selected[image, best] = True
        lowered = lowered * kept_shares[image, best]  # the row of the best box in each image: [B, K]
    return final_scores
