"""Explorers: the data for the sliders' values, and figures that follow the sliders."""

import math

import numpy as np
import pytest
import torch

from helpers.keypoints.ablations import DSNT, JOINT, AblationRow
from helpers.keypoints.explorers import describe_codec, describe_row, explore_codec, explore_rows, explore_stages
from helpers.keypoints.metrics import THRESHOLDS
from tests.support import find_control, read_picture


def test_argmax_returns_the_centre_of_the_points_cell():
    """By hand: cells of four pixels; (61, 47) lies in the one from (60, 44) to (64, 48)."""
    heatmap, decoded, error = describe_codec(2.0, 32, "argmax", 61.0, 47.0)
    assert heatmap.shape == (32, 32)
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (11, 15)
    assert decoded.tolist() == [62, 46]
    assert error == pytest.approx(2**0.5)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("size", [16, 128])
def test_dark_is_exact_for_a_perfect_map_at_any_sigma_and_resolution(sigma, size):
    assert describe_codec(sigma, size, "dark", 61.3, 47.8).error < 0.01 * 128 / size


def test_noise_moves_the_maximum_of_a_wide_gaussian_further_than_that_of_a_narrow_one():
    errors = [describe_codec(sigma, 64, "dark", 61.3, 47.8, noise=0.02).error for sigma in (1.0, 4.0)]
    assert 0.01 < errors[0] < errors[1]


def test_noise_is_the_same_at_every_call():
    first, second = (describe_codec(sigma, 16, "argmax", 20.0, 20.0, noise=0.1).heatmap for sigma in (1.0, 1.0))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("description", "value"),
    [
        ("σ (cells)", 3.0),
        ("map (cells)", 128),
        ("decoder", "dark"),
        ("x (px)", 0.0),
        ("y (px)", 128.0),
        ("noise (of peak)", 0.1),
    ],
)
def test_every_slider_of_the_codec_changes_the_figure_and_changes_it_back(description, value):
    box = explore_codec()
    before, control = read_picture(box), find_control(box, description)
    start = control.value
    control.value = value
    assert not np.array_equal(read_picture(box), before)
    control.value = start
    np.testing.assert_array_equal(read_picture(box), before)


@pytest.mark.parametrize(("description", "value"), [("stage", 2), ("image", 1)])
def test_every_slider_of_the_stages_changes_the_figure(description, value):
    images = np.full((2, 128, 128), 255, np.uint8)
    images[1, 20:40, 20:40] = 0
    maps = np.random.default_rng(0).random((3, 2, 5, 8, 8))
    box = explore_stages(images, maps, ("early", "middle", "late"))
    before = read_picture(box)
    find_control(box, description).value = value
    assert not np.array_equal(read_picture(box), before)


def test_the_options_of_the_stage_slider_are_the_stages_names():
    box = explore_stages(np.zeros((1, 128, 128), np.uint8), np.zeros((2, 1, 5, 8, 8)), ("early", "late"))
    assert [name for name, _ in find_control(box, "stage").options] == ["early", "late"]


CENTRE = torch.tensor([61.5, 47.5])  # of a pixel


def make_row(variant: str, size: int, sigma: float, decoder: str, seed: int = 0, quality: float = 0.5) -> AblationRow:
    """Return a row of the ablation table whose metrics are multiples of `quality`."""
    row: AblationRow = {"variant": variant, "size": size, "sigma": sigma, "skips": True, "seed": seed, "epochs": 1}
    row |= {"decoder": decoder, "mse": 0.002 * quality, "mse_empty": 0.003, "error_head_feet": 4 * quality}
    for number, threshold in enumerate(THRESHOLDS, start=1):
        row |= {f"{kind}@{threshold}": quality * number / 6 for kind in ("pck", "pck_swap", "pck_head_feet")}
    return row


TABLE = [
    *(
        make_row("coarse", 32, 1.0, decoder, seed, 0.4 + 0.2 * seed)
        for decoder in ("argmax", "dark")
        for seed in (0, 1)
    ),
    *(
        make_row("fine", 64, 2.0, name, quality=quality)
        for name, quality in (("argmax", 0.7), ("dark", 0.8), (JOINT, 1))
    ),
    make_row("expected", 64, math.nan, DSNT) | {"mse": math.nan, "mse_empty": math.nan},
]


def test_the_results_of_a_row_are_means_over_its_seeds():
    row = describe_row(TABLE, "coarse", "argmax", CENTRE)
    assert row.numbers["  error (px)"] == pytest.approx(2.0)
    assert row.numbers["MSE × 1000"] == pytest.approx(1.0)
    np.testing.assert_allclose(row.pck, np.tile(0.5 * np.arange(1, 7) / 6, (2, 1)))


def test_the_ceiling_of_a_row_is_the_error_of_its_decoder_on_the_target():
    """By hand: with 64 cells of 2 px the error of argmax is half a pixel on both axes, that of DARK and joint none."""
    argmax, dark, joint = (describe_row(TABLE, "fine", name, CENTRE) for name in ("argmax", "dark", JOINT))
    assert argmax.heatmap.shape == (64, 64)
    assert argmax.ceiling == pytest.approx(0.5**0.5)
    assert max(dark.ceiling, joint.ceiling) < 0.01
    assert joint.numbers["  error (px)"] == pytest.approx(4)


def test_a_variant_trained_by_dsnt_has_its_own_decoder_and_no_error_of_maps():
    row = describe_row(TABLE, "expected", "argmax", CENTRE)
    assert row.decoder == DSNT
    assert math.isnan(row.numbers["MSE × 1000"])
    assert row.ceiling < 0.01
    assert np.unravel_index(row.heatmap.argmax(), (64, 64)) in {(23, 30), (23, 31), (24, 30), (24, 31)}


@pytest.mark.parametrize(
    ("description", "value"),
    [("A (cells, σ)", "expected"), ("A decoded by", "argmax"), ("B (cells, σ)", "coarse"), ("B decoded by", JOINT)],
)
def test_every_control_of_the_rows_changes_the_figure_and_changes_it_back(description, value):
    box = explore_rows(TABLE)
    before, control = read_picture(box), find_control(box, description)
    start = control.value
    control.value = value
    assert not np.array_equal(read_picture(box), before)
    control.value = start
    np.testing.assert_array_equal(read_picture(box), before)
