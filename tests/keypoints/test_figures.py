"""Keypoint figures: data, labels and styles of their artists."""

import random

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from helpers.keypoints.figures import (
    draw_networks,
    plot_codec,
    plot_decoding_errors,
    plot_examples,
    plot_exchange,
    plot_failures,
    plot_maps,
    plot_pck_curves,
    plot_pck_per_point,
    plot_points,
    plot_prediction,
    plot_predictions,
    plot_row_curves,
    plot_stages,
    update_codec,
    update_maps,
    update_row_curves,
)
from helpers.keypoints.metrics import THRESHOLDS, Failure
from helpers.keypoints.model import HeatmapNet, RegressionNet
from helpers.keypoints.scenes import FigureConfig, draw_scene, paint_figure


@pytest.fixture(scope="module")
def scenes():
    rng = random.Random(641)
    return [draw_scene(rng) for _ in range(6)]


@pytest.fixture(scope="module")
def images(scenes):
    return np.stack([scene.image for scene in scenes])


@pytest.fixture(scope="module")
def points(scenes):
    return np.stack([scene.points for scene in scenes])


def find_labels_and_positions(ax) -> list[tuple[str, list[float]]]:
    return [(dots.get_label(), dots.get_offsets()[0].tolist()) for dots in ax.collections]


def test_every_point_is_drawn_at_its_position_with_its_name(scenes):
    ax = plot_points(*scenes[0])
    names = ["head", "left hand", "right hand", "left foot", "right foot"]
    assert find_labels_and_positions(ax) == list(zip(names, scenes[0].points.tolist(), strict=True))


def test_left_and_right_differ_in_colour_and_hands_and_feet_in_shape(scenes):
    _, left_hand, right_hand, left_foot, right_foot = plot_points(*scenes[0]).collections
    colours = [dots.get_facecolor().tolist() for dots in (left_hand, right_hand, left_foot, right_foot)]
    assert colours[0] == colours[2] != colours[1] == colours[3]
    assert len(left_hand.get_paths()[0]) != len(left_foot.get_paths()[0])


def test_examples_come_first_and_then_all_points_in_two_panels(scenes):
    images, points = (np.stack(column) for column in zip(*scenes, strict=True))
    *examples, head_and_feet, hands = plot_examples(images, points, (1, 4)).axes
    assert [ax.get_title() for ax in examples] == ["figure 1", "figure 4"]
    assert [len(dots.get_offsets()) for dots in head_and_feet.collections] == [6, 6, 6]
    assert [len(dots.get_offsets()) for dots in hands.collections] == [6, 6]
    np.testing.assert_array_equal(head_and_feet.collections[1].get_offsets(), points[:, 3])
    np.testing.assert_array_equal(hands.collections[0].get_offsets(), points[:, 1])


@pytest.mark.parametrize("tellable", [False, True])
def test_the_title_of_exchanged_hands_has_the_number_of_differing_pixels(scenes, tellable):
    points = np.stack([scenes[5].points, scenes[5].points[[0, 2, 1, 3, 4]]])
    images = np.stack([paint_figure(figure_points, FigureConfig(tellable_hands=tellable)) for figure_points in points])
    _, axes = plt.subplots(1, 2)
    plot_exchange(images, points, list(axes), "mitten")
    assert axes[0].get_title() == "mitten:\nas annotated"
    assert axes[1].get_title().startswith("mitten, hands exchanged:\n")
    num_pixels = int(axes[1].get_title().splitlines()[1].split()[0])
    assert num_pixels == (images[0] != images[1]).sum()
    assert (num_pixels > 0) == tellable
    assert axes[0].get_legend_handles_labels()[1] == ["head", "left hand", "right hand"]


def test_the_diagram_of_the_networks_has_the_shapes_that_they_compute():
    images, shapes = torch.zeros(1, 1, 128, 128), []
    network = HeatmapNet().eval()
    for layer in (*network.backbone.blocks, *network.stages):
        layer.register_forward_hook(lambda _layer, _inputs, output: shapes.append(output.shape[1:]))
    shapes += [images.shape[1:], network(images).shape[1:], RegressionNet().eval()(images).shape[1:]]
    texts = [text.get_text() for text in draw_networks().texts]
    for shape in shapes:
        size = " × ".join(map(str, shape))
        assert any(text.endswith(f"\n{size}") for text in texts), f"no block has the shape {size}"


