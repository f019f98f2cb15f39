"""What a trained network's second stage is given to correct, and what it makes of it: where box losses work."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from helpers.digits.dataset import DigitDataset
from helpers.digits.loss import BOX_CODER
from helpers.digits.model import prepare_image


class Matches(NamedTuple):
    """Regions that hold a digit, the box that is predicted of each and the one it should be: pixels as resized."""

    regions: Float[Tensor, "P 4"]
    predicted: Float[Tensor, "P 4"]
    true: Float[Tensor, "P 4"]


@torch.no_grad()
def collect_matches(network: FasterRCNN, dataset: DigitDataset) -> Matches:
    """Returns the matched regions of all images, sampled as in training, from a network in evaluation mode.

    torchvision adds the true boxes to the proposals before it samples. They are left out here: they need no correction.
    """
    device = next(network.parameters()).device
    heads = network.roi_heads
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    for image, target in (dataset[index] for index in range(len(dataset))):
        target = {name: value.to(device) for name, value in target.items()}
        images, targets = network.transform([prepare_image(image, device)], [target])
        features = network.backbone(images.tensors)
        proposals, _ = network.rpn(images, features)
        sampled, rows, labels, _ = heads.select_training_samples(proposals, targets)
        pooled = heads.box_head(heads.box_roi_pool(features, sampled, images.image_sizes))
        _, offsets = heads.box_predictor(pooled)
        true = targets[0]["boxes"][rows[0]]
        chosen = (labels[0] > 0) & (sampled[0] != true).any(1)
        offsets = offsets.unflatten(1, (-1, 4))[chosen, labels[0][chosen]]
        predicted = BOX_CODER.decode_single(offsets, sampled[0][chosen])
        columns.append((sampled[0][chosen], predicted, true[chosen]))
    return Matches(*(torch.cat(column).cpu() for column in zip(*columns, strict=True)))
