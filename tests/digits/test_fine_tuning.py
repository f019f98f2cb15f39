"""Fine-tuning on photos: the random halves, the scores of each half, and the command with both of its files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import paths
from helpers.average_precision import Detections
from helpers.course import cli
from helpers.digits import fine_tuning
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.digits.fine_tuning import (
    adapt_recipe,
    detect_held_out,
    evaluate_halves,
    format_comparison,
    split_in_halves,
)
from helpers.digits.metrics import true_numbers
from helpers.digits.reading import ReadingConfig, check_numbers, read_numbers, read_predictions
from helpers.digits.recipes import QUICK, REPORT
from helpers.digits.training import Detector

CPU = torch.device("cpu")
READING = ReadingConfig((0.5,))


@pytest.fixture(scope="module")
def photos(house_numbers) -> DigitDataset:
    """Drawn images in place of photos."""
    return DigitDataset.read(house_numbers, "train")


def detect_truth(dataset: DigitDataset, score: float = 0.9) -> list[Detections]:
    """Return the true boxes as detections."""
    targets = [dataset[row][1] for row in range(len(dataset))]
    return [
        Detections(target["boxes"], torch.full((len(target["labels"]),), score), target["labels"]) for target in targets
    ]


@pytest.mark.parametrize("num_photos", [8, 9])
def test_every_photo_is_in_one_half_and_the_halves_depend_on_the_seed(num_photos):
    first, second = split_in_halves(num_photos, seed=0)
    assert sorted([*first, *second]) == list(range(num_photos))
    assert len(first) - len(second) == num_photos % 2
    for half, repeated_half in zip((first, second), split_in_halves(num_photos, seed=0), strict=True):
        np.testing.assert_array_equal(half, repeated_half)
    assert not np.array_equal(split_in_halves(num_photos, seed=1)[0], first)


@pytest.mark.parametrize("recipe", [QUICK, REPORT], ids=["quick", "report"])
def test_fine_tuning_changes_budget_seed_learning_rate_and_zooming_out_only(recipe):
    adapted = adapt_recipe(recipe, epochs=2, seed=4)
    assert (adapted.training.epochs, adapted.training.seed, adapted.augmentation.zoom_out) == (2, 4, 0)
    assert adapted.training.learning_rate == recipe.training.learning_rate / 4
    original_values = {name: getattr(recipe.training, name) for name in ("epochs", "seed", "learning_rate")}
    restored_training = replace(adapted.training, **original_values)
    assert replace(adapted, training=restored_training, augmentation=recipe.augmentation) == recipe


class RecordingDetector(Detector):
    """A detector that predicts the truth, with the ids of the images that it was trained on and has predicted."""

    model = None

    def __init__(self, training_ids: set[int]) -> None:
        self.training_ids, self.predicted_ids = training_ids, set()

    def detect(self, dataset: DigitDataset) -> list[Detections]:
        self.predicted_ids |= set(dataset.image_ids.tolist())
        return detect_truth(dataset)


def test_no_photo_is_predicted_by_a_detector_that_was_trained_or_selected_on_it(photos, tmp_path, monkeypatch):
    detectors = []

    def train(recipe, folder, *, train_set, selection_set, device, start):
        detectors.append(RecordingDetector({*train_set.image_ids.tolist(), *selection_set.image_ids.tolist()}))
        return detectors[-1]

    monkeypatch.setattr(fine_tuning, "train", train)
    detections = detect_held_out(RecordingDetector(set()), adapt_recipe(QUICK, 1, seed=0), photos, tmp_path, CPU)
    first, second = detectors
    assert len(first.training_ids) == len(second.training_ids) == 10
    assert first.training_ids | second.training_ids == set(photos.image_ids.tolist())
    assert first.predicted_ids == second.training_ids
    assert second.predicted_ids == first.training_ids
    assert read_numbers(detections, READING) == true_numbers(photos.file)  # in the order of the photos


def test_each_half_is_evaluated_separately(photos):
    detections = detect_truth(photos)
    first, second = split_in_halves(len(photos), seed=3)
    for row in first:
        detections[row] = Detections(*(column[:0] for column in detections[row]))
    empty_scores, perfect_scores = evaluate_halves(photos, detections, READING, seed=3)
    assert empty_scores == {"AP@.5": 0, "AP": 0, "AP75": 0, "accuracy": 0}
    assert perfect_scores == pytest.approx({"AP@.5": 1, "AP": 1, "AP75": 1, "accuracy": 1})
    row = second[0]
    detections[row] = detections[row]._replace(scores=detections[row].scores / 2)  # below the threshold of READING
    assert evaluate_halves(photos, detections, READING, seed=3)[1]["accuracy"] == 0.9


def test_the_table_has_mean_lowest_and_highest_value():
    comparison = {"before": [{"AP": 0.1}, {"AP": 0.5}, {"AP": 0.3}], "gain": [{"AP": -0.2}]}
    assert [line.split() for line in format_comparison(comparison).splitlines()] == [
        ["AP"],
        ["before,", "mean", "0.300"],
        ["before,", "lowest", "0.100"],
        ["before,", "highest", "0.500"],
        ["gain,", "mean", "-0.200"],
        ["gain,", "lowest", "-0.200"],
        ["gain,", "highest", "-0.200"],
    ]


@pytest.fixture
def photos_folder(house_numbers, tmp_path, monkeypatch):
    """The folder into which the command writes, outside the workbook's own runs."""
    monkeypatch.setattr(fine_tuning, "ensure_drawn", lambda: house_numbers)
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    return tmp_path / "07_digit_detection" / "smoke" / "photos"


