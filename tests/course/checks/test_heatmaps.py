"""Right implementations of the heatmap tasks, and their contracts."""

import math

import numpy as np
import pytest
import torch

from helpers.course.checks import heatmaps
from helpers.keypoints import codecs
from helpers.keypoints import heatmaps as workbook


def _draw_in_loops(points, height, width, sigma):
    maps = np.zeros((len(points), height, width))
    for number, (x, y) in enumerate(points.tolist()):
        for row in range(height):
            for column in range(width):
                dx = column + 0.5 - x * width / 128
                dy = row + 0.5 - y * height / 128
                maps[number, row, column] = math.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    return maps


def _draw_cut_at_three_sigma(points, height, width, sigma):
    maps = torch.from_numpy(_draw_in_loops(points, height, width, sigma))
    return maps * (maps >= math.exp(-(3**2) / 2))


def _draw_in_float64(points, height, width, sigma):
    return heatmaps.generate_heatmap(points.double(), height, width, sigma)


def _extract_in_loops(maps):
    num_maps, height, width = maps.shape
    points = torch.zeros(num_maps, 2)
    for number in range(num_maps):
        best = -math.inf
        for row in range(height):
            for column in range(width):
                if maps[number, row, column] > best:
                    best = float(maps[number, row, column])
                    points[number] = torch.tensor([(column + 0.5) * 128 / width, (row + 0.5) * 128 / height])
    return points


def _extract_with_numpy(maps):
    rows, columns = np.unravel_index(maps.numpy().reshape(len(maps), -1).argmax(1), maps.shape[1:])
    return np.stack([(columns + 0.5) * 128 / maps.shape[2], (rows + 0.5) * 128 / maps.shape[1]], axis=1)


def _soft_argmax_in_loops(maps, temperature):
    _, height, width = maps.shape
    points = []
    for heatmap in maps.double():
        weights = torch.exp((heatmap - heatmap.max()) / temperature)
        weights = weights / weights.sum()
        x = sum(weights[:, column].sum() * (column + 0.5) for column in range(width)) * (128 / width)
        y = sum(weights[row].sum() * (row + 0.5) for row in range(height)) * (128 / height)
        points.append(torch.stack([x, y]))
    return torch.stack(points)


def _soft_argmax_by_einsum(maps, temperature):
    weights = torch.softmax(maps.reshape(len(maps), -1) / temperature, dim=1).reshape(maps.shape)
    _, height, width = maps.shape
    x = torch.einsum("khw,w->k", weights, (torch.arange(width) + 0.5) * 128 / width)
    y = torch.einsum("khw,h->k", weights, (torch.arange(height) + 0.5) * 128 / height)
    return torch.stack([x, y], dim=1)


def _dark_by_fit(maps, floor=1e-6):
    """Fit the parabola of the 3 x 3 cells, and find its maximum with NumPy's solver."""
    points = np.zeros((len(maps), 2))
    for number, heatmap in enumerate(maps.double().numpy()):
        height, width = heatmap.shape
        row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
        y, x = min(max(row, 1), height - 2), min(max(column, 1), width - 2)
        logs = np.log10(np.maximum(heatmap[y - 1 : y + 2, x - 1 : x + 2], floor))
        gradient = np.array([logs[1, 2] - logs[1, 0], logs[2, 1] - logs[0, 1]]) / 2
        mixed = (logs[2, 2] + logs[0, 0] - logs[2, 0] - logs[0, 2]) / 4
        hessian = np.array(
            [
                [logs[1, 2] + logs[1, 0] - 2 * logs[1, 1], mixed],
                [mixed, logs[2, 1] + logs[0, 1] - 2 * logs[1, 1]],
            ]
        )
        step = np.zeros(2)
        if (np.linalg.eigvalsh(hessian) < -1e-12).all():
            maximum = np.array([x, y]) - np.linalg.solve(hessian, gradient)
            step = np.clip(maximum - [column, row], -0.5, 0.5)
        points[number] = (np.array([column, row]) + 0.5 + step) * [128 / width, 128 / height]
    return points


def _dark_with_another_floor(maps):
    return _dark_by_fit(maps, floor=1e-10)


ORACLES = {
    "generate_heatmap": _draw_in_loops,
    "extract_keypoints_from_heatmaps": _extract_in_loops,
    "soft_argmax": _soft_argmax_by_einsum,
    "dark": _dark_by_fit,
}
"""An independent right implementation of each task."""

