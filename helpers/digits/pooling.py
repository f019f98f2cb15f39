"""RoIAlign as two matrix products: what torchvision's gives, without its gradient, which is half of a training step.

The value at a point between cells is bilinear: a weight of rows times a weight of columns. So a region's grid of values
is its rows' weights times the map times its columns' weights, and the gradient is products of the same matrices, where
torchvision's adds numbers one by one.

Shape letters: B images, R regions of all of them, P of one at most, S cells of a region each way, h w a feature map.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


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
        batch, channels, height, width = maps.shape
        boxes = pad_sequence(regions, batch_first=True)  # [B, P, 4]: as many for every image, the last may be empty
        x1, y1, x2, y2 = (boxes.flatten(0, 1) / self.stride).unbind(1)
        rows, columns = self.weigh(y1, y2, height), self.weigh(x1, x2, width)
        # The longer axis first: house numbers are wide, and what lies between the two products is a map per region.
        images = maps.permute(0, 3, 2, 1).reshape(batch, width, height * channels)
        strips = columns.view(batch, boxes.shape[1] * self.output_size, width) @ images  # [B, P * S, h * C]
        pooled = rows.unsqueeze(1) @ strips.view(len(rows), self.output_size, height, channels)
        counts = torch.tensor([[len(own)] for own in regions])  # on the CPU: no GPU is waited for
        (real,) = torch.nonzero((torch.arange(boxes.shape[1]) < counts).flatten(), as_tuple=True)
        if len(real) < len(pooled):
            pooled = pooled[real.to(maps.device)]
        return pooled.permute(0, 3, 2, 1)

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
