"""Network of the assignment: a backbone and one head for each of three levels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Dilations:
    """Dilation configuration: spacing of the taps of the 3 x 3 kernels, in cells of their input map.

    Dilations widen the receptive fields without additional weights. The defaults are the assignment's plain
    convolutions.
    """

    block3: int = 1
    block4: int = 1
    heads: tuple[int, int, int] = (1, 1, 1)


UNDILATED = Dilations()
"""The configuration of the assignment: every kernel reads neighbouring cells."""


class MultiScaleDetector(nn.Module):
    """Network from images [B, 3, 224, 224] to three maps [B, A * (5 + C), h, w] of 56 x 56, 28 x 28 and 14 x 14 cells.

    The channels of a cell are A groups of (4 box offsets, 1 objectness logit, C class logits);
    `anchors.flatten_predictions` puts the maps into the order of the anchors.
    Handout, problem 1: 3 -> 32 (stride 1) -> 64 | 128 | 256 | 512 (stride 2 each), every convolution 3 x 3 with batch
    normalisation and ReLU, and per level a head of 3 x 3 (same channels) and 1 x 1. 4.69 million weights.

    Args:
        num_classes: C.
        num_anchors: A, per cell.
        dilations: the only change of the architecture; it adds no weights and no operations.
        width: channels of the first convolution; 32 is the assignment's, 8 has a sixteenth of its cost.
        objectness_prior: share of anchors that the untrained network predicts as objects (Lin et al. 2017, section
            4.1); 0.5 is the plain initialisation.
    """

    def __init__(
        self,
        num_classes: int = 3,
        num_anchors: int = 3,
        dilations: Dilations = UNDILATED,
        width: int = 32,
        objectness_prior: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        self.block1 = nn.Sequential(_convolution(3, width), _convolution(width, 2 * width, stride=2))
        self.block2 = _convolution(2 * width, 4 * width, stride=2)
        self.block3 = _convolution(4 * width, 8 * width, stride=2, dilation=dilations.block3)
        self.block4 = _convolution(8 * width, 16 * width, stride=2, dilation=dilations.block4)
        outputs = num_anchors * (5 + num_classes)
        self.heads = nn.ModuleList()
        for channels, dilation in zip((4 * width, 8 * width, 16 * width), dilations.heads, strict=True):
            hidden = _convolution(channels, channels, dilation=dilation)
            prediction = nn.Conv2d(channels, outputs, 1)
            assert prediction.bias is not None
            objectness_bias = prediction.bias.data.view(num_anchors, 5 + num_classes)[:, 4]
            objectness_bias += math.log(objectness_prior / (1 - objectness_prior))
            self.heads.append(nn.Sequential(hidden, prediction))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B outputs h w"]]:
        """Return the maps of the three levels, finest first."""
        return [head(features) for head, features in zip(self.heads, self.features(images), strict=True)]

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B channels h w"]]:
        """Return the three feature maps that are the input of the heads, finest first."""
        fine = self.block2(self.block1(images))
        middle = self.block3(fine)
        return [fine, middle, self.block4(middle)]


def _convolution(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a 3 x 3 convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
