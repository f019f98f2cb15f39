"""Inference: from images through the network's maps to candidates and detections in pixels.

Shape letters: M images, B batch, A anchors.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from helpers import runtime
from helpers.average_precision import Detections
from helpers.detection.anchors import flatten_predictions
from helpers.detection.boxes import decode
from helpers.detection.dataset import prepare_images
from helpers.detection.model import MultiScaleDetector
from helpers.detection.nms import Candidates, InferenceConfig, suppress

BATCH_SIZE = 50
"""Images per forward pass."""


def detect(
    model: MultiScaleDetector,
    anchors: Float[Tensor, "A 4"],
    images: UInt8[Tensor, "M H W 3"],
    config: InferenceConfig,
) -> list[Detections]:
    """Return the detections of each image, best score first, without a score threshold."""
    return suppress(propose(model, anchors, images, config), config)


@torch.inference_mode()
def propose(
    model: MultiScaleDetector,
    anchors: Float[Tensor, "A 4"],
    images: UInt8[Tensor, "M H W 3"],
    config: InferenceConfig,
    batch_size: int = BATCH_SIZE,
) -> Candidates:
    """Return the candidates of each image before suppression; suppressions can then be compared without the network.

    Args:
        model: in evaluation mode, on the device of `anchors` and `images`.
        anchors: of all levels, in the order of `generate_anchors`.
        images: bytes, as in the dataset.
        config: its `num_candidates` and `levels` are used.
        batch_size: images per forward pass.
    """
    parts = []
    for batch in images.split(batch_size):
        maps = predict(model, prepare_images(batch))
        parts.append(propose_from_maps(maps, model.num_anchors, anchors, config))
    return join_candidates(parts)


def predict(model: MultiScaleDetector, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
    """Return the maps [B, outputs, h, w] of the three levels, computed in the precision of training."""
    with runtime.autocast(images.device):
        return model(images)


def propose_from_maps(
    maps: list[Tensor],
    num_anchors: int,
    anchors: Float[Tensor, "A 4"],
    config: InferenceConfig,
) -> Candidates:
    """Return the candidates of each image from the maps of the network.

    Args:
        maps: [B, outputs, h, w] of the three levels, from `predict`.
        num_anchors: per cell.
        anchors: of all levels, in the order of `generate_anchors`.
        config: its `num_candidates` and `levels` are used.
    """
    counts = torch.tensor([level[0, 0].numel() * num_anchors for level in maps])
    enabled = torch.tensor([level in config.levels for level in range(len(maps))]).repeat_interleave(counts)
    predictions = flatten_predictions(maps, num_anchors)
    return select_candidates(predictions, anchors, config.num_candidates, enabled.to(anchors.device))


def join_candidates(parts: list[Candidates]) -> Candidates:
    """Return the candidates of all batches, in their order."""
    return Candidates(*(torch.cat(column) for column in zip(*parts, strict=True)))


def select_candidates(
    predictions: Float[Tensor, "B A outputs"],
    anchors: Float[Tensor, "A 4"],
    num_candidates: int,
    enabled: Bool[Tensor, " A"],
) -> Candidates:
    """Return the best anchors of each image as boxes in pixels.

    The score is objectness times the probability of the best class; anchors of disabled levels have the score 0.

    Args:
        predictions: per anchor 4 offsets, 1 objectness logit, C class logits.
        anchors: boxes in pixels.
        num_candidates: candidates per image.
        enabled: whether the level of each anchor is used.
    """
    probabilities, labels = predictions[..., 5:].float().softmax(-1).max(-1)
    scores = predictions[..., 4].float().sigmoid() * probabilities * enabled
    scores, rows = scores.topk(min(num_candidates, len(anchors)), dim=1)
    offsets = predictions[..., :4].float().gather(1, rows.unsqueeze(-1).expand(-1, -1, 4))
    return Candidates(decode(offsets, anchors[rows]), scores, labels.gather(1, rows))
