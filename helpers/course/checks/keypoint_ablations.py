"""Build tasks of the keypoint ablations: the error of an empty map, and mirrored figures."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake


def mse_of_empty_map(height: int, width: int, sigma: float) -> float:
    """Return the mean squared error of a map of zeros against the heatmap target of one point.

    The target is a Gaussian of height 1, exp(-d² / (2 sigma²)), on a map of `height` rows and `width` columns; d and
    sigma are in cells. The point is far from the border, at least four sigma, and sigma is at least 1. Find the closed
    form: replace the sum over the cells by an integral over the plane. It holds to within a thousandth then. A sum over
    the cells is right, too.

    Example: at sigma = 2 on 64 x 64 cells the squares of the target sum to 12.566, so the error is 12.566 / 4096 =
    0.003068.

    Args:
        height: rows of the map.
        width: columns of the map.
        sigma: standard deviation of the Gaussian, cells.

    Returns:
        The mean over all cells.
    """
    return math.pi * sigma**2 / (height * width)


def mirror_figure(
    image: Shaped[Tensor, "H W"], points: Float[Tensor, "5 2"]
) -> tuple[Shaped[Tensor, "H W"], Float[Tensor, "5 2"]]:
    """Return the image mirrored left to right, and its points with the names that they have in the mirrored image.

    Points are (x, y) in pixels, and positions are continuous: pixel i covers i to i + 1, and its centre is at i + 0.5.
    The image is W pixels wide, so its borders are at x = 0 and x = W. They change places.

    The rows of points are head, left hand, right hand, left foot, right foot. The mirror image of a left hand is a
    right hand, so the names of the hands are exchanged, and those of the feet, too. The inputs stay as they are.

    Example: the image is 128 pixels wide, the left hand is at (40.5, 30.5) and the right hand at (85.5, 35.5). In the
    mirrored image the left hand is at (42.5, 35.5) and the right hand at (87.5, 30.5).

    Args:
        image: H rows and W columns, of any type of number.
        points: (x, y) of the five points, pixels.

    Returns:
        The mirrored image, and its points.
    """
    mirrored = points[[0, 2, 1, 4, 3]]  # a copy
    mirrored[:, 0] = image.shape[1] - mirrored[:, 0]
    return image.flip(1), mirrored


# Cases


def draw_empty_map_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `mse_of_empty_map`; results are multiplied by the number of cells."""
    sigma = round(1 + 2 * float(torch.rand(1, generator=generator)), 2)

    def case(group: str, title: str, *arguments: float) -> Case:
        return Case(group, title, arguments, driver="keypoints.multiply_by_cells", tolerance=2e-3)

    return [
        case("by hand", "64 x 64 cells, sigma 2; the result times the number of cells", 64, 64, 2.0),
        case("by hand", "64 x 64 cells, sigma 1; the result times the number of cells", 64, 64, 1.0),
        case("shapes and batches", "32 rows and 48 columns; the result times the number of cells", 32, 48, 1.5),
        case("laws", "four times as many cells; the result times the number of cells", 128, 128, 2.0),
        case("data", "a random sigma; the result times the number of cells", 40, 56, sigma),
    ]


