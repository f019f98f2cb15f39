"""The law of all codecs at sub-pixel positions in the whole image, scores, and precision."""

from __future__ import annotations

import pytest
import torch

from helpers.keypoints.codecs import (
    Codec,
    CoordinateCodec,
    DSNTCodec,
    HeatmapCodec,
    SimCCCodec,
)

DECODERS = ("argmax", "quarter", "dark", "local")
SIZES = (16, 32, 64, 128)
SIGMAS = (1.0, 1.5, 2.0, 3.0, 4.0)
ROUNDING = 1e-3  # pixels: between two cells that are equally near, rounding decides


def make_perfect_outputs(codec: Codec, points: torch.Tensor) -> torch.Tensor:
    """Return the outputs of a network that predicts `points` perfectly."""
    if isinstance(codec, SimCCCodec):
        return codec.encode(points).log()
    if isinstance(codec, DSNTCodec):  # logits whose mean is the point, or the nearest possible mean
        cells = (points * codec.size / 128).clamp(0.5, codec.size - 0.5)
        tents = (1 - (cells.unsqueeze(-1) - torch.arange(codec.size) - 0.5).abs()).clamp(min=0).log()
        return tents[..., 1, :, None] + tents[..., 0, None, :]
    return codec.encode(points)


def largest_error(codec: Codec, points: torch.Tensor, dtype: torch.dtype = torch.float32) -> float:
    decoded = codec.decode(make_perfect_outputs(codec, points).to(dtype)).points
    assert decoded.dtype == torch.float32
    return (decoded - points).abs().max().item()


HEATMAPS = [HeatmapCodec(size, sigma, decoder) for size in SIZES for sigma in SIGMAS for decoder in DECODERS]
OTHERS = [CoordinateCodec(), *(SimCCCodec(bins) for bins in (1, 2, 4)), *(DSNTCodec(size) for size in SIZES)]


def name_of(codec: Codec) -> str:
    return "-".join([type(codec).__name__, *(str(value) for value in vars(codec).values())])


@pytest.mark.parametrize("codec", [*HEATMAPS, *OTHERS], ids=name_of)
def test_perfect_outputs_are_decoded_to_within_the_resolution(codec, points_everywhere):
    assert isinstance(codec, Codec)
    assert largest_error(codec, points_everywhere) <= codec.resolution + ROUNDING


COARSE = [HeatmapCodec(64, 2.0, "argmax"), HeatmapCodec(64, 2.0, "quarter")]
COARSE += [codec for codec in OTHERS if codec.resolution > 0.1]  # more than rounding


@pytest.mark.parametrize("codec", COARSE, ids=name_of)
def test_the_largest_error_in_the_image_is_near_the_resolution(codec, points_everywhere):
    assert largest_error(codec, points_everywhere) > 0.9 * codec.resolution


@pytest.mark.parametrize("decoder", DECODERS)
def test_half_precision_outputs_are_decoded_in_single_precision(decoder, points_everywhere):
    codec = HeatmapCodec(decoder=decoder)
    maps = codec.encode(points_everywhere).bfloat16()
    torch.testing.assert_close(codec.decode(maps).points, codec.decode(maps.float()).points)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(codec.decode(maps).points, codec.decode(maps.float()).points)
    # bfloat16 rounds values near 1 by 0.002; a Gaussian of two cells changes by that within 0.13 cells of its maximum.
    assert largest_error(codec, points_everywhere, torch.bfloat16) <= codec.resolution + 0.3 * codec.stride


def test_half_precision_costs_the_other_codecs_its_rounding_only(points_everywhere):
    points = points_everywhere
    assert largest_error(CoordinateCodec(), points, torch.bfloat16) <= 128 / 512
    assert largest_error(SimCCCodec(), points, torch.bfloat16) <= 1.0
    assert largest_error(DSNTCodec(), points, torch.bfloat16) <= DSNTCodec().resolution + 0.1


