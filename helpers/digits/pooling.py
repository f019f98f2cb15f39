"""RoIAlign as two matrix products: what torchvision's gives, without its gradient, which is half of a training step.

The value at a point between cells is bilinear: a weight of rows times a weight of columns. So a region's grid of values
is its rows' weights times the map times its columns' weights, and the gradient is products of the same matrices, where
torchvision's adds numbers one by one.

Shape letters: R regions of a batch, S cells down and across a region, h w a feature map.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MatrixRoIAlign(nn.Module):
    """Returns the features of each region, pooled from the finest map into S x S cells.

    Law: the values and the gradient are those of `torchvision.ops.roi_align` with `aligned=False`.

    Args:
        output_size: S.
        sampling_ratio: points per cell down and across whose mean is taken.
        stride: pixels from cell to cell of the map.

    Source: He et al., "Mask R-CNN" (arXiv:1703.06870), section 3.
    """

    def __init__(self, output_size: int, sampling_ratio: int = 2, stride: int = 4) -> None:
        super().__init__()
        self.output_size, self.sampling_ratio, self.stride = output_size, sampling_ratio, stride

    def forward(
        self,
        features: dict[str, Float[Tensor, "B C _h _w"]],
        regions: list[Float[Tensor, "_regions 4"]],
        image_shapes: list[tuple[int, int]],
    ) -> Float[Tensor, "R C S S"]:
        """Takes what torchvision's `MultiScaleRoIAlign` does; the regions of each image in pixels."""
        maps = features["0"]
        channels, height, width = maps.shape[1:]
        pooled = []
        for image, boxes in zip(maps.permute(0, 2, 3, 1), regions, strict=True):  # channels last: no copy
            x1, y1, x2, y2 = (boxes / self.stride).unbind(1)
            rows, columns = self.weigh(y1, y2, height), self.weigh(x1, x2, width)
            strips = rows.flatten(0, 1) @ image.flatten(1)  # [R * S, w * C]
            strips = strips.view(len(boxes), self.output_size, width, channels)
            pooled.append(columns.unsqueeze(1) @ strips)
        return torch.cat(pooled).permute(0, 3, 1, 2)

    def weigh(self, start: Float[Tensor, " R"], end: Float[Tensor, " R"], length: int) -> Float[Tensor, "R S length"]:
        """Returns how much each cell of the map counts in each cell of the regions, along one axis.

        Args:
            start: where each region begins, in cells of the map; it is at least one cell long.
            length: cells of the map.
        """
        steps = torch.arange(self.output_size * self.sampling_ratio, device=start.device) + 0.5
        lengths = (end - start).clamp(min=1) / len(steps)
        points = start[:, None] + lengths[:, None] * steps
        outside = (points < -1) | (points > length)
        distance = points.clamp(0, length - 1)[..., None] - torch.arange(length, device=start.device)
        weights = (1 - distance.abs()).clamp(min=0).masked_fill(outside[..., None], 0)
        return weights.unflatten(1, (self.output_size, self.sampling_ratio)).mean(2)
