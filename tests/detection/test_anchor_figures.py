"""Figures of anchors: every cell, object and threshold is drawn once, with its meaning."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.detection.anchor_figures import (
    plot_anchors,
    plot_best_iou,
    plot_coverage,
    plot_guarantees,
    plot_match_map,
    plot_target_assignment,
    plot_threshold_sweep,
)
from helpers.detection.anchors import generate_anchors
from helpers.detection.matching import BACKGROUND, IGNORED


def test_every_cell_of_a_match_map_is_painted_by_its_match_and_marked_with_the_class_of_its_object():
    index = np.array([[1, IGNORED], [BACKGROUND, 0]])
    boxes = np.array([[112.0, 112.0, 224.0, 224.0], [0.0, 0.0, 112.0, 112.0]])
    ax = plot_match_map(index, boxes, np.array([2, 0]), plt.figure().add_subplot(), colour="blue")
    paint = ax.images[-1]
    assert paint.get_extent() == [0, 224, 224, 0]
    assert paint.get_array()[0, 0].tolist() == paint.get_array()[1, 1].tolist() == [0, 0, 1, 1]
    assert paint.get_array()[..., 3].tolist() == [[1, 0.55], [0, 1]]
    markers = [dots.get_offsets().tolist() for dots in ax.collections if len(dots.get_offsets())]
    assert markers == [[[56, 56]], [[168, 168]]]  # the circle's cell, then the triangle's
    borders = {tuple(line.get_xdata()) for line in ax.lines}
    assert borders >= {(0, 0), (112, 112), (224, 224)}  # vertical borders of the cells
    names = ["ignored anchor, but no positive one", "positive anchor: circle", "positive anchor: triangle"]
    assert ax.get_legend_handles_labels()[1] == names


def test_a_part_of_a_match_map_is_enlarged_with_its_markers():
    index = np.full((56, 56), BACKGROUND)
    index[6, 9] = 0
    arguments = index, np.array([[28.0, 16.0, 52.0, 40.0]]), np.array([0])
    whole = plot_match_map(*arguments, plt.figure().add_subplot(), colour="blue")
    part = plot_match_map(*arguments, plt.figure().add_subplot(), colour="blue", part=(20, 8, 76, 64))
    assert (part.get_xlim(), part.get_ylim()) == ((20, 76), (64, 8))
    (marker,), (enlarged,) = ([dots for dots in ax.collections if len(dots.get_offsets())] for ax in (whole, part))
    assert enlarged.get_sizes()[0] == pytest.approx(4**2 * marker.get_sizes()[0])


def test_the_diagram_of_the_lesson_leads_from_anchors_and_objects_to_the_loss():
    texts = " ".join(text.get_text() for text in plot_target_assignment().texts)
    assert all(part in texts for part in ("12 348 anchors", "true boxes", "matching", "loss\n(lesson 3)"))
    assert [f"task 2.{number}" in texts for number in range(1, 8)] == [True] * 7


def test_a_level_is_drawn_as_one_dot_per_cell_and_the_boxes_of_the_shown_anchors():
    image = np.full((224, 224, 3), 255, np.uint8)
    *_, coarse = (level.numpy() for level in generate_anchors())
    ax = plot_anchors(image, coarse, coarse[:3], plt.figure().add_subplot(), colour="blue")
    (dots,) = ax.collections
    assert len(dots.get_offsets()) == 14 * 14
    assert [8.0, 8.0] in dots.get_offsets().tolist()
    assert sum(patch.get_width() in (96, 128, 192) for patch in ax.patches) == 3


def test_coverage_starts_at_all_objects_and_ends_at_none():
    ax = plot_coverage(np.array([[0.5, 0.9, 0.7], [0.6, 0.2, 0.1]], np.float32), plt.figure().add_subplot())
    shares = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert list(shares) == ["level 0", "level 1", "all levels"]
    assert shares["all levels"][0] == 1
    assert shares["all levels"][110] == 1  # at IoU 0.55: the second level covers the first object
    assert shares["level 0"][110] == pytest.approx(2 / 3)
    assert shares["all levels"][-1] == 0


def test_each_object_is_drawn_once_in_the_colour_of_its_best_level():
    best_iou = np.array([[0.7, 0.1, 0.2], [0.3, 0.8, 0.9]], np.float32)
    line = np.array([16.0, 192.0], np.float32), np.array([0.6, 0.8], np.float32)
    ax = plot_best_iou(np.array([16.0, 64.0, 96.0], np.float32), best_iou, line)
    dots = {dots.get_label(): dots.get_offsets().tolist() for dots in ax.collections}
    assert dots["level 0"] == [[16.0, pytest.approx(0.7)]]
    assert dots["level 1"] == [[64.0, pytest.approx(0.8)], [96.0, pytest.approx(0.9)]]


def test_a_threshold_sweep_shows_every_class_in_both_panels():
    values = np.array([[9.0, 8, 7], [3, 2, 1]])
    left, right = plot_threshold_sweep((0.3, 0.7), values, values / 10).axes
    assert [[line.get_label() for line in ax.lines] for ax in (left, right)] == [["circle", "square", "triangle"]] * 2
    assert left.lines[2].get_ydata().tolist() == [7, 1]
    assert right.lines[0].get_ydata().tolist() == [0.9, 0.3]


def test_a_changed_guarantee_lies_over_the_reference_in_grey():
    sizes, changed, reference = (np.array(values, np.float32) for values in ([16, 192], [0.5, 0.6], [0.7, 0.8]))
    ax = plot_guarantees(sizes, changed, reference, plt.figure().add_subplot(), "coarser")
    assert [line.get_label() for line in ax.lines] == ["anchors of the assignment", "changed anchors"]
    assert ax.lines[1].get_ydata().tolist() == changed.tolist()
