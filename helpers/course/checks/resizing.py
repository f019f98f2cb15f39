"""Build tasks of the resize before Faster R-CNN: the resized size, and anchors that fit the resized objects."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

from helpers.course.checks.definition import Case, Definition, Mistake


def resize_size(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    """Return the height and width after the resize of torchvision's Faster R-CNN, and the factor of the resize.

    Both sides are multiplied by one factor, so that the shape of the objects stays. The shorter side becomes `shorter`
    pixels, unless the longer side would then exceed `longer` pixels: in this case the longer side becomes `longer`.
    Small images are enlarged, and large ones are made smaller.

    Example: a photo with height 47 and width 104. 800 / 47 = 17.02 would make the width 1770, more than 1333. So the
    factor is 1333 / 104 = 12.8173, and the size is 602 × 1333 (602.4 rounded down).

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        shorter: length of the shorter side after the resize, pixels.
        longer: largest length of the longer side after the resize, pixels.

    Returns:
        Height, width (whole pixels, rounded down) and the factor.
    """
    factor = min(shorter / min(height, width), longer / max(height, width))
    return math.floor(height * factor), math.floor(width * factor), factor


def fit_anchors(
    boxes: Float[Tensor, "N 4"], factors: Float[Tensor, " N"], num_sizes: int = 5, num_ratios: int = 3
) -> AnchorGenerator:
    """Return torchvision's anchor generator with anchors that fit the objects as the network sees them.

    The network resizes an image before anchors are laid over it, so each box is measured after the resize of its image.
    The size of an object is the square root of its area, and its ratio is height / width.

    The sizes of the anchors are the quantiles (k + 0.5) / num_sizes of all objects' sizes, for k = 0, 1, ...: the
    medians of equally large groups. The ratios are the quantiles (k + 0.5) / num_ratios of all objects' ratios.
    `torch.quantile` computes them. The generator has num_sizes levels with one size each, smallest first, and each
    level has all ratios. Do not round: the generator does.

    Example: a digit that is 14 pixels wide and 29 high, in a photo that is enlarged by 12.817, with one size and one
    ratio. Its size is 12.817 · root(14 · 29) = 258.3, and its ratio is 29 / 14 = 2.071. The anchor of this size and
    ratio has the width 258.3 / root(2.071) = 179.4 and the height 258.3 · root(2.071) = 371.7.

    Args:
        boxes: N objects (x1, y1, x2, y2), pixels of the photos.
        factors: by which the photo of each object is resized (see `resize_size`).
        num_sizes: number of levels.
        num_ratios: number of ratios.

    Returns:
        `AnchorGenerator(sizes, aspect_ratios)`, with a tuple of sizes and a tuple of ratios for each level.
    """
    width = (boxes[:, 2] - boxes[:, 0]) * factors
    height = (boxes[:, 3] - boxes[:, 1]) * factors
    size_positions = (torch.arange(num_sizes) + 0.5) / num_sizes
    ratio_positions = (torch.arange(num_ratios) + 0.5) / num_ratios
    sizes = torch.quantile((width * height).sqrt(), size_positions).tolist()
    ratios = tuple(torch.quantile(height / width, ratio_positions).tolist())
    return AnchorGenerator(tuple((size,) for size in sizes), (ratios,) * num_sizes)


# Cases


def draw_resize_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `resize_size`.

    Random photos are chosen so that every right formula gives the same whole pixels: in floating point 1333 / 149 · 149
    is smaller than 1333.
    """
    sides = torch.randint(24, 2000, (60, 2), generator=generator).tolist()
    random_sides = [(height, width) for height, width in sides if _is_exact(height, width)][:4]

    def make_case(group: str, title: str, *inputs: int) -> Case:
        return Case(group, title, inputs)

    return [
        make_case("by hand", "a wide photo, 47 × 104", 47, 104),
        make_case("by hand", "a photo of 50 × 60", 50, 60),
        make_case("by hand", "a high photo, 104 × 47", 104, 47),
        make_case("borders and empty input", "a square photo", 64, 64),
        make_case("borders and empty input", "a large photo, 1500 × 2000", 1500, 2000),
        make_case("borders and empty input", "a photo larger than the limits in one side", 1000, 700),
        make_case("shapes and batches", "the limits 64 and 192", 47, 104, 64, 192),
        make_case("shapes and batches", "the limits 96 and 96", 31, 77, 96, 96),
        make_case("laws", "a photo twice as large as the first", 94, 208),
        *(make_case("data", f"{height} × {width}", height, width) for height, width in random_sides),
    ]


