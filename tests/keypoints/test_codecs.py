"""The codecs' law at sub-pixel positions everywhere, the decoders by hand, and what each is said to be unable to do."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.keypoints.codecs import (
    Codec,
    CoordinateCodec,
    DSNTCodec,
    HeatmapCodec,
    SimCCCodec,
    compare_pair,
    dark,
    decode_exchangeable,
    find_peaks,
    generate_heatmap,
    soft_argmax,
)

DECODERS = ("argmax", "quarter", "dark", "local")
SIZES = (16, 32, 64, 128)
SIGMAS = (1.0, 1.5, 2.0, 3.0, 4.0)
ROUNDING = 1e-3  # pixels: of two cells that are equally near, rounding chooses


def everywhere() -> torch.Tensor:
    """Returns points [B, 5, 2] in the whole image: a sub-pixel grid, random ones, and ones on and near the border."""
    grid = torch.arange(0, 128.1, 5.3)
    edge = torch.tensor([0.0, 0.01, 0.3, 0.5, 1.2, 2.9, 4.0, 124.0, 126.3, 127.4, 127.99, 128.0])
    along = torch.cat([edge, torch.rand(30, generator=torch.Generator().manual_seed(0)) * 128])
    points = [
        torch.cartesian_prod(grid, grid),
        torch.cartesian_prod(edge, along),
        torch.cartesian_prod(along, edge),
        torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) * 128,
    ]
    points = torch.cat(points)
    return points[: len(points) // 5 * 5].view(-1, 5, 2)


def say_perfectly(codec: Codec, points: torch.Tensor) -> torch.Tensor:
    """Returns what a network that has learned everything outputs for `points`."""
    if isinstance(codec, SimCCCodec):
        return codec.encode(points).log()
    if isinstance(codec, DSNTCodec):  # logits whose mean is the point, or the nearest place that a mean can be
        cells = (points * codec.size / 128).clamp(0.5, codec.size - 0.5)
        tents = (1 - (cells.unsqueeze(-1) - torch.arange(codec.size) - 0.5).abs()).clamp(min=0).log()
        return tents[..., 1, :, None] + tents[..., 0, None, :]
    return codec.encode(points)


def largest_error(codec: Codec, points: torch.Tensor, dtype: torch.dtype = torch.float32) -> float:
    decoded = codec.decode(say_perfectly(codec, points).to(dtype)).points
    assert decoded.dtype == torch.float32
    return (decoded - points).abs().max().item()


HEATMAPS = [HeatmapCodec(size, sigma, decoder) for size in SIZES for sigma in SIGMAS for decoder in DECODERS]
OTHERS = [CoordinateCodec(), *(SimCCCodec(bins) for bins in (1, 2, 4)), *(DSNTCodec(size) for size in SIZES)]


def name_of(codec: Codec) -> str:
    return "-".join([type(codec).__name__, *(str(value) for value in vars(codec).values())])


@pytest.mark.parametrize("codec", [*HEATMAPS, *OTHERS], ids=name_of)
def test_what_is_said_perfectly_is_understood_to_within_the_resolution(codec):
    assert isinstance(codec, Codec)
    assert largest_error(codec, everywhere()) <= codec.resolution + ROUNDING


@pytest.mark.parametrize("codec", [HeatmapCodec(64, 2.0, decoder) for decoder in DECODERS] + OTHERS, ids=name_of)
def test_the_stated_resolution_is_no_excuse(codec):
    # Somewhere in the image the error comes near to what is stated, where that is more than rounding.
    if codec.resolution > 0.1:
        assert largest_error(codec, everywhere()) > 0.9 * codec.resolution


@pytest.mark.parametrize("decoder", DECODERS)
def test_half_precision_outputs_are_decoded_in_single_precision(decoder):
    codec = HeatmapCodec(decoder=decoder)
    maps = codec.encode(everywhere()).bfloat16()
    torch.testing.assert_close(codec.decode(maps).points, codec.decode(maps.float()).points)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(codec.decode(maps).points, codec.decode(maps.float()).points)
    # bfloat16 knows 1 to within 0.002, and the top of a Gaussian of two cells is flat to within that for 0.13 cells.
    assert largest_error(codec, everywhere(), torch.bfloat16) <= codec.resolution + 0.3 * codec.stride


def test_half_precision_costs_the_other_codecs_what_it_rounds():
    points = everywhere()
    assert largest_error(CoordinateCodec(), points, torch.bfloat16) <= 128 / 512
    assert largest_error(SimCCCodec(), points, torch.bfloat16) <= 1.0
    assert largest_error(DSNTCodec(), points, torch.bfloat16) <= DSNTCodec().resolution + 0.1


# The target


def test_a_heatmap_by_hand():
    # 4 cells of 32 pixels; the point is at cell coordinates (1.5, 1), so the nearest centres are (1.5, 0.5 | 1.5).
    heatmap = generate_heatmap(torch.tensor([48.0, 32.0]), size=4, sigma=1.0)
    row = torch.exp(-0.5 * torch.tensor([1.0, 0.0, 1.0, 4.0]))
    column = torch.exp(-0.5 * torch.tensor([0.25, 0.25, 2.25, 6.25]))
    torch.testing.assert_close(heatmap, column[:, None] * row[None, :])


def test_a_heatmap_is_one_at_the_point_and_falls_with_the_distance_only():
    points = everywhere().flatten(0, 1)[::7]
    heatmaps = generate_heatmap(points, size=32, sigma=1.7)
    centres = (torch.arange(32) + 0.5) * 4
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    squared = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    torch.testing.assert_close(heatmaps, torch.exp(-squared / (2 * (1.7 * 4) ** 2)))


def test_a_heatmap_at_the_border_is_cut_off_there_and_nowhere_else():
    # Seen from a corner, a quarter of the Gaussian is left, and nothing of the rest reappears on the other side.
    corner = generate_heatmap(torch.zeros(2), size=64, sigma=2.0)
    assert corner.sum() == pytest.approx(2 * math.pi * 2**2 / 4, rel=1e-3)
    assert corner[32:].max() < 1e-20
    torch.testing.assert_close(corner, corner.T)


def test_points_of_any_leading_shape_are_encoded_as_one_by_one():
    points = everywhere()[:6].view(2, 3, 5, 2)
    for codec in (HeatmapCodec(size=16), SimCCCodec(), CoordinateCodec(), DSNTCodec()):
        together = codec.encode(points)
        alone = torch.stack([torch.stack([codec.encode(five) for five in row]) for row in points])
        torch.testing.assert_close(together, alone)


# The decoders


def test_the_peak_is_column_then_row():
    maps = torch.zeros(1, 2, 6, 9)
    maps[0, 0, 2, 7] = 3.0
    maps[0, 1, 5, 0] = 0.5
    peaks, values = find_peaks(maps)
    assert peaks.tolist() == [[[7, 2], [0, 5]]]
    assert values.tolist() == [[3.0, 0.5]]


def test_the_ladder_of_decoders_by_hand():
    # The point is 0.7 cells into cell 20 and 0.4 into cell 30, in cells of two pixels.
    points = torch.tensor([[[41.4, 60.8]]])
    decoded = {name: HeatmapCodec(decoder=name).decode(generate_heatmap(points, 64, 2.0)).points for name in DECODERS}
    torch.testing.assert_close(decoded["argmax"], torch.tensor([[[41.0, 61.0]]]))
    torch.testing.assert_close(decoded["quarter"], torch.tensor([[[41.5, 60.5]]]))
    torch.testing.assert_close(decoded["dark"], points, atol=1e-4, rtol=0)
    torch.testing.assert_close(decoded["local"], points, atol=0.01, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_height_of_a_map_moves_no_point(decoder):
    codec = HeatmapCodec(decoder=decoder)
    maps = codec.encode(everywhere()[::9])
    torch.testing.assert_close(codec.decode(0.3 * maps).points, codec.decode(maps).points, atol=2e-3, rtol=0)
    torch.testing.assert_close(codec.decode(0.3 * maps).scores, 0.3 * codec.decode(maps).scores)


def test_dark_follows_a_gaussian_that_is_long_and_tilted():
    # The mixed derivative matters here: axis by axis, the top of the slanted ridge would be missed.
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    along, across = ((x - 30.2) + (y - 20.7)) / 2**0.5, ((x - 30.2) - (y - 20.7)) / 2**0.5
    maps = torch.exp(-0.5 * ((along / 3) ** 2 + across**2))[None, None]
    peaks, _ = find_peaks(maps)
    torch.testing.assert_close(dark(maps, peaks), torch.tensor([[[30.2, 20.7]]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("exchangeable", [False, True])
def test_maps_that_are_no_gaussians_are_decoded_to_places_in_the_image(decoder, exchangeable):
    noise = torch.randn(40, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    spikes = torch.zeros(40, 5, 32, 32)
    spikes.flatten(-2)[..., ::37] = 1.0
    codec = HeatmapCodec(32, 2.0, decoder, exchangeable)
    for maps in (noise, -noise.abs(), spikes, torch.zeros(2, 5, 32, 32), torch.ones(2, 5, 32, 32)):
        points = codec.decode(maps).points
        assert (points >= 0).all()
        assert (points <= 128).all()
        others = [0, 3, 4] if exchangeable else range(5)
        away = points - (find_peaks(maps)[0] + 0.5) * codec.stride
        assert (away[:, others].abs() <= codec.stride * (2 if decoder == "local" else 0.5)).all()


# Two hands that look alike


def confuse(maps: torch.Tensor) -> torch.Tensor:
    """Returns the maps of a network that knows where the hands are but not which is which: the mean, twice."""
    return maps.mean(1, keepdim=True).expand(-1, 2, -1, -1)


def hands(num: int, apart: float, seed: int = 0) -> torch.Tensor:
    """Returns pairs of points [num, 2, 2] that are `apart` pixels from each other, in all directions."""
    generator = torch.Generator().manual_seed(seed)
    middle, angle = torch.rand(num, 1, 2, generator=generator) * 80 + 24, torch.rand(num, 1, generator=generator) * 7
    reach = torch.stack([angle.cos(), angle.sin()], dim=-1) * apart / 2
    return torch.cat([middle - reach, middle + reach], dim=1)


def draw_pair(fit: torch.Tensor, size: int) -> torch.Tensor:
    """Returns two Gaussians' sum, cell by cell; `fit` is x, y, x, y, the width's logarithm and the height."""
    y, x = torch.meshgrid(*[torch.arange(size).double() + 0.5] * 2, indexing="ij")
    gaussians = [
        torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2 * fit[4]).exp())) for px, py in fit[:4].view(2, 2)
    ]
    return fit[5] * sum(gaussians).flatten()


@pytest.mark.parametrize("pair", [(5.2, 9.1, 11.4, 3.3), (8.0, 8.0, 8.0, 8.0), (0.0, 0.2, 15.9, 16.0)])
def test_the_fit_compares_a_pair_with_a_map_as_the_cells_one_by_one_would(pair):
    # Oracle: all derivatives of all cells, by automatic differentiation.
    fit = torch.tensor([*pair, 0.6, 0.8], dtype=torch.float64)
    total = torch.rand(16, 16, generator=torch.Generator().manual_seed(4)).double()
    jacobian = torch.autograd.functional.jacobian(lambda fit: draw_pair(fit, 16), fit)
    normal, slope = compare_pair(fit[None], total[None])
    torch.testing.assert_close(normal[0], jacobian.T @ jacobian)
    torch.testing.assert_close(slope[0, :, 0], jacobian.T @ (total.flatten() - draw_pair(fit, 16)))


@pytest.mark.parametrize("apart", [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0])
@pytest.mark.parametrize(("size", "sigma"), [(32, 1.0), (32, 2.0), (64, 2.0), (64, 3.0)])
def test_confused_hands_are_found_wherever_they_are(apart, size, sigma):
    true = hands(50, apart)
    found = decode_exchangeable(confuse(generate_heatmap(true, size, sigma)), sigma) * (128 / size)
    errors = torch.stack([(found - true).abs().amax((1, 2)), (found - true.flip(1)).abs().amax((1, 2))]).amin(0)
    assert errors.max() <= sigma * (128 / size) / 25 + ROUNDING


def test_two_peaks_would_not_be_enough():
    # Hands three cells apart are one peak in a map of sigma 2, half way between them: 3 pixels from each.
    true = hands(50, apart=6.0)
    maps = confuse(generate_heatmap(true, 64, 2.0))
    middle = HeatmapCodec().decode(maps).points
    torch.testing.assert_close(middle, true.mean(1, keepdim=True).expand(-1, 2, -1), atol=0.15, rtol=0)


def test_maps_that_know_the_hands_keep_their_names():
    true = torch.cat([hands(30, apart) for apart in (2.0, 5.0, 10.0, 30.0)])
    maps = generate_heatmap(true, 64, 2.0)
    torch.testing.assert_close(decode_exchangeable(maps, 2.0) * 2, true, atol=0.05, rtol=0)
    a_hint = 0.55 * maps + 0.45 * maps.flip(1)
    torch.testing.assert_close(decode_exchangeable(a_hint, 2.0) * 2, true, atol=0.05, rtol=0)
    torch.testing.assert_close(decode_exchangeable(a_hint.flip(1), 2.0) * 2, true.flip(1), atol=0.05, rtol=0)


def test_hands_are_found_in_low_wide_and_noisy_maps():
    true = torch.cat([hands(50, apart) for apart in (6.0, 10.0, 30.0)])
    noise = 0.01 * torch.randn(len(true), 2, 64, 64, generator=torch.Generator().manual_seed(3))
    maps = confuse(0.7 * generate_heatmap(true, 64, 2.4)) + noise
    found = decode_exchangeable(maps, sigma=2.0) * 2
    errors = torch.stack([(found - true).norm(dim=-1).amax(1), (found - true.flip(1)).norm(dim=-1).amax(1)]).amin(0)
    assert errors.mean() < 0.2
    assert errors.max() < 0.6


@pytest.mark.parametrize(("size", "sigma", "decoder"), [(64, 2.0, "dark"), (64, 1.0, "argmax"), (32, 2.0, "local")])
def test_the_joint_decode_touches_the_hands_only_and_keeps_the_law_at_the_border_too(size, sigma, decoder):
    figures = everywhere()
    codec, plain = (HeatmapCodec(size, sigma, decoder, exchangeable) for exchangeable in (True, False))
    assert largest_error(codec, figures) <= codec.resolution + ROUNDING
    maps = codec.encode(figures)
    assert torch.equal(codec.decode(maps).points[:, [0, 3, 4]], plain.decode(maps).points[:, [0, 3, 4]])


# Expectations


def test_a_plain_soft_argmax_of_a_map_trained_by_mse_collapses_to_the_middle():
    # Of 4096 cells most weigh e⁰. What the Gaussian adds is the sum of e^G - 1 = 2 pi sigma² · sum of 1 / (k · k!).
    points = torch.tensor([[[20.0, 40.0], [100.0, 90.0]]])
    maps = generate_heatmap(points, 64, 2.0)
    added = 2 * math.pi * 2**2 * sum(1 / (k * math.factorial(k)) for k in range(1, 12))
    expected = 64 + (points - 64) * added / (4096 + added)
    torch.testing.assert_close(soft_argmax(maps), expected, atol=1e-3, rtol=0)
    assert (soft_argmax(maps) - 64).abs().max() < 0.5
    torch.testing.assert_close(soft_argmax(maps, temperature=0.02), points, atol=0.05, rtol=0)


def test_dsnt_is_exact_as_far_out_as_the_centres_of_the_outermost_cells():
    points = everywhere().clamp(1, 127)
    codec = DSNTCodec()
    torch.testing.assert_close(codec.decode(say_perfectly(codec, points)).points, points, atol=1e-3, rtol=0)


def test_dsnt_speaks_of_minus_one_to_one_and_its_gradient_reaches_the_logits():
    codec = DSNTCodec(size=16)
    corners = torch.tensor([[0.0, 0.0], [64.0, 128.0]])
    assert codec.encode(corners).tolist() == [[-1.0, -1.0], [0.0, 1.0]]
    logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
    codec.decode(logits).points.sum().backward()
    assert logits.grad[0, 0, -1, -1] > 0 > logits.grad[0, 0, 0, 0]


# Scores, and the other two


def test_simcc_targets_are_distributions_over_bins():
    targets = SimCCCodec(bins_per_pixel=2, sigma=6.0).encode(everywhere())
    assert targets.shape[1:] == (5, 2, 256)
    torch.testing.assert_close(targets.sum(-1), torch.ones(targets.shape[:-1]))


def test_scores_are_peaks_probabilities_or_one():
    points = torch.tensor([[[65.0, 33.0]]])  # the centre of a cell of two pixels
    assert HeatmapCodec().decode(HeatmapCodec().encode(points)).scores.item() == pytest.approx(1)
    assert CoordinateCodec().decode(CoordinateCodec().encode(points)).scores.item() == 1
    assert DSNTCodec().decode(say_perfectly(DSNTCodec(), points)).scores.item() == pytest.approx(1)
    assert DSNTCodec().decode(torch.zeros(1, 1, 64, 64)).scores.item() == pytest.approx(1 / 4096)
    assert SimCCCodec().decode(torch.zeros(1, 1, 2, 256)).scores.item() == pytest.approx(1 / 256**2)


def test_a_codec_leaves_what_it_is_given_as_it_was():
    points = everywhere()[:3]
    for codec in (HeatmapCodec(exchangeable=True), CoordinateCodec(), SimCCCodec(), DSNTCodec()):
        given, outputs = points.clone(), say_perfectly(codec, points)
        before = outputs.clone()
        codec.encode(given), codec.decode(outputs)
        assert torch.equal(given, points)
        assert torch.equal(outputs, before)