def draw_mirror_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `mirror_figure`."""
    points = torch.tensor([[60.5, 20.5], [40.5, 30.5], [85.5, 35.5], [50.5, 90.5], [70.5, 92.5]])
    small = torch.arange(12.0).reshape(3, 4)
    small_points = torch.tensor([[0.5, 0.5], [1.0, 1.5], [3.5, 2.25], [0.0, 2.0], [4.0, 1.0]])
    image = torch.rand(6, 9, generator=generator)
    inside = torch.rand(5, 2, generator=generator) * torch.tensor([9.0, 6.0])
    return [
        Case("by hand", "the example, in an image 128 pixels wide", (torch.zeros(2, 128), points)),
        Case("by hand", "3 rows and 4 columns", (small, small_points)),
        Case("borders and empty input", "an image of one column", (small[:, :1], small_points / 4)),
        Case("laws", "mirrored twice", (image, inside), driver="keypoints.call_twice"),
        Case("data", "a random image", (image, inside)),
        Case("data", "a random image of bytes", ((image * 255).to(torch.uint8), inside)),
    ]


# Wrong implementations of mse_of_empty_map


def _target_not_squared(height: int, width: int, sigma: float) -> float:
    return 2 * math.pi * sigma**2 / (height * width)


def _sum_of_squares(height: int, width: int, sigma: float) -> float:
    return math.pi * sigma**2


def _sigma_not_squared(height: int, width: int, sigma: float) -> float:
    return math.pi * sigma / (height * width)


def _divided_by_side(height: int, width: int, sigma: float) -> float:
    return math.pi * sigma**2 / width


def _square_map(height: int, width: int, sigma: float) -> float:
    return math.pi * sigma**2 / width**2


def _root(height: int, width: int, sigma: float) -> float:
    return math.sqrt(mse_of_empty_map(height, width, sigma))


def _one_dimension(height: int, width: int, sigma: float) -> float:
    return math.sqrt(math.pi) * sigma / (height * width)


def _without_pi(height: int, width: int, sigma: float) -> float:
    return sigma**2 / (height * width)


def _half(height: int, width: int, sigma: float) -> float:
    return math.pi * sigma**2 / 2 / (height * width)


def _density_target(height: int, width: int, sigma: float) -> float:
    return 1 / (4 * math.pi * sigma**2) / (height * width)


# Wrong implementations of mirror_figure

Figure = tuple[Tensor, Tensor]


def _names_kept(image: Tensor, points: Tensor) -> Figure:
    mirrored = points.clone()
    mirrored[:, 0] = image.shape[1] - mirrored[:, 0]
    return image.flip(1), mirrored


def _indices(image: Tensor, points: Tensor) -> Figure:
    mirrored_image, mirrored = mirror_figure(image, points)
    return mirrored_image, mirrored - torch.tensor([1.0, 0.0])


def _exchanged_through_views(image: Tensor, points: Tensor) -> Figure:
    mirrored_image, mirrored = _names_kept(image, points)
    mirrored[1], mirrored[2] = mirrored[2], mirrored[1]
    mirrored[3], mirrored[4] = mirrored[4], mirrored[3]
    return mirrored_image, mirrored


def _wrong_pairs(image: Tensor, points: Tensor) -> Figure:
    mirrored_image, mirrored = _names_kept(image, points)
    return mirrored_image, mirrored[[1, 0, 3, 2, 4]]


def _feet_not_exchanged(image: Tensor, points: Tensor) -> Figure:
    mirrored_image, mirrored = _names_kept(image, points)
    return mirrored_image, mirrored[[0, 2, 1, 3, 4]]


def _hands_not_exchanged(image: Tensor, points: Tensor) -> Figure:
    mirrored_image, mirrored = _names_kept(image, points)
    return mirrored_image, mirrored[[0, 1, 2, 4, 3]]


def _image_kept(image: Tensor, points: Tensor) -> Figure:
    return image.clone(), mirror_figure(image, points)[1]


def _image_upside_down(image: Tensor, points: Tensor) -> Figure:
    return image.flip(0), mirror_figure(image, points)[1]


def _points_kept(image: Tensor, points: Tensor) -> Figure:
    return image.flip(1), points.clone()


def _names_only(image: Tensor, points: Tensor) -> Figure:
    return image.flip(1), points[[0, 2, 1, 4, 3]]


def _height_for_width(image: Tensor, points: Tensor) -> Figure:
    mirrored_image, mirrored = mirror_figure(image, points)
    return mirrored_image, mirrored + torch.tensor([float(image.shape[0] - image.shape[1]), 0.0])


def _y_mirrored(image: Tensor, points: Tensor) -> Figure:
    mirrored = points[[0, 2, 1, 4, 3]]
    mirrored[:, 1] = image.shape[0] - mirrored[:, 1]
    return image.flip(1), mirrored


def _points_changed_in_place(image: Tensor, points: Tensor) -> Figure:
    points[:, 0] = image.shape[1] - points[:, 0]
    return image.flip(1), points[[0, 2, 1, 4, 3]]


EMPTY_MAP = Definition(
    name="mse_of_empty_map",
    number="6.1",
    title="Squared error of an empty map, in closed form",
    purpose="The lesson asks whether the squared errors of two targets can be compared. The error of an "
    "empty map shows what such a number depends on.",
    points=1,
    difficulty=2,
    minutes=(5, 15),
    reference=mse_of_empty_map,
    imports="import math",
    draw_cases=draw_empty_map_cases,
    hints=(
        "The map is 0 everywhere. What is the squared error of one cell?",
        "The square of exp(-d² / (2 σ²)) is exp(-d² / σ²), a Gaussian again. What is its integral over the plane?",
        "The integral of exp(-d² / σ²) over the plane is π σ². Divide it by the number of cells.",
    ),
    mistakes=(
        Mistake(
            "EM1",
            "the target is integrated, not its square: 2 π sigma²",
            "The squared error of a cell is the square of the target there. It falls faster than the target.",
            _target_not_squared,
        ),
        Mistake(
            "EM2",
            "the sum is not divided by the number of cells",
            "The mean squared error is the sum divided by height · width.",
            _sum_of_squares,
        ),
        Mistake(
            "EM3",
            "sigma is not squared",
            "A Gaussian spreads on two axes, so its integral grows with sigma².",
            _sigma_not_squared,
        ),
        Mistake(
            "EM4",
            "the sum is divided by one side of the map",
            "The map has height · width cells.",
            _divided_by_side,
        ),
        Mistake(
            "EM5",
            "the sum is divided by the square of the width",
            "The map has height · width cells; it need not be square.",
            _square_map,
        ),
        Mistake(
            "EM6",
            "the root of the mean squared error is returned",
            "Leave out the root.",
            _root,
        ),
        Mistake(
            "EM7",
            "the integral is over one axis",
            "The map has two axes: the integral is the square of √π · sigma.",
            _one_dimension,
        ),
        Mistake(
            "EM8",
            "the factor π is missing",
            "In polar coordinates, the integral of exp(-r² / σ²) · 2 π r is π σ².",
            _without_pi,
        ),
        Mistake(
            "EM9",
            "the result is half as large as it should be",
            "The mean squared error has no factor 1 / 2, and the exponent of the square is -d² / sigma².",
            _half,
        ),
        Mistake(
            "EM10",
            "the target is taken for a density",
            "The target is 1 at the point; its integral is not 1.",
            _density_target,
        ),
    ),
)

MIRROR_FIGURE = Definition(
    name="mirror_figure",
    number="6.2",
    title="Mirrored figures with exchanged names",
    purpose="Mirrored images are the cheapest additional training data, if their points are right. Recipes "
    "with `mirrored=True` use the function, for instance in the third exercise.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=mirror_figure,
    imports="import torch\nfrom jaxtyping import Float, Shaped\nfrom torch import Tensor",
    draw_cases=draw_mirror_cases,
    hints=(
        "Raise your left hand in front of a mirror. Which hand does your mirror image raise?",
        "The border x = 0 becomes x = W, and x = W becomes 0. Which formula does this?",
        "`points[[0, 2, 1, 4, 3]]` is a copy with exchanged rows. Then replace x by image.shape[1] - x.",
    ),
    mistakes=(
        Mistake(
            "FL1",
            "the names are not exchanged",
            "The mirror image of a left hand is a right hand. A network that is trained with both names for one hand "
            "predicts the middle.",
            _names_kept,
        ),
        Mistake(
            "FL2",
            "x becomes W - 1 - x",
            "This is right for indices of pixels: pixel 0 becomes pixel W - 1. Here positions are continuous, and the "
            "border x = 0 becomes x = W.",
            _indices,
        ),
        Mistake(
            "FL3",
            "rows are exchanged through views, so both hands are the same",
            "In `a[1], a[2] = a[2], a[1]` the right side holds views: after the first assignment a[1] has changed. "
            "Index a copy: a[[0, 2, 1, 4, 3]].",
            _exchanged_through_views,
        ),
        Mistake(
            "FL4",
            "the wrong rows are exchanged: 0 with 1, and 2 with 3",
            "The order is head, left hand, right hand, left foot, right foot: exchange 1 with 2, and 3 with 4.",
            _wrong_pairs,
        ),
        Mistake(
            "FL6a",
            "the feet are not exchanged",
            "The mirror image of a left foot is a right foot.",
            _feet_not_exchanged,
        ),
        Mistake(
            "FL6b",
            "the hands are not exchanged",
            "The mirror image of a left hand is a right hand.",
            _hands_not_exchanged,
        ),
        Mistake(
            "FL7",
            "the image is not mirrored",
            "Image and points belong together: mirror both. The columns are the last axis.",
            _image_kept,
        ),
        Mistake(
            "FL8",
            "the image is turned upside down",
            "Left and right change places: reverse the last axis.",
            _image_upside_down,
        ),
        Mistake(
            "FL9",
            "the points stay as they are",
            "Mirror x, and exchange the names.",
            _points_kept,
        ),
        Mistake(
            "FL10",
            "the names are exchanged, but x is not mirrored",
            "Replace x by W - x.",
            _names_only,
        ),
        Mistake(
            "FL11",
            "the height is used for the width",
            "The width is the length of the last axis: image.shape[1].",
            _height_for_width,
        ),
        Mistake(
            "FL12",
            "y is mirrored, not x",
            "Left and right change places: x is the first number of a point.",
            _y_mirrored,
        ),
        Mistake(
            "FL13",
            "the input points are changed",
            "The next epoch needs the points as they were. Change a copy: points.clone().",
            _points_changed_in_place,
        ),
    ),
)

DEFINITIONS = (EMPTY_MAP, MIRROR_FIGURE)