def _is_exact(height: int, width: int) -> bool:
    """Return whether floating point rounds both sides down to the pixels of exact arithmetic."""
    exact = min(Fraction(800, min(height, width)), Fraction(1333, max(height, width)))
    results = [math.floor(side * float(exact)) == math.floor(side * exact) for side in (height, width)]
    return all(results)


def draw_anchor_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `fit_anchors`."""
    digit, digit_factor = torch.tensor([[40.0, 9, 54, 38]]), torch.tensor([12.8173])
    two = torch.tensor([[10.0, 10, 20, 30], [5.0, 8, 37, 48]])
    corners = torch.rand(40, 2, generator=generator) * 60
    sides = torch.stack(
        [8 + 20 * torch.rand(40, generator=generator), 15 + 45 * torch.rand(40, generator=generator)], 1
    )
    boxes = torch.cat([corners, corners + sides], dim=1)
    factors = 3 + 14 * torch.rand(40, generator=generator)
    image_sizes = torch.stack(
        [
            70 + torch.randint(0, 60, (40,), generator=generator),
            90 + torch.randint(0, 300, (40,), generator=generator),
        ],
        dim=1,
    )
    order = torch.randperm(40, generator=generator)

    def make_case(group: str, title: str, *inputs: object) -> Case:
        return Case(group, title, inputs, driver="digits.read_anchors")

    return [
        make_case("by hand", "one digit, one size, one ratio", digit, digit_factor, 1, 1),
        make_case("by hand", "two digits, two sizes, one ratio", two, torch.tensor([10.0, 3]), 2, 1),
        make_case("by hand", "a wide object", torch.tensor([[0.0, 0, 60, 20]]), torch.tensor([4.3]), 1, 1),
        make_case("borders and empty input", "one digit, two sizes", digit, digit_factor, 2, 1),
        make_case("shapes and batches", "five sizes and three ratios", boxes, factors, 5, 3),
        make_case("shapes and batches", "two sizes and four ratios", boxes, factors, 2, 4),
        make_case("laws", "the objects in another order", boxes[order], factors[order], 3, 2),
        make_case("laws", "all objects moved", boxes + 37, factors, 3, 2),
        Case(
            "pairs",
            "factors from your resize_size",
            (boxes, image_sizes, 3, 2),
            driver="digits.fit_anchors_to_photos",
            partners=("resize_size",),
        ),
        make_case("data", "random digits", boxes, factors),
    ]


# Wrong sizes. Each is written as a student writes it.


def _resize(height: int, width: int, factor: float) -> tuple[int, int, float]:
    return math.floor(height * factor), math.floor(width * factor), factor


def _shorter_side_only(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return _resize(height, width, shorter / min(height, width))


def _longer_side_only(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return _resize(height, width, longer / max(height, width))


def _larger_factor(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return _resize(height, width, max(shorter / min(height, width), longer / max(height, width)))


def _height_is_shorter(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return _resize(height, width, min(shorter / height, longer / width))


def _never_enlarged(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return _resize(height, width, min(1.0, resize_size(height, width, shorter, longer)[2]))


def _not_resized(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return height, width, 1.0


def _never_reduced(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return _resize(height, width, max(1.0, resize_size(height, width, shorter, longer)[2]))


def _stretched(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    _, _, factor = resize_size(height, width, shorter, longer)
    return (shorter, longer, factor) if height <= width else (longer, shorter, factor)


def _exchanged(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    new_height, new_width, factor = resize_size(height, width, shorter, longer)
    return new_width, new_height, factor


def _rounded(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    _, _, factor = resize_size(height, width, shorter, longer)
    return round(height * factor), round(width * factor), factor


def _limits_fixed(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    return resize_size(height, width)


def _factor_turned_round(height: int, width: int, shorter: int = 800, longer: int = 1333) -> tuple[int, int, float]:
    new_height, new_width, factor = resize_size(height, width, shorter, longer)
    return new_height, new_width, 1 / factor


RESIZE = Definition(
    name="resize_size",
    number="7.1",
    title="Size after the resize of Faster R-CNN",
    purpose="Anchors have to fit the digits as the network sees them, after its resize.",
    points=1,
    difficulty=2,
    minutes=(10, 15),
    reference=resize_size,
    imports="import math",
    draw_cases=draw_resize_cases,
    hints=(
        "A photo is 47 pixels high and 104 wide. Which factor makes its height 800? Which makes its width 1333?",
        "Which of the two factors keeps both sides within their limits?",
        "factor = min(shorter / min(height, width), longer / max(height, width))",
    ),
    mistakes=(
        Mistake(
            "AR4a",
            "the factor is computed from the shorter side alone",
            "The longer side has a limit, too: a wide photo would become wider than 1333.",
            _shorter_side_only,
        ),
        Mistake(
            "AR4b",
            "the factor is computed from the longer side alone",
            "The shorter side has a limit, too: a square photo would become 1333 × 1333.",
            _longer_side_only,
        ),
        Mistake(
            "AR4c", "the larger of the two factors is used", "Take the smaller of the two factors.", _larger_factor
        ),
        Mistake(
            "AR4d",
            "the height is taken for the shorter side",
            "A photo may be higher than wide: use min(height, width).",
            _height_is_shorter,
        ),
        Mistake(
            "AR1a",
            "the size is that of the photo, without a resize",
            "The network resizes every photo first: small ones become larger.",
            _not_resized,
        ),
        Mistake(
            "AR1b",
            "small photos are not enlarged",
            "The factor may be above 1: torchvision enlarges small photos to 800 pixels.",
            _never_enlarged,
        ),
        Mistake(
            "AR1c",
            "large photos are not made smaller",
            "The factor may be below 1: torchvision makes large photos smaller.",
            _never_reduced,
        ),
        Mistake(
            "AR7",
            "each side gets its own factor",
            "The shape of the digits must stay: multiply both sides by the same factor.",
            _stretched,
        ),
        Mistake("AR8", "height and width are exchanged", "Return the height first.", _exchanged),
        Mistake("AR9", "sides are rounded to the nearest pixel", "Round down.", _rounded),
        Mistake(
            "AR10",
            "the limits are always 800 and 1333",
            "Use the arguments `shorter` and `longer`.",
            _limits_fixed,
        ),
        Mistake(
            "AR11",
            "the factor is turned round",
            "The factor is the new length over the old one.",
            _factor_turned_round,
        ),
    ),
)


# Wrong anchors. Each is written as a student writes it.


def _measure(boxes: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objects' widths and heights after the resize."""
    return (boxes[:, 2] - boxes[:, 0]) * factors, (boxes[:, 3] - boxes[:, 1]) * factors


