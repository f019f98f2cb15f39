"""Joint decoding of two hands: the normal equations against automatic differentiation, and maps that confuse hands."""

from __future__ import annotations

import pytest
import torch

from helpers.keypoints.codecs import HeatmapCodec
from helpers.keypoints.hand_pairs import build_normal_equations, decode_hand_pair
from helpers.keypoints.heatmaps import generate_heatmap


def confuse(maps: torch.Tensor) -> torch.Tensor:
    """Return the maps of a network that locates both hands and cannot tell them apart: their mean, twice."""
    return maps.mean(1, keepdim=True).expand(-1, 2, -1, -1)


def make_hands(num: int, distance: float) -> torch.Tensor:
    """Return pairs of points [num, 2, 2] that are `distance` pixels from each other, in random directions."""
    generator = torch.Generator().manual_seed(0)
    middle, angle = torch.rand(num, 1, 2, generator=generator) * 80 + 24, torch.rand(num, 1, generator=generator) * 7
    offset = torch.stack([angle.cos(), angle.sin()], dim=-1) * distance / 2
    return torch.cat([middle - offset, middle + offset], dim=1)


def draw_pair(fit: torch.Tensor, size: int) -> torch.Tensor:
    """Return two Gaussians' sum, cell by cell; `fit` is x, y, x, y, the width's logarithm and the height."""
    y, x = torch.meshgrid(*[torch.arange(size).double() + 0.5] * 2, indexing="ij")
    gaussians = [
        torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2 * fit[4]).exp())) for px, py in fit[:4].view(2, 2)
    ]
    return fit[5] * sum(gaussians).flatten()


@pytest.mark.parametrize("pair", [(5.2, 9.1, 11.4, 3.3), (8.0, 8.0, 8.0, 8.0), (0.0, 0.2, 15.9, 16.0)])
def test_the_normal_equations_equal_those_of_automatic_differentiation(pair):
    """Oracle: the derivatives of all cells, one by one."""
    fit = torch.tensor([*pair, 0.6, 0.8], dtype=torch.float64)
    total = torch.rand(16, 16, generator=torch.Generator().manual_seed(4)).double()
    jacobian = torch.autograd.functional.jacobian(lambda fit: draw_pair(fit, 16), fit)
    normal, slope = build_normal_equations(fit[None], total[None])
    torch.testing.assert_close(normal[0], jacobian.T @ jacobian)
    torch.testing.assert_close(slope[0, :, 0], jacobian.T @ (total.flatten() - draw_pair(fit, 16)))


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0])
@pytest.mark.parametrize(("size", "sigma"), [(32, 1.0), (32, 2.0), (64, 2.0), (64, 3.0)])
def test_confused_hands_are_decoded_to_within_a_25th_of_sigma_at_any_distance(distance, size, sigma):
    true = make_hands(50, distance)
    decoded = decode_hand_pair(confuse(generate_heatmap(true, size, sigma)), sigma) * (128 / size)
    errors = torch.stack([(decoded - true).abs().amax((1, 2)), (decoded - true.flip(1)).abs().amax((1, 2))]).amin(0)
    assert errors.max() <= sigma * (128 / size) / 25 + 1e-3


def test_separate_decoding_of_close_confused_hands_returns_their_middle_twice():
    # Hands three cells apart are one peak in a map of sigma 2, half way between them: 3 pixels from each.
    true = make_hands(50, distance=6.0)
    maps = confuse(generate_heatmap(true, 64, 2.0))
    decoded = HeatmapCodec().decode(maps).points
    torch.testing.assert_close(decoded, true.mean(1, keepdim=True).expand(-1, 2, -1), atol=0.15, rtol=0)


def test_hands_that_the_maps_tell_apart_keep_their_order():
    true = torch.cat([make_hands(30, distance) for distance in (2.0, 5.0, 10.0, 30.0)])
    maps = generate_heatmap(true, 64, 2.0)
    torch.testing.assert_close(decode_hand_pair(maps, 2.0) * 2, true, atol=0.05, rtol=0)
    almost_confused = 0.55 * maps + 0.45 * maps.flip(1)
    torch.testing.assert_close(decode_hand_pair(almost_confused, 2.0) * 2, true, atol=0.05, rtol=0)
    torch.testing.assert_close(decode_hand_pair(almost_confused.flip(1), 2.0) * 2, true.flip(1), atol=0.05, rtol=0)


def test_hands_are_decoded_from_low_wide_and_noisy_maps():
    true = torch.cat([make_hands(50, distance) for distance in (6.0, 10.0, 30.0)])
    noise = 0.01 * torch.randn(len(true), 2, 64, 64, generator=torch.Generator().manual_seed(3))
    maps = confuse(0.7 * generate_heatmap(true, 64, 2.4)) + noise
    decoded = decode_hand_pair(maps, sigma=2.0) * 2
    errors = torch.stack([(decoded - true).norm(dim=-1).amax(1), (decoded - true.flip(1)).norm(dim=-1).amax(1)]).amin(0)
    assert errors.mean() < 0.2
    assert errors.max() < 0.6
