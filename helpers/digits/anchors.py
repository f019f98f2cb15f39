"""The boxes that Faster R-CNN starts from, and how well they can fit digits before anything is trained.

Anchors live in the image as the model resizes it: a digit of 29 pixels is one of some 360 by then. So boxes are resized
first, and anchors stand where torchvision puts them: its `AnchorGenerator` rounds their corners to whole pixels and
centres the first cell's on the image's corner, not on the middle of the cell.

Shape letters: M images, N boxes, L levels, S shapes of anchors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

STRIDES = (4, 8, 16, 32, 64)
"""Pixels of the resized image from cell to cell on the five levels of torchvision's pyramid."""
SIZE_DIVISOR = 32
"""A batch is padded until its height and width are multiples of this."""


@dataclass(frozen=True)
class Resize:
    """torchvision's rule: the shorter side becomes `shorter`, unless the longer one would exceed `longer`."""

    shorter: int = 800  # pixels
    longer: int = 1333  # pixels

    def sizes(self, image_sizes: Int[Tensor, "M 2"]) -> Int[Tensor, "M 2"]:
        """Returns the (height, width) of each image as the model sees it, rounded down."""
        sides = image_sizes.double()
        # Divided as Python does: PyTorch makes `number / tensor` a product with the reciprocal, and a side of
        # 1332.9999 pixels becomes one of 1332.
        limits = torch.tensor([self.shorter, self.longer], dtype=torch.float64)
        scale = (limits / torch.stack([sides.amin(1), sides.amax(1)], dim=1)).amin(1)
        return (sides * scale.unsqueeze(1)).floor().long()

    def boxes(self, boxes: Num[Tensor, "N 4"], image_sizes: Int[Tensor, "N 2"]) -> Float[Tensor, "N 4"]:
        """Returns the boxes in the resized images.

        Args:
            image_sizes: (height, width) of the image that each box is in.
        """
        scale = (self.sizes(image_sizes) / image_sizes.double()).flip(1)  # (x, y)
        return (boxes.double() * scale.repeat(1, 2)).float()


@dataclass(frozen=True)
class AnchorSet:
    """Sizes on each level times ratios on all of them."""

    sizes: tuple[tuple[float, ...], ...]  # √area in pixels of an image resized by `Resize()`, by level
    ratios: tuple[float, ...]  # height / width
    scale: float = 1.0  # of an input smaller than that: its anchors are equally large in the image

    def scaled_to(self, resize: Resize) -> AnchorSet:
        """Returns the anchors that cover the same share of an image resized to another size."""
        return replace(self, scale=resize.shorter / Resize().shorter)

    def on_one_level(self) -> AnchorSet:
        """Returns the same shapes, all of them in every cell of the finest level alone."""
        return replace(self, sizes=(sum(self.sizes, ()),))

    def build_generator(self) -> AnchorGenerator:
        """Returns torchvision's generator of these anchors, rounded before they are scaled.

        The boxes are made when it is: setting its `sizes` afterwards changes nothing.
        """
        generator = AnchorGenerator(self.sizes, (self.ratios,) * len(self.sizes))
        generator.cell_anchors = [anchors * self.scale for anchors in generator.cell_anchors]
        return generator


REPORT_ANCHORS = AnchorSet(((4,), (8,), (12,), (24,), (48,)), (0.5, 1.0, 1.5, 2.0))
DEFAULT_ANCHORS = AnchorSet(((32,), (64,), (128,), (256,), (512,)), (0.5, 1.0, 2.0))
FITTED_ANCHORS = AnchorSet(((64,), (128,), (192,), (256,), (384,)), (1.5, 2.0, 3.0))
ANCHOR_SETS = {"report": REPORT_ANCHORS, "default": DEFAULT_ANCHORS, "fitted": FITTED_ANCHORS}
"""The report's, torchvision's own, and one that fits SVHN's digits."""


