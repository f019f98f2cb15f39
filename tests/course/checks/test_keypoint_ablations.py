"""Right implementations of the ablation tasks, and their contracts."""

import numpy as np
import pytest
import torch

from helpers.course.checks import keypoint_ablations
from helpers.course.checks.heatmaps import generate_heatmap
from helpers.keypoints.dataset import mirror


def _average_squares(height, width, sigma):
    points = torch.tensor([[61.3, 66.9]], dtype=torch.float64)
    return generate_heatmap(points, height, width, sigma).square().mean().item()


def _mirror_in_loops(image, points):
    height, width = image.shape
    mirrored_image = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            mirrored_image[row, width - 1 - column] = image[row, column]
    names = {0: 0, 1: 2, 2: 1, 3: 4, 4: 3}
    mirrored = np.zeros((5, 2))
    for row, (x, y) in enumerate(points.tolist()):
        mirrored[names[row]] = (width - x, y)
    return mirrored_image, mirrored


def _mirror_with_copies(image, points):
    points = points.clone()
    points[:, 0] = image.shape[-1] - points[:, 0]
    points[[1, 2]] = points[[2, 1]]
    points[[3, 4]] = points[[4, 3]]
    return [torch.fliplr(image), points]


ORACLES = {"mse_of_empty_map": _average_squares, "mirror_figure": _mirror_in_loops}
"""An independent right implementation of each task."""

VARIATIONS = {
    "mse_of_empty_map": {
        "NumPy": lambda height, width, sigma: np.pi * sigma**2 / height / width,
        "tensor": lambda height, width, sigma: torch.tensor(torch.pi * sigma**2 / (height * width)),
    },
    "mirror_figure": {"copies, and a list": _mirror_with_copies, "the workbook's own": mirror},
}
"""Legitimate variations of each task."""


@pytest.mark.parametrize(("sigma", "error"), [(1, 0.00077), (2, 0.0031), (3, 0.0069), (4, 0.0121)])
def test_the_errors_of_empty_maps_are_those_of_the_lesson(sigma, error):
    assert keypoint_ablations.mse_of_empty_map(64, 64, sigma) == pytest.approx(error, rel=0.02)


def test_a_mirrored_figure_by_hand():
    # Pixel 60 of 128 becomes pixel 67, and its centre 60.5 becomes 67.5.
    points = torch.tensor([[60.0, 20], [40, 30], [85, 35], [50, 90], [70, 92]]) + 0.5
    expected = torch.tensor([[67.0, 20], [42, 35], [87, 30], [57, 92], [77, 90]]) + 0.5
    _, mirrored = keypoint_ablations.mirror_figure(torch.zeros(4, 128), points)
    assert torch.equal(mirrored, expected)


def test_exchanging_rows_through_views_gives_two_equal_hands():
    mistakes = {mistake.code: mistake.function for mistake in keypoint_ablations.MIRROR_FIGURE.mistakes}
    points = torch.tensor([[60.0, 20], [40, 30], [85, 35], [50, 90], [70, 92]])
    _, mirrored = mistakes["FL3"](torch.zeros(4, 128), points)
    assert torch.equal(mirrored[1], mirrored[2])
