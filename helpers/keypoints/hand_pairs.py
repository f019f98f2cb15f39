"""Joint decoding of two hands that look alike: a least-squares fit of two Gaussians to the sum of both maps.

Shape letters: B batch, h w map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from helpers.keypoints.heatmaps import find_expectations, generate_heatmap
from helpers.keypoints.scenes import IMAGE_SIZE

FIT_ROUNDS = 12
LARGEST_STEP = (1.0, 1.0, 1.0, 1.0, 0.2, 1.0)
"""Largest change of each parameter per round: x, y, x, y in cells, the logarithm of the width, the height."""
DERIVATIVE_OF_PRODUCT = (0, 2, 1, 3, 4, 4, 4, 4, 5, 5)
"""For each product of a column and a row in `build_normal_equations`: the parameter whose derivative it is part of."""
FOREGROUND_LEVEL = 0.2
"""Share of the map's highest value; cells below it are treated as background noise."""
EPSILON = 1e-6
"""Smallest divisor, and smallest damping of the fit."""


def decode_hand_pair(maps: Float[Tensor, "B 2 h w"], sigma: float) -> Float[Tensor, "B 2 2"]:
    """Return two points, in cells, that together explain two maps in which the hands may be confused.

    A network cannot tell apart hands that look alike, so it predicts both hands in both maps. The sum of the maps is
    close to G(p) + G(q), whichever hand the network assigns to which map. The two highest peaks of the sum are not
    enough: Gaussians less than 2 sigma apart merge into one peak, and a third of the handout's hands are that close. So
    p, q and the common width and height of the Gaussians are fitted to the whole sum by least squares (damped
    Gauss-Newton), and hands at the same place need no special case. The order of the two points is the one that agrees
    better with the difference of the given maps.

    Exact for targets. The fit is least certain where the sum hardly depends on the distance of the points: the error is
    up to sigma / 25 for points that nearly coincide, and up to sigma / 3 where the border hides half of them.

    Args:
        maps: predicted maps of the two points.
        sigma: of the Gaussians that the network was trained on, cells.
    """
    size = maps.shape[-1]
    total = maps.sum(1)
    height = total.amax((1, 2)).unsqueeze(1)
    with torch.autocast(maps.device.type, enabled=False):  # the normal equations need single precision
        fit = torch.cat([_split_in_half(total).flatten(1), torch.full_like(height, sigma).log(), height], dim=1)
        limits = fit.new_tensor(LARGEST_STEP)
        for _ in range(FIT_ROUNDS):
            normal, slope = build_normal_equations(fit, total)
            damping = torch.diag_embed(1e-3 * normal.diagonal(dim1=-2, dim2=-1) + EPSILON)
            step = torch.linalg.solve(normal + damping, slope).squeeze(-1)
            fit = fit + step.maximum(-limits).minimum(limits)
    points = fit[:, :4].view(-1, 2, 2).clamp(0, size)
    gaussians = generate_heatmap(points * (IMAGE_SIZE / size), size, sigma)
    agreement = ((maps[:, 0] - maps[:, 1]) * (gaussians[:, 0] - gaussians[:, 1])).sum((-2, -1))
    return torch.where(agreement.view(-1, 1, 1) < 0, points.flip(1), points)


def _split_in_half(total: Float[Tensor, "B h w"]) -> Float[Tensor, "B 2 2"]:
    """Return the start of the fit, in cells: the centres of mass of the two halves of each map's foreground.

    The sum of two Gaussians has its largest variance along the line that joins them. The foreground is cut across that
    line, at its centre of mass. The centres of the halves are good starts also where one Gaussian is weaker than the
    other or cut off by the border.
    """
    weights = total * (total > FOREGROUND_LEVEL * total.amax((1, 2), keepdim=True))
    weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=EPSILON)
    centres = torch.arange(total.shape[-1], device=total.device) + 0.5
    x, y = (centres - find_expectations(weights.unsqueeze(1)).mT).unbind(1)
    by_column, by_row = weights.sum(1), weights.sum(2)
    half_difference = ((by_column * x * x).sum(1) - (by_row * y * y).sum(1)) / 2
    covariance = ((weights @ x.unsqueeze(2)).squeeze(2) * y).sum(1)
    angle = torch.atan2(covariance, half_difference) / 2  # of the major axis of the covariance ellipse
    along = y.unsqueeze(2) * angle.sin().view(-1, 1, 1) + x.unsqueeze(1) * angle.cos().view(-1, 1, 1)
    halves = weights.unsqueeze(1) * torch.stack([along <= 0, along >= 0], dim=1)
    return find_expectations(halves) / halves.sum((2, 3)).clamp(min=EPSILON).unsqueeze(2)


def build_normal_equations(
    fit: Float[Tensor, "B 6"], total: Float[Tensor, "B h w"]
) -> tuple[Float[Tensor, "B 6 6"], Float[Tensor, "B 6 1"]]:
    """Return JᵀJ and Jᵀr: r is `total` minus the two Gaussians, J holds the derivatives of the two Gaussians.

    No map of a derivative is computed. A Gaussian is a column times a row, and so is its derivative by a position, with
    the factor u / width (u is the distance in widths) in one of the two. The derivative by the width is the sum of two
    such products, with u² in one factor each. The inner product of two products is that of their columns times that of
    their rows; the inner product with `total` is column · total · row.

    Args:
        fit: x, y, x, y in cells, the logarithm of the width, the height.
        total: sum of the two predicted maps.
    """
    points, width, height = fit[:, :4].view(-1, 2, 2, 1), fit[:, 4].exp().view(-1, 1, 1, 1), fit[:, 5].view(-1, 1, 1)
    u = (torch.arange(total.shape[-1], device=total.device) + 0.5 - points) / width
    lines = torch.exp(-0.5 * u.square())
    x, y = lines.unbind(2)
    x_by_place, y_by_place = (height.unsqueeze(3) * lines * u / width).unbind(2)
    x_by_width, y_by_width = (height.unsqueeze(3) * lines * u.square()).unbind(2)
    rows = torch.cat([x_by_place, x, x_by_width, x, x], dim=1)
    columns = torch.cat([y, y_by_place, y, y_by_width, y], dim=1)
    # The six derivatives are sums of these ten products, five for each Gaussian.
    terms = F.one_hot(torch.tensor(DERIVATIVE_OF_PRODUCT, device=total.device)).mT.to(total.dtype)
    normal = terms @ ((columns @ columns.mT) * (rows @ rows.mT)) @ terms.mT
    projected = terms @ ((columns @ total) * rows).sum(-1, keepdim=True)
    return normal, projected - height * normal[:, :, 5:]  # both Gaussians = height · their derivative by the height
