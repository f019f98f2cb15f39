"""Build tasks of heatmaps: the Gaussian target, and three decoders."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake

IMAGE_SIZE = 128
"""Pixels per side of the keypoint images."""
CUT_TOLERANCE = 0.012
"""Largest difference of a map's value: a Gaussian that is cut off three sigma from its point lacks less."""
IMPORTS = "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor"


def generate_heatmap(
    points: Float[Tensor, "K 2"], height: int, width: int, sigma: float
) -> Float[Tensor, "K {height} {width}"]:
    """Return one map per point: a Gaussian of height 1 at the point.

    Points are (x, y) in pixels of an image of 128 x 128 pixels. A map has `height` rows and `width` columns that cover
    the same image, so a cell is 128 / width pixels wide and 128 / height pixels high. Column i covers i to i + 1 on the
    map's axis, so its centre is at i + 0.5 cells. The value of a cell is exp(-d² / (2 sigma²)), where d is the distance
    from the cell's centre to the point. Both d and sigma are in cells.

    A point may lie between the centres; then no cell has the value 1. You may cut the Gaussian off where it is farther
    than three sigma from the point. Points outside the image do not occur.

    Example: on 4 x 4 cells a cell is 32 pixels wide. The point (48, 16) is at (1.5, 0.5) cells, which is the centre of
    column 1, row 0. With sigma = 1 this cell has the value 1, its right neighbour exp(-1 / 2) = 0.6065, and the cell
    below that one exp(-2 / 2) = 0.3679.

    Args:
        points: K points; K may be 0.
        height: rows of each map.
        width: columns of each map.
        sigma: standard deviation of the Gaussians, cells.

    Returns:
        Map k belongs to points[k]. Its first axis is the row (y), its second the column (x).
    """
    column_centres = torch.arange(width, device=points.device) + 0.5
    row_centres = torch.arange(height, device=points.device) + 0.5
    x = points[:, 0, None] * (width / IMAGE_SIZE) - column_centres
    y = points[:, 1, None] * (height / IMAGE_SIZE) - row_centres
    along_row = torch.exp(-0.5 * (x / sigma).square())  # the Gaussian is a product of a function of x and one of y
    along_column = torch.exp(-0.5 * (y / sigma).square())
    return along_column[:, :, None] * along_row[:, None, :]


def extract_keypoints_from_heatmaps(heatmaps: Float[Tensor, "K H W"]) -> Float[Tensor, "K 2"]:
    """Return the centre of each map's highest cell, in pixels of the image.

    The image has 128 x 128 pixels, whatever the size of the maps. Column i covers i to i + 1 on the map's axis, so its
    centre is at i + 0.5 cells. Values may have any sign and size. No step towards a neighbour is taken: positions
    between cells are the work of other decoders. Which of two equally high cells counts is left free.

    Example: a map of 4 rows and 8 columns has cells of 16 x 32 pixels. Its highest cell is in column 5 and row 2. The
    point is (5.5 * 16, 2.5 * 32) = (88, 80).

    Args:
        heatmaps: K maps of H rows and W columns.

    Returns:
        (x, y) of each map's point, pixels.
    """
    _, height, width = heatmaps.shape
    index = heatmaps.flatten(1).argmax(1)  # cells are counted row by row
    columns = index % width
    rows = index // width
    x = (columns + 0.5) * (IMAGE_SIZE / width)
    y = (rows + 0.5) * (IMAGE_SIZE / height)
    return torch.stack([x, y], dim=1)


def soft_argmax(heatmaps: Float[Tensor, "K H W"], temperature: float) -> Float[Tensor, "K 2"]:
    """Return the mean position under the softmax of each map divided by `temperature`, in pixels of the image.

    Each map has weights of its own, which sum to 1 over all its cells. The position of a cell is its centre: column i
    is at i + 0.5 cells. The image has 128 x 128 pixels, whatever the size of the maps.

    The result is differentiable: a loss of the points trains the map. Write it with PyTorch's functions. Large values,
    1000 for instance, must not give NaN.

    Example: a map of one row and two columns has the values 0 and 1.0986 = log 3. At temperature 1 the weights are
    1 / 4 and 3 / 4, so x is 0.25 * 0.5 + 0.75 * 1.5 = 1.25 cells = 80 pixels, and y is 0.5 cells = 64 pixels. At
    temperature 0.5 the weights are 1 / 10 and 9 / 10, so x is 1.4 cells = 89.6 pixels.

    Args:
        heatmaps: K maps of H rows and W columns.
        temperature: positive; the lower it is, the more weight has the highest cell.

    Returns:
        (x, y) of each map's mean position, pixels.
    """
    height, width = heatmaps.shape[1:]
    weights = (heatmaps / temperature).flatten(1).softmax(-1).view_as(heatmaps)
    column_weights = weights.sum(-2)
    row_weights = weights.sum(-1)
    x = (column_weights * (torch.arange(width, device=heatmaps.device) + 0.5)).sum(-1)
    y = (row_weights * (torch.arange(height, device=heatmaps.device) + 0.5)).sum(-1)
    return torch.stack([x * (IMAGE_SIZE / width), y * (IMAGE_SIZE / height)], dim=-1)