def test_every_pck_curve_is_drawn_with_its_values_and_its_name():
    thresholds = np.linspace(0, 0.2, 5)
    curves = {"random": thresholds + 0.8, "perfect": np.ones(5)}
    ax = plot_pck_curves(thresholds, curves)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["random", "perfect"]
    for line, (name, values) in zip(ax.lines, curves.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), thresholds)
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert len({line.get_color() for line in ax.lines}) == 2
    assert ax.get_xlim() == (0, 0.2)


def test_several_seeds_are_drawn_as_their_mean_and_a_band_from_lowest_to_highest():
    thresholds = np.array([0.0, 0.1])
    ax = plot_pck_curves(thresholds, {"seeds": np.array([[0.1, 0.5], [0.3, 0.9]])})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.2, 0.7])
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.1, 0.9)


def test_ceilings_are_grey_and_broken_and_come_last():
    thresholds = np.array([0.0, 0.1])
    ceilings = dict.fromkeys(("random", "middle", "best", "fourth"), thresholds)
    ax = plot_pck_curves(thresholds, {"net": thresholds}, ceilings=ceilings)
    assert [line.get_label() for line in ax.lines] == ["net", "random", "middle", "best", "fourth"]
    assert [line.get_color() for line in ax.lines[1:]] == ["0.45"] * 4
    assert [line.get_linestyle() for line in ax.lines[1:]] == ["--", ":", "-.", "--"]


def test_bars_are_grouped_by_point_and_labelled_with_their_value():
    ax = plot_pck_per_point({"one": np.full(5, 0.25), "two": np.array([1.0, 0.5, 0.5, 1.0, 1.0])})
    assert [bar.get_height() for bar in ax.patches] == [0.25] * 5 + [1.0, 0.5, 0.5, 1.0, 1.0]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
    np.testing.assert_allclose(centres, [*(np.arange(5) - 0.2), *(np.arange(5) + 0.2)])
    assert [text.get_text() for text in ax.texts] == ["0.25"] * 5 + ["1.00", "0.50", "0.50", "1.00", "1.00"]


def test_every_predicted_point_is_joined_to_the_true_point_of_its_name(images, points):
    predicted = points[0, [0, 2, 1, 3, 4]]
    ax = plot_prediction(images[0], points[0], predicted)
    lines = [np.transpose(line.get_data()).tolist() for line in ax.lines]
    assert lines == [list(pair) for pair in zip(points[0].tolist(), predicted.tolist(), strict=True)]
    truth, prediction = ax.collections
    assert (truth.get_offsets().tolist(), prediction.get_offsets().tolist()) == (points[0].tolist(), predicted.tolist())


def test_predictions_have_a_row_per_method_and_a_column_per_figure(images, points):
    axes = plot_predictions(images, points, {"one": points + 1, "two": points + 2}, (4, 2)).axes
    assert [ax.get_title() for ax in axes] == ["figure 4", "figure 2", "", ""]
    assert [[text.get_text() for text in ax.texts] for ax in axes] == [["one"], [], ["two"], []]
    shown = [ax.collections[1].get_offsets()[0].tolist() for ax in axes]
    assert shown == [(points[index, 0] + by).tolist() for by in (1, 2) for index in (4, 2)]


def test_a_failure_has_a_panel_per_method_with_the_cause_and_the_radius_of_correct_points(images, points):
    failures = [Failure(3, 1, "hands exchanged", None), Failure(0, 4, "near miss", "lost")]
    axes = plot_failures(images, points, points + 1, points + 2, failures, np.arange(6.0)).axes
    assert [ax.get_title() for ax in axes[:2]] == [
        "only the heatmap fails\nfigure 3, left hand",
        "both fail\nfigure 0, right foot",
    ]
    assert [ax.texts[0].get_text() for ax in axes] == ["hands exchanged", "near miss", "correct", "lost"]
    discs = [(tuple(ax.patches[-1].get_center()), ax.patches[-1].get_radius()) for ax in axes]
    assert discs == [(tuple(points[3, 1]), 3.0), (tuple(points[0, 4]), 0.0)] * 2


