"""Box corrections of a trained second stage: the proposals, their refined boxes and the true ones."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads

from helpers.digits.dataset import DigitDataset, prepare_images
from helpers.digits.loss import BOX_CODER


class Refinements(NamedTuple):
    """Boxes (x1, y1, x2, y2) of P proposals that are matched to a digit, in pixels of the resized image."""

    proposals: Float[Tensor, "P 4"]  # regions that the second stage gets
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
