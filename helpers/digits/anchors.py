"""Anchors of Faster R-CNN, their fit to the digits' boxes, and the resize that comes before them.

Anchor sizes are pixels of the resized image, in which a digit of 29 pixels has about 360. So boxes are resized first.
Anchors are placed as in torchvision: `AnchorGenerator` rounds their corners to whole pixels and centres the anchors of
the first cell on the image's corner, not on the middle of the cell.

Shape letters: M images, N boxes, L levels, S shapes of anchors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

STRIDES = (4, 8, 16, 32, 64)
"""Strides of the five levels of torchvision's pyramid: pixels of the resized image per cell."""
SIZE_DIVISOR = 32
"""Height and width of a batch are padded to multiples of this many pixels."""


def pad_sizes(sizes: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Return heights and widths rounded up to multiples of `SIZE_DIVISOR`, as torchvision pads a batch."""
    return (sizes + SIZE_DIVISOR - 1) // SIZE_DIVISOR * SIZE_DIVISOR


@dataclass(frozen=True)
class Resize:
    """Sizes and boxes after torchvision's resize of an image, which `model.build_digit_rcnn` sets and its network does.

    The shorter side becomes `shorter`, unless the longer side would exceed `longer`.
    """

    shorter: int = 800  # pixels
    longer: int = 1333  # pixels

    def sizes(self, image_sizes: Int[Tensor, "M 2"]) -> Int[Tensor, "M 2"]:
        """Return the (height, width) of each resized image, rounded down, pixels."""
        sides = image_sizes.double()
        # Both operands are tensors: PyTorch computes `number / tensor` as a product with the reciprocal, and a side of
        # 1333 pixels could become 1332.9999 and be rounded down to 1332.
        limits = torch.tensor([self.shorter, self.longer], dtype=torch.float64)
        scale = (limits / torch.stack([sides.amin(1), sides.amax(1)], dim=1)).amin(1)
        return (sides * scale.unsqueeze(1)).floor().long()

    def boxes(self, boxes: Num[Tensor, "N 4"], image_sizes: Int[Tensor, "N 2"]) -> Float[Tensor, "N 4"]:
        """Return the boxes (x1, y1, x2, y2) in pixels of the resized images.

        Args:
            boxes: in pixels of the images on disk.
            image_sizes: (height, width) of the image of each box, pixels.
        """
        scale = (self.sizes(image_sizes) / image_sizes.double()).flip(1)  # (x, y)
        return (boxes.double() * scale.repeat(1, 2)).float()


@dataclass(frozen=True)
class AnchorSet:
    """Anchor shapes: the sizes of each level, each combined with all ratios."""

    sizes: tuple[tuple[float, ...], ...]  # √area by level, in pixels of an image resized by `Resize()`
    ratios: tuple[float, ...]  # height / width
    scale: float = 1.0  # factor for a smaller input, so that anchors keep their size relative to the image

    def scaled_to(self, resize: Resize) -> AnchorSet:
        """Return the anchors multiplied by the ratio of the shorter sides of `resize` and `Resize()`.

        They cover the same share of an image where the shorter side decides in both resizes. Wide images, whose longer
        side is limited, become larger than the factor says if `resize` limits them less.
        """
        return replace(self, scale=resize.shorter / Resize().shorter)

    def on_one_level(self) -> AnchorSet:
        """Return the same shapes, all of them on the finest level."""
        return replace(self, sizes=(sum(self.sizes, ()),))

    def build_generator(self) -> AnchorGenerator:
        """Return torchvision's generator of these anchors, which are rounded before they are scaled.

        The generator computes its boxes when it is built: a later change of its `sizes` has no effect.
        """
        generator = AnchorGenerator(self.sizes, (self.ratios,) * len(self.sizes))
        generator.cell_anchors = [anchors * self.scale for anchors in generator.cell_anchors]
        return generator


REPORT_ANCHORS = AnchorSet(((4,), (8,), (12,), (24,), (48,)), (0.5, 1.0, 1.5, 2.0))
DEFAULT_ANCHORS = AnchorSet(((32,), (64,), (128,), (256,), (512,)), (0.5, 1.0, 2.0))
FITTED_ANCHORS = AnchorSet(((64,), (128,), (192,), (256,), (384,)), (1.5, 2.0, 3.0))
ANCHOR_SETS = {"report": REPORT_ANCHORS, "default": DEFAULT_ANCHORS, "fitted": FITTED_ANCHORS}
"""The report's anchors, torchvision's default, and a set that fits SVHN's digits."""


def measure_best_iou(
    boxes: Num[Tensor, "N 4"],
    image_sizes: Int[Tensor, "N 2"],
    anchors: AnchorSet,
    resize: Resize | None = None,
    strides: tuple[int, ...] = STRIDES,
) -> Float[Tensor, " N"]:
    """Return for each box its highest IoU with an anchor, over all shapes, levels and positions.

    For one shape the best anchor is the nearest one, separately in x and y, because the overlap of two intervals
    decreases with the distance of their middles.

    Args:
        boxes: (x1, y1, x2, y2), pixels of the image on disk.
        image_sizes: (height, width) of the image of each box, pixels.
        resize: resize of the model; `None` is `Resize()`, torchvision's default.
        strides: pixels per cell, one for each level of `anchors`.
    """
    resize = resize or Resize()
    boxes = resize.boxes(boxes, image_sizes)
    # Of each image, (height, width): rounded up to a multiple of 32 pixels, as torchvision pads a batch.
    padded = (resize.sizes(image_sizes) + SIZE_DIVISOR - 1) // SIZE_DIVISOR * SIZE_DIVISOR
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    best = torch.zeros(len(boxes))
    for shapes, stride in zip(anchors.build_generator().cell_anchors, strides, strict=True):
        num_cells = (padded + stride - 1) // stride  # rounded up
        # Pixels between two anchors, as in torchvision: less than the stride if the stride does not divide the side.
        # Example: a side of 608 and a stride of 64 give 608 / 64 = 9.5, so 10 cells, and 608 // 10 = 60 pixels.
        # `flip` turns (height, width) into (x, y), the order of the boxes.
        step = (padded // num_cells).flip(1)
        last_cell = num_cells.flip(1) - 1
        nearest = torch.minimum((centres / step).round().clamp(min=0), last_cell) * step
        # `cell_anchors` are the corners of all shapes around (0, 0): shifted to the nearest position, [N, S, 4].
        placed = nearest.repeat(1, 2).unsqueeze(1) + shapes
        shared = torch.minimum(placed[..., 2:], boxes[:, None, 2:]) - torch.maximum(placed[..., :2], boxes[:, None, :2])
        intersection = shared.clamp(min=0).prod(-1)
        anchor_areas = (shapes[:, 2:] - shapes[:, :2]).prod(-1)
        iou = intersection / (anchor_areas + areas.unsqueeze(1) - intersection)
        best = torch.maximum(best, iou.amax(1))
    return best


def cluster_anchors(
    boxes: Num[Tensor, "N 4"],
    image_sizes: Int[Tensor, "N 2"],
    num_sizes: int = 5,
    num_ratios: int = 3,
    num_rounds: int = 30,
) -> AnchorSet:
    """Return the sizes, one per level, and the ratios that fit the boxes resized by `Resize()`: k-means with IoU.

    Each round assigns every box to the shape with the highest IoU, with equal centres. Then every size becomes the
    median size of its boxes and every ratio the median ratio of its boxes. Sizes and ratios are moved separately,
    because every size is combined with every ratio. The first values are quantiles, so the result is deterministic.

    Args:
        boxes: (x1, y1, x2, y2), pixels of the image on disk.
        image_sizes: (height, width) of the image of each box, pixels.
        num_rounds: number of rounds of assignment and move.

    Source: Redmon and Farhadi, "YOLO9000" (arXiv:1612.08242), section 2, for k-means under IoU.
    """
    resized = Resize().boxes(boxes, image_sizes)
    width, height = (resized[:, 2:] - resized[:, :2]).unbind(1)
    box_sizes, box_ratios = (width * height).sqrt(), height / width
    sizes, ratios = _quantiles(box_sizes, num_sizes), _quantiles(box_ratios, num_ratios)
    for _ in range(num_rounds):
        grid = torch.cartesian_prod(sizes, ratios)
        widths, heights = grid[:, 0] / grid[:, 1].sqrt(), grid[:, 0] * grid[:, 1].sqrt()
        intersection = torch.minimum(width[:, None], widths) * torch.minimum(height[:, None], heights)
        iou = intersection / (width * height + (widths * heights)[:, None] - intersection.T).T
        best_shapes = iou.argmax(1)
        sizes = _move_to_medians(sizes, box_sizes, best_shapes // num_ratios)
        ratios = _move_to_medians(ratios, box_ratios, best_shapes % num_ratios)
    return AnchorSet(
        tuple((round(size),) for size in sizes.sort().values.tolist()),
        tuple(round(ratio, 2) for ratio in ratios.sort().values.tolist()),
    )


def _quantiles(values: Float[Tensor, " N"], count: int) -> Float[Tensor, " count"]:
    """Return the medians of `count` parts of the sorted values that hold equally many."""
    return torch.quantile(values, (torch.arange(count) + 0.5) / count)


def _move_to_medians(
    centres: Float[Tensor, " K"], values: Float[Tensor, " N"], nearest_centres: Int[Tensor, " N"]
) -> Float[Tensor, " K"]:
    """Return for each centre the median of the values whose nearest centre it is; a centre without values stays."""
    groups = [values[nearest_centres == row] for row in range(len(centres))]
    return torch.stack(
        [group.median() if len(group) else centre for group, centre in zip(groups, centres, strict=True)]
    )
