"""Figures of boxes: their content, and that it is legible."""

import ast

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import FancyBboxPatch

from helpers.detection.baseline import detect_by_colour
from helpers.detection.boxes import compute_iou
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.figures import (
    MISSED_WIDTH,
    SMALLEST_PART,
    make_box_handles,
    make_truth_handles,
    place_texts,
    plot_data_flow,
    plot_detections,
    plot_failure,
    plot_iou_by_class,
    plot_misread_boxes,
    plot_precision_recall,
    plot_statistics,
    plot_truth,
    visualize_detections,
)
from helpers.detection.metrics import Detections, PrecisionRecall, explain_failures
from helpers.paths import ROOT
from helpers.plotting import PREDICTION_COLOUR, PREDICTION_STYLE, TRUTH_COLOUR, TRUTH_STYLE

NO_DETECTION = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def test_texts_of_one_box_drawn_three_times_do_not_cover_each_other():
    size = np.array([33.0, 12.0])
    for box in ((0.0, 0.0, 16.0, 16.0), (100.0, 100.0, 130.0, 130.0), (190.0, 200.0, 224.0, 224.0)):
        corners = np.array(place_texts(np.array([box] * 3), size, (224, 224)))
        distances = np.abs(corners[:, None] - corners[None])
        covers = (distances < size).all(axis=-1)
        assert covers.sum() == 3  # each only itself
        assert (corners >= 0).all()
        assert (corners + size <= 224).all()


def test_a_text_keeps_away_from_a_neighbouring_box():
    size = np.array([33.0, 12.0])
    wide, narrow = np.array([30.0, 60.0, 150.0, 180.0]), np.array([30.0, 20.0, 80.0, 60.0])
    (x, y), _ = place_texts(np.array([wide, narrow]), size, (224, 224))
    assert (x, y) == (150 - 33, 60 - 12)  # above the wide box, but not on the lower edge of the narrow one


def test_a_text_stands_in_the_margin_where_it_would_cover_its_own_box_or_an_obstacle():
    size = np.array([33.0, 12.0])
    box, wall = np.array([[0.0, 0.0, 224.0, 200.0]]), np.array([[0.0, 200.0, 224.0, 224.0]])
    ((x, y),) = place_texts(box, size, (224, 224), margin=14, obstacles=wall)
    assert (x, y) == (0, -12)
    assert place_texts(box, size, (224, 224))[0][1] >= 0


def test_all_images_are_shown_with_their_detections_and_scores_with_a_leading_zero():
    dataset = ShapeDetectionDataset.draw(10, seed=641)
    examples = [dataset.example(index) for index in range(10)]
    detections = [detect_by_colour(example.image).above(0.5) for example in examples]
    figure = visualize_detections(
        [example.image for example in examples],
        [example.boxes for example in examples],
        detections,
        [f"image {index}" for index in range(10)],
    )
    assert [ax.get_title() for ax in figure.axes] == [f"image {index}" for index in range(10)]
    assert [len(ax.texts) for ax in figure.axes] == [len(image.scores) for image in detections]
    for ax, image in zip(figure.axes, detections, strict=True):
        assert [float(text.get_text().split()[1]) for text in ax.texts] == pytest.approx(
            image.scores.numpy(), abs=0.005
        )


def test_the_text_of_a_detection_is_its_class_initial_and_score():
    image = np.full((224, 224, 3), 255, np.uint8)
    detections = Detections(torch.tensor([[50.0, 50, 90, 90]]), torch.tensor([0.934]), torch.tensor([2]))
    ax = plot_detections(image, np.zeros((0, 4)), detections)
    assert [text.get_text() for text in ax.texts] == ["t 0.93"]


