"""Heatmap targets and decoders: by hand, at the border, and on maps that are not Gaussian."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.keypoints.codecs import HeatmapCodec
from helpers.keypoints.heatmaps import dark, find_expectations, find_peaks, generate_heatmap, soft_argmax

DECODERS = ("argmax", "quarter", "dark", "local")


# The target


def test_a_heatmap_by_hand():
    # 4 cells of 32 pixels; the point is at cell coordinates (1.5, 1), so the nearest centres are (1.5, 0.5 | 1.5).
    heatmap = generate_heatmap(torch.tensor([48.0, 32.0]), size=4, sigma=1.0)
    row = torch.exp(-0.5 * torch.tensor([1.0, 0.0, 1.0, 4.0]))
    column = torch.exp(-0.5 * torch.tensor([0.25, 0.25, 2.25, 6.25]))
    torch.testing.assert_close(heatmap, column[:, None] * row[None, :])


def test_a_heatmap_is_one_at_the_point_and_falls_with_the_distance_only(points_everywhere):
    points = points_everywhere.flatten(0, 1)[::7]
    heatmaps = generate_heatmap(points, size=32, sigma=1.7)
    centres = (torch.arange(32) + 0.5) * 4
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    squared = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    torch.testing.assert_close(heatmaps, torch.exp(-squared / (2 * (1.7 * 4) ** 2)))


def test_a_heatmap_at_a_corner_is_a_quarter_of_a_gaussian_and_does_not_wrap_around():
    corner = generate_heatmap(torch.zeros(2), size=64, sigma=2.0)
    assert corner.sum() == pytest.approx(2 * math.pi * 2**2 / 4, rel=1e-3)
    assert corner[32:].max() < 1e-20
    torch.testing.assert_close(corner, corner.T)


# Decoders that start at the peak


def test_a_peak_is_column_then_row():
    maps = torch.zeros(1, 2, 6, 9)
    maps[0, 0, 2, 7] = 3.0
    maps[0, 1, 5, 0] = 0.5
    peaks, values = find_peaks(maps)
    assert peaks.tolist() == [[[7, 2], [0, 5]]]
    assert values.tolist() == [[3.0, 0.5]]


def test_the_four_decoders_by_hand():
    # The point is 0.7 cells into cell 20 and 0.4 into cell 30, in cells of two pixels.
    points = torch.tensor([[[41.4, 60.8]]])
    decoded = {name: HeatmapCodec(decoder=name).decode(generate_heatmap(points, 64, 2.0)).points for name in DECODERS}
    torch.testing.assert_close(decoded["argmax"], torch.tensor([[[41.0, 61.0]]]))
    torch.testing.assert_close(decoded["quarter"], torch.tensor([[[41.5, 60.5]]]))
    torch.testing.assert_close(decoded["dark"], points, atol=1e-4, rtol=0)
    torch.testing.assert_close(decoded["local"], points, atol=0.01, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_scaling_a_map_scales_the_score_and_does_not_move_the_point(decoder, points_everywhere):
    codec = HeatmapCodec(decoder=decoder)
    maps = codec.encode(points_everywhere[::9])
    torch.testing.assert_close(codec.decode(0.3 * maps).points, codec.decode(maps).points, atol=2e-3, rtol=0)
    torch.testing.assert_close(codec.decode(0.3 * maps).scores, 0.3 * codec.decode(maps).scores)


def test_dark_is_exact_for_a_long_and_tilted_gaussian():
    # The mixed derivative matters here: axis by axis, the maximum of the tilted ridge would be missed.
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    along, across = ((x - 30.2) + (y - 20.7)) / 2**0.5, ((x - 30.2) - (y - 20.7)) / 2**0.5
    maps = torch.exp(-0.5 * ((along / 3) ** 2 + across**2))[None, None]
    peaks, _ = find_peaks(maps)
    torch.testing.assert_close(dark(maps, peaks), torch.tensor([[[30.2, 20.7]]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("joint_hands", [False, True])
def test_maps_that_are_not_gaussian_are_decoded_to_points_in_the_image(decoder, joint_hands):
    noise = torch.randn(40, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    spikes = torch.zeros(40, 5, 32, 32)
    spikes.flatten(-2)[..., ::37] = 1.0
    codec = HeatmapCodec(32, 2.0, decoder, joint_hands)
    largest_shift = codec.stride * (2 if decoder == "local" else 0.5)
    for maps in (noise, -noise.abs(), spikes, torch.zeros(2, 5, 32, 32), torch.ones(2, 5, 32, 32)):
        points = codec.decode(maps).points
        assert (points >= 0).all()
        assert (points <= 128).all()
        decoded_alone = [0, 3, 4] if joint_hands else range(5)
        shift = points - (find_peaks(maps)[0] + 0.5) * codec.stride
        assert (shift[:, decoded_alone].abs() <= largest_shift).all()


# Decoders that average over all cells


def test_an_expectation_by_hand():
    # Columns have the shares 0.25, 0.25 and 0.5, rows 0.25 and 0.75; centres are at 0.5, 1.5 and 2.5.
    maps = torch.tensor([[[[0.25, 0.0, 0.0], [0.0, 0.25, 0.5]]]])
    assert find_expectations(maps).tolist() == [[[0.125 + 0.375 + 1.25, 0.125 + 1.125]]]


def test_the_soft_argmax_of_a_map_trained_by_mse_is_near_the_middle_unless_the_temperature_is_low():
    # Of 4096 cells most have weight e⁰. The Gaussian adds the sum of e^G - 1 = 2 pi sigma² · sum of 1 / (k · k!).
    points = torch.tensor([[[20.0, 40.0], [100.0, 90.0]]])
    maps = generate_heatmap(points, 64, 2.0)
    added = 2 * math.pi * 2**2 * sum(1 / (k * math.factorial(k)) for k in range(1, 12))
    expected = 64 + (points - 64) * added / (4096 + added)
    torch.testing.assert_close(soft_argmax(maps), expected, atol=1e-3, rtol=0)
    assert (soft_argmax(maps) - 64).abs().max() < 0.5
    torch.testing.assert_close(soft_argmax(maps, temperature=0.02), points, atol=0.05, rtol=0)