VARIATIONS = {
    "generate_heatmap": {"cut at three sigma": _draw_cut_at_three_sigma, "float64": _draw_in_float64},
    "extract_keypoints_from_heatmaps": {
        "NumPy": _extract_with_numpy,
        "list of pairs": lambda maps: [tuple(point) for point in _extract_in_loops(maps).tolist()],
    },
    "soft_argmax": {"loops": _soft_argmax_in_loops},
    "dark": {"another floor": _dark_with_another_floor, "float64": lambda maps: heatmaps.dark(maps.double())},
}
"""Legitimate variations of each task."""


def test_a_heatmap_by_hand():
    heatmap = heatmaps.generate_heatmap(torch.tensor([[48.0, 16.0]]), 4, 4, 1.0)[0]
    assert heatmap[0, 1] == 1
    assert heatmap[0, 2].item() == pytest.approx(math.exp(-1 / 2), abs=1e-6)
    assert heatmap[1, 2].item() == pytest.approx(math.exp(-1), abs=1e-6)
    # Image point (81, 41.5) on 64 cells with sigma 2; sums are those of a whole Gaussian, and of one at a border.
    heatmap = heatmaps.generate_heatmap(torch.tensor([[81.0, 41.5]]), 64, 64, 2.0)[0]
    assert heatmap.sum().item() == pytest.approx(2 * math.pi * 2**2, rel=1e-4)
    assert heatmap.argmax().item() == 20 * 64 + 40


def test_a_cut_gaussian_is_within_the_tolerance_and_a_gaussian_of_half_the_reach_is_not():
    assert math.exp(-(3**2) / 2) < heatmaps.CUT_TOLERANCE < math.exp(-(2**2) / 2)


def test_the_highest_cell_by_hand():
    maps = torch.zeros(2, 4, 6)
    maps[0, 2, 5], maps[1, 3, 1] = 1.0, 1.0
    points = heatmaps.extract_keypoints_from_heatmaps(maps)
    torch.testing.assert_close(points, torch.tensor([[5.5 * 128 / 6, 80.0], [1.5 * 128 / 6, 112.0]]))


def test_the_soft_argmax_by_hand():
    maps = torch.tensor([[[0.0, math.log(3)]]])
    torch.testing.assert_close(heatmaps.soft_argmax(maps, 1.0), torch.tensor([[80.0, 64.0]]))
    torch.testing.assert_close(heatmaps.soft_argmax(maps, 0.5), torch.tensor([[89.6, 64.0]]))


def test_dark_by_hand():
    maps = heatmaps.generate_heatmap(torch.tensor([[56.0, 48.0]]), 4, 4, 1.0)
    torch.testing.assert_close(maps[0, 1, :3].log(), torch.tensor([-0.78125, -0.03125, -0.28125]))
    torch.testing.assert_close(heatmaps.dark(maps), torch.tensor([[56.0, 48.0]]))


def test_what_generate_heatmap_draws_is_decoded_everywhere_in_the_image(points_in_image):
    maps = heatmaps.generate_heatmap(points_in_image, 64, 64, 2.0)
    cell = 128 / 64
    assert (heatmaps.extract_keypoints_from_heatmaps(maps) - points_in_image).abs().max() <= cell / 2 + 1e-4
    torch.testing.assert_close(heatmaps.dark(maps), points_in_image, atol=0.02, rtol=0)


def test_the_references_agree_with_the_workbook(points_in_image):
    maps = heatmaps.generate_heatmap(points_in_image, 32, 32, 1.5)
    assert torch.equal(maps, workbook.generate_heatmap(points_in_image, 32, 1.5))
    batch = maps[None]
    assert torch.equal(heatmaps.dark(maps), codecs.HeatmapCodec(32, 1.5, "dark").decode(batch).points[0])
    assert torch.equal(
        heatmaps.extract_keypoints_from_heatmaps(maps), codecs.HeatmapCodec(32, 1.5, "argmax").decode(batch).points[0]
    )
    assert torch.equal(heatmaps.soft_argmax(maps, 0.1), workbook.soft_argmax(batch, 0.1)[0])


@pytest.fixture
def points_in_image():
    inside = torch.rand(60, 2, generator=torch.Generator().manual_seed(5)) * 128
    at_border = torch.tensor([[0.3, 40.0], [127.8, 0.2], [64.7, 127.6], [0.1, 0.1], [30.2, 1.9]])
    return torch.cat([inside, at_border])