def assert_files_are_valid(folder, dataset: DigitDataset) -> None:
    """Fail unless both files pass the checks of a submission, and a digit is detected."""
    detections = read_predictions(folder / "pred.json", dataset)
    numbers = check_numbers(folder / "pred.csv", dataset.image_ids, detections)
    assert len(numbers) == len(dataset)
    assert sum(len(image_detections.scores) for image_detections in detections) > 0


def test_the_command_fine_tunes_once_prints_the_table_and_writes_both_files(
    photos_folder, house_numbers, photos, capsys
):
    command = ["photos", str(house_numbers), "--profile", "smoke"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("16 photos, 2 halves of them evaluated")
    for text in ("AP@.5", "accuracy", "drawn numbers alone, mean", "gain, lowest", "two inputs, highest"):
        assert text in printed
    assert_files_are_valid(photos_folder, photos.select(range(16)))
    checkpoints = {path: path.stat().st_mtime_ns for path in photos_folder.glob("**/best_model.pth")}
    assert len(checkpoints) == 2
    assert cli.main(command) == 0
    assert capsys.readouterr().out == printed
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints  # loaded, not trained again


def test_the_command_accepts_real_photos(photos_folder, svhn_folder, capsys):
    assert cli.main(["photos", str(svhn_folder), "--profile", "smoke"]) == 0
    assert "16 photos, 2 halves of them evaluated" in capsys.readouterr().out
    assert_files_are_valid(photos_folder, DigitDataset.read(svhn_folder, "train").select(range(16)))


def test_missing_too_few_or_changed_photos_are_refused_with_a_message(photos_folder, house_numbers, tmp_path, capsys):
    assert cli.main(["photos", str(tmp_path / "nowhere"), "--profile", "smoke"]) == 1
    assert "train.json: the annotation file is missing" in capsys.readouterr().err
    single_photo = ensure_drawn(tmp_path / "single", DrawnConfig(6, 1, 1, 1))
    assert cli.main(["photos", str(single_photo), "--profile", "smoke"]) == 1
    assert "number of photos is 1; two halves need at least 2" in capsys.readouterr().err
    assert cli.main(["photos", str(house_numbers), "--profile", "smoke"]) == 0
    capsys.readouterr()
    other_photos = ensure_drawn(tmp_path / "other", DrawnConfig(7, 3, 1, 1))
    assert cli.main(["photos", str(other_photos), "--profile", "smoke"]) == 1
    message = capsys.readouterr().err
    assert "train_set is" in message
    assert "train into another folder, or move this one away" in message