def test_missed_objects_are_thick_and_numbered_from_left_to_right():
    image = np.full((224, 224, 3), 255, np.uint8)
    boxes = np.array([[100.0, 100, 160, 160], [10, 10, 60, 60], [80, 20, 130, 70]])
    ax = plot_detections(image, boxes, NO_DETECTION, is_missed=np.array([True, False, True]))
    thick = [patch.get_xy() for patch in ax.patches if patch.get_linewidth() == MISSED_WIDTH]
    assert thick == [(80, 20), (100, 100)]
    assert [(text.get_text(), text.get_position()) for text in ax.texts] == [("1", (80, 70)), ("2", (100, 160))]


@pytest.mark.parametrize("is_missed", [True, False])
def test_the_box_of_a_failure_is_thick_in_the_middle_of_the_part_that_is_shown(is_missed):
    dataset = ShapeDetectionDataset.draw(4, seed=641)
    failures = explain_failures(dataset, [NO_DETECTION] * 4, score_threshold=0.5)
    colour = TRUTH_COLOUR if is_missed else PREDICTION_COLOUR
    sides = [failure.box[2] - failure.box[0] for failure in failures]
    assert min(sides) < SMALLEST_PART / 2 < 112 < max(sides)
    for failure, side in zip(failures, sides, strict=True):
        example = dataset.example(failure.image)
        ax = plot_failure(
            example.image,
            example.boxes,
            np.zeros((0, 4)),
            failure.box,
            plt.figure().add_subplot(),
            is_missed=is_missed,
            title=failure.cause,
        )
        mark = ax.patches[-1]
        assert mark.get_width() == side
        assert mark.get_linewidth() > max(patch.get_linewidth() for patch in ax.patches[:-1])
        assert plt.matplotlib.colors.to_hex(mark.get_edgecolor()) == colour.lower()
        assert ax.get_title() == failure.cause
        left, right = ax.get_xlim()
        bottom, top = ax.get_ylim()
        assert right - left == bottom - top == min(max(SMALLEST_PART, 2 * side), 224) + 4
        assert left < mark.get_x() < mark.get_x() + side < right
        assert top < mark.get_y() < mark.get_y() + side < bottom


def test_every_precision_recall_curve_has_its_average_precision_in_the_legend():
    curve = PrecisionRecall(np.array([0.5, 1.0]), np.array([1.0, 0.5]), np.array([0.9, 0.8]))
    ax = plot_precision_recall({"square": curve, "circle": curve}, {"square": 0.754, "circle": 0.5})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["square, AP 0.75", "circle, AP 0.50"]
    envelope = ax.lines[1]
    assert np.trapezoid(envelope.get_ydata(), envelope.get_xdata()) == 0.75


def test_each_true_box_has_its_text_at_its_centre_and_only_the_filled_are_hatched():
    image = np.full((224, 224, 3), 255, np.uint8)
    boxes = np.array([[10.0, 20.0, 50.0, 60.0], [100.0, 100.0, 196.0, 196.0]])
    ax = plot_truth(image, boxes, texts=["0.25", "1.00"], filled=np.array([True, False]))
    assert [(*text.get_position(), text.get_text()) for text in ax.texts] == [(30, 40, "0.25"), (148, 148, "1.00")]
    assert [patch.get_bbox().extents.tolist() for patch in ax.patches if patch.get_hatch()] == [boxes[0].tolist()]


def test_a_misread_box_is_shown_as_far_as_it_reaches():
    image, true_boxes = np.full((224, 224, 3), 255, np.uint8), np.array([[42.0, 102.0, 120.0, 180.0]])
    misread_boxes = np.array([[42.0, 102.0, 162.0, 282.0]])
    ax = plot_misread_boxes(image, true_boxes, misread_boxes, plt.figure().add_subplot(), "a box")
    assert ax.get_title() == "a box"
    assert [bool(patch.get_path_effects()) for patch in ax.patches[1:]] == [True, True]  # the frame is the first
    assert ax.get_xlim()[1] >= 224
    assert ax.get_ylim()[0] >= 282


