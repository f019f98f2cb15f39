"""Explorers: their descriptions, and that the picture follows the controls."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.detection.anchors import FEATURE_MAP_SIZES, flatten_predictions, generate_anchors
from helpers.detection.boxes import decode
from helpers.detection.dataset import ShapeDetectionDataset, prepare_images
from helpers.detection.explorers import (
    ANCHOR_SETS,
    describe_cell,
    describe_look,
    describe_matching,
    describe_threshold,
    explore_cells,
    explore_looks,
    explore_matching,
    explore_suppression,
    find_overlap,
    measure_suppression,
)
from helpers.detection.matching import match_anchors_to_targets
from helpers.detection.metrics import assign_detections, compute_ap, oracle_detections, precision_recall_curve
from helpers.detection.model import MultiScaleDetector
from helpers.detection.nms import Candidates, InferenceConfig
from helpers.detection.receptive_fields import STRIDES, Objects, compute_receptive_fields, measure_sensitivity
from helpers.detection.recipes import ASSIGNMENT, TUNED
from helpers.detection.scenes import SceneConfig
from helpers.detection.training import Detector
from tests.support import find_control, read_picture

SCENES = ShapeDetectionDataset.draw(6, seed=645)


def assert_moves_there_and_back(box, description, value):
    """Fail unless the control changes the picture, and moved back restores it."""
    before, control = read_picture(box), find_control(box, description)
    start = control.value
    control.value = value
    assert not np.array_equal(read_picture(box), before)
    control.value = start
    np.testing.assert_array_equal(read_picture(box), before)


# looks


def test_one_object_more_is_painted_over_the_others():
    fewer, more = (describe_look(645, SceneConfig(num_objects=(count, count))) for count in (4, 5))
    np.testing.assert_array_equal(more.boxes[:4], fewer.boxes)
    assert (more.visibility[:4] <= fewer.visibility).all()
    assert more.visibility[4] == 1


def test_another_look_shows_the_same_objects():
    plain = describe_look(650, SceneConfig())
    changed = describe_look(650, SceneConfig("shared", 60, 20.0, 0.5))
    np.testing.assert_array_equal(plain.boxes, changed.boxes)
    np.testing.assert_array_equal(changed.ignored, changed.visibility < 0.5)
    assert (plain.image != changed.image).any()


@pytest.mark.parametrize(("texture", "noise"), [(125, 0.0), (60, 20.0), (10, 40.0)])
def test_texture_and_noise_that_cross_no_grey_of_127_change_no_detection(texture, noise):
    """By hand: the background is above 255 - texture - 2.9 noise, black is below 2.9 noise."""
    assert 255 - texture - 2.9 * noise > 127 > 2.9 * noise
    plain, rough = (describe_look(641, SceneConfig("class", *look)) for look in ((0, 0.0), (texture, noise)))
    np.testing.assert_array_equal(plain.predicted_boxes, rough.predicted_boxes)


def test_a_background_below_127_is_detected_as_objects():
    rough, plain = (describe_look(641, SceneConfig(texture=texture)) for texture in (255, 0))
    assert rough.is_wrong.sum() > plain.is_wrong.sum() + 3


def test_every_detection_is_right_or_wrong_where_nothing_is_ignored():
    look = describe_look(645, SceneConfig())
    assert look.num_right + look.is_wrong.sum() == len(look.predicted_boxes)
    assert look.num_right <= len(look.boxes)


@pytest.mark.parametrize(
    ("description", "value"),
    [
        ("scene (seed)", 645),
        ("objects", 5),
        ("palette", "shared"),
        ("texture (grey)", 60),
        ("noise (grey)", 20),
        ("ignore below", 0.05),
    ],
)
def test_every_control_moves_the_looks_picture_and_moves_it_back(description, value):
    assert_moves_there_and_back(explore_looks(), description, value)


# matching


def test_the_smallest_circle_between_four_centres_by_hand():
    """With stride 4 its centre is 2 px from four cells: 14² shared pixels, IoU 196 / 316 with four anchors."""
    fine, middle, coarse = describe_matching(40, 28, 16, "assignment", 0.6, 0.3)
    assert fine.best_iou == pytest.approx(196 / 316)
    assert (fine.num_positive, (fine.cells == 1).sum()) == (4, 4)
    assert (fine.cells[6:8, 9:11] == 1).all()  # the cells with centres at 26 and 30, 38 and 42
    assert (middle.num_positive, coarse.num_positive) == (0, 0)
    assert not describe_matching(40, 28, 16, "assignment", 0.65, 0.3)[0].num_positive


def test_an_anchor_equal_to_the_object_is_its_only_match_at_a_strict_threshold():
    level = describe_matching(100, 100, 64, "assignment", 0.9, 0.3)[1]  # 100 = 12.5 strides of 8
    assert level.best_iou == 1
    assert level.best_anchor.tolist() == [68, 68, 132, 132]
    assert level.num_positive == 1
    assert np.argwhere(level.cells == 1).tolist() == [[12, 12]]


def test_the_matches_of_an_object_move_with_it_by_one_coarse_stride():
    before, after = (describe_matching(80 + 16 * step, 90, 100, "assignment", 0.5, 0.3) for step in (0, 1))
    for first, second, stride in zip(before, after, STRIDES, strict=True):
        np.testing.assert_array_equal(np.roll(first.cells, 16 // stride, axis=1), second.cells)


@pytest.mark.parametrize("name", ANCHOR_SETS)
def test_the_levels_counts_are_those_of_all_anchors_together(name):
    levels = describe_matching(101, 77, 90, name, 0.6, 0.4)
    anchors, box = torch.cat(generate_anchors(**ANCHOR_SETS[name])), torch.tensor([[56.0, 32, 146, 122]])
    matches = match_anchors_to_targets(anchors, box, torch.tensor([0]), 0.6, 0.4)
    assert sum(level.num_positive for level in levels) == (matches.index >= 0).sum()
    assert max(level.best_iou for level in levels) == pytest.approx(matches.iou.max().item())
    sizes = ANCHOR_SETS[name].get("feature_map_sizes", FEATURE_MAP_SIZES)
    assert [level.cells.shape for level in levels] == list(sizes)


def test_a_larger_distance_between_the_thresholds_ignores_more():
    narrow, wide = (describe_matching(100, 100, 80, "assignment", 0.5, to) for to in (0.5, 0.1))
    assert [level.num_ignored for level in narrow] == [0, 0, 0]
    assert wide[1].num_ignored > wide[1].num_positive == narrow[1].num_positive > 0


@pytest.mark.parametrize(
    ("description", "value"),
    [
        ("x (px)", 75),
        ("y (px)", 10),
        ("size (px)", 79),
        ("positive (IoU)", 0.55),
        ("negative (IoU)", 0.35),
        *(("anchors", name) for name in ANCHOR_SETS if name != "assignment"),
    ],
)
def test_every_control_moves_the_matchings_picture_and_moves_it_back(description, value):
    assert_moves_there_and_back(explore_matching(), description, value)


# suppression


def draw_candidates(dataset: ShapeDetectionDataset, num_candidates: int = 40) -> Candidates:
    """Return candidates around the true boxes, best first, some of them of another class."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(dataset), num_candidates)
    rows = torch.stack(
        [torch.randint(int(real), (num_candidates,), generator=generator) for real in (dataset.labels >= 0).sum(1)]
    )
    boxes = dataset.boxes.gather(1, rows.unsqueeze(-1).expand(-1, -1, 4))
    boxes = boxes + 6 * torch.randn(boxes.shape, generator=generator)
    labels = dataset.labels.gather(1, rows)
    labels = torch.where(torch.rand(shape, generator=generator) < 0.2, (labels + 1) % 3, labels)
    scores = torch.rand(shape, generator=generator).sort(dim=1, descending=True).values
    return Candidates(boxes, scores, labels)


