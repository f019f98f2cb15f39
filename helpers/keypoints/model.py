"""`HeatmapNet` and `RegressionNet`: the assignment's two networks on one backbone, and other heads for coordinates.

Shape letters: B batch, K points, D bins per axis, h w map.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from helpers.keypoints.scenes import IMAGE_SIZE, POINT_NAMES

FINAL_SIZE = IMAGE_SIZE // 16
"""Cells per side of the backbone's last map."""
FLAT_CHANNELS = 4
"""Channels that the flattened head keeps: 4 maps of 8 × 8 cells are 256 numbers, as many as 256 means."""

Head = Literal["pooled", "flattened", "simcc", "integral"]


class Backbone(nn.Module):
    """Maps images [B, inputs, 128, 128] to the maps of four blocks, each half as large as the one before: 64 … 8 cells.

    A block is a 3 × 3 convolution with batch normalisation, ReLU and 2 × 2 max pooling; channels double from `width`.
    """

    def __init__(self, inputs: int = 1, width: int = 32) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 8 * width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(2)
            )
            for before, after in pairwise((inputs, *self.channels))
        )

    def forward(self, images: Float[Tensor, "B inputs H W"]) -> list[Float[Tensor, "B channels h w"]]:
        """Returns the four maps, finest first."""
        maps = [images]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]


