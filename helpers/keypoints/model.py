"""Networks of the assignment, `HeatmapNet` and `RegressionNet`, and `RegressionVariant` with other heads.

All have the same backbone.

Shape letters: B batch, K points, D bins per axis, h w map.
"""

from __future__ import annotations

from collections.abc import Callable
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
"""Channels of the flattened head: 4 maps of 8 × 8 cells are 256 numbers, as many as the pooled head's 256 means."""

Head = Literal["pooled", "flattened", "simcc", "integral"]


class Backbone(nn.Module):
    """Convolutional backbone: four blocks whose maps have 64, 32, 16 and 8 cells per side.

    A block is a 3 × 3 convolution, batch normalisation, ReLU and 2 × 2 max pooling. Its output has twice as many
    channels as that of the block before, beginning with `width`.
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
        """Return the four maps, finest first."""
        maps = [images]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]


class HeatmapNet(nn.Module):
    """Heatmap network: images [B, 1, 128, 128] to one map per point [B, K, size, size]; 602,629 weights by default.

    A stage of the decoder doubles the map: a 2 × 2 deconvolution of stride 2, batch normalisation, ReLU. Channels are
    256 -> 128 -> 64 -> 32 -> 16, with one stage for 16 cells and four for 128. The last layer is a 1 × 1 convolution.
    With skip connections, each stage but the first also gets the backbone's map of the same size as its input.

    Args:
        num_points: K.
        output_size: cells per side of the maps: 16, 32, 64 or 128.
        skips: whether stages get the backbone's maps; without them the network has 561,669 weights at 64 cells.
        width: channels of the first block.
        empty_start: initialise the output layer with zeros, so that the untrained network outputs empty maps. The usual
            initialisation outputs noise whose squared error is about fifty times that of an empty map, and the first
            epochs only reduce it. Meant for maps of values; maps of logits train better from the usual initialisation.

    Raises:
        ValueError: there is no decoder of this output size.

    Source: Ronneberger et al. 2015, "U-Net", https://arxiv.org/abs/1505.04597.
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
            raise ValueError(f"output_size is {output_size} cells: choose one of {sizes}")
        self.skips = skips
        self.backbone = Backbone(width=width)
        num_stages = sizes.index(output_size) + 1
        *skip_channels, deepest = self.backbone.channels
        outputs = [deepest // 2**stage for stage in (1, 2, 3, 4)]
        joined = [0, *reversed(skip_channels)] if skips else [0, 0, 0, 0]
        inputs = [before + extra for before, extra in zip([deepest, *outputs[:-1]], joined, strict=True)]
        self.stages = nn.ModuleList(_double(*pair) for pair in list(zip(inputs, outputs, strict=True))[:num_stages])
        self.output = nn.Conv2d(outputs[num_stages - 1], num_points, 1)
        if empty_start:
            for parameter in self.output.parameters():
                nn.init.zeros_(parameter)

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B K h w"]:
        """Return the maps: values between 0 and 1 or logits, depending on the codec of the targets."""
        *skip_maps, features = self.backbone(images)
        features = self.stages[0](features)
        for stage, skip_map in zip(self.stages[1:], reversed(skip_maps), strict=False):  # 128 cells use all skips
            features = stage(torch.cat([features, skip_map], dim=1) if self.skips else features)
        return _in_float32(self.output, features)


class RegressionNet(nn.Module):
    """Regression network of the assignment: images [B, 1, 128, 128] to (x, y) per point; 430,602 weights by default.

    The head takes the mean of each of the 256 channels over the 8 × 8 cells of the backbone's last map. Linear layers
    256 -> 128 -> 64 -> 2 K follow, with ReLU and dropout between and a sigmoid at the end. The mean discards the
    positions of the values in the map.

    Args:
        num_points: K.
        width: channels of the first block.
        dropout: share of the hidden units that a training step drops.
    """

    def __init__(self, num_points: int = len(POINT_NAMES), width: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        self.backbone = Backbone(width=width)
        perceptron = _perceptron((8 * width, 4 * width, 2 * width), nn.Linear, dropout)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), perceptron)
        self.output = nn.Sequential(
            nn.Linear(2 * width, 2 * num_points), nn.Sigmoid(), nn.Unflatten(1, (num_points, 2))
        )

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B K 2"]:
        """Return (x, y) as shares of the image's side."""
        return _in_float32(self.output, self.head(self.backbone(images)[-1]))


