"""Figures of the ablation study: data, labels and styles of their artists."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.keypoints.ablation_figures import (
    draw_heatmap_net,
    plot_ablation,
    plot_decoder_comparison,
    plot_errors,
    plot_skips,
)
from helpers.keypoints.model import HeatmapNet


def test_the_diagram_has_the_channels_of_the_network():
    network = HeatmapNet(output_size=128)
    texts = "\n".join(text.get_text() for text in draw_heatmap_net().texts)
    for number, channels in enumerate(network.backbone.channels, start=1):
        assert f"block {number}\n{channels} × " in texts
    for number, stage in enumerate(network.stages, start=1):
        assert f"stage {number}\n{stage[0].out_channels} × " in texts


def test_a_table_of_ablations_has_mean_spread_and_sigma_in_pixels_in_each_cell_and_a_frame_around_the_best():
    values = np.array([[[0.5, 0.6], [0.7, 0.8]], [[0.5, 0.7], [0.7, 1.0]]])
    ax = plot_ablation(values, (32, 64), (1, 2.5))
    assert [text.get_text() for text in ax.texts] == [
        "0.500 ±0.000",
        "4 px",
        "0.650 ±0.050",
        "10 px",
        "0.700 ±0.000",
        "2 px",
        "0.900 ±0.100",
        "5 px",
    ]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2.5"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["32 × 32", "64 × 64"]
    assert [patch.get_xy() for patch in ax.patches] == [(0.5, 0.5)]


def test_a_target_with_a_larger_blur_is_hatched_and_neither_framed_nor_part_of_the_colours():
    values = np.array([[[0.5, 0.9], [0.6, 0.8]]])
    ax = plot_ablation(values, (32, 64), (1, 4), largest_blur=12)
    hatched, frame = ax.patches
    assert (hatched.get_xy(), hatched.get_hatch()) == ((0.5, -0.5), "///")
    assert frame.get_xy() == (0.5, 0.5)
    assert ax.images[0].get_clim()[1] == pytest.approx(0.8)
    assert ax.texts[2].get_text() == "0.900"


def test_a_table_of_equal_values_of_one_seed_has_no_spread():
    assert plot_ablation(np.full((1, 1, 1), 0.25), (32,), (1,)).texts[0].get_text() == "0.250"


@pytest.mark.parametrize(("in_pixels", "positions"), [(False, [1, 2]), (True, [4, 8])])
def test_errors_are_drawn_with_their_intervals_and_the_floor_of_perfect_maps(in_pixels, positions):
    curve = np.array([[0.5, 0.4, 0.7], [1.0, 0.9, 1.2]])
    ax = plot_errors((1, 2), {32: curve}, {32: 0.3}, plt.figure().add_subplot(), "title", in_pixels)
    line, floor = ax.lines[0], ax.lines[-1]
    np.testing.assert_allclose(line.get_xydata(), np.stack([positions, curve[:, 0]], axis=1))
    (bars,) = ax.collections
    np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], curve[:, 1:])
    assert list(floor.get_ydata()) == [0.3, 0.3]
    assert ax.get_xticks().tolist() == [tick for tick in (1, 2, 4, 6, 8) if positions[0] <= tick <= positions[1]]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_maps_of_each_network_are_a_row_with_the_true_and_the_decoded_point():
    true = np.arange(10.0).reshape(5, 2) + 50
    maps = {"with": np.full((5, 8, 8), 0.5), "without": np.full((5, 8, 8), 0.1)}
    decoded = {"with": true + 1, "without": true + 2}
    figure = plot_skips(np.zeros((128, 128), np.uint8), true, maps, decoded)
    assert len(figure.axes) == 10
    for number, ax in enumerate(figure.axes):
        name, point = ("with", "without")[number // 5], number % 5
        assert ax.get_title().endswith(f"peak {maps[name].max():.2f}")
        assert ax.images[1].get_clim() == (0, maps[name].max())
        ring, square = ax.collections
        assert ring.get_offsets()[0].tolist() == true[point].tolist()
        assert square.get_offsets()[0].tolist() == decoded[name][point].tolist()
    assert [ax.texts[0].get_text() for ax in figure.axes[::5]] == ["with", "without"]


def test_a_comparison_of_decoders_has_a_panel_per_resolution_with_measured_and_predicted_lines():
    measured = {16: {"argmax": np.array([0.1, 0.4])}, 64: {"argmax": np.array([0.5, 0.9])}}
    predicted = {16: {"argmax": np.array([0.2, 0.5])}, 64: {"argmax": np.array([0.6, 1.0])}}
    axes = plot_decoder_comparison((0.01, 0.05), measured, predicted, 2).axes
    titles = ["16 × 16 cells\nσ = 2 cells = 16 px", "64 × 64 cells\nσ = 2 cells = 4 px"]
    assert [ax.get_title() for ax in axes] == titles
    for ax, size in zip(axes, (16, 64), strict=True):
        for line, values in zip(ax.lines, (measured, predicted), strict=False):
            np.testing.assert_array_equal(line.get_ydata(), values[size]["argmax"])
        assert ax.lines[0].get_color() == ax.lines[1].get_color()
        assert (ax.get_xscale(), ax.get_xticks().tolist()) == ("log", [0.01, 0.05])