def dark(heatmaps: Float[Tensor, "K H W"]) -> Float[Tensor, "K 2"]:
    """Return the maximum of a Gaussian through the cells around each map's highest cell, in pixels of the image.

    The logarithm of a Gaussian is a parabola. So take logarithms, then one Newton step from the highest cell: with the
    gradient g = (gx, gy) and the Hessian H = ((xx, xy), (xy, yy)) of the logarithm there, the step is -H⁻¹ g cells.
    Both come from central differences over the 3 x 3 cells around the highest one. With L(dx, dy) for the logarithm
    at this offset:

        gx = (L(1, 0) - L(-1, 0)) / 2
        xx = L(1, 0) - 2 L(0, 0) + L(-1, 0)
        xy = (L(1, 1) - L(1, -1) - L(-1, 1) + L(-1, -1)) / 4

    and alike for y. Five rules:

    - Values below 1e-6 are raised to 1e-6 before the logarithm.
    - The highest cell may lie at the border, where a neighbour is missing. Then take the differences one cell further
      inside, and extrapolate: a move by (dx, dy) adds H (dx, dy) to the gradient and leaves H as it is.
    - Where the logarithm has no maximum (xx < 0 and xx yy - xy² > 0 do not both hold), the step is 0.
    - On each axis the step is limited to -0.5 to 0.5 cells, because the maximum lies in the highest cell.
    - The step starts at the cell's centre: column i is at i + 0.5 cells. The image has 128 x 128 pixels.

    Example: on 4 x 4 cells of 32 pixels, the Gaussian with sigma = 1 around (56, 48) has its highest cell in column 1,
    row 1. The logarithms in columns 0 to 2 of this row are -0.78125, -0.03125 and -0.28125. So gx = 0.25 and xx = -1,
    and gy = xy = 0. The step is 0.25 cells to the right: x = (1.5 + 0.25) * 32 = 56 pixels, y = 1.5 * 32 = 48 pixels.

    Args:
        heatmaps: K maps of H rows and W columns, at least 3 of each.

    Returns:
        (x, y) of each map's maximum, pixels.

    Source: Zhang et al. 2020, "Distribution-Aware Coordinate Representation" (DARK), https://arxiv.org/abs/1910.06278;
    without the blur of the paper.
    """
    num_maps, height, width = heatmaps.shape
    index = heatmaps.flatten(1).max(1).indices
    columns = index % width
    rows = index // width
    inner_columns = columns.clamp(1, width - 2)
    inner_rows = rows.clamp(1, height - 2)
    logs = heatmaps.clamp(min=1e-6).log()
    number = torch.arange(num_maps, device=heatmaps.device)

    def read(dx: int, dy: int) -> Tensor:
        return logs[number, inner_rows + dy, inner_columns + dx]

    xx = read(-1, 0) - 2 * read(0, 0) + read(1, 0)
    yy = read(0, -1) - 2 * read(0, 0) + read(0, 1)
    xy = (read(-1, -1) - read(1, -1) - read(-1, 1) + read(1, 1)) / 4
    to_peak_x = (columns - inner_columns).to(logs)  # 0, but -1 or 1 at the border
    to_peak_y = (rows - inner_rows).to(logs)
    gx = (read(1, 0) - read(-1, 0)) / 2 + (xx * to_peak_x + xy * to_peak_y)
    gy = (read(0, 1) - read(0, -1)) / 2 + (xy * to_peak_x + yy * to_peak_y)
    determinant = xx * yy - xy * xy
    has_maximum = (xx < 0) & (determinant > 0)
    divisor = torch.where(has_maximum, determinant, 1.0)
    step_x = torch.where(has_maximum, -(yy * gx - xy * gy) / divisor, 0.0).clamp(-0.5, 0.5)
    step_y = torch.where(has_maximum, -(xx * gy - xy * gx) / divisor, 0.0).clamp(-0.5, 0.5)
    x = (columns + 0.5 + step_x) * (IMAGE_SIZE / width)
    y = (rows + 0.5 + step_y) * (IMAGE_SIZE / height)
    return torch.stack([x, y], dim=1)


# Cases


def draw_generate_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `generate_heatmap`."""
    points = 4 + torch.rand(3, 2, generator=generator) * 120

    def case(group: str, title: str, places: list[list[float]], *arguments: float) -> Case:
        return Case(group, title, (torch.tensor(places).reshape(-1, 2), *arguments), tolerance=CUT_TOLERANCE)

    return [
        case("by hand", "a point at the centre of a cell", [[48.0, 16.0]], 4, 4, 1.0),
        case("by hand", "a point between the centres", [[75.2, 41.6]], 4, 4, 1.0),
        case("by hand", "a wider Gaussian", [[60.0, 84.0]], 8, 8, 1.5),
        case("borders and empty input", "a point in the last pixel", [[127.5, 127.5]], 8, 8, 1.0),
        case("borders and empty input", "a point in the first pixel", [[0.5, 0.5]], 8, 8, 1.0),
        case("borders and empty input", "no point at all", [], 4, 8, 1.0),
        case("shapes and batches", "4 rows and 8 columns", [[80.0, 40.0]], 4, 8, 1.2),
        case("shapes and batches", "three points, 8 rows and 6 columns", [[10.0, 99], [70, 35], [111, 60]], 8, 6, 0.8),
        Case("data", "random points", (points, 12, 10, 1.7), tolerance=CUT_TOLERANCE),
    ]


def _put_peaks(height: int, width: int, *peaks: tuple[int, int, float]) -> Tensor:
    """Return one map per (column, row, value) that is 0 but there."""
    maps = torch.zeros(len(peaks), height, width)
    for number, (column, row, value) in enumerate(peaks):
        maps[number, row, column] = value
    return maps


def draw_extract_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `extract_keypoints_from_heatmaps`."""
    uneven = _put_peaks(4, 8, (5, 2, 1.0))
    uneven[0, 2, 4], uneven[0, 2, 6], uneven[0, 1, 5], uneven[0, 3, 5] = 0.3, 0.6, 0.7, 0.2
    return [
        Case("by hand", "the peak in column 5, row 2 of 8 columns and 4 rows", (_put_peaks(4, 8, (5, 2, 1.0)),)),
        Case("by hand", "neighbours of unequal height", (uneven,)),
        Case("borders and empty input", "a weak peak", (_put_peaks(4, 8, (2, 3, 0.05)),)),
        Case("borders and empty input", "peaks in two corners", (_put_peaks(4, 8, (0, 0, 1.0), (7, 3, 1.0)),)),
        Case("borders and empty input", "negative values only", (_put_peaks(4, 8, (6, 1, 2.0)) - 5,)),
        Case(
            "shapes and batches",
            "three maps, more rows than columns",
            (_put_peaks(6, 4, (1, 4, 1.0), (3, 5, 2.0), (2, 0, 0.5)),),
        ),
        Case(
            "pairs",
            "points that your generate_heatmap has drawn",
            (torch.tensor([[61.3, 47.8], [20.9, 101.2]]), 16, 2.0),
            driver="keypoints.decode_drawn_points",
            partners=("generate_heatmap",),
        ),
        Case("data", "random maps", (torch.randn(5, 6, 10, generator=generator),)),
    ]