class RegressionVariant(nn.Module):
    """Regression network with another head or input: images [B, 1, 128, 128] to numbers per point.

    Every head gets the backbone's last map, 256 channels in 8 × 8 cells. Heads differ in what they keep of the position
    in that map. The number of weights is within 2 % of the assignment's for all, and their cost is small beside the
    backbone's:

    - "pooled": the head of `RegressionNet`, for other numbers of outputs and for `coordinates`.
    - "flattened": a 1 × 1 convolution to 4 channels instead of the mean: again 256 numbers, but each of one cell.
    - "simcc": a 1 × 1 convolution to one map per point, and one layer, shared by all points, from its 64 cells to D
      logits for the column and D for the row (Li et al. 2022, "SimCC", https://arxiv.org/abs/2107.03332).
    - "integral": the layers of "pooled" applied to each cell separately, which gives one logit per point and cell. The
      point is the mean position under the softmax of this map (Sun et al. 2018, "Integral Human Pose Regression",
      https://arxiv.org/abs/1711.08229).

    Args:
        head: one of the four above.
        num_points: K.
        outputs_per_point: of "pooled" and "flattened": 2 for (x, y), 4 for (x, y) and the scale of each.
        num_bins: D of "simcc".
        dropout: share of the hidden units that a training step drops.
        coordinates: add the x and y of every pixel, from -1 to 1, to the image as two more channels (Liu et al. 2018,
            "CoordConv", https://arxiv.org/abs/1807.03247). They must be inputs of the backbone: a position survives
            the mean only if a ReLU has let it pass at the strokes and nowhere else. Added to the last map instead,
            their means would always be 0.
        width: channels of the first block.
    """

    def __init__(
        self,
        head: Head,
        num_points: int = len(POINT_NAMES),
        outputs_per_point: int = 2,
        num_bins: int = 2 * IMAGE_SIZE,
        dropout: float = 0.5,
        coordinates: bool = False,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.coordinates: Tensor | None
        self.backbone = Backbone(inputs=3 if coordinates else 1, width=width)
        self.register_buffer("coordinates", _grid() if coordinates else None, persistent=False)
        channels, num_cells = 8 * width, FINAL_SIZE**2
        hidden = (4 * width, 2 * width)
        in_each_cell = partial(nn.Conv2d, kernel_size=1)
        match head:
            case "pooled" | "flattened":
                reduce = nn.AdaptiveAvgPool2d(1) if head == "pooled" else in_each_cell(channels, FLAT_CHANNELS)
                num_features = channels if head == "pooled" else FLAT_CHANNELS * num_cells
                perceptron = _perceptron((num_features, *hidden), nn.Linear, dropout)
                self.head = nn.Sequential(reduce, nn.Flatten(), perceptron)
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
        """Return (x, y) as shares of the image's side, logits per bin, or logits per cell, depending on the head."""
        if self.coordinates is not None:
            images = torch.cat([images, self.coordinates.expand(len(images), -1, -1, -1)], dim=1)
        return _in_float32(self.output, self.head(self.backbone(images)[-1]))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Return a stage of the decoder, which doubles the sides of a map."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, 2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _perceptron(sizes: tuple[int, ...], layer: Callable[[int, int], nn.Module], dropout: float) -> nn.Sequential:
    """Return the layers between `sizes`, each followed by a ReLU and dropout."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [layer(before, after), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def _grid() -> Float[Tensor, "1 2 H W"]:
    """Return x and y of every pixel's centre, from -1 at one border of the image to 1 at the other."""
    centres = (torch.arange(IMAGE_SIZE) + 0.5) * (2 / IMAGE_SIZE) - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y]).unsqueeze(0)


def _in_float32(layer: nn.Module, features: Tensor) -> Tensor:
    """Return `layer(features)` in float32, also where the network runs in bfloat16.

    A bfloat16 has eight significant bits, so near 128 pixels its values are half a pixel apart.
    """
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.float())