def measure_best_iou(
    boxes: Num[Tensor, "N 4"],
    image_sizes: Int[Tensor, "N 2"],
    anchors: AnchorSet,
    resize: Resize | None = None,
    strides: tuple[int, ...] = STRIDES,
) -> Float[Tensor, " N"]:
    """Returns for each box the IoU of the anchor that fits it best, of all shapes on all levels at all places.

    Of one shape the best anchor is the nearest one, across and down for itself: what two intervals share only falls
    with the distance of their middles.

    Args:
        boxes: (x1, y1, x2, y2) pixels of the image as it is on disk.
        image_sizes: (height, width) of the image that each box is in; it is alone in its batch.
        resize: what the model does to an image first; `None` means `Resize()`, torchvision's default.
        strides: of the levels, one for each of the anchor set's.
    """
    resize = resize or Resize()
    boxes = resize.boxes(boxes, image_sizes)
    padded = (resize.sizes(image_sizes) + SIZE_DIVISOR - 1) // SIZE_DIVISOR * SIZE_DIVISOR
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    best = torch.zeros(len(boxes))
    for shapes, stride in zip(anchors.build_generator().cell_anchors, strides, strict=True):
        num_cells = -(-padded // stride)
        step = (padded // num_cells).flip(1)  # torchvision's: not the stride itself where cells overhang the image
        nearest = torch.minimum((centres / step).round().clamp(min=0), num_cells.flip(1) - 1) * step
        placed = nearest.repeat(1, 2).unsqueeze(1) + shapes  # [N, S, 4]
        shared = torch.minimum(placed[..., 2:], boxes[:, None, 2:]) - torch.maximum(placed[..., :2], boxes[:, None, :2])
        intersection = shared.clamp(min=0).prod(-1)
        anchor_areas = (shapes[:, 2:] - shapes[:, :2]).prod(-1)
        iou = intersection / (anchor_areas + areas.unsqueeze(1) - intersection)
        best = torch.maximum(best, iou.amax(1))
    return best


def fit_anchors(
    boxes: Num[Tensor, "N 4"],
    image_sizes: Int[Tensor, "N 2"],
    num_sizes: int = 5,
    num_ratios: int = 3,
    num_rounds: int = 30,
) -> AnchorSet:
    """Returns the sizes, one per level, and ratios that fit the boxes as resized by `Resize()`: k-means under IoU.

    As in k-means, every box chooses the shape that overlaps it most when both have one centre; then every size becomes
    the median size of the boxes that chose it, and every ratio their median ratio. Since sizes and ratios are combined
    freely, the two are moved each for itself. Starts from quantiles, so that the same boxes give the same anchors.

    Args:
        boxes: (x1, y1, x2, y2) pixels of the image as it is on disk.
        image_sizes: (height, width) of the image that each box is in.

    Source: Redmon and Farhadi, "YOLO9000" (arXiv:1612.08242), section 2, for k-means under IoU.
    """
    width, height = (lambda resized: resized[:, 2:] - resized[:, :2])(Resize().boxes(boxes, image_sizes)).unbind(1)
    box_sizes, box_ratios = (width * height).sqrt(), height / width
    sizes, ratios = _quantiles(box_sizes, num_sizes), _quantiles(box_ratios, num_ratios)
    for _ in range(num_rounds):
        grid = torch.cartesian_prod(sizes, ratios)
        widths, heights = grid[:, 0] / grid[:, 1].sqrt(), grid[:, 0] * grid[:, 1].sqrt()
        shared = torch.minimum(width[:, None], widths) * torch.minimum(height[:, None], heights)
        chosen = (shared / (width * height + (widths * heights)[:, None] - shared.T).T).argmax(1)
        sizes = _move_to_medians(sizes, box_sizes, chosen // num_ratios)
        ratios = _move_to_medians(ratios, box_ratios, chosen % num_ratios)
    return AnchorSet(
        tuple((round(size),) for size in sizes.sort().values.tolist()),
        tuple(round(ratio, 2) for ratio in ratios.sort().values.tolist()),
    )


def _quantiles(values: Float[Tensor, " N"], count: int) -> Float[Tensor, " count"]:
    """Returns the middles of `count` equally large parts of the values."""
    return torch.quantile(values, (torch.arange(count) + 0.5) / count)


def _move_to_medians(
    centres: Float[Tensor, " K"], values: Float[Tensor, " N"], chosen: Int[Tensor, " N"]
) -> Float[Tensor, " K"]:
    """Returns for each centre the median of the values that chose it; one that nobody chose stays."""
    groups = [values[chosen == row] for row in range(len(centres))]
    return torch.stack([group.median() if len(group) else old for group, old in zip(groups, centres, strict=True)])