def test_maps_are_coloured_up_to_their_peaks_and_can_be_replaced(images):
    maps = np.zeros((2, 8, 8))
    maps[0, 2, 3], maps[1, 4, 4] = 0.5, 0.1
    axes = list(plt.figure().subplots(1, 2))
    plot_maps(images[0], maps, axes, ("head", "left hand"))
    assert [ax.images[1].get_clim() for ax in axes] == [(0, 0.5), (0, 0.1)]
    assert [ax.texts[0].get_text() for ax in axes] == ["peak 0.50", "peak 0.10"]
    update_maps(images[1], 2 * maps, axes)
    assert [len(ax.images) for ax in axes] == [2, 2]
    assert axes[1].images[1].get_array()[4, 4] == 0.2
    assert axes[0].texts[0].get_text() == "peak 1.00"


def test_a_map_without_positive_values_can_be_drawn(images):
    ax = plt.figure().add_subplot()
    plot_maps(images[0], np.full((1, 8, 8), -0.1), [ax], ("head",))
    ax.figure.canvas.draw()
    assert ax.texts[0].get_text() == "peak -0.10"


def test_stages_are_rows_and_points_are_columns(images):
    maps = np.arange(15.0).reshape(3, 5, 1, 1) * np.ones((8, 8))
    axes = plot_stages(images[0], maps, ("a", "b", "c")).axes
    assert [ax.get_title() for ax in axes[:6]] == ["head", "left hand", "right hand", "left foot", "right foot", ""]
    assert [ax.images[1].get_array().max() for ax in axes] == list(range(15))
    assert [ax.texts[-1].get_text() for ax in axes[::5]] == ["a", "b", "c"]


def test_the_map_of_a_codec_covers_the_image_and_can_be_replaced():
    heatmap, true, decoded = np.zeros((32, 32)), np.array([61.0, 47.0]), np.array([62.0, 46.0])
    ax = plot_codec(heatmap, true, decoded, reach=3)
    assert ax.images[0].get_extent() == [0, 128, 128, 0]
    assert (ax.get_xlim(), ax.get_ylim()) == ((49, 73), (59, 35))
    assert ax.get_xticks().tolist() == [52, 56, 60, 64, 68, 72]
    assert [np.ravel(line.get_data()).tolist() for line in ax.lines] == [[61, 47], [62, 46]]
    update_codec(np.ones((64, 64)), decoded, true, ax, "moved")
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 128), (128, 0))
    assert [np.ravel(line.get_data()).tolist() for line in ax.lines] == [[62, 46], [61, 47]]
    assert (len(ax.images), ax.images[0].get_array().shape, ax.get_title()) == (1, (64, 64), "moved")


def test_decoding_errors_are_drawn_with_the_edges_of_the_cells():
    positions = np.linspace(59, 69, 11)
    ax = plot_decoding_errors(positions, {"argmax": positions, "dark": positions}, stride=4.0)
    *edges, argmax, dark = ax.lines
    assert [line.get_xdata()[0] for line in edges] == [60, 64, 68]
    assert (argmax.get_label(), dark.get_label()) == ("argmax", "dark")
    assert argmax.get_linewidth() > dark.get_linewidth()


def test_two_rows_have_two_curves_each_which_differ_in_colour_and_marker():
    ax = plot_row_curves(THRESHOLDS, plt.figure().add_subplot())
    pck = np.arange(24.0).reshape(2, 2, 6) / 24
    update_row_curves(pck, ax)
    for line, values in zip(ax.lines, pck.reshape(4, 6), strict=True):
        assert list(line.get_xdata()) == list(THRESHOLDS)
        assert list(line.get_ydata()) == list(values)
    assert len({line.get_marker() for line in ax.lines}) == 4
    assert [line.get_color() for line in ax.lines[::2]] == [line.get_color() for line in ax.lines[1::2]]
    assert [text.get_text()[:2] for text in ax.get_legend().get_texts()] == ["A,", "A,", "B,", "B,"]
