"""Colour baseline: exact on single shapes, strong on the handout's data, weak where colour carries no class."""

import random
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.detection.baseline import (
    Region,
    classify_by_colour,
    detect_by_colour,
    detect_regions,
    estimate_completeness,
    find_regions,
)
from helpers.detection.dataset import PADDING, ShapeDetectionDataset
from helpers.detection.metrics import evaluate_detections
from helpers.detection.scenes import SIZE_RANGES, SceneConfig, draw_scene

WHITE = np.full((224, 224, 3), 255, np.uint8)


def evaluate_baseline(dataset: ShapeDetectionDataset, detect=detect_by_colour) -> dict[str, float]:
    return evaluate_detections(dataset, [detect(image) for image in dataset.images.numpy()])


@pytest.fixture(scope="module")
def val() -> ShapeDetectionDataset:
    """The handout's validation split."""
    return ShapeDetectionDataset.draw(1200, seed=641).select(slice(1000, 1200))


def test_a_single_circle_is_detected_exactly():
    canvas = Image.fromarray(WHITE)
    ImageDraw.Draw(canvas).ellipse((40, 60, 64, 84), fill=(255, 0, 0), outline=(0, 0, 0), width=2)
    detections = detect_by_colour(np.array(canvas))
    assert detections.boxes.tolist() == [[40, 60, 64, 84]]
    assert detections.labels.tolist() == [0]
    assert detections.scores.tolist() == [1.0]


@pytest.mark.parametrize("label", range(3))
def test_a_single_shape_of_any_size_is_detected_exactly(label):
    colour = [0, 0, 0]
    colour[label] = 255
    smallest, largest = SIZE_RANGES[label]
    for size in range(smallest, largest + 1):
        half = size // 2
        x1, y1, x2, y2 = box = (100 - half, 100 - half, 100 + half, 100 + half)
        canvas = Image.fromarray(WHITE)
        draw = ImageDraw.Draw(canvas)
        style = {"fill": tuple(colour), "outline": (0, 0, 0), "width": 2}
        if label == 0:
            draw.ellipse(box, **style)
        elif label == 1:
            draw.rectangle(box, **style)
        else:
            draw.polygon(((x1 + x2) // 2, y1, x1, y2, x2, y2), **style)
        detections = detect_by_colour(np.array(canvas))
        assert (detections.boxes.tolist(), detections.labels.tolist()) == ([list(box)], [label])


@pytest.mark.parametrize("detect", [detect_by_colour, detect_regions])
def test_an_empty_image_has_no_detection(detect):
    detections = detect(WHITE)
    assert (detections.boxes.shape, detections.scores.shape, detections.labels.shape) == ((0, 4), (0,), (0,))


def test_detections_come_best_first_with_scores_up_to_one():
    rng = random.Random(0)
    for _ in range(10):
        scores = detect_by_colour(draw_scene(rng).image).scores
        assert (scores.diff() <= 0).all()
        assert (scores > 0).all()
        assert (scores <= 1).all()


@pytest.mark.parametrize(
    ("detect", "ap50", "ap"),
    [
        (detect_regions, 0.755, 0.478),
        (partial(detect_by_colour, rules="area"), 0.853, 0.593),
        (partial(detect_by_colour, rules="outline"), 0.877, 0.787),
        (detect_by_colour, 0.886, 0.809),
    ],
)
def test_ap_on_the_handouts_data_rises_with_each_rule_that_is_added_to_colour(val, detect, ap50, ap):
    metrics = evaluate_baseline(val, detect)
    assert metrics["ap50"] == pytest.approx(ap50, abs=5e-4)
    assert metrics["ap"] == pytest.approx(ap, abs=5e-4)


def test_a_region_is_the_fill_without_its_outline_and_covered_pixels_do_not_count():
    canvas = Image.fromarray(WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((40, 60, 99, 119), fill=(0, 255, 0), outline=(0, 0, 0), width=2)
    draw.rectangle((50, 70, 51, 73), fill=(0, 0, 0))
    assert find_regions(np.array(canvas)) == [Region(1, (42, 62, 98, 118), 56 * 56 - 8)]
    assert detect_regions(np.array(canvas)).boxes.tolist() == [[42, 62, 98, 118]]
    assert detect_by_colour(np.array(canvas), "area").scores.item() == pytest.approx((56 * 56 - 8) / 224**2)
    assert detect_by_colour(np.array(canvas), "outline").boxes.tolist() == [[40, 60, 99, 119]]


def test_a_half_covered_shape_is_scored_as_less_complete():
    assert estimate_completeness(Region(1, (0, 0, 60, 60), 3600), 60, 60) == 1
    assert estimate_completeness(Region(1, (0, 0, 30, 60), 1800), 30, 60) == pytest.approx(0.5 * 1800**0.5 / 48)


def test_the_smallest_complete_circle_has_the_score_of_the_example():
    canvas = Image.fromarray(WHITE)
    ImageDraw.Draw(canvas).ellipse((92, 92, 108, 108), fill=(255, 0, 0), outline=(0, 0, 0), width=2)
    (region,) = find_regions(np.array(canvas))
    assert region.num_pixels == 137
    assert estimate_completeness(region, 16, 16) == pytest.approx(0.83, abs=0.005)


def test_where_colour_carries_no_class_the_ap50_is_below_0_2():
    metrics = evaluate_baseline(ShapeDetectionDataset.draw(100, seed=0, config=SceneConfig(palette="shared")))
    assert 0 < metrics["ap50"] < 0.2


def test_one_pixel_determines_the_class_of_every_uncovered_object():
    dataset = ShapeDetectionDataset.draw(100, seed=641)
    is_uncovered = dataset.visibility == 1
    assert is_uncovered.sum() > 100
    assert (classify_by_colour(dataset) == dataset.labels)[is_uncovered].all()


def test_colour_classifies_at_chance_where_every_class_has_every_colour():
    dataset = ShapeDetectionDataset.draw(300, seed=641, config=SceneConfig(palette="shared"))
    is_uncovered = dataset.visibility == 1
    share = (classify_by_colour(dataset) == dataset.labels)[is_uncovered].float().mean().item()
    chance, deviation = 1 / 3, (2 / 9 / is_uncovered.sum().item()) ** 0.5
    assert abs(share - chance) < 3 * deviation


def test_padding_has_no_colour():
    dataset = ShapeDetectionDataset.draw(20, seed=641)
    padding = dataset.labels == PADDING
    assert padding.any()
    assert (classify_by_colour(dataset)[padding] == PADDING).all()
    assert classify_by_colour(ShapeDetectionDataset.draw(0, seed=641)).shape == (0, 5)