def _build(
    sizes: Tensor, ratios: Tensor, num_sizes: int, num_ratios: int, summarise: Callable[..., Tensor] | None = None
) -> AnchorGenerator:
    """Return the generator of the quantiles of sizes and ratios."""
    summarise = summarise or (lambda values, count: torch.quantile(values, (torch.arange(count) + 0.5) / count))
    level_sizes = tuple((size,) for size in summarise(sizes, num_sizes).tolist())
    return AnchorGenerator(level_sizes, (tuple(summarise(ratios, num_ratios).tolist()),) * num_sizes)


def _measured_in_photo(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    return fit_anchors(boxes, torch.ones_like(factors), num_sizes, num_ratios)


def _divided_by_factor(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    return fit_anchors(boxes, 1 / factors, num_sizes, num_ratios)


def _mean_factor(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    return fit_anchors(boxes, factors.mean().expand_as(factors), num_sizes, num_ratios)


def _sizes_set_afterwards(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    fitted = fit_anchors(boxes, factors, num_sizes, num_ratios)
    generator = AnchorGenerator()
    generator.sizes, generator.aspect_ratios = fitted.sizes, fitted.aspect_ratios
    return generator


def _ratio_of_width(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    width, height = _measure(boxes, factors)
    return _build((width * height).sqrt(), width / height, num_sizes, num_ratios)


def _size_is_height(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    width, height = _measure(boxes, factors)
    return _build(height, height / width, num_sizes, num_ratios)


def _size_is_width(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    width, height = _measure(boxes, factors)
    return _build(width, height / width, num_sizes, num_ratios)


def _size_is_area(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    width, height = _measure(boxes, factors)
    return _build(width * height, height / width, num_sizes, num_ratios)


def _area_grows_by_factor(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    width, height = _measure(boxes, torch.ones_like(factors))
    return _build((width * height * factors).sqrt(), height / width, num_sizes, num_ratios)


def _all_sizes_on_each_level(
    boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3
) -> AnchorGenerator:
    fitted = fit_anchors(boxes, factors, num_sizes, num_ratios)
    sizes = tuple(size for level in fitted.sizes for size in level)
    return AnchorGenerator((sizes,) * num_sizes, fitted.aspect_ratios)


def _evenly_spaced(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    width, height = _measure(boxes, factors)

    def space_evenly(values: Tensor, count: int) -> Tensor:
        return torch.linspace(float(values.min()), float(values.max()), count)

    return _build((width * height).sqrt(), height / width, num_sizes, num_ratios, space_evenly)


def _corners_as_widths(boxes: Tensor, factors: Tensor, num_sizes: int = 5, num_ratios: int = 3) -> AnchorGenerator:
    width, height = boxes[:, 2] * factors, boxes[:, 3] * factors
    return _build((width * height).sqrt(), height / width, num_sizes, num_ratios)


ANCHORS = Definition(
    name="fit_anchors",
    number="7.2",
    title="Anchors that fit the resized digits",
    purpose="The report's anchors do not fit the resized digits. This function chooses anchors that do.",
    points=2,
    difficulty=3,
    minutes=(15, 25),
    reference=fit_anchors,
    imports=(
        "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor\n"
        "from torchvision.models.detection.anchor_utils import AnchorGenerator"
    ),
    draw_cases=draw_anchor_cases,
    partners={"resize_size": resize_size},
    hints=(
        "How wide and how high is a digit of 14 × 29 pixels in the image that enters the network?",
        "Size is root(width · height), ratio is height / width. Does the ratio change with the resize?",
        "`torch.quantile(sizes, (torch.arange(num_sizes) + 0.5) / num_sizes)` gives the sizes of the levels.",
        "Pass sizes and ratios to the constructor of `AnchorGenerator`: sizes ((s1,), (s2,), ...), and the tuple of "
        "ratios once for each level.",
    ),
    mistakes=(
        Mistake(
            "AR1d",
            "the objects are measured in the photo",
            "The network resizes the photo first. Multiply widths and heights by the factor.",
            _measured_in_photo,
        ),
        Mistake(
            "AR1e",
            "the objects are divided by the factor",
            "The photo is enlarged by the factor, and its objects with it: multiply.",
            _divided_by_factor,
        ),
        Mistake(
            "AR1f",
            "one mean factor is used for all photos",
            "Each photo has its own factor: multiply each object by the factor of its photo.",
            _mean_factor,
        ),
        Mistake(
            "AR1g",
            "the area is multiplied by the factor, not by its square",
            "Width and height both grow by the factor.",
            _area_grows_by_factor,
        ),
        Mistake(
            "AR2",
            "`sizes` is set after the generator was built",
            "The generator computes its anchors when it is built, so a later change has no effect. Pass the sizes to "
            "the constructor.",
            _sizes_set_afterwards,
        ),
        Mistake(
            "AR3",
            "the ratio is width / height",
            "torchvision's ratio is height / width: a digit is higher than wide, so its ratio is above 1.",
            _ratio_of_width,
        ),
        Mistake(
            "AR4e",
            "the factors of task 7.1 are computed from the shorter side alone",
            "Correct `resize_size`: the longer side has a limit, too.",
            fit_anchors,
            {"resize_size": _shorter_side_only},
        ),
        Mistake(
            "AR5a",
            "the height is taken for the size",
            "Then the area of the anchors changes with the ratio. The size is root(width · height).",
            _size_is_height,
        ),
        Mistake(
            "AR5b",
            "the width is taken for the size",
            "Then the area of the anchors changes with the ratio. The size is root(width · height).",
            _size_is_width,
        ),
        Mistake("AR5c", "the area is taken for the size", "The size is the root of the area.", _size_is_area),
        Mistake(
            "AR12",
            "every level has all sizes",
            "Give each level one size: ((s1,), (s2,), ...).",
            _all_sizes_on_each_level,
        ),
        Mistake(
            "AR13",
            "sizes and ratios are spaced evenly from the smallest to the largest",
            "Quantiles lie where the objects are: most anchors belong where most objects are.",
            _evenly_spaced,
        ),
        Mistake(
            "AR14",
            "the lower right corner is taken for width and height",
            "The width is x2 - x1, and the height is y2 - y1.",
            _corners_as_widths,
        ),
    ),
)

DEFINITIONS = (RESIZE, ANCHORS)