def draw_soft_argmax_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `soft_argmax`."""
    two_cells = torch.tensor([[[0.0, 1.0986123]]])  # log 3
    logits = torch.randn(3, 5, 7, generator=generator)
    corner = _put_peaks(4, 6, (5, 0, 1.0))
    return [
        Case("by hand", "two cells with weights 1 to 3", (two_cells, 1.0)),
        Case("by hand", "two cells at temperature 0.5", (two_cells, 0.5)),
        Case("by hand", "a map with one peak of 1, at temperature 1", (corner, 1.0)),
        Case("by hand", "the same map at temperature 0.1", (corner, 0.1)),
        Case("borders and empty input", "a flat map", (torch.ones(1, 4, 6), 1.0)),
        Case("borders and empty input", "values of 1000", (1000 * corner, 1.0)),
        Case("shapes and batches", "three maps of 5 rows and 7 columns", (logits, 0.7)),
        Case("laws", "all values higher by 10", (logits + 10, 0.7)),
        Case("laws", "the gradient of the points by the values", (logits, 0.7), driver="general.compute_gradient"),
        Case(
            "pairs",
            "points that your generate_heatmap has drawn, at temperature 0.02",
            (torch.tensor([[61.3, 47.8], [40.9, 81.2]]), 16, 1.5, 0.02),
            driver="keypoints.decode_drawn_points",
            partners=("generate_heatmap",),
            tolerance=CUT_TOLERANCE,
        ),
        Case("data", "random maps", (3 * torch.randn(4, 6, 9, generator=generator), 1.3)),
    ]


def _draw_tilted(height: int, width: int, x: float, y: float, long: float, short: float, degrees: float) -> Tensor:
    """Return the map of a Gaussian with two unequal widths, turned by an angle; all lengths in cells."""
    dy = (torch.arange(height) + 0.5 - y)[:, None]
    dx = (torch.arange(width) + 0.5 - x)[None, :]
    angle = torch.tensor(degrees).deg2rad()
    along = dx * angle.cos() + dy * angle.sin()
    across = dy * angle.cos() - dx * angle.sin()
    return torch.exp(-0.5 * ((along / long).square() + (across / short).square()))


def draw_dark_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `dark`."""
    centre = torch.tensor([[56.0, 48.0]])
    inside = torch.tensor([[41.4, 60.8], [90.0, 33.3]])
    at_border = torch.tensor([[3.0, 50.0], [125.0, 70.0], [60.0, 2.5], [45.0, 126.0], [5.0, 121.0]])
    saddle = torch.full((1, 5, 5), -9.9)
    saddle[0, 1:4, 1:4] = torch.tensor([[-0.1, -1.0, -9.0], [-1.2, 0.0, -0.8], [-9.0, -1.0, -0.2]])
    far = torch.full((1, 5, 5), -9.9)
    far[0, 1:4, 1:4] = torch.tensor([[-0.1, -1.0, -2.5], [-1.0, 0.0, -0.1], [-2.5, -1.0, -0.1]])
    convex = torch.full((1, 5, 5), 0.09)
    convex[0, 2, :3] = torch.tensor([1.0, 0.1, 0.09])
    tilted = [
        _draw_tilted(
            9,
            12,
            3 + 6 * float(torch.rand(1, generator=generator)),
            3 + 3 * float(torch.rand(1, generator=generator)),
            2.0 + float(torch.rand(1, generator=generator)),
            1.2,
            degrees,
        )
        for degrees in (25.0, 110.0, 160.0)
    ]
    return [
        Case("by hand", "the Gaussian of the example", (generate_heatmap(centre, 4, 4, 1.0),)),
        Case("by hand", "a Gaussian between cells on both axes", (generate_heatmap(inside[:1], 8, 8, 1.5),)),
        Case("by hand", "a long, tilted Gaussian", (_draw_tilted(8, 8, 4.2, 3.7, 2.5, 1.0, 35.0)[None],)),
        Case("borders and empty input", "the highest cell at the border", (generate_heatmap(at_border, 8, 8, 1.5),)),
        Case(
            "borders and empty input",
            "a tilted Gaussian in the corner",
            (_draw_tilted(8, 8, 7.7, 0.4, 2.5, 1.2, 40.0)[None],),
        ),
        Case("borders and empty input", "zeros around one cell", (_put_peaks(6, 8, (4, 2, 1.0)),)),
        Case("borders and empty input", "a logarithm without a maximum", (saddle.exp(),)),
        Case("borders and empty input", "a border without a maximum", (convex,)),
        Case("borders and empty input", "negative values only", (_put_peaks(6, 8, (4, 2, 1.0)) - 3,)),
        Case("borders and empty input", "a Newton step out of the cell", (far.exp(),)),
        Case("shapes and batches", "two maps of 6 rows and 10 columns", (generate_heatmap(inside, 6, 10, 1.2),)),
        Case("laws", "the same maps at three tenths of the height", (0.3 * generate_heatmap(inside, 6, 10, 1.2),)),
        Case(
            "pairs",
            "points that your generate_heatmap has drawn",
            (inside, 16, 2.0),
            driver="keypoints.decode_drawn_points",
            partners=("generate_heatmap",),
            tolerance=1e-3,
        ),
        Case("data", "random tilted Gaussians", (torch.stack(tilted),), tolerance=1e-3),
    ]


# Wrong implementations of generate_heatmap


def _draw_gaussians(x: Tensor, y: Tensor, height: int, width: int, twice_variance: float) -> Tensor:
    """Return exp(-d² / twice_variance), for positions in cells."""
    dx = x[:, None, None] - (torch.arange(width) + 0.5)
    dy = y[:, None, None] - (torch.arange(height)[:, None] + 0.5)
    return torch.exp(-(dx.square() + dy.square()) / twice_variance)