class HeatmapNet(nn.Module):
    """Maps images [B, 1, 128, 128] to one map per point [B, K, size, size]; the assignment's has 602,629 weights.

    A stage of the decoder doubles the map: a 2 × 2 deconvolution of stride 2, batch normalisation, ReLU. Channels go
    256 -> 128 -> 64 -> 32 -> 16, in one stage for 16 cells and four for 128; a 1 × 1 convolution ends it. Each stage
    but the first also reads the backbone's map of the size that it doubles (Ronneberger et al. 2015, "U-Net").

    Args:
        num_points: K.
        output_size: cells per side of the maps: 16, 32, 64 or 128.
        skips: whether stages read the backbone's maps; without them the weights at 64 cells are 561,669.
        width: channels of the first block.
        empty_start: let the untrained network show empty maps, by an output layer of zeros. The usual one shows noise
            whose squared error is some fifty times that of an empty map, and the first epochs go into silencing it.
            Good for maps of values; maps of logits start better with some noise to choose from.

    Raises:
        ValueError: there is no decoder of this output size.
    """

    def __init__(
        self,
        num_points: int = len(POINT_NAMES),
        output_size: int = 64,
        skips: bool = True,
        width: int = 32,
        empty_start: bool = False,
    ) -> None:
        super().__init__()
        sizes = [FINAL_SIZE * 2**stage for stage in (1, 2, 3, 4)]
        if output_size not in sizes:
            raise ValueError(f"no decoder makes maps of {output_size} cells: choose one of {sizes}")
        self.skips = skips
        self.backbone = Backbone(width=width)
        num_stages = sizes.index(output_size) + 1
        *skipped, deepest = self.backbone.channels
        outputs = [deepest // 2**stage for stage in (1, 2, 3, 4)]
        joined = [0, *reversed(skipped)] if skips else [0, 0, 0, 0]
        inputs = [before + extra for before, extra in zip([deepest, *outputs[:-1]], joined, strict=True)]
        self.stages = nn.ModuleList(_double(*pair) for pair in list(zip(inputs, outputs, strict=True))[:num_stages])
        self.output = nn.Conv2d(outputs[num_stages - 1], num_points, 1)
        if empty_start:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B K h w"]:
        """Returns the maps; what their values mean is the codec's affair."""
        *skipped, features = self.backbone(images)
        features = self.stages[0](features)
        for stage, joined in zip(self.stages[1:], reversed(skipped), strict=False):
            features = stage(torch.cat([features, joined], dim=1) if self.skips else features)
        return _in_float32(self.output, features)


class RegressionNet(nn.Module):
    """Maps images [B, 1, 128, 128] to numbers per point; the assignment's has 430,602 weights.

    Every head reads the backbone's last map, 256 channels in 8 × 8 cells; what differs is how it treats places. All
    have the assignment's weights to within 2 %, and next to no cost beside the backbone:

    - "pooled", the assignment's: each channel's mean over the cells, then 256 -> 128 -> 64 -> outputs with ReLU and
      dropout between, and a sigmoid. A mean does not say where in the map the values stood.
    - "flattened": a 1 × 1 convolution to 4 channels instead of the mean: 256 numbers again, but each of one place.
    - "simcc": a 1 × 1 convolution to one map per point, and from its 64 cells, by one layer that all points share, D
      logits for the column and D for the row of the point (Li et al. 2022, "SimCC").
    - "integral": the layers of "pooled", in each cell by itself: a logit per point and cell, and so a map whose mean
      position is the answer (Sun et al. 2018, "Integral Human Pose Regression"). First think, then average.

    Args:
        num_points: K.
        head: which of the four.
        outputs_per_point: of "pooled" and "flattened": 2 for (x, y), 4 with the spread of each.
        num_bins: D of "simcc".
        dropout: share of the hidden numbers that a training step drops.
        coordinates: give the backbone the x and y of every pixel, -1 to 1, as two more channels (Liu et al. 2018,
            "CoordConv"). They enter with the image, for a position can only survive the mean once a ReLU has let it
            pass where there is a stroke and nowhere else; next to the features their own means would be 0, always.
        width: channels of the first block.
    """

    def __init__(
        self,
        num_points: int = len(POINT_NAMES),
        head: Head = "pooled",
        outputs_per_point: int = 2,
        num_bins: int = 2 * IMAGE_SIZE,
        dropout: float = 0.5,
        coordinates: bool = False,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(inputs=3 if coordinates else 1, width=width)
        self.register_buffer("coordinates", _grid() if coordinates else None, persistent=False)
        channels, num_cells = 8 * width, FINAL_SIZE**2
        hidden = (4 * width, 2 * width)
        in_each_cell = partial(nn.Conv2d, kernel_size=1)
        match head:
            case "pooled" | "flattened":
                keep = nn.AdaptiveAvgPool2d(1) if head == "pooled" else in_each_cell(channels, FLAT_CHANNELS)
                kept = channels if head == "pooled" else FLAT_CHANNELS * num_cells
                self.head = nn.Sequential(keep, nn.Flatten(), _perceptron((kept, *hidden), nn.Linear, dropout))
                self.output = nn.Sequential(
                    nn.Linear(hidden[-1], num_points * outputs_per_point),
                    nn.Sigmoid(),
                    nn.Unflatten(1, (num_points, outputs_per_point)),
                )
            case "simcc":
                self.head = nn.Sequential(in_each_cell(channels, num_points), nn.Flatten(2))
                self.output = nn.Sequential(nn.Linear(num_cells, 2 * num_bins), nn.Unflatten(2, (2, num_bins)))
            case "integral":
                self.head = _perceptron((channels, *hidden), in_each_cell, dropout)
                self.output = in_each_cell(hidden[-1], num_points)

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B K *outputs"]:
        """Returns (x, y) as shares of the image's side, logits per bin, or logits per cell, as the head has it."""
        if self.coordinates is not None:
            images = torch.cat([images, self.coordinates.expand(len(images), -1, -1, -1)], dim=1)
        return _in_float32(self.output, self.head(self.backbone(images)[-1]))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, 2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _perceptron(sizes: tuple[int, ...], layer, dropout: float) -> nn.Sequential:
    """Returns the layers between `sizes`, each with a ReLU and dropout behind it."""
    layers = []
    for before, after in pairwise(sizes):
        layers += [layer(before, after), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def _grid() -> Float[Tensor, "1 2 H W"]:
    """Returns x and y of every pixel's centre, -1 at one border of the image and 1 at the other."""
    centres = (torch.arange(IMAGE_SIZE) + 0.5) * (2 / IMAGE_SIZE) - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y]).unsqueeze(0)


def _in_float32(layer: nn.Module, features: Tensor) -> Tensor:
    """Returns `layer(features)` in float32 even where the network runs in bfloat16.

    A bfloat16 has eight significant bits: of 128 pixels it tells half a pixel from the next.
    """
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.float())
