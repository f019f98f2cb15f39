"""Figures of digits: artists, labels and limits for given arrays."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from helpers.average_precision import TWELVE
from helpers.digits.figures import (
    AVERAGE_PRECISIONS,
    AVERAGE_RECALLS,
    enlarge_middle,
    plot_anchors,
    plot_augmentations,
    plot_confusions,
    plot_coverage,
    plot_curves,
    plot_errors,
    plot_galleries,
    plot_layouts,
    plot_number,
    plot_reading,
    plot_readings,
    plot_recall_by_height,
    plot_recall_by_share,
    plot_training,
    update_anchors,
    update_reading,
)
from helpers.digits.statistics import SVHN_LAYOUT, measure_layout
from helpers.intervals import Interval
from helpers.plotting import COLOURS, PREDICTION_COLOUR, TRUTH_COLOUR


def build_item(width=90):
    boxes = np.array([[10.0, 5, 20, 35], [22, 6, 31, 36]])
    return np.full((40, width, 3), 90, np.uint8), boxes, np.array([0, 7])


def find_boxes(lines):
    return [[*corners.min(axis=0), *corners.max(axis=0)] for corners in lines.get_segments()]


def test_a_number_has_its_boxes_and_the_title_has_its_digits_in_reading_order():
    ax = plot_number(*build_item(), title="number")
    assert ax.get_title() == "number 07"
    bounds = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches]
    assert bounds == [(10, 5, 10, 30), (22, 6, 9, 30)]
    assert ax.images[0].get_extent() == [0, 90, 40, 0]


def test_an_image_without_digits_has_no_boxes_and_no_title():
    ax = plot_number(np.zeros((8, 9, 3), np.uint8), np.empty((0, 4)), np.empty(0, np.int64))
    assert (len(ax.patches), ax.get_title()) == (0, "")


def test_every_gallery_is_a_block_with_its_name_and_wide_images_are_cut_to_their_middle():
    figure = plot_galleries({"drawn": [build_item()] * 4, "real": [build_item(200)] * 2}, columns=3)
    drawn, real = figure.subfigs
    assert [block.get_suptitle() for block in (drawn, real)] == ["drawn", "real"]
    assert [sum(bool(ax.images) for ax in block.axes) for block in (drawn, real)] == [4, 2]
    assert [len(block.axes) for block in (drawn, real)] == [6, 3]
    assert drawn.axes[0].get_xlim() == (0, 90)
    assert real.axes[0].get_xlim() == pytest.approx((48, 152))


def build_measures(seed, count=200):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 20, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, (count, 2))], axis=1)
    return measure_layout(rng.integers(50, 300, (count, 2)), np.arange(count), boxes)


def test_every_quantity_has_a_panel_with_a_curve_per_set_references_and_readable_ticks():
    references = {"drawn": SVHN_LAYOUT["train"], "real": SVHN_LAYOUT["test"]}
    figure = plot_layouts({"drawn": build_measures(0), "real": build_measures(1, 50)}, references)
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "image width (px)",
        "image height (px)",
        "box width (px)",
        "box height (px)",
        "height / width",
        "box height / image height",
    ]
    for ax, *expected in zip(figure.axes, *(SVHN_LAYOUT[split].values() for split in ("train", "test")), strict=True):
        assert len(ax.patches) == 2
        assert [line.get_xdata()[0] for line in ax.lines] == [*expected[0], *expected[1]]
        assert [line.get_color() for line in ax.lines] == [COLOURS[0]] * 3 + [COLOURS[1]] * 3
        assert ax.get_xscale() == "log"
        assert 1 <= len(ax.get_xticks()) <= 12
        labels = [label.get_text() for label in ax.get_xticklabels()]
        assert labels == [f"{tick:g}" for tick in ax.get_xticks()]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["drawn", "real", "5, 50 and 95 % of SVHN, same split"]


def test_every_curve_has_the_sum_1_for_any_size_of_its_set():
    figure = plot_layouts({"few": build_measures(0, 20), "many": build_measures(1, 500)})
    for ax in figure.axes:
        for patch in ax.patches:
            heights = patch.get_xy()[:, 1]
            # The outline of the histogram has two corners for each of the 25 bars, so every height occurs twice.
            assert heights[1:-1:2].sum() == pytest.approx(1, abs=1e-6)


def test_coverage_is_the_share_of_boxes_with_at_least_each_iou():
    ax = plot_coverage({"half": np.array([0.5, 1.0]), "none": np.zeros(3)})
    half, none, mark = ax.lines
    assert (half.get_label(), none.get_label()) == ("half", "none")
    assert np.interp([0.4, 0.6], *half.get_data()).tolist() == [1.0, 0.5]
    assert np.interp([0.0, 0.1], *none.get_data()).tolist() == [1.0, 0.0]
    assert mark.get_xdata()[0] == 0.7


def test_anchors_are_drawn_in_the_pixels_of_the_resized_image():
    box, shapes = np.array([10.0, 10, 30, 50]), np.array([[0.0, 0, 40, 60], [15, 20, 25, 40]])
    ax = plot_anchors(build_item()[0], (80, 180), box, shapes, shapes[1], plt.figure().add_subplot(), "t")
    assert ax.images[0].get_extent() == [0, 180, 80, 0]
    all_shapes, best, digit = (find_boxes(lines) for lines in ax.collections)
    assert (all_shapes, best, digit) == (shapes.tolist(), [shapes[1].tolist()], [box.tolist()])
    assert ax.get_title() == "t"
    assert ax.get_legend_handles_labels()[1] == ["anchor shapes", "best anchor shape", "box of the digit"]
    enlarge_middle(box, ax, half_side=5)
    assert (ax.get_xlim(), ax.get_ylim()) == ((15, 25), (35, 25))
    update_anchors((40, 90), box / 2, shapes[:1], shapes[0], ax, "half")
    assert ax.images[0].get_extent() == [0, 90, 40, 0]
    assert [find_boxes(lines) for lines in ax.collections] == [[shapes[0].tolist()]] * 2 + [[(box / 2).tolist()]]


def test_training_has_four_losses_and_cocos_metrics_except_those_without_true_boxes():
    losses = ("loss", "objectness", "proposal", "class", "box")
    history = [{"epoch": epoch} | dict.fromkeys((*losses, *TWELVE), 0.1 * epoch) for epoch in (1, 2)]
    figure = plot_training(history)
    assert [len(ax.lines) for ax in figure.axes] == [4, 6, 6]
    assert [*AVERAGE_PRECISIONS, *AVERAGE_RECALLS] == list(TWELVE)
    labels = [line.get_label() for ax in figure.axes[1:] for line in ax.lines]
    assert labels == [*AVERAGE_PRECISIONS.values(), *AVERAGE_RECALLS.values()]
    for row in history:
        row["ap_large"] = row["ar_large"] = -1.0  # no digit is large
        row |= {f"valid_{name}": 0.2 for name in losses}
    losses_panel, *metrics = plot_training(history).axes
    assert [len(ax.lines) for ax in metrics] == [5, 5]
    assert [line.get_label() for line in losses_panel.lines][:2] == ["RPN objectness, train", "RPN objectness, valid"]
    assert [line.get_label() for line in losses_panel.lines][2:4] == ["RPN offsets, train", "RPN offsets, valid"]
    assert losses_panel.lines[1].get_ydata().tolist() == [0.2, 0.2]


def test_augmentations_have_a_panel_each_with_the_boxes_of_that_image():
    image, boxes, _ = build_item()
    figure = plot_augmentations({"original": (image, boxes), "zoomed out": (build_item(180)[0], boxes / 2)}, columns=3)
    first, second, empty = figure.axes
    assert (first.get_title(), second.get_title()) == ("original\n90 × 40 px", "zoomed out\n180 × 40 px")
    assert [patch.get_xy() for patch in second.patches] == [(5, 2.5), (11, 3)]
    assert not empty.images


def test_readings_have_a_panel_each_and_one_legend():
    image, boxes, digits = build_item()
    figure = plot_readings({"07 → 0": (image, boxes, boxes[:1], digits[:1]), "07 → 07": (image, boxes, boxes, digits)})
    assert [ax.get_title() for ax in figure.axes[:2]] == ["07 → 0", "07 → 07"]
    assert [len(ax.texts) for ax in figure.axes[:2]] == [1, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["annotated box", "detection, with its digit"]
    (x1, x2), (y2, y1) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert (x2 - x1) / (y2 - y1) == pytest.approx(2)
    assert x1 <= 10 < 31 <= x2 <= 90
    assert 0 <= y1 <= 5 < 36 <= y2 <= 40


def test_a_reading_has_truth_and_detections_in_their_colours_with_their_digits():
    image, boxes, digits = build_item()
    ax = plot_reading(image, boxes, boxes[:1] + 1, digits[:1], title="read")
    true, predicted = ax.collections
    assert (find_boxes(true), find_boxes(predicted)) == (boxes.tolist(), (boxes[:1] + 1).tolist())
    assert (to_hex(true.get_color()[0]), to_hex(predicted.get_color()[0])) == (
        TRUTH_COLOUR.lower(),
        PREDICTION_COLOUR.lower(),
    )
    assert [lines.get_linestyle()[0][1] is None for lines in (true, predicted)] == [True, False]
    (label,) = ax.texts
    assert label.get_text() == "0"
    ax.figure.canvas.draw()
    assert label.get_window_extent().y1 < ax.transData.transform((0, boxes[0, 3] + 1))[1]  # below the box


def test_an_updated_reading_shows_an_image_of_another_size_with_its_boxes():
    image, boxes, digits = build_item()
    ax = plot_reading(image, boxes, boxes, digits, title="first")
    update_reading(build_item(50)[0], boxes[:0], boxes[1:], digits[1:], ax, "second")
    assert ax.images[0].get_extent() == [0, 50, 40, 0]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 50), (40, 0))
    assert [find_boxes(lines) for lines in ax.collections] == [[], boxes[1:].tolist()]
    assert [text.get_text() for text in ax.texts] == ["7"]
    assert ax.get_title() == "second"


def test_confusions_have_counts_as_texts_and_shares_of_the_true_digit_as_colours():
    matrix = np.zeros((11, 11), np.int64)
    matrix[1, 1], matrix[1, 7], matrix[10, 3] = 6, 2, 4
    ax = plot_confusions(matrix, plt.figure().add_subplot())
    assert {(text.get_position(), text.get_text()) for text in ax.texts} == {
        ((1, 1), "6"),
        ((7, 1), "2"),
        ((3, 10), "4"),
    }
    shares = ax.images[0].get_array()
    assert (shares[1, 1], shares[1, 7], shares[0, 0]) == (0.75, 0.25, 0)
    assert ax.get_xticklabels()[-1].get_text() == "missed"
    assert ax.get_yticklabels()[-1].get_text() == "no digit"


def test_errors_are_stacked_per_hundred_digits_without_extra_detections():
    true_digits = np.array([3, 3, 3, 3, 10])
    ax = plot_errors(
        true_digits, ["right", "missed", "localisation error", "missed", "extra"], plt.figure().add_subplot()
    )
    heights = {container.get_label(): container[3].get_height() for container in ax.containers}
    assert heights == {"wrong class": 0, "localisation error": 25, "missed": 50}
    assert ax.containers[2][3].get_y() == 25
    assert sum(bar.get_height() for container in ax.containers for bar in container) == 75


def test_recall_is_measured_in_fifths_of_the_digits_by_their_share():
    shares = np.linspace(0.1, 1.0, 10)
    ax = plot_recall_by_share(shares, {"large digits": shares > 0.55, "none": np.zeros(10, bool)})
    assert ax.lines[0].get_ydata().tolist() == [0, 0, 0.5, 1, 1]
    assert ax.lines[0].get_xdata() == pytest.approx([0.15, 0.35, 0.55, 0.75, 0.95])
    assert ax.lines[1].get_ydata().tolist() == [0] * 5


def test_recall_by_height_has_a_point_and_a_bar_for_each_band_and_detector():
    bands = [Interval(0.5, 0.4, 0.7), Interval(0.0, 0.0, 0.0)]
    ax = plot_recall_by_height({"first": bands, "second": bands[::-1]}, (0, 0.3, 1))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0 to 0.3", "0.3 to 1"]
    points = [container.lines[0].get_ydata().tolist() for container in ax.containers]
    assert points == [[0.5, 0.0], [0.0, 0.5]]
    (bars,) = ax.containers[0].lines[2]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [pytest.approx([0.4, 0.7]), [0, 0]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["first", "second"]


def test_curves_of_variants_start_at_epoch_1():
    ax = plot_curves({"report": [0.1, 0.2], "fitted": [0.3, 0.5]}, ylabel="AP")
    assert [line.get_label() for line in ax.lines] == ["report", "fitted"]
    assert ax.lines[1].get_xydata().tolist() == [[1, 0.3], [2, 0.5]]
