"""Reading order of digits: by hand, on SVHN's own numbers, and independent of the order of records."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from helpers.average_precision import Detections
from helpers.digits import scenes
from helpers.digits.dataset import DigitDataset
from helpers.digits.metrics import true_numbers
from helpers.digits.reading import ReadingConfig, read_numbers
from helpers.digits.reading_order import order_digits, spell_number
from helpers.digits.scenes import TEST_NUMBERS, TRAIN_NUMBERS, draw_scene
from helpers.paths import ROOT
from tests.digits.support import build_file

REAL_NUMBERS = ROOT.parent / "shared" / "cases" / "reading_order.json"

BY_HAND = {
    "one line": [(0, 10, 20, 50), (22, 10, 42, 50), (44, 10, 64, 50)],
    "overlapping boxes of unequal heights": [(0, 10, 20, 50), (15, 12, 35, 52), (30, 7, 50, 47)],
    "a wide digit that ends right of the narrow one behind it": [(0, 10, 40, 50), (12, 10, 20, 50)],
    "falling": [(0, 0, 20, 40), (20, 30, 40, 70), (40, 60, 60, 100)],
    "rising steeply, the first digit is the lowest": [(0, 90, 20, 130), (12, 45, 32, 85), (24, 0, 44, 40)],
    "a column that leans to the left at the top": [(0, 44, 20, 84), (3, 0, 23, 40)],
    "a column that leans to the left at the foot": [(0, 0, 20, 40), (3, 44, 23, 84)],
    "a column with equal left edges is read from the top": [(5, 0, 25, 40), (5, 44, 25, 84), (5, 88, 25, 128)],
    "two left edges are equal in a column of three": [(3, 44, 23, 84), (5, 0, 25, 40), (5, 88, 25, 128)],
    "equal upper left corners: the narrow box first": [(5, 0, 15, 40), (5, 0, 25, 40)],
    "equal upper edges too and equal widths: the lower box last": [(5, 0, 15, 40), (5, 0, 15, 44)],
}


@pytest.mark.parametrize("boxes", [pytest.param(boxes, id=name) for name, boxes in BY_HAND.items()])
def test_digits_are_read_by_their_left_edges_in_any_order_of_the_boxes(boxes):
    expected = torch.tensor(boxes, dtype=torch.float32)
    for order in itertools.permutations(range(len(boxes))):
        shuffled = expected[list(order)]
        assert torch.equal(shuffled[order_digits(shuffled)], expected)


def test_no_digit_and_a_single_digit_have_an_order():
    assert order_digits(torch.zeros(0, 4)) == []
    assert spell_number(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)) == ""
    assert order_digits(np.array([[0.0, 0.0, 1.0, 1.0]])) == [0]


def test_equal_boxes_are_ordered_by_their_digits():
    boxes = torch.tensor([[5.0, 0, 15, 40], [5, 0, 15, 40], [0, 0, 4, 40]])
    assert spell_number(boxes, torch.tensor([7, 1, 0])) == spell_number(boxes, torch.tensor([1, 7, 0])) == "017"


def test_a_number_annotated_from_right_to_left_is_the_same_number():
    left_to_right = [(0, (10, 10, 30, 50), 3), (0, (32, 10, 52, 50), 0), (0, (54, 10, 74, 50), 5)]
    assert true_numbers(build_file(left_to_right)) == true_numbers(build_file(left_to_right[::-1])) == ["305"]


def test_true_numbers_do_not_depend_on_the_order_of_the_records():
    rng = np.random.default_rng(0)
    records = []
    for image in range(50):
        for _ in range(rng.integers(1, 6)):
            corner = rng.integers(0, 6, 2) * 5  # few places: equal edges and equal boxes are common
            records.append((image, (*corner, *(corner + rng.choice([10, 15], 2))), int(rng.integers(10))))
    expected = true_numbers(build_file(records))
    assert true_numbers(build_file(records[::-1])) == expected
    for _ in range(5):
        shuffled = [records[row] for row in rng.permutation(len(records))]
        assert true_numbers(build_file(shuffled)) == expected


def test_detections_at_the_true_places_make_the_true_number():
    rng = np.random.default_rng(1)
    records = []
    for image in range(60):
        for place in range(rng.integers(1, 6)):  # at most 4 px of 20 are shared, so suppression removes nothing
            x, y = 20 * (place % 3) + rng.integers(0, 4), 50 * (place // 3) + rng.integers(0, 4)
            records.append((image, (x, y, x + 20, y + 40), int(rng.integers(10))))
    file = build_file(records)
    detections = []
    for image in range(60):
        rows = rng.permutation(np.nonzero(file.owners == image)[0])
        scores = torch.linspace(0.9, 0.6, len(rows))
        boxes = torch.from_numpy(file.boxes[rows].astype(np.float32))
        detections.append(Detections(boxes, scores, torch.from_numpy(file.labels[rows] + 1)))
    assert read_numbers(detections, ReadingConfig()) == true_numbers(file)


def test_at_most_five_of_svhns_numbers_are_read_differently():
    if not REAL_NUMBERS.is_file():
        pytest.skip(f"{REAL_NUMBERS} is missing: it holds SVHN's annotations, which are not part of the project")
    numbers = json.loads(REAL_NUMBERS.read_text())
    differences = []
    for number in numbers:
        boxes, digits = np.array(number["boxes"], float), np.array(number["digits"], int)
        for order in (np.arange(len(digits)), np.arange(len(digits))[::-1]):
            spelled = spell_number(boxes[order], digits[order])
            if spelled != number["number"]:
                differences.append((number["image"], number["number"], spelled))
    errors = sorted(set(differences))
    assert len(differences) == 2 * len(errors), "the order of the records changes a number"
    assert len(errors) <= 5, f"{len(errors)} of {len(numbers)} real numbers differ: {errors[:10]}"


def test_real_photos_are_annotated_in_reading_order(svhn_folder):
    """In SVHN's own files the records of an image stand in reading order, which the rule has to reproduce."""
    file = DigitDataset.read(svhn_folder, "train").file
    annotated = [
        "".join(str(digit) for digit in file.labels[file.owners == image]) for image in range(len(file.file_names))
    ]
    pairs = zip(annotated, true_numbers(file), strict=True)
    errors = [(number, read_number) for number, read_number in pairs if number != read_number]
    assert len(errors) <= 0.001 * len(annotated), f"{len(errors)} of {len(annotated)} differ: {errors[:10]}"