@pytest.mark.parametrize("score_threshold", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("nms", ["hard", "soft"])
def test_a_score_threshold_is_described_as_if_all_were_measured_anew(score_threshold, nms):
    scenes = SCENES.hide(0.1)
    outcome = measure_suppression(scenes, draw_candidates(SCENES), InferenceConfig(nms, 0.6))
    above = [image.above(score_threshold) for image in outcome.detections]
    anew = assign_detections(scenes, above)
    curves = [precision_recall_curve(scenes, above, label) for label in range(3)]
    for image in range(len(SCENES)):
        described = describe_threshold(outcome, image, score_threshold)
        count = len(above[image].scores)
        np.testing.assert_array_equal(described.is_wrong, anew.is_false_positive[image, :count])
        np.testing.assert_array_equal(described.is_missed, anew.is_missed[image])
        assert described.num_right == anew.is_true_positive[image].sum()
        assert described.ap == pytest.approx(np.mean([compute_ap(curve.recall, curve.precision) for curve in curves]))


def test_an_oracle_of_the_visible_objects_has_an_average_precision_of_one():
    oracle = oracle_detections(SCENES, 0.1)
    candidates = Candidates(SCENES.boxes, SCENES.visibility.clamp(min=0.01), SCENES.labels.clamp(min=0))
    outcome = measure_suppression(SCENES.hide(0.1), candidates, InferenceConfig("hard", 1.0))
    assert describe_threshold(outcome, 0, 0.1).ap == 1
    assert describe_threshold(outcome, 0, 0.1).num_right == len(oracle[0].scores)
    assert describe_threshold(outcome, 0, 1.01).ap == 0


def test_the_suppressions_image_is_the_one_in_which_a_pair_of_one_class_overlaps_most():
    """By hand: IoU 1/9, 1/3, a pair of two classes, and three overlapping boxes."""
    boxes = torch.tensor([[0.0, 0, 20, 20], [10, 0, 30, 20]]).repeat(4, 1, 1)
    boxes = torch.cat([boxes, torch.tensor([[100.0, 100, 120, 120]]).repeat(4, 1, 1)], dim=1)
    boxes[0, 1] = torch.tensor([16.0, 0, 36, 20])
    boxes[3, 2] = boxes[3, 0]
    labels = torch.zeros((4, 3), dtype=torch.int64)
    labels[2, 1] = 1
    changes = {"visibility": torch.ones(4, 3), "ignored": torch.zeros((4, 3), dtype=torch.bool)}
    scenes = replace(SCENES.select(slice(4)), boxes=boxes, labels=labels, **changes)
    assert find_overlap(scenes) == 1


@pytest.mark.parametrize(
    ("description", "value"), [("image", 3), ("NMS", "soft"), ("τ (IoU)", 0.4), ("score from", 0.55)]
)
def test_every_control_moves_the_suppressions_picture_and_moves_it_back(description, value):
    assert_moves_there_and_back(explore_suppression(SCENES.hide(0.1), draw_candidates(SCENES)), description, value)


# cells


def build_detector(recipe=TUNED) -> Detector:
    torch.manual_seed(0)
    model = MultiScaleDetector(dilations=recipe.dilations, width=4).eval()
    return Detector(recipe, model, torch.cat(generate_anchors()), [])


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("place", [(0, 0), (0.5, 0.3), (0.9, 0.1), (1, 1)], ids=str)
def test_a_cell_is_described_from_a_part_of_the_image_as_from_the_whole(level, place):
    detector, image = build_detector(), SCENES.images[0]
    last = 224 // STRIDES[level] - 1
    row, column = (round(share * last) for share in place)
    cell = describe_cell(detector, image, level, row, column)
    middle = (torch.tensor([column, row]) + 0.5) * STRIDES[level]
    expected = measure_sensitivity(detector.model, Objects(image[None], middle.repeat(1, 2)), level)
    np.testing.assert_allclose(cell.sensitivity, expected.sensitivity[0].numpy(), atol=1e-6)

    predictions = flatten_predictions(detector.model(prepare_images(image[None])), 3)[0].detach()
    first = [0, 9408, 11760][level] + 3 * (row * (last + 1) + column)
    outputs = predictions[first : first + 3]
    best = int(outputs[:, 4].argmax())
    assert cell.objectness == pytest.approx(outputs[best, 4].sigmoid().item(), abs=1e-5)
    assert cell.label == outputs[best, 5:].argmax()
    np.testing.assert_allclose(cell.box, decode(outputs[best, :4], detector.anchors[first + best]).numpy(), atol=1e-3)


@pytest.mark.parametrize("recipe", [ASSIGNMENT, TUNED], ids=["assignment", "tuned"])
def test_a_cell_depends_on_nothing_outside_its_receptive_field(recipe):
    for level, width in enumerate(compute_receptive_fields(recipe.dilations)):
        cell = describe_cell(build_detector(recipe), SCENES.images[0], level, 6, 7)
        x1, y1, x2, y2 = cell.field.astype(int)
        assert (x2 - x1, y2 - y1) == (width, width)
        assert ((x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2) == (7 * STRIDES[level], 6 * STRIDES[level])
        inside = cell.sensitivity[max(y1, 0) : y2, max(x1, 0) : x2]
        assert cell.sensitivity.sum() == pytest.approx(inside.sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("description", "value"), [("network", "wide"), ("image", 2), ("x (px)", 122), ("y (px)", 106)]
)
def test_every_control_moves_the_cells_picture_and_moves_it_back(description, value):
    detectors = {"plain": build_detector(replace(TUNED, dilations=ASSIGNMENT.dilations)), "wide": build_detector()}
    assert_moves_there_and_back(explore_cells(detectors, SCENES), description, value)
