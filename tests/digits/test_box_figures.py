"""Figures of box losses: artists, labels and limits for given arrays."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.digits.box_figures import (
    LOSS_STYLES,
    PULL_SCALE,
    draw_loss_stages,
    plot_bars,
    plot_descents,
    plot_overlaps,
    plot_pair,
    plot_paired_differences,
    plot_pulls,
    plot_scenarios,
    update_bars,
    update_pair,
)

TRUE = np.array([0.0, 0.0, 2.0, 4.0])
MOVED = np.array([3.0, 1.0, 5.0, 5.0])


def read_bounds(patch):
    """Return (x, y, width, height) of a rectangle."""
    return (*patch.get_xy(), patch.get_width(), patch.get_height())


def test_every_scenario_has_a_sketch_and_two_panels_with_a_curve_per_loss():
    line = np.linspace(0, 1, 5)
    curves = {name: {loss: (line, 2 * line) for loss in LOSS_STYLES} for name in ("apart", "nested")}
    examples, positions = {name: MOVED[None] for name in curves}, {name: line for name in curves}
    figure = plot_scenarios(TRUE, examples, positions, curves, {name: f"{name} by" for name in curves})
    assert [ax.get_title() for ax in figure.axes[:2]] == ["apart", "nested"]
    assert [read_bounds(patch) for patch in figure.axes[0].patches] == [(3, 1, 2, 4), (0, 0, 2, 4)]
    for ax, factor in ((figure.axes[2], 1), (figure.axes[4], 2)):
        values = {curve.get_label(): curve.get_ydata() for curve in ax.lines}
        np.testing.assert_allclose(values["smooth-L1 / 10"], 0.1 * factor * line)
        np.testing.assert_allclose(values["CIoU"], factor * line)
    assert figure.axes[5].get_xlabel() == "nested by"


def test_a_descent_shows_the_chosen_steps_and_the_overlap_of_all():
    path = np.linspace(MOVED, TRUE, 11)
    overlaps = np.linspace(0, 1, 11)
    figure = plot_descents(TRUE, {"iou": path, "giou": path}, {"iou": overlaps, "giou": overlaps}, (0, 10))
    first, _, curve = figure.axes
    assert [read_bounds(patch) for patch in first.patches] == [(3, 1, 2, 4), (0, 0, 2, 4), (0, 0, 2, 4)]
    assert [line.get_label() for line in curve.lines] == ["IoU", "GIoU"]
    np.testing.assert_allclose(curve.lines[1].get_ydata(), overlaps)


def test_distributions_of_overlaps_sum_to_1_and_labels_have_the_mean():
    ax = plot_overlaps({"before": np.array([0.5, 0.7]), "after": np.array([0.9])}, threshold=0.5)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before: mean 0.60", "after: mean 0.90"]
    assert ax.lines[0].get_xdata()[0] == 0.5
    for patch in ax.patches:  # the outline has two corners for each of the 40 bars
        assert patch.get_xy()[1:-1:2, 1].sum() == pytest.approx(1)
    empty = plot_overlaps({"before": np.zeros(0)})
    assert empty.get_legend().get_texts()[0].get_text() == "before: none"


def test_a_pair_has_its_enclosing_box_and_the_negative_gradient_at_each_side():
    ax = plt.figure().add_subplot()
    plot_pair(TRUE, TRUE, np.zeros(4), ax, "hit", 3)
    update_pair(TRUE, MOVED, np.array([1.0, -2, 0, 0]), ax, "miss")
    assert [read_bounds(patch) for patch in ax.patches] == [(0, 0, 5, 5), (0, 0, 2, 4), (3, 1, 2, 4)]
    (arrows,) = ax.collections
    np.testing.assert_allclose(arrows.get_offsets(), [(3, 3), (4, 1), (5, 3), (4, 5)])
    assert (arrows.U.tolist(), arrows.V.tolist()) == ([-1, 0, 0, 0], [0, 2, 0, 0])
    assert ax.get_title() == "miss"


def test_bars_have_their_values_as_texts_and_are_cut_at_the_limit():
    ax = plt.figure().add_subplot()
    plot_bars(np.array([0.5, 0.2]), ("iou", "giou"), ax, "loss", limit=1.0)
    update_bars(np.array([0.1, 7.0]), ax)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.1, 0.8])
    assert [text.get_text() for text in ax.texts] == ["0.100", "7.000"]


def test_pulls_have_a_panel_per_loss_with_arrows_inside_and_a_note_where_there_is_no_gradient():
    gradients = {"iou": np.zeros(4), "giou": np.array([0.4, 0, -0.1, 0])}
    figure = plot_pulls(TRUE, MOVED, gradients)
    assert [ax.get_title() for ax in figure.axes] == ["IoU: no gradient", "GIoU"]
    (arrows,) = figure.axes[1].collections
    assert arrows.U.tolist() == pytest.approx([-0.4 * PULL_SCALE, 0, 0.1 * PULL_SCALE, 0])
    for ax in figure.axes:
        assert ax.get_xlim()[1] > MOVED[2] + 0.1 * PULL_SCALE


def test_paired_differences_have_dots_a_mean_with_its_interval_and_a_line_at_the_reference():
    ax = plot_paired_differences({"IoU": [0.1, 0.3], "GIoU": [-0.2]}, {"IoU": 0.4, "GIoU": float("nan")})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["IoU", "GIoU"]
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["one seed"].get_xdata().tolist() == [0.1, 0.3]
    assert ax.lines[0].get_xdata()[0] == 0
    interval = ax.containers[0].lines[2][0].get_segments()[0]
    assert interval[:, 0].tolist() == pytest.approx([-0.2, 0.6])


def test_the_diagram_names_both_losses_and_fits_its_axes():
    ax = draw_loss_stages()
    texts = {text.get_text().split("\n")[0] for text in ax.texts}
    assert {"box loss of the RPN:", "box loss of the RoI head:", "proposals"} <= texts
    assert ax.get_xlim()[0] < 0 < 9.2 < ax.get_xlim()[1]