def test_a_dataset_does_not_depend_on_the_order_of_images_and_records(folder, dataset):
    document = json.loads((folder / "train.json").read_text())
    for records in (document["images"], document["annotations"]):
        records.reverse()
    (folder / "train.json").write_text(json.dumps(document))
    reversed_dataset = DigitDataset.read(folder, "train")
    assert reversed_dataset.image_ids.tolist() == dataset.image_ids.tolist() == list(range(1, 25))
    assert true_numbers(reversed_dataset.file) == true_numbers(dataset.file)
    assert true_numbers(reversed_dataset.select(slice(3, 7)).file) == true_numbers(dataset.file)[3:7]
    assert torch.equal(reversed_dataset[4][0], dataset[4][0])
    assert sorted(reversed_dataset[4][1]["boxes"].tolist()) == sorted(dataset[4][1]["boxes"].tolist())


@pytest.fixture
def unpainted(monkeypatch):
    """Replace the painting by black pixels, because it takes nearly all of the time."""
    monkeypatch.setattr(scenes, "paint", lambda sign, size, clear_span, rng: np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("stacked", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("split", [TRAIN_NUMBERS, TEST_NUMBERS], ids=["train", "test"])
def test_the_drawn_number_is_the_true_number_of_its_records(split, stacked, unpainted):
    rng = np.random.default_rng(0)
    config = dataclasses.replace(split, stacked=stacked)
    drawn_scenes = [draw_scene(rng, config) for _ in range(300)]
    records = []
    for image, scene in enumerate(drawn_scenes):
        records += [(image, tuple(box), digit) for box, digit in zip(scene.boxes, scene.digits, strict=True)]
    assert [scene.number for scene in drawn_scenes] == true_numbers(build_file(records[::-1]))
    if stacked == 0.0:  # on one line the digits are set from left to right
        set_on_the_sign = ["".join(map(str, scene.digits)) for scene in drawn_scenes]
        assert [scene.number for scene in drawn_scenes] == set_on_the_sign
