"""Figures of scale: bars, dots and diamonds show the given numbers."""

import numpy as np
from matplotlib.colors import to_rgba

from helpers.detection.scale_figures import (
    ZERO_STEP,
    plot_features,
    plot_objectness_histograms,
    plot_scale_performance,
    plot_size_ap,
    plot_size_histogram,
)
from helpers.plotting import CLASS_COLOURS, LEVEL_COLOURS


def test_every_object_is_a_dot_per_level_and_every_group_a_stack_of_bars():
    sizes = np.array([16.0, 17.0, 96.0, 192.0])
    objectness = np.array([[0.9, 0.8, 0.0, 0.0], [0.1, 0.0, 0.9, 0.1], [0.0, 0.0, 0.2, 0.2]])
    edges = np.array([[16.0, 20.0], [88.0, 96.0], [176.0, 192.0]])
    shares = np.array([[1.0, 0.0, 0.0], [0.0, 0.75, 0.0], [0.0, 0.25, 0.0], [0.0, 0.0, 1.0]])
    figure = plot_scale_performance(sizes, objectness, edges, np.array([0, 1, 2]), objectness[:, 1:], shares)
    left, right = figure.axes
    assert [len(dots.get_offsets()) for dots in left.collections] == [4, 4, 4]
    zeros = [sorted({y for y in dots.get_offsets()[:, 1].tolist() if y < 0}) for dots in left.collections]
    assert zeros == [[-ZERO_STEP], [-2 * ZERO_STEP], [-3 * ZERO_STEP]]  # the levels do not hide each other
    bars = [(bar.get_x(), bar.get_y(), bar.get_height(), bar.get_facecolor()) for bar in right.patches]
    assert [bar for bar in bars if bar[2]] == [
        (16, 0, 1, to_rgba(LEVEL_COLOURS[0])),
        (88, 0, 0.75, to_rgba(LEVEL_COLOURS[1])),
        (88, 0.75, 0.25, to_rgba(LEVEL_COLOURS[2])),
        (176, 0, 1, to_rgba("0.8")),
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["level 0", "level 1", "level 2", "no level"]


def test_the_mean_objectness_of_a_class_is_a_line_through_the_middles_of_its_groups():
    edges = np.array([[16.0, 20.0], [20.0, 24.0], [88.0, 96.0]])
    means = np.array([[0.1, 0.2, 0.3]])
    figure = plot_scale_performance(np.zeros(0), np.zeros((1, 0)), edges, np.array([0, 0, 1]), means, np.zeros((2, 3)))
    lines = [line.get_xydata().tolist() for line in figure.axes[0].lines[:3]]
    assert lines == [[[18, 0.1], [22, 0.2]], [[92, 0.3]], []]


def test_each_level_has_a_histogram_of_objectness_with_the_classes_on_top_of_each_other():
    objectness = np.array([[0.92, 0.93, 0.01, 0.02], [0.01, 0.61, 0.62, 0.02]])
    figure = plot_objectness_histograms(objectness, np.array([0, 0, 1, 2]))
    assert [ax.get_title() for ax in figure.axes] == ["level 0", "level 1"]
    bars = [
        (round(bar.get_x(), 2), bar.get_y(), bar.get_height(), bar.get_facecolor())
        for bar in figure.axes[0].patches
        if bar.get_height()
    ]
    circle, square, triangle = map(to_rgba, CLASS_COLOURS)
    assert bars == [(0.9, 0, 2, circle), (0, 0, 1, square), (0, 1, 1, triangle)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["circle", "square", "triangle"]


def test_every_object_is_counted_in_the_histogram_of_sizes_between_the_limits():
    ax = plot_size_histogram(np.array([16.0, 17.0, 96.0, 192.0]), np.array([0, 0, 1, 2]), (32, 96))
    bars = [(bar.get_x(), bar.get_height()) for bar in ax.patches if bar.get_height()]
    assert bars == [(14, 2), (94, 1), (190, 1)]
    assert [line.get_xdata()[0] for line in ax.lines] == [32, 96]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["circle", "square", "triangle", "limit of a range"]


def test_bars_are_the_means_over_seeds_and_diamonds_the_means_of_the_class():
    names = ("ap_small", "ap_medium", "ap_large", "ap_circle", "ap_square", "ap_triangle")
    seeds = [dict(zip(names, values, strict=True)) for values in ([0.2, 0.3, 0.4] * 2, [0.4, 0.3, 0.2, 0.6, 0.7, 0.8])]
    ax = plot_size_ap({"one": seeds, "two": seeds[:1]}, ("blue", "red"), predicted={"one": [1] * 3, "two": [0] * 3})
    assert [round(bar.get_height(), 6) for bar in ax.patches] == [0.3, 0.3, 0.3, 0.2, 0.3, 0.4]
    dots, diamonds, alone = (line.get_ydata().round(6).tolist() for line in ax.lines)
    assert dots == [0.2, 0.3, 0.4, 0.6, 0.7, 0.8]
    assert diamonds == [0.4, 0.5, 0.6]
    assert alone == [0.2, 0.3, 0.4]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["one", "two", "one seed, of the class", "share covered"]


def test_each_level_has_a_column_with_its_sampled_image_its_components_and_its_channels():
    image = np.full((32, 32, 3), 255, np.uint8)
    components = [np.zeros((8, 8, 3)), np.zeros((4, 4, 3))]
    channels = [np.zeros((2, 8, 8)), np.zeros((2, 4, 4))]
    axes = plot_features(image, components, channels, [["a", "b"], ["c", "d"]]).axes
    assert [ax.images[0].get_array().shape[:2] for ax in axes] == [(8, 8), (4, 4)] * 4
    assert [ax.get_title() for ax in axes[4:]] == ["a", "c", "b", "d"]
