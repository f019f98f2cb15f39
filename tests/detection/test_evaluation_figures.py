"""Figures of suppression, of a growing precision-recall curve and of losses: their content."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from helpers.detection.evaluation_figures import (
    plot_curve_steps,
    plot_losses,
    plot_ranked_detections,
    plot_suppression,
)
from helpers.plotting import COLOURS

IMAGE = np.full((224, 224, 3), 255, np.uint8)
BOXES = np.array([[10.0, 10, 60, 60], [15, 10, 65, 60], [100, 100, 160, 160]])


def test_a_removed_box_is_dashed_in_the_colour_of_the_box_that_removed_it():
    ax = plot_suppression(IMAGE, BOXES, np.array([0, 0, 2]), title="threshold 0.5")
    boxes = {patch.get_xy(): patch for patch in ax.patches[1:]}  # the first is the frame of the image
    styles = [(to_hex(boxes[x, y].get_edgecolor()), boxes[x, y].get_linestyle()) for x, y, *_ in BOXES]
    first, second = COLOURS[0].lower(), COLOURS[1].lower()
    assert styles == [(first, "-"), (first, "--"), (second, "-")]
    assert sorted(text.get_text() for text in ax.texts) == ["0", "1", "2"]
    assert ax.get_title() == "threshold 0.5"


def test_each_detection_has_its_rank_at_its_upper_left_corner():
    ax = plot_ranked_detections(IMAGE, BOXES[:1], BOXES[1:], [3, 7])
    assert [(text.get_text(), text.get_position()) for text in ax.texts] == [("3", (15, 10)), ("7", (100, 100))]


def test_a_rank_that_would_cover_another_is_above_its_corner():
    ax = plot_ranked_detections(IMAGE, BOXES[:0], BOXES, [1, 2, 3])
    assert [text.get_position() for text in ax.texts] == [(10, 10), (15, -2), (100, 100)]


def test_the_numbers_of_hits_and_false_alarms_have_the_colours_of_the_curve():
    is_hit = np.array([True, False])
    ax = plot_ranked_detections(IMAGE, BOXES[:1], BOXES[1:], [1, 2], is_hit=is_hit)
    colours = [to_hex(text.get_bbox_patch().get_facecolor()) for text in ax.texts]
    curve = plot_curve_steps(np.array([1.0, 1.0]), np.array([1.0, 0.5]), is_hit)
    markers = {line.get_label(): to_hex(line.get_color()) for line in curve.lines}
    assert colours == [markers["hit"], markers["false alarm"]]


def test_the_area_under_the_envelope_is_the_average_precision():
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    ax = plot_curve_steps(recall, precision, np.array([True, False, True]))
    values, edges, _ = ax.patches[0].get_data()
    assert np.sum(values * np.diff(edges)) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3"]
    hits = next(line for line in ax.lines if line.get_label() == "hit")
    assert hits.get_xdata().tolist() == [0.5, 1.0]


def test_both_losses_are_drawn_and_a_log_without_validation_loss_has_no_point():
    history = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "validation_loss": 2.5}]
    ax = plot_losses(history, plt.figure().add_subplot(), title="tuned")
    trained, validated = ax.lines
    assert [line.get_label() for line in ax.lines] == ["training", "selection"]
    assert list(trained.get_ydata()) == [3.0, 2.0]
    assert np.isnan(validated.get_ydata()[0])
    assert validated.get_ydata()[1] == 2.5
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 3
