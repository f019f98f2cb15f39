"""Faster versions of two torchvision operations, for training on a CPU.

The lessons are about neither of them. `MatrixRoIAlign` pools the features of proposals: the gradient of torchvision's
RoIAlign takes half of a training step. `blur` blurs one image: torchvision's convolution is set up again for every new
image size, and here every image has its own size.

Shape letters: B images, R proposals of all images, P proposals of the image that has most, S cells of a proposal along
each axis, C channels, h w a feature map, H W an image.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


class MatrixRoIAlign(nn.Module):
    """Pool the features of each proposal from the finest map into S × S cells, by two matrix products.

    The value at a point between cells is bilinear: a weight of the rows times a weight of the columns. So the values of
    a proposal are its row weights times the map times its column weights, and the gradient is a product of the same
    matrices, where torchvision's adds numbers one by one.

    Law: the values and the gradient are those of `torchvision.ops.roi_align` with `aligned=False`.

    Args:
        output_size: S.
        sampling_ratio: number of points per cell and axis, of which the mean is taken.
        stride: pixels per cell of the map.

    Source: He et al., "Mask R-CNN" (arXiv:1703.06870), section 3.
    """

    def __init__(self, output_size: int, sampling_ratio: int = 2, stride: int = 4) -> None:
        super().__init__()
        self.output_size, self.sampling_ratio, self.stride = output_size, sampling_ratio, stride

    def forward(
        self,
        features: dict[str, Float[Tensor, "B C _h _w"]],
        proposals: list[Float[Tensor, "_proposals 4"]],
        image_shapes: list[tuple[int, int]],
    ) -> Float[Tensor, "R C S S"]:
        """Return the pooled features, from the arguments of torchvision's `MultiScaleRoIAlign`; proposals in pixels."""
        maps = features["0"]
        batch, channels, height, width = maps.shape
        boxes = pad_sequence(proposals, batch_first=True)  # [B, P, 4], padded with empty boxes
        x1, y1, x2, y2 = (boxes.flatten(0, 1) / self.stride).unbind(1)
        rows, columns = self.weigh(y1, y2, height), self.weigh(x1, x2, width)
        # The longer axis comes first, because the product between the two is a map per proposal and should be small.
        images = maps.permute(0, 3, 2, 1).reshape(batch, width, height * channels)
        strips = columns.view(batch, boxes.shape[1] * self.output_size, width) @ images  # [B, P * S, h * C]
        pooled = rows.unsqueeze(1) @ strips.view(len(rows), self.output_size, height, channels)
        # The counts stay on the CPU, so that no GPU has to be waited for.
        counts = torch.tensor([[len(image_proposals)] for image_proposals in proposals])
        (real,) = torch.nonzero((torch.arange(boxes.shape[1]) < counts).flatten(), as_tuple=True)
        if len(real) < len(pooled):
            pooled = pooled[real.to(maps.device)]
        return pooled.permute(0, 3, 2, 1)

    def weigh(self, start: Float[Tensor, " R"], end: Float[Tensor, " R"], length: int) -> Float[Tensor, "R S length"]:
        """Return the weight of each cell of the map in each cell of the proposals, along one axis.

        Args:
            start: first edge of each proposal, in cells of the map.
            end: last edge; a proposal shorter than one cell is taken as one cell long.
            length: number of cells of the map.
        """
        steps = torch.arange(self.output_size * self.sampling_ratio, device=start.device) + 0.5
        lengths = (end - start).clamp(min=1) / len(steps)
        points = start[:, None] + lengths[:, None] * steps
        outside = (points < -1) | (points > length)
        distance = points.clamp(0, length - 1)[..., None] - torch.arange(length, device=start.device)
        weights = (1 - distance.abs()).clamp(min=0).masked_fill(outside[..., None], 0)
        return weights.unflatten(1, (self.output_size, self.sampling_ratio)).mean(2)


def blur(image: UInt8[Tensor, "3 H W"], sigma: float) -> UInt8[Tensor, "3 H W"]:
    """Return the image after a 3 × 3 Gaussian blur, mirrored at its borders.

    Law: the result is that of torchvision's `gaussian_blur` within one grey level; it takes a sixth of the time.

    Args:
        sigma: standard deviation, pixels.
    """
    side = 1 / (2 + math.exp(0.5 / sigma**2))
    padded = F.pad(image.float(), (1, 1, 1, 1), mode="reflect")
    rows = (1 - 2 * side) * padded[:, 1:-1] + side * (padded[:, :-2] + padded[:, 2:])
    blurred = (1 - 2 * side) * rows[..., 1:-1] + side * (rows[..., :-2] + rows[..., 2:])
    return blurred.round_().to(torch.uint8)
