"""What the figures say: the right things, and legibly."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from helpers.detection.anchors import generate_anchors
from helpers.detection.baseline import detect_by_colour
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.figures import (
    place_texts,
    plot_anchors,
    plot_best_iou,
    plot_coverage,
    plot_failures,
    plot_features,
    plot_guarantees,
    plot_iou_by_class,
    plot_looks,
    plot_match_map,
    plot_misreading,
    plot_precision_recall,
    plot_scale_performance,
    plot_scenes,
    plot_size_ap,
    plot_statistics,
    plot_threshold_sweep,
    plot_truth,
    plot_view,
    plot_view_patterns,
    plot_view_weights,
    visualize_detections,
)
from helpers.detection.matching import IGNORED, NEGATIVE
from helpers.detection.metrics import Detections, explain_failures, precision_recall_curve
from helpers.detection.scales import ScalePerformance
from helpers.plotting import COLOURS


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def drawn() -> tuple[ShapeDetectionDataset, list[Detections]]:
    dataset = ShapeDetectionDataset.draw(20, seed=641)
    return dataset, [detect_by_colour(image) for image in dataset.images.numpy()]


def test_texts_of_one_box_drawn_three_times_do_not_cover_each_other():
    size = np.array([33.0, 12.0])
    for box in ((0.0, 0.0, 16.0, 16.0), (100.0, 100.0, 130.0, 130.0), (190.0, 200.0, 224.0, 224.0)):
        corners = np.array(place_texts(np.array([box] * 3), size, (224, 224)))
        gaps = np.abs(corners[:, None] - corners[None])
        covers = (gaps < size).all(axis=-1)
        assert covers.sum() == 3  # each only itself
        assert (corners >= 0).all()
        assert (corners + size <= 224).all()


def test_a_text_keeps_away_from_a_neighbouring_box():
    size = np.array([33.0, 12.0])
    wide, narrow = np.array([30.0, 60.0, 150.0, 180.0]), np.array([30.0, 20.0, 80.0, 60.0])
    (x, y), _ = place_texts(np.array([wide, narrow]), size, (224, 224))
    assert (x, y) == (150 - 33, 60 - 12)  # above its own box, but not on the other's lower edge


def test_ten_images_are_shown_with_the_detections_above_the_threshold(drawn):
    dataset, detections = drawn
    figure = visualize_detections(dataset, detections, score_threshold=0.5)
    assert len(figure.axes) == 10
    num_shown = sum(len(found.above(0.5).scores) for found in detections[:10])
    assert sum(len(ax.texts) for ax in figure.axes) == num_shown


def test_a_failure_is_named_with_its_class_and_cause():
    dataset = ShapeDetectionDataset.draw(1, seed=641)
    nothing = [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))]
    failures = explain_failures(dataset, nothing, score_threshold=0.5)
    titles = [ax.get_title() for ax in plot_failures(dataset, nothing, failures, 0.5).axes[: len(failures)]]
    names = ("circle", "square", "triangle")
    assert titles == [f"missed {names[dataset.labels[0, one.row]]}:\n{one.cause}" for one in failures]
    assert titles


def test_a_failure_is_hatched_where_it_is_large_and_framed_where_it_is_small():
    dataset = ShapeDetectionDataset.draw(4, seed=641)
    nothing = [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))] * 4
    failures = explain_failures(dataset, nothing, score_threshold=0.5)
    axes = plot_failures(dataset, nothing, failures, 0.5).axes[: len(failures)]
    sides = [(dataset.boxes[one.image, one.row, 2] - dataset.boxes[one.image, one.row, 0]).item() for one in failures]
    assert min(sides) < 40 < max(sides)
    for ax, side in zip(axes, sides, strict=True):
        mark = ax.patches[-1]
        assert (mark.get_hatch() is None) == (side <= 40)
        assert mark.get_width() == side + (16 if side <= 40 else 0)


def test_every_precision_recall_curve_has_its_average_precision_in_the_legend(drawn):
    dataset, detections = drawn
    ax = plot_precision_recall({"square": precision_recall_curve(dataset, detections, 1)})
    assert [text.get_text()[:11] for text in ax.get_legend().get_texts()] == ["square, AP "]


def test_every_cell_of_a_match_map_is_painted_by_what_its_anchor_answers_for():
    image = np.full((224, 224, 3), 255, np.uint8)
    index = np.array([[2, IGNORED], [NEGATIVE, 0]])
    ax = plot_match_map(image, index, np.array([[0.0, 0.0, 112.0, 112.0]]), plt.figure().add_subplot(), colour="blue")
    paint = ax.images[-1]
    assert paint.get_extent() == [0, 224, 224, 0]
    assert paint.get_array()[0, 0].tolist() == paint.get_array()[1, 1].tolist() == [0, 0, 1, 1]
    assert paint.get_array()[..., 3].tolist() == [[1, 0.55], [0, 1]]


def test_a_level_is_drawn_as_one_dot_per_cell_and_the_boxes_asked_for():
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
    assert shares["all levels"][110] == 1  # at IoU 0.55: the second level saves the first object
    assert shares["level 0"][110] == pytest.approx(2 / 3)
    assert shares["all levels"][-1] == 0


def test_each_object_is_drawn_once_in_the_colour_of_the_level_that_fits_it_best():
    best_iou = np.array([[0.7, 0.1, 0.2], [0.3, 0.8, 0.9]], np.float32)
    line = np.array([16.0, 192.0], np.float32), np.array([0.6, 0.8], np.float32)
    ax = plot_best_iou(np.array([16.0, 64.0, 96.0], np.float32), best_iou, line)
    dots = {dots.get_label(): dots.get_offsets().tolist() for dots in ax.collections}
    assert dots["level 0"] == [[16.0, pytest.approx(0.7)]]
    assert dots["level 1"] == [[64.0, pytest.approx(0.8)], [96.0, pytest.approx(0.9)]]


def test_a_threshold_sweep_shows_every_class_in_both_views():
    values = np.array([[9.0, 8, 7], [3, 2, 1]])
    left, right = plot_threshold_sweep((0.3, 0.7), values, values / 10).axes
    assert [[line.get_label() for line in ax.lines] for ax in (left, right)] == [["circle", "square", "triangle"]] * 2
    assert left.lines[2].get_ydata().tolist() == [7, 1]
    assert right.lines[0].get_ydata().tolist() == [0.9, 0.3]


def test_a_changed_guarantee_lies_over_the_reference_in_grey():
    sizes, changed, reference = (np.array(values, np.float32) for values in ([16, 192], [0.5, 0.6], [0.7, 0.8]))
    ax = plot_guarantees(sizes, changed, reference, plt.figure().add_subplot(), "coarser")
    assert [line.get_label() for line in ax.lines] == ["assignment", "changed"]
    assert ax.lines[1].get_ydata().tolist() == changed.tolist()


def test_each_true_box_has_its_text_at_its_centre_and_only_chosen_ones_are_hatched():
    image, boxes = (
        np.full((224, 224, 3), 255, np.uint8),
        np.array([[10.0, 20.0, 50.0, 60.0], [100.0, 100.0, 196.0, 196.0]]),
    )
    ax = plot_truth(image, boxes, texts=["0.25", "1.00"], filled=np.array([True, False]))
    assert [(*text.get_position(), text.get_text()) for text in ax.texts] == [(30, 40, "0.25"), (148, 148, "1.00")]
    assert [patch.get_bbox().extents.tolist() for patch in ax.patches if patch.get_hatch()] == [boxes[0].tolist()]


def test_a_misread_box_is_shown_as_far_as_it_reaches():
    image, true_boxes = np.full((224, 224, 3), 255, np.uint8), np.array([[42.0, 102.0, 120.0, 180.0]])
    ax = plot_misreading(image, true_boxes, np.array([[42.0, 102.0, 162.0, 282.0]]), plt.figure().add_subplot())
    assert [bool(patch.get_path_effects()) for patch in ax.patches[1:]] == [True, False]  # the frame is the first
    assert ax.get_xlim()[1] >= 224
    assert ax.get_ylim()[0] >= 282


def test_every_object_is_counted_once_in_the_bars_of_its_class():
    ax = plot_iou_by_class(np.array([0.0, 0.5, 1.0, 0.2]), np.array([0, 1, 1, 2]), plt.figure().add_subplot())
    areas = {}
    for patch in ax.patches:
        x, y = patch.get_xy().T
        areas[patch.get_label()] = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2  # of a polygon
    assert areas == pytest.approx({"circle": 1 / 40, "square": 2 / 40, "triangle": 1 / 40})  # bins are 1/40 wide


def test_the_statistics_count_every_image_and_every_object(drawn):
    dataset, _ = drawn
    counts, sizes, *_ = plot_statistics(dataset).axes
    assert sum(bar.get_height() for bar in counts.patches) == len(dataset)
    assert sum(bar.get_height() for bar in sizes.patches) == (dataset.labels >= 0).sum()


def test_chosen_objects_are_hatched_in_their_scenes(drawn):
    dataset, _ = drawn
    filled = (dataset.labels >= 0) & (dataset.visibility < 0.5)
    figure = plot_scenes(dataset, range(10), filled)
    hatched = [sum(patch.get_hatch() is not None for patch in ax.patches) for ax in figure.axes[:10]]
    assert hatched == filled[:10].sum(dim=1).tolist()


def test_every_look_has_its_column_and_hatches_what_it_ignores(drawn):
    dataset, _ = drawn
    figure = plot_looks({"as it is": dataset, "hidden ignored": dataset.hide(0.5)}, (0, 5))
    assert [ax.get_title() for ax in figure.axes] == ["as it is", "hidden ignored", "", ""]
    hatched = [sum(patch.get_hatch() is not None for patch in ax.patches) for ax in figure.axes]
    ignored = dataset.hide(0.5).ignored.sum(dim=1).tolist()
    assert hatched == [0, ignored[0], 0, ignored[5]]
    assert ignored[5] > 0


def performance_of(sizes, labels, scores) -> ScalePerformance:
    scores = torch.tensor(scores)
    return ScalePerformance(torch.tensor(sizes), torch.tensor(labels), scores, scores)


def test_every_object_is_detected_by_one_level_or_by_none():
    scores = [[0.9, 0.8, 0.0, 0.0], [0.1, 0.0, 0.9, 0.1], [0.0, 0.0, 0.2, 0.2]]
    performance = performance_of([16.0, 17.0, 96.0, 192.0], [0, 0, 1, 2], scores)
    left, right = plot_scale_performance(performance, score_threshold=0.5).axes
    assert [len(dots.get_offsets()) for dots in left.collections] == [4, 4, 4]
    heights = {(bar.get_x(), bar.get_facecolor()): bar.get_height() for bar in right.patches if bar.get_height()}
    by_level = {colour: to_rgba(colour) for colour in (*COLOURS[:2], "0.8")}
    assert heights == {(16, by_level[COLOURS[0]]): 1, (88, by_level[COLOURS[1]]): 1, (176, by_level["0.8"]): 1}


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


def test_a_view_says_how_wide_it_is_and_how_much_of_it_is_seen():
    weights = np.zeros((5, 5))
    weights[1:4:2, 1:4:2] = 0.25  # a view of three by three pixels with a gap in the middle
    ax = plot_view_weights(weights, 3, (1, 2), plt.figure().add_subplot(), colour="blue", reach=4)
    assert ax.get_title() == "3 px wide, 44% of it seen"
    assert [patch.get_width() for patch in ax.patches] == [1, 2]
    assert ax.images[0].get_extent() == [-2.5, 2.5, 2.5, -2.5]


def test_every_wiring_has_a_row_and_every_level_a_column_on_one_scale():
    views = {"narrow": (3, 5, 5), "wide": (5, 9, 9)}
    weights = {name: np.ones((3, max(widths), max(widths))) for name, widths in views.items()}
    axes = np.reshape(plot_view_patterns(weights, views).axes, (2, 3))
    assert [row[0].get_ylabel() for row in axes] == ["narrow", "wide"]
    assert [ax.get_title().split("\n")[0] for ax in axes[0]] == ["level 0", "level 1", "level 2"]
    widths = [ax.get_title().split("\n")[-1].split()[0] for ax in axes.flat]
    assert widths == ["3", "5", "5", "5", "9", "9"]
    assert all(np.ptp(ax.lines[0].get_xdata()) == 16 for ax in axes.flat)
    assert all(ax.texts[0].get_text() == "16 px" for ax in axes.flat)
    assert all(upper.get_xlim() == lower.get_xlim() for upper, lower in axes.T)


def test_a_view_is_centred_on_its_pixel_in_theory_and_in_effect():
    image, sensitivity = np.full((32, 32, 3), 255, np.uint8), np.zeros((32, 32))
    sensitivity[8, 12] = 1.0
    ax = plot_view(image, sensitivity, (8, 12), (9, 5), plt.figure().add_subplot(), colour="blue")
    theory, effect = ax.patches[-2:]
    assert (theory.get_xy(), theory.get_width(), theory.get_linestyle()) == ((8, 4), 9, "-")
    assert (effect.get_xy(), effect.get_width(), effect.get_linestyle()) == ((10, 6), 5, "--")
    assert ax.images[-1].get_array()[..., 3].sum() == 1


def test_each_level_has_a_row_of_what_it_samples_its_components_and_its_channels():
    image = np.full((32, 32, 3), 255, np.uint8)
    components = [np.zeros((8, 8, 3)), np.zeros((4, 4, 3))]
    channels = [np.zeros((2, 8, 8)), np.zeros((2, 4, 4))]
    axes = plot_features(image, components, channels, [["a", "b"], ["c", "d"]]).axes
    assert [ax.images[0].get_array().shape[:2] for ax in axes] == [(8, 8)] * 4 + [(4, 4)] * 4
    assert [ax.get_title() for ax in axes[2:4] + axes[6:]] == ["a", "b", "c", "d"]
