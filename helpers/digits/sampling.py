"""Samples of proposals on which the RoI head is trained: how many of them hold a digit."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from jaxtyping import Int64
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads

from helpers.digits.dataset import DigitDataset, prepare_images


@torch.no_grad()
def count_positive_proposals(network: FasterRCNN, dataset: DigitDataset) -> Int64[np.ndarray, "M 2"]:
    """Return two numbers for each image: the proposals with a digit, and how many of them are sampled for training.

    A proposal holds a digit if its IoU with the digit's box is at least 0.5. torchvision adds the true boxes to the
    proposals before it samples; they are counted. The sample holds at most `positive_fraction` of such proposals.

    Args:
        network: in evaluation mode.
        dataset: M images with digits.
    """
    device = next(network.parameters()).device
    heads = cast(RoIHeads, network.roi_heads)
    rows = []
    for index in range(len(dataset)):
        image, target = dataset[index]
        target = {name: value.to(device) for name, value in target.items()}
        images, targets = network.transform(prepare_images([image], device), [target])
        proposals, _ = network.rpn(images, network.backbone(images.tensors))
        true_boxes = targets[0]["boxes"]
        candidates = heads.add_gt_proposals(proposals, [true_boxes])
        _, labels = heads.assign_targets_to_proposals(candidates, [true_boxes], [targets[0]["labels"]])
        _, _, sampled_labels, _ = heads.select_training_samples(proposals, targets)
        rows.append([int((labels[0] > 0).sum()), int((sampled_labels[0] > 0).sum())])
    return np.array(rows, np.int64).reshape(-1, 2)