def _to_cells(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    return points[:, 0] * width / IMAGE_SIZE, points[:, 1] * height / IMAGE_SIZE


def _without_scaling(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    return _draw_gaussians(points[:, 0], points[:, 1], height, width, 2 * sigma**2)


def _centre_cut(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    x, y = _to_cells(points, height, width)
    return _draw_gaussians(x.floor() + 0.5, y.floor() + 0.5, height, width, 2 * sigma**2)


def _centre_rounded(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    x, y = _to_cells(points, height, width)
    return _draw_gaussians(x.round() + 0.5, y.round() + 0.5, height, width, 2 * sigma**2)


def _last_cell_at_last_pixel(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    x = points[:, 0] * (width - 1) / (IMAGE_SIZE - 1)
    y = points[:, 1] * (height - 1) / (IMAGE_SIZE - 1)
    return _draw_gaussians(x + 0.5, y + 0.5, height, width, 2 * sigma**2)


def _cells_at_corners(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    x, y = _to_cells(points, height, width)
    return _draw_gaussians(x + 0.5, y + 0.5, height, width, 2 * sigma**2)


def _without_factor_two(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    return _draw_gaussians(*_to_cells(points, height, width), height, width, sigma**2)


def _sigma_not_squared(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    return _draw_gaussians(*_to_cells(points, height, width), height, width, 2 * sigma)


def _distance_not_squared(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    maps = _draw_gaussians(*_to_cells(points, height, width), height, width, 1.0)
    return torch.exp(-(-maps.double().log()).sqrt() / (2 * sigma**2))


def _axes_exchanged(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    x, y = _to_cells(points, height, width)
    return _draw_gaussians(y, x, height, width, 2 * sigma**2)


def _density(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    return generate_heatmap(points, height, width, sigma) / (2 * torch.pi * sigma**2)


def _one_map_for_all(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    maps = generate_heatmap(points, height, width, sigma)
    return maps.amax(0) if len(points) else torch.zeros(height, width)


def _square_map(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    return generate_heatmap(points, width, width, sigma)


def _rescaled(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """Return a right answer, too: the highest cell of each map gets the value 1."""
    maps = generate_heatmap(points, height, width, sigma)
    return maps / maps.amax((1, 2), keepdim=True)


def _border_left_out(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    x, y = _to_cells(points, height, width)
    is_inside = (x <= width - 1) & (y <= height - 1)
    return generate_heatmap(points, height, width, sigma) * is_inside[:, None, None]


def _sigma_in_pixels(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    return generate_heatmap(points, height, width, sigma * width / IMAGE_SIZE)


def _one_factor_for_both_axes(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    x = points[:, 0] * width / IMAGE_SIZE
    return _draw_gaussians(x, points[:, 1] * width / IMAGE_SIZE, height, width, 2 * sigma**2)


# Wrong implementations of extract_keypoints_from_heatmaps


def _find_cells(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return column and row of each map's highest cell."""
    index = heatmaps.flatten(1).argmax(1)
    return index % heatmaps.shape[2], index // heatmaps.shape[2]


def _to_points(heatmaps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return positions in cells as pixels."""
    height, width = heatmaps.shape[1:]
    return torch.stack([x * IMAGE_SIZE / width, y * IMAGE_SIZE / height], dim=1)


def _true_division(heatmaps: Tensor) -> Tensor:
    columns, _ = _find_cells(heatmaps)
    return _to_points(heatmaps, columns + 0.5, heatmaps.flatten(1).argmax(1) / heatmaps.shape[2] + 0.5)


def _divided_by_height(heatmaps: Tensor) -> Tensor:
    index = heatmaps.flatten(1).argmax(1)
    return _to_points(heatmaps, index % heatmaps.shape[1] + 0.5, index // heatmaps.shape[1] + 0.5)


def _row_first(heatmaps: Tensor) -> Tensor:
    return extract_keypoints_from_heatmaps(heatmaps).flip(1)


def _mean_of_all_cells(heatmaps: Tensor) -> Tensor:
    return soft_argmax(heatmaps, 1.0)


def _divided_by_last_index(heatmaps: Tensor) -> Tensor:
    height, width = heatmaps.shape[1:]
    columns, rows = _find_cells(heatmaps)
    return torch.stack([columns / (width - 1), rows / (height - 1)], dim=1) * IMAGE_SIZE


def _weak_peaks_at_zero(heatmaps: Tensor) -> Tensor:
    is_strong = heatmaps.flatten(1).amax(1) >= 0.1
    return extract_keypoints_from_heatmaps(heatmaps) * is_strong[:, None]


def _one_peak_for_all(heatmaps: Tensor) -> Tensor:
    highest = int(heatmaps.flatten(1).amax(1).argmax())
    return extract_keypoints_from_heatmaps(heatmaps[highest : highest + 1]).expand(len(heatmaps), 2)


def _read_neighbours(heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the values left, right, above and below of each highest cell; beyond the border the border's."""
    height, width = heatmaps.shape[1:]
    columns, rows = _find_cells(heatmaps)
    number = torch.arange(len(heatmaps))
    left = heatmaps[number, rows, (columns - 1).clamp(min=0)]
    right = heatmaps[number, rows, (columns + 1).clamp(max=width - 1)]
    above = heatmaps[number, (rows - 1).clamp(min=0), columns]
    below = heatmaps[number, (rows + 1).clamp(max=height - 1), columns]
    return left, right, above, below


def _move_by_quarter(heatmaps: Tensor, sign: float) -> Tensor:
    columns, rows = _find_cells(heatmaps)
    left, right, above, below = _read_neighbours(heatmaps)
    x = columns + 0.5 + sign * 0.25 * (right - left).sign()
    return _to_points(heatmaps, x, rows + 0.5 + sign * 0.25 * (below - above).sign())


def _quarter_offset(heatmaps: Tensor) -> Tensor:
    return _move_by_quarter(heatmaps, 1.0)


def _quarter_offset_reversed(heatmaps: Tensor) -> Tensor:
    return _move_by_quarter(heatmaps, -1.0)


def _parabola_through_values(heatmaps: Tensor) -> Tensor:
    columns, rows = _find_cells(heatmaps)
    left, right, above, below = _read_neighbours(heatmaps)
    peaks = heatmaps.flatten(1).amax(1)
    x = columns + 0.5 + (right - left) / 2 / (2 * peaks - left - right)
    return _to_points(heatmaps, x, rows + 0.5 + (below - above) / 2 / (2 * peaks - above - below))


def _points_and_scores(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    return extract_keypoints_from_heatmaps(heatmaps), heatmaps.flatten(1).max(1).values


def _best_value_starts_at_zero(heatmaps: Tensor) -> Tensor:
    return extract_keypoints_from_heatmaps(heatmaps.clamp(min=0))


def _cells(heatmaps: Tensor) -> Tensor:
    columns, rows = _find_cells(heatmaps)
    return torch.stack([columns + 0.5, rows + 0.5], dim=1)


def _indices(heatmaps: Tensor) -> Tensor:
    return torch.stack(_find_cells(heatmaps), dim=1).float()


def _shares(heatmaps: Tensor) -> Tensor:
    return extract_keypoints_from_heatmaps(heatmaps) / IMAGE_SIZE


def _corners_of_cells(heatmaps: Tensor) -> Tensor:
    columns, rows = _find_cells(heatmaps)
    return _to_points(heatmaps, columns, rows)


def _one_cell_size(heatmaps: Tensor) -> Tensor:
    return _cells(heatmaps) * (IMAGE_SIZE / heatmaps.shape[2])


# Wrong implementations of soft_argmax


def _mean_position(heatmaps: Tensor, weights: Tensor) -> Tensor:
    height, width = heatmaps.shape[1:]
    x = (weights * (torch.arange(width) + 0.5)).sum((1, 2))
    y = (weights * (torch.arange(height) + 0.5)[:, None]).sum((1, 2))
    return _to_points(heatmaps, x, y)


def _temperature_ignored(heatmaps: Tensor, temperature: float) -> Tensor:
    return soft_argmax(heatmaps, 1.0)


def _times_temperature(heatmaps: Tensor, temperature: float) -> Tensor:
    return soft_argmax(heatmaps, 1 / temperature)


def _softmax_of_each_row(heatmaps: Tensor, temperature: float) -> Tensor:
    return _mean_position(heatmaps, (heatmaps / temperature).softmax(-1) / heatmaps.shape[1])


def _softmax_of_all_maps(heatmaps: Tensor, temperature: float) -> Tensor:
    return _mean_position(heatmaps, (heatmaps / temperature).flatten().softmax(0).view_as(heatmaps))


def _soft_row_first(heatmaps: Tensor, temperature: float) -> Tensor:
    return soft_argmax(heatmaps, temperature).flip(1)


def _soft_without_half_cell(heatmaps: Tensor, temperature: float) -> Tensor:
    height, width = heatmaps.shape[1:]
    return soft_argmax(heatmaps, temperature) - torch.tensor([IMAGE_SIZE / width / 2, IMAGE_SIZE / height / 2])


def _soft_cells(heatmaps: Tensor, temperature: float) -> Tensor:
    height, width = heatmaps.shape[1:]
    return soft_argmax(heatmaps, temperature) / torch.tensor([IMAGE_SIZE / width, IMAGE_SIZE / height])


def _soft_shares(heatmaps: Tensor, temperature: float) -> Tensor:
    return soft_argmax(heatmaps, temperature) / IMAGE_SIZE


def _values_as_weights(heatmaps: Tensor, temperature: float) -> Tensor:
    values = heatmaps / temperature
    return _mean_position(heatmaps, values / values.sum((1, 2), keepdim=True))


def _overflowing(heatmaps: Tensor, temperature: float) -> Tensor:
    weights = torch.exp(heatmaps / temperature)
    return _mean_position(heatmaps, weights / weights.sum((1, 2), keepdim=True))


def _without_gradient(heatmaps: Tensor, temperature: float) -> Tensor:
    return soft_argmax(heatmaps.detach(), temperature)


def _soft_last_cell_at_border(heatmaps: Tensor, temperature: float) -> Tensor:
    height, width = heatmaps.shape[1:]
    weights = (heatmaps / temperature).flatten(1).softmax(-1).view_as(heatmaps)
    x = (weights * torch.linspace(0, IMAGE_SIZE, width)).sum((1, 2))
    y = (weights * torch.linspace(0, IMAGE_SIZE, height)[:, None]).sum((1, 2))
    return torch.stack([x, y], dim=1)


# Wrong implementations of dark


def _take_newton_step(heatmaps: Tensor, **changes: bool) -> Tensor:
    """Return `dark` with some of its rules left out.

    Args:
        changes: names of the rules that are left out or changed, each True.
    """
    height, width = heatmaps.shape[1:]
    columns, rows = _find_cells(heatmaps)
    is_inner = (columns > 0) & (columns < width - 1) & (rows > 0) & (rows < height - 1)
    if changes.get("wraps_around"):
        inner_columns, inner_rows = columns, rows
    else:
        inner_columns, inner_rows = columns.clamp(1, width - 2), rows.clamp(1, height - 2)
    if changes.get("values"):
        logs = heatmaps
    elif changes.get("no_floor"):
        logs = heatmaps.log()
    else:
        logs = heatmaps.clamp(min=1e-6).log()
    number = torch.arange(len(heatmaps))

    def read(dx: int, dy: int) -> Tensor:
        return logs[number, (inner_rows + dy) % height, (inner_columns + dx) % width]

    xx = read(-1, 0) - 2 * read(0, 0) + read(1, 0)
    yy = read(0, -1) - 2 * read(0, 0) + read(0, 1)
    xy = (read(-1, -1) - read(1, -1) - read(-1, 1) + read(1, 1)) / (1 if changes.get("mixed_not_divided") else 4)
    if changes.get("no_mixed"):
        xy = torch.zeros_like(xy)
    dx, dy = (columns - inner_columns).to(logs), (rows - inner_rows).to(logs)
    if changes.get("no_extrapolation"):
        dx, dy = torch.zeros_like(dx), torch.zeros_like(dy)
    half = 1.0 if changes.get("slope_not_halved") else 0.5
    gx = (read(1, 0) - read(-1, 0)) * half + xx * dx + xy * dy
    gy = (read(0, 1) - read(0, -1)) * half + xy * dx + yy * dy
    determinant = xx * yy - xy * xy
    has_maximum = (xx < 0) & (determinant > 0)
    if changes.get("any_curvature"):
        has_maximum = determinant != 0
    if changes.get("border_left_out"):
        has_maximum = has_maximum & is_inner
    sign = 1.0 if changes.get("uphill") else -1.0
    divisor = torch.where(has_maximum, determinant, 1.0)
    step_x = torch.where(has_maximum, sign * (yy * gx - xy * gy) / divisor, 0.0)
    step_y = torch.where(has_maximum, sign * (xx * gy - xy * gx) / divisor, 0.0)
    if changes.get("no_floor"):  # NaN is not above 0, and yet it must be seen
        step_x = torch.where(determinant.isnan(), determinant, step_x)
        step_y = torch.where(determinant.isnan(), determinant, step_y)
    if not changes.get("no_limit"):
        step_x, step_y = step_x.clamp(-0.5, 0.5), step_y.clamp(-0.5, 0.5)
    return _to_points(heatmaps, columns + 0.5 + step_x, rows + 0.5 + step_y)


def _dark_of_values(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, values=True)


def _dark_axis_by_axis(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, no_mixed=True)


def _dark_uphill(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, uphill=True)


def _dark_slope_not_halved(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, slope_not_halved=True)


def _dark_mixed_not_divided(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, mixed_not_divided=True)


def _dark_row_first(heatmaps: Tensor) -> Tensor:
    return dark(heatmaps).flip(1)


def _dark_without_half_cell(heatmaps: Tensor) -> Tensor:
    height, width = heatmaps.shape[1:]
    return dark(heatmaps) - torch.tensor([IMAGE_SIZE / width / 2, IMAGE_SIZE / height / 2])


def _dark_cells(heatmaps: Tensor) -> Tensor:
    height, width = heatmaps.shape[1:]
    return dark(heatmaps) / torch.tensor([IMAGE_SIZE / width, IMAGE_SIZE / height])


def _dark_without_limit(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, no_limit=True)


def _dark_without_floor(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, no_floor=True)


def _dark_wraps_around(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, wraps_around=True)


def _dark_border_left_out(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, border_left_out=True)


def _dark_without_extrapolation(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, no_extrapolation=True)


def _dark_any_curvature(heatmaps: Tensor) -> Tensor:
    return _take_newton_step(heatmaps, any_curvature=True)


GENERATE_HEATMAP = Definition(
    name="generate_heatmap",
    number="5.3",
    title="Gaussian target map of a point",
    purpose="A heatmap network is trained on these maps: each asks for a peak at one point.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=generate_heatmap,
    imports=IMPORTS,
    draw_cases=draw_generate_cases,
    conventions={"each map is scaled so that its highest cell is 1": _rescaled},
    convention="the value is 1 at the point itself",
    workload=Case("data", "a batch of 32 figures", (160, 64, 2.0), driver="keypoints.draw_random_points"),
    calls=1000,
    hints=(
        "At which position, in cells, is the point (48, 16) if a cell is 32 pixels wide? And the centre of column 0?",
        "Compute the distance to all column centres, `torch.arange(width) + 0.5`, and to all row centres. Points are "
        "in pixels: which factor makes them cells?",
        "exp(-(dx² + dy²) / (2 σ²)) is exp(-dx² / (2 σ²)) times exp(-dy² / (2 σ²)). The first has the shape "
        "[K, 1, width], the second [K, height, 1].",
    ),
    mistakes=(
        Mistake(
            "GH1",
            "pixels are drawn as if they were cells",
            "The point is in pixels of the image, the map in cells. Multiply x by width / 128 and y by height / 128.",
            _without_scaling,
        ),
        Mistake(
            "GH2a",
            "the point is cut to a whole cell",
            "A Gaussian may have its centre between cells. Keep the fraction.",
            _centre_cut,
        ),
        Mistake(
            "GH2b",
            "the point is rounded to a whole cell",
            "A Gaussian may have its centre between cells. Keep the fraction.",
            _centre_rounded,
        ),
        Mistake(
            "GH3",
            "points are scaled by (width - 1) / 127, and cell i is at i",
            "128 pixels are width cells: the factor is width / 128, and the centre of cell i is at i + 0.5.",
            _last_cell_at_last_pixel,
        ),
        Mistake(
            "GH4",
            "the exponent lacks the factor 2: -d² / sigma²",
            "The exponent is -d² / (2 sigma²).",
            _without_factor_two,
        ),
        Mistake(
            "GH5a",
            "sigma is not squared",
            "The exponent is -d² / (2 sigma²): sigma is squared, too.",
            _sigma_not_squared,
        ),
        Mistake(
            "GH5b",
            "the distance is not squared",
            "The exponent is -d² / (2 sigma²). No root is needed: d² = dx² + dy².",
            _distance_not_squared,
        ),
        Mistake(
            "GH6",
            "x is used for the rows and y for the columns",
            "The first axis of a map is the row, which is y.",
            _axes_exchanged,
        ),
        Mistake(
            "GH7",
            "the Gaussian is a density: its values sum to 1",
            "The target is 1 at the point. Leave out the factor 1 / (2 π sigma²).",
            _density,
        ),
        Mistake(
            "GH8",
            "one map holds all points",
            "Each point has a map of its own: the result has the shape [K, height, width].",
            _one_map_for_all,
        ),
        Mistake(
            "GH9",
            "the map is square, whatever the height",
            "Use height for the rows and width for the columns.",
            _square_map,
        ),
        Mistake(
            "GH13",
            "points in the last half cell give an empty map",
            "The last cell ends at width, not at width - 1.",
            _border_left_out,
        ),
        Mistake(
            "GH14",
            "cell i is at i, not at i + 0.5",
            "Column i covers i to i + 1, so its centre is at i + 0.5. All of the map is half a cell off.",
            _cells_at_corners,
        ),
        Mistake(
            "GH15",
            "sigma is taken for pixels",
            "sigma is in cells of the map. Do not scale it.",
            _sigma_in_pixels,
        ),
        Mistake(
            "GH16",
            "x and y are scaled by the same factor",
            "The factor of x is width / 128, the one of y is height / 128. A square map hides the difference.",
            _one_factor_for_both_axes,
        ),
    ),
)

EXTRACT_KEYPOINTS = Definition(
    name="extract_keypoints_from_heatmaps",
    number="5.4",
    title="Points of the highest cells",
    purpose="A network outputs maps, and the metrics need points. This is the simplest way back from a map "
    "to pixels; the lesson calls it argmax.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=extract_keypoints_from_heatmaps,
    imports=IMPORTS,
    draw_cases=draw_extract_cases,
    partners={"generate_heatmap": generate_heatmap},
    workload=Case("data", "maps of 100 figures", (500, 64), driver="keypoints.decode_random_maps"),
    calls=60,
    hints=(
        "A map of 4 rows and 8 columns is flattened. Where in the 32 numbers is column 5 of row 2?",
        "The position in the flattened map is row · width + column. How do you get both back?",
        "Column i has its centre at i + 0.5 cells, and a cell is 128 / width pixels wide.",
    ),
    mistakes=(
        Mistake(
            "EX1",
            "the row is computed with true division",
            "The row is a whole number: index // width. With / a part of the column is added to y.",
            _true_division,
        ),
        Mistake(
            "EX2",
            "the index is divided by the height",
            "A row has width cells, so column = index % width and row = index // width. Square maps hide this.",
            _divided_by_height,
        ),
        Mistake(
            "EX3",
            "points are (y, x)",
            "A point is (x, y): the column comes first.",
            _row_first,
        ),
        Mistake(
            "EX4",
            "the mean position under a softmax is returned",
            "A map with values from 0 to 1 has nearly equal weights e⁰ and e¹ everywhere, so the mean stays near the "
            "middle of the map. Take the highest cell.",
            _mean_of_all_cells,
        ),
        Mistake(
            "EX5",
            "the index is divided by width - 1",
            "Column i has its centre at (i + 0.5) · 128 / width pixels. This is where generate_heatmap puts it.",
            _divided_by_last_index,
        ),
        Mistake(
            "EX6",
            "weak peaks give (0, 0)",
            "A weak peak is still the best guess. (0, 0) is a place in the image, and a wrong one.",
            _weak_peaks_at_zero,
        ),
        Mistake(
            "EX7",
            "all maps get the same point",
            "Search the highest cell of each map separately: `flatten(1).argmax(1)`.",
            _one_peak_for_all,
        ),
        Mistake(
            "EX8a",
            "the point is moved a quarter of a cell towards the higher neighbour",
            "This is a better decoder, and another one. Here the centre of the highest cell is asked for.",
            _quarter_offset,
        ),
        Mistake(
            "EX8b",
            "the point is moved a quarter of a cell towards the lower neighbour",
            "A step would go towards the higher neighbour. Here the centre of the highest cell is asked for.",
            _quarter_offset_reversed,
        ),
        Mistake(
            "EX9",
            "scores are returned besides the points",
            "Return one tensor [K, 2].",
            _points_and_scores,
        ),
        Mistake(
            "EX10",
            "the maximum of a parabola through the values is returned",
            "Here the centre of the highest cell is asked for. For positions between cells see dark; it takes "
            "logarithms, because only the logarithm of a Gaussian is a parabola.",
            _parabola_through_values,
        ),
        Mistake(
            "EX11",
            "the search starts with the value 0 in the first cell",
            "A map may hold negative values only. Start the search with the map's first value.",
            _best_value_starts_at_zero,
        ),
        Mistake(
            "EX12a",
            "positions are cells, not pixels",
            "Multiply x by 128 / width and y by 128 / height.",
            _cells,
        ),
        Mistake(
            "EX12b",
            "column and row are returned as they are",
            "The centre of column i is at i + 0.5 cells; multiply x by 128 / width and y by 128 / height.",
            _indices,
        ),
        Mistake(
            "EX13",
            "positions are shares of the image, 0 to 1",
            "The result is in pixels of the image, 0 to 128.",
            _shares,
        ),
        Mistake(
            "EX14",
            "the upper left corner of the cell is returned",
            "The centre of column i is at i + 0.5 cells. Without the half, all points are half a cell off.",
            _corners_of_cells,
        ),
        Mistake(
            "EX15",
            "x and y are scaled by the same factor",
            "A cell is 128 / width pixels wide and 128 / height pixels high.",
            _one_cell_size,
        ),
        Mistake(
            "EX16",
            "generate_heatmap and this function disagree by half a cell",
            "This function alone is right. Look at your generate_heatmap: the centre of cell i is at i + 0.5.",
            extract_keypoints_from_heatmaps,
            partners={"generate_heatmap": _cells_at_corners},
        ),
    ),
)

SOFT_ARGMAX = Definition(
    name="soft_argmax",
    number="5.6",
    title="Mean position under a softmax",
    purpose="DSNT is trained through this function: unlike the highest cell, the mean position has a gradient.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=soft_argmax,
    imports=IMPORTS,
    draw_cases=draw_soft_argmax_cases,
    partners={"generate_heatmap": generate_heatmap},
    workload=Case("data", "maps of one figure", (5, 64, 0.1), driver="keypoints.decode_random_maps"),
    calls=10,
    hints=(
        "Two cells have the weights 1 / 4 and 3 / 4. At which position is their mean?",
        "The softmax runs over all cells of one map. Which shape must the map have for `softmax(-1)`?",
        "Flatten each map, take the softmax, restore the shape. The mean of x is the sum of weights · (column + 0.5).",
    ),
    mistakes=(
        Mistake(
            "SA1",
            "the temperature is not used",
            "Divide the map by the temperature before the softmax. At temperature 1 the mean of a map with values from "
            "0 to 1 stays near the middle.",
            _temperature_ignored,
        ),
        Mistake(
            "SA2",
            "the map is multiplied by the temperature",
            "A low temperature gives the highest cell more weight: divide.",
            _times_temperature,
        ),
        Mistake(
            "SA3",
            "each row has a softmax of its own",
            "The weights of all cells of a map sum to 1. Flatten the map before the softmax.",
            _softmax_of_each_row,
        ),
        Mistake(
            "SA4",
            "one softmax runs over all maps",
            "Each map has weights that sum to 1.",
            _softmax_of_all_maps,
        ),
        Mistake(
            "SA5",
            "points are (y, x)",
            "A point is (x, y). x is the mean of the columns, the last axis.",
            _soft_row_first,
        ),
        Mistake(
            "SA6",
            "cell i is at i, not at i + 0.5",
            "The centre of column i is at i + 0.5 cells.",
            _soft_without_half_cell,
        ),
        Mistake(
            "SA7a",
            "positions are cells, not pixels",
            "Multiply x by 128 / width and y by 128 / height.",
            _soft_cells,
        ),
        Mistake(
            "SA7b",
            "positions are shares of the image, 0 to 1",
            "The result is in pixels of the image, 0 to 128.",
            _soft_shares,
        ),
        Mistake(
            "SA8",
            "the values themselves are the weights",
            "Weights are the exponentials of the values, divided by their sum. Values may be negative.",
            _values_as_weights,
        ),
        Mistake(
            "SA9",
            "large values overflow",
            "exp(1000) is infinite, and infinite / infinite is NaN. Subtract the map's highest value first, or use "
            "`softmax`.",
            _overflowing,
        ),
        Mistake(
            "SA10",
            "no gradient reaches the map",
            "Leave out detach(), item(), numpy() and new tensors made of numbers.",
            _without_gradient,
        ),
        Mistake(
            "SA11",
            "the first column is at 0 and the last one at 128",
            "Positions are centres of cells: (i + 0.5) · 128 / width.",
            _soft_last_cell_at_border,
        ),
    ),
)

DARK = Definition(
    name="dark",
    number="5.5",
    title="Maximum between the cells (DARK)",
    purpose="The highest cell is up to half a cell away from the point. DARK finds the point between the cells.",
    points=4,
    difficulty=5,
    minutes=(30, 60),
    reference=dark,
    imports=IMPORTS,
    draw_cases=draw_dark_cases,
    partners={"generate_heatmap": generate_heatmap},
    workload=Case("data", "maps of 100 figures", (500, 64), driver="keypoints.decode_random_maps"),
    calls=60,
    hints=(
        "Begin with one row of one map. Three logarithms determine a parabola. Where is its maximum?",
        "On one axis the step is -gx / xx. On two axes, write out the inverse of a 2 x 2 matrix: "
        "step_x = -(yy gx - xy gy) / (xx yy - xy²), and alike for y.",
        "For the border, first clamp column and row to 1 … width - 2 and 1 … height - 2, and take all differences "
        "there. With dx = column - clamped column, gx grows by xx dx + xy dy.",
        "At last: set the step to 0 where there is no maximum, clamp it to -0.5 … 0.5, add it to column + 0.5, and "
        "multiply by 128 / width.",
    ),
    mistakes=(
        Mistake(
            "DK1",
            "the parabola goes through the values, not their logarithms",
            "Only the logarithm of a Gaussian is a parabola. Take the logarithm first.",
            _dark_of_values,
        ),
        Mistake(
            "DK2",
            "each axis is treated by itself, without xy",
            "A tilted Gaussian has a mixed derivative. Use the whole 2 x 2 Hessian.",
            _dark_axis_by_axis,
        ),
        Mistake(
            "DK3",
            "the step has the wrong sign",
            "The Newton step is minus the inverse Hessian times the gradient. At a maximum the Hessian is negative, so "
            "the step follows the gradient.",
            _dark_uphill,
        ),
        Mistake(
            "DK4",
            "the slope is not divided by 2",
            "The neighbours are two cells apart: gx = (right - left) / 2.",
            _dark_slope_not_halved,
        ),
        Mistake(
            "DK5",
            "xy is not divided by 4",
            "It is a difference over two cells on each of two axes: divide by 2 · 2.",
            _dark_mixed_not_divided,
        ),
        Mistake(
            "DK6",
            "points are (y, x)",
            "A point is (x, y): the column comes first.",
            _dark_row_first,
        ),
        Mistake(
            "DK7",
            "the step starts at the corner of the cell",
            "The value of a cell belongs to its centre, at i + 0.5 cells.",
            _dark_without_half_cell,
        ),
        Mistake(
            "DK8",
            "positions are cells, not pixels",
            "Multiply x by 128 / width and y by 128 / height.",
            _dark_cells,
        ),
        Mistake(
            "DK9",
            "the step may leave the cell",
            "The maximum lies in the highest cell. Limit the step to half a cell on each axis.",
            _dark_without_limit,
        ),
        Mistake(
            "DK10",
            "the logarithm of 0 gives NaN",
            "Raise values below 1e-6 to 1e-6 before the logarithm.",
            _dark_without_floor,
        ),
        Mistake(
            "DK11",
            "at the border, the neighbour is taken from the other side of the map",
            "Index -1 is the last column. Take the differences one cell further inside.",
            _dark_wraps_around,
        ),
        Mistake(
            "DK12",
            "at the border no step is taken",
            "Take the differences one cell further inside, and extrapolate the gradient to the highest cell.",
            _dark_border_left_out,
        ),
        Mistake(
            "DK13",
            "at the border the gradient of the inner cell is used",
            "The gradient changes by the Hessian times the move: add xx dx + xy dy to gx.",
            _dark_without_extrapolation,
        ),
        Mistake(
            "DK14",
            "a step is taken to a minimum or a saddle, too",
            "A parabola has a maximum only if xx < 0 and xx yy - xy² > 0. Otherwise the step is 0.",
            _dark_any_curvature,
        ),
    ),
)

DEFINITIONS = (GENERATE_HEATMAP, EXTRACT_KEYPOINTS, SOFT_ARGMAX, DARK)
