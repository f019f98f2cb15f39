"""One network for two sizes of input: multi-scale training, and detections that are merged by height.

A digit of a fifth of the image's height has 13 pixels in an input of 64 pixels, and 26 in one of 128. So the network
gets each image in both sizes: the coarse input for large digits, the fine one for small digits.

Shape letters: N boxes of one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms

from helpers.digits.anchors import Resize


@dataclass(frozen=True)
class FineInput:
    """The larger one of two inputs, and the digits that it is for."""

    resize: Resize
    tallest: float  # pixels of this input: taller digits are background in training, and are removed in evaluation


class MultiScaleRCNN(FasterRCNN):
    """Faster R-CNN with a coarse and a fine input and the same weights for both.

    In training mode each batch has one of the two inputs, at random. In the fine input, digits that are too tall for
    the anchors are background, so that their parts (the loop of a 9) are not learned as small digits. In evaluation
    mode each image is detected in both inputs, and the detections are merged.

    Args:
        network: network whose parts are used; its resize makes the coarse input.
        fine: the second input.

    Source: Singh and Davis, "An analysis of scale invariance in object detection: SNIP" (arXiv:1711.08189).
    """

    def __init__(self, network: FasterRCNN, fine: FineInput) -> None:
        # The constructor of `FasterRCNN` builds new parts; that of its base class takes finished ones.
        super(FasterRCNN, self).__init__(network.backbone, network.rpn, network.roi_heads, network.transform)
        self.fine = fine
        self.coarse_transform = cast(GeneralizedRCNNTransform, network.transform)
        self.fine_transform = GeneralizedRCNNTransform(
            fine.resize.shorter,
            fine.resize.longer,
            self.coarse_transform.image_mean,
            self.coarse_transform.image_std,
        )

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Return the losses in one of the inputs in training mode, the merged detections in evaluation mode."""
        if self.training:
            is_fine = bool(torch.randint(2, ()))
            if is_fine and targets is not None:
                targets = [self._remove_tall(target, image) for target, image in zip(targets, images, strict=True)]
            return self._run(self.fine_transform if is_fine else self.coarse_transform, images, targets)
        coarse_outputs = self._run(self.coarse_transform, images)
        fine_outputs = self._run(self.fine_transform, images)
        heads = cast(RoIHeads, self.roi_heads)
        merged = []
        for image, coarse_output, fine_output in zip(images, coarse_outputs, fine_outputs, strict=True):
            small = self._remove_tall(fine_output, image)
            merged.append(merge_detections(coarse_output, small, heads.nms_thresh, heads.detections_per_img))
        return merged

    def _run(
        self, transform: GeneralizedRCNNTransform, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> Any:
        """Return what `FasterRCNN` returns for one input."""
        self.transform = transform
        try:
            return super().forward(images, targets)
        finally:
            self.transform = self.coarse_transform

    def _remove_tall(self, rows: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
        """Return the boxes and labels of a target, or the detections of an image, that are for the fine input."""
        heights = measure_heights(rows["boxes"], (image.shape[-2], image.shape[-1]), self.fine.resize)
        is_small = heights <= self.fine.tallest
        columns = [name for name in ("boxes", "labels", "scores") if name in rows]
        return rows | {name: rows[name][is_small] for name in columns}


def measure_heights(boxes: Float[Tensor, "N 4"], image_size: tuple[int, int], resize: Resize) -> Float[Tensor, " N"]:
    """Return the height of each box after `resize`, pixels.

    Args:
        boxes: (x1, y1, x2, y2), pixels of the image on disk.
        image_size: (height, width) of the image on disk, pixels.
    """
    resized_height = int(resize.sizes(torch.tensor([image_size]))[0, 0])
    return (boxes[:, 3] - boxes[:, 1]) * (resized_height / image_size[0])


def merge_detections(
    first: dict[str, Tensor], second: dict[str, Tensor], nms_threshold: float, num_detections: int
) -> dict[str, Tensor]:
    """Return the detections of two inputs, highest score first, after NMS within each class.

    A digit that is detected in both inputs keeps its box of the higher score. Scores of the two are comparable because
    one network was trained with both.

    Args:
        first: "boxes", "scores" and "labels" of one image.
        second: the same of the other input, in pixels of the same image.
        nms_threshold: IoU above which a detection suppresses one of its class with a lower score.
        num_detections: largest number of detections.
    """
    merged = {name: torch.cat([first[name], second[name]]) for name in ("boxes", "scores", "labels")}
    rows = batched_nms(merged["boxes"], merged["scores"], merged["labels"], nms_threshold)[:num_detections]
    return {name: column[rows] for name, column in merged.items()}
