"""From the network's maps to detections in pixels: decode, score, suppress doubles.

Shape letters: M images, B batch, A anchors, K candidates kept per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torchvision.ops import batched_nms

from helpers import runtime
from helpers.average_precision import Detections
from helpers.detection.anchors import flatten_predictions
from helpers.detection.boxes import compute_iou, decode
from helpers.detection.model import MultiScaleDetector


@dataclass(frozen=True)
class InferenceConfig:
    """How candidates become detections."""

    nms: Literal["hard", "soft"] = "hard"
    nms_threshold: float = 0.5  # IoU at which the weaker box of a class is dropped, or keeps 1/e of its score
    num_candidates: int = 300  # best anchors per image that enter the suppression
    max_detections: int = 100  # COCO counts no more
    levels: tuple[int, ...] = (0, 1, 2)  # those whose anchors may speak


def prepare_images(images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Returns the images as the network reads them, 0..1; the memory stays channels-last, which convolutions like."""
    return images.permute(0, 3, 1, 2).float().div_(255)


class Candidates(NamedTuple):
    """The best anchors of each image before any suppression, best first."""

    boxes: Float[Tensor, "M K 4"]  # (x1, y1, x2, y2) in pixels
    scores: Float[Tensor, "M K"]
    labels: Int[Tensor, "M K"]


def detect(
    model: MultiScaleDetector,
    anchors: Float[Tensor, "A 4"],
    images: UInt8[Tensor, "M H W 3"],
    config: InferenceConfig,
) -> list[Detections]:
    """Returns the detections of each image, best score first, without a score cut."""
    return suppress(propose(model, anchors, images, config), config)


@torch.inference_mode()
def propose(
    model: MultiScaleDetector,
    anchors: Float[Tensor, "A 4"],
    images: UInt8[Tensor, "M H W 3"],
    config: InferenceConfig,
    batch_size: int = 50,
) -> Candidates:
    """Returns what the network proposes before suppression; that can then be varied at no cost.

    Args:
        model: in evaluation mode, on the device of `anchors` and `images`.
        anchors: of all levels, in the order of `generate_anchors`.
        batch_size: images per forward pass.
    """
    parts = []
    for batch in images.split(batch_size):
        with runtime.autocast(batch.device):  # as in training
            maps = model(prepare_images(batch))
        counts = torch.tensor([level[0, 0].numel() * model.num_anchors for level in maps])
        speaks = torch.tensor([level in config.levels for level in range(len(maps))]).repeat_interleave(counts)
        predictions = flatten_predictions(maps, model.num_anchors)
        parts.append(select_candidates(predictions, anchors, config.num_candidates, speaks.to(anchors.device)))
    return Candidates(*(torch.cat(column) for column in zip(*parts, strict=True)))


def select_candidates(
    predictions: Float[Tensor, "B A outputs"],
    anchors: Float[Tensor, "A 4"],
    num_candidates: int,
    speaks: Bool[Tensor, " A"],
) -> Candidates:
    """Returns each image's best anchors as boxes in pixels; an anchor that does not speak scores 0.

    The score is objectness times the probability of the best class.
    """
    probabilities, labels = predictions[..., 5:].float().softmax(-1).max(-1)
    scores = predictions[..., 4].float().sigmoid() * probabilities * speaks
    scores, kept = scores.topk(min(num_candidates, len(anchors)), dim=1)
    offsets = predictions[..., :4].float().gather(1, kept.unsqueeze(-1).expand(-1, -1, 4))
    return Candidates(decode(offsets, anchors[kept]), scores, labels.gather(1, kept))


def suppress(candidates: Candidates, config: InferenceConfig) -> list[Detections]:
    """Returns each image's detections: of several boxes of one class on one object, one stays on top."""
    most = config.max_detections
    if config.nms == "soft":
        softened = soft_nms(*candidates, config.nms_threshold, num_rounds=most)
        scores, order = softened.topk(min(most, softened.shape[1]), dim=1)
        boxes = candidates.boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
        kept = zip(*(column.cpu() for column in (boxes, scores, candidates.labels.gather(1, order))), strict=True)
    else:
        images = list(zip(*(column.cpu() for column in candidates), strict=True))  # a GPU would wait for each of them
        rows = [batched_nms(*image, config.nms_threshold)[:most] for image in images]
        kept = ([column[row] for column in image] for image, row in zip(images, rows, strict=True))
    return [Detections(*image) for image in kept]


def soft_nms(
    boxes: Float[Tensor, "B K 4"],
    scores: Float[Tensor, "B K"],
    labels: Int[Tensor, "B K"],
    threshold: float,
    num_rounds: int,
) -> Float[Tensor, "B K"]:
    """Returns the scores after each box, best first, has lowered those of its own class that it overlaps.

    A box that overlaps the chosen one by IoU o keeps exp(-(o / threshold)⁴) of its score instead of being dropped, so
    that of two objects that overlap both survive (Bodla et al. 2017, "Soft-NMS"). The paper's Gaussian has the power 2;
    the power 4 is closer to a step: it spares neighbours that overlap by half and still silences doubles. All images
    take each round together.

    Args:
        num_rounds: boxes that get to choose; those never reached end with score 0.
    """
    keeps = torch.exp(-(compute_iou(boxes, boxes) / threshold).pow(4))
    keeps = torch.where(labels.unsqueeze(-1) == labels.unsqueeze(-2), keeps, 1.0)
    image = torch.arange(len(scores), device=scores.device)
    open_scores, final_scores = scores.clone(), torch.zeros_like(scores)
    for _ in range(min(num_rounds, scores.shape[1])):
        best = open_scores.argmax(dim=1)
        final_scores[image, best] = open_scores[image, best].clamp(min=0)
        open_scores = open_scores * keeps[image, best]
        open_scores[image, best] = -1.0
    return final_scores