def test_the_legend_of_boxes_has_the_colours_and_styles_of_truth_and_prediction():
    true_line, predicted_line = make_box_handles("misread box")
    assert (true_line.get_label(), predicted_line.get_label()) == ("true box", "misread box")
    assert (true_line.get_color(), true_line.get_linestyle()) == (TRUTH_COLOUR, TRUTH_STYLE)
    assert (predicted_line.get_color(), predicted_line.get_linestyle()) == (PREDICTION_COLOUR, PREDICTION_STYLE)


def test_the_legend_of_true_boxes_names_the_hatched_boxes():
    true_line, hatched_box = make_truth_handles("invisible")
    assert (true_line.get_label(), true_line.get_color()) == ("true box", TRUTH_COLOUR)
    assert (hatched_box.get_label(), hatched_box.get_hatch()) == ("invisible", "////")


def test_every_object_is_counted_once_in_the_bars_of_its_class():
    ax = plot_iou_by_class(np.array([0.0, 0.5, 1.0, 0.2]), np.array([0, 1, 1, 2]), plt.figure().add_subplot())
    areas = {}
    for patch in ax.patches:
        x, y = patch.get_xy().T
        areas[patch.get_label()] = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2  # of a polygon
    assert areas == pytest.approx({"circle": 1 / 40, "square": 2 / 40, "triangle": 1 / 40})  # bins are 1/40 wide


def test_the_data_flow_starts_at_random_numbers_and_ends_at_the_metric():
    ax = plot_data_flow()
    texts = {text.get_text(): text.get_position() for text in ax.texts if text.get_text()}
    assert min(texts, key=lambda text: texts[text][0]) == "random numbers\nseed 641"
    assert max(texts, key=lambda text: texts[text][0]) == "metric: average\nprecision (AP)"


def test_the_legend_of_the_data_flow_explains_the_colour_of_every_block():
    ax = plot_data_flow()
    (legend,) = ax.figure.legends
    blocks = {patch.get_facecolor() for patch in ax.patches if isinstance(patch, FancyBboxPatch)}
    assert {handle.get_facecolor() for handle in legend.legend_handles} == blocks


def test_the_statistics_count_every_image_every_object_and_every_pair():
    dataset = ShapeDetectionDataset.draw(20, seed=641)
    real = dataset.labels >= 0
    is_pair = (real[:, :, None] & real[:, None, :]).triu(diagonal=1)
    boxes = dataset.boxes[real]
    figure = plot_statistics(
        real.sum(dim=1).numpy(),
        {"train": (boxes[:, 2] - boxes[:, 0]).numpy(), "val": np.array([16.0, 50, 120, 192])},
        compute_iou(dataset.boxes, dataset.boxes)[is_pair].numpy(),
        dataset.labels[real].numpy(),
        dataset.visibility[real].numpy(),
    )
    counts, sizes, pairs, visibility = figure.axes
    assert sum(bar.get_height() for bar in counts.patches) == len(dataset)
    for outline in sizes.patches:  # one per split
        x, y = outline.get_xy().T
        area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
        assert area == pytest.approx(4)  # bins are 4 px wide, and their shares add up to 1
    assert [text.get_text() for text in sizes.get_legend().get_texts()] == ["train", "val"]
    assert sum(bar.get_height() for bar in pairs.patches) == is_pair.sum()
    for label, line in enumerate(visibility.lines):
        is_class = dataset.labels == label
        expected = (dataset.visibility[is_class] <= 1e-6).float().mean().item()
        assert line.get_ydata()[0] == pytest.approx(expected)
        assert line.get_ydata()[-1] == 1
    assert visibility.get_ylim()[1] > 1


@pytest.mark.parametrize("name", ["figures", "anchor_figures", "scale_figures", "receptive_field_figures"])
def test_figures_import_no_dataset_no_model_and_no_training(name):
    tree = ast.parse((ROOT / f"helpers/detection/{name}.py").read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    excluded = ("dataset", "model", "training", "inference", "scales", "receptive_fields")
    assert modules.isdisjoint(f"helpers.detection.{module}" for module in excluded)