def test_points_of_any_leading_shape_are_encoded_as_if_one_by_one(points_everywhere):
    points = points_everywhere[:6].view(2, 3, 5, 2)
    for codec in (HeatmapCodec(size=16), SimCCCodec(), CoordinateCodec(), DSNTCodec()):
        together = codec.encode(points)
        one_by_one = torch.stack([torch.stack([codec.encode(five) for five in row]) for row in points])
        torch.testing.assert_close(together, one_by_one)


@pytest.mark.parametrize(("size", "sigma", "decoder"), [(64, 2.0, "dark"), (64, 1.0, "argmax"), (32, 2.0, "local")])
def test_joint_decoding_changes_the_hands_only_and_obeys_the_law(size, sigma, decoder, points_everywhere):
    figures = points_everywhere
    codec, plain = (HeatmapCodec(size, sigma, decoder, joint_hands) for joint_hands in (True, False))
    assert largest_error(codec, figures) <= codec.resolution + ROUNDING
    maps = codec.encode(figures)
    assert torch.equal(codec.decode(maps).points[:, [0, 3, 4]], plain.decode(maps).points[:, [0, 3, 4]])


def test_dsnt_is_exact_up_to_the_centres_of_the_outermost_cells(points_everywhere):
    points = points_everywhere.clamp(1, 127)
    codec = DSNTCodec()
    torch.testing.assert_close(codec.decode(make_perfect_outputs(codec, points)).points, points, atol=1e-3, rtol=0)


def test_dsnt_targets_are_from_minus_one_to_one_and_decoding_has_gradients():
    codec = DSNTCodec(size=16)
    corners = torch.tensor([[0.0, 0.0], [64.0, 128.0]])
    assert codec.encode(corners).tolist() == [[-1.0, -1.0], [0.0, 1.0]]
    logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
    codec.decode(logits).points.sum().backward()
    assert logits.grad[0, 0, -1, -1] > 0 > logits.grad[0, 0, 0, 0]


def test_simcc_targets_are_distributions_over_bins(points_everywhere):
    targets = SimCCCodec(bins_per_pixel=2, sigma=6.0).encode(points_everywhere)
    assert targets.shape[1:] == (5, 2, 256)
    torch.testing.assert_close(targets.sum(-1), torch.ones(targets.shape[:-1]))


def test_scores_are_peaks_probabilities_or_one():
    points = torch.tensor([[[65.0, 33.0]]])  # the centre of a cell of two pixels
    assert HeatmapCodec().decode(HeatmapCodec().encode(points)).scores.item() == pytest.approx(1)
    assert CoordinateCodec().decode(CoordinateCodec().encode(points)).scores.item() == 1
    assert DSNTCodec().decode(make_perfect_outputs(DSNTCodec(), points)).scores.item() == pytest.approx(1)
    assert DSNTCodec().decode(torch.zeros(1, 1, 64, 64)).scores.item() == pytest.approx(1 / 4096)
    assert SimCCCodec().decode(torch.zeros(1, 1, 2, 256)).scores.item() == pytest.approx(1 / 256**2)


def test_a_codec_does_not_change_its_arguments(points_everywhere):
    points = points_everywhere[:3]
    for codec in (HeatmapCodec(joint_hands=True), CoordinateCodec(), SimCCCodec(), DSNTCodec()):
        arguments, outputs = points.clone(), make_perfect_outputs(codec, points)
        outputs_before = outputs.clone()
        codec.encode(arguments)
        codec.decode(outputs)
        assert torch.equal(arguments, points)
        assert torch.equal(outputs, outputs_before)


def test_an_unknown_decoder_is_refused_with_the_known_ones():
    codec = HeatmapCodec(size=16)
    object.__setattr__(codec, "decoder", "mean")  # the tests' type checks would refuse it in the constructor
    with pytest.raises(ValueError, match="'mean'; choose one of argmax, quarter, dark, local"):
        codec.__post_init__()
