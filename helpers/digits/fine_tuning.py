"""Fine-tuning of lesson 7's detector on real photos, measured by two-fold cross-validation (`workbook photos`).

The photos are split in two random halves. The detector is fine-tuned on each half and predicts the other, so no photo
influences the detector that predicts it. Nothing else is chosen on the photos: the number of epochs is fixed, and the
settings that turn detections into numbers are chosen on the drawn valid split. Chosen on so few photos, they would
depend on chance.

Shape letters: M photos, H photos of a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from helpers import plotting, runtime, training
from helpers.average_precision import Detections
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import ensure_drawn
from helpers.digits.metrics import evaluate_digits, measure_accuracy, true_numbers
from helpers.digits.reading import ReadingConfig, choose_reading, read_numbers, write_submission_files
from helpers.digits.recipes import Recipe, add_fine_input, base_recipe
from helpers.digits.splits import read_splits, read_wide_valid
from helpers.digits.training import Detector, lesson_model, train
from helpers.records import DatasetError

Scores = dict[str, float]
"""AP@.5, AP, AP75 and the share of numbers that are read correctly."""

FOLDER = "photos"
"""Folder for the fine-tuned detectors and both files, inside the run's folder."""
BEFORE, AFTER, GAIN = "drawn numbers alone", "after half of the photos", "gain"
"""Rows of the comparison: the detector before and after fine-tuning, and the difference."""
TWO_INPUTS = "drawn numbers alone, two inputs"
"""Row of lesson 7's detector with two inputs, which is not fine-tuned on photos."""


def split_in_halves(num_photos: int, seed: int) -> tuple[Int64[np.ndarray, " H"], Int64[np.ndarray, " _"]]:
    """Return the rows of two random halves; the first has one more if the number is odd."""
    order = np.random.default_rng(seed).permutation(num_photos)
    middle = (num_photos + 1) // 2
    return order[:middle], order[middle:]


def adapt_recipe(recipe: Recipe, epochs: int, seed: int) -> Recipe:
    """Return `recipe` for fine-tuning: a few epochs at a quarter of the learning rate, without zooming out.

    Zooming out prepares a detector for smaller digits than in training. Both halves are photos of one split, so their
    digits have equal sizes.
    """
    tuning = replace(recipe.training, epochs=epochs, learning_rate=recipe.training.learning_rate / 4, seed=seed)
    return replace(recipe, training=tuning, augmentation=replace(recipe.augmentation, zoom_out=0.0))


def detect_held_out(
    start: Detector, recipe: Recipe, photos: DigitDataset, folder: Path, device: torch.device
) -> list[Detections]:
    """Return the detections in each photo, by the detector that was fine-tuned on the half without it.

    The best epoch is selected on the half that the detector is trained on, so that no held-out photo has an influence.

    Args:
        start: detector whose weights are fine-tuned.
        recipe: of the fine-tuning; its seed also draws the halves.
        folder: keeps both detectors, each in a folder named by the half that it was trained on.
    """
    seed = recipe.training.seed
    first, second = split_in_halves(len(photos), seed)
    detections: dict[int, Detections] = {}  # by row of the photo
    for name, training_rows, held_out_rows in (("first half", first, second), ("second half", second, first)):
        half = photos.select(training_rows)
        detector_folder = folder / training.variant_folder(name, seed)
        detector = train(recipe, detector_folder, train_set=half, selection_set=half, device=device, start=start.model)
        held_out_detections = detector.detect(photos.select(held_out_rows))
        detections.update(zip(held_out_rows.tolist(), held_out_detections, strict=True))
    return [detections[row] for row in range(len(photos))]


def evaluate_halves(
    photos: DigitDataset, detections: Sequence[Detections], reading: ReadingConfig, seed: int
) -> list[Scores]:
    """Return the scores of the detections in each half.

    Average precision ranks detections by their scores. The halves have different detectors, whose scores are not
    comparable, so each half is evaluated separately.
    """
    scores = []
    for rows in split_in_halves(len(photos), seed):
        file = photos.select(rows).file
        detections_of_half = [detections[row] for row in rows]
        metrics = evaluate_digits(file, detections_of_half)
        accuracy = measure_accuracy(read_numbers(detections_of_half, reading), true_numbers(file))
        scores.append({"AP@.5": metrics["ap50"], "AP": metrics["ap"], "AP75": metrics["ap75"], "accuracy": accuracy})
    return scores


def compare_fine_tuning(run: runtime.Run, photos: DigitDataset) -> dict[str, list[Scores]]:
    """Return the scores `BEFORE` and `AFTER` fine-tuning, their `GAIN` and `TWO_INPUTS`: two for every random split.

    The fine-tuned detectors, and `pred.json` and `pred.csv` of the first split, are written to `FOLDER` of the run.
    """
    drawn_folder = ensure_drawn()
    train_set, valid_set, _ = read_splits(drawn_folder)
    start = lesson_model("main", base_recipe(run), run, train_set, valid_set)
    selection_set = valid_set.select(slice(run.budget(16, None, None)))
    reading = choose_reading(start.detect(selection_set), true_numbers(selection_set.file))
    start_detections = start.detect(photos)
    wide_valid = read_wide_valid(drawn_folder, valid_set)
    recipe = add_fine_input(base_recipe(run))
    two_inputs = lesson_model("multi_scale", recipe, run, train_set, wide_valid, start=start.model)
    wide_set = wide_valid.select(slice(run.budget(16, None, None)))
    two_inputs_reading = choose_reading(two_inputs.detect(wide_set), true_numbers(wide_set.file))
    two_inputs_detections = two_inputs.detect(photos)
    folder = run.folder / FOLDER
    before, after, with_two_inputs = [], [], []
    for seed in range(run.budget(1, 3, 3)):
        recipe = adapt_recipe(start.recipe, run.budget(1, 6, 6), seed)
        tuned_detections = detect_held_out(start, recipe, photos, folder, run.device)
        if seed == 0:
            write_submission_files(folder, photos, tuned_detections, reading)
        before += evaluate_halves(photos, start_detections, reading, seed)
        after += evaluate_halves(photos, tuned_detections, reading, seed)
        with_two_inputs += evaluate_halves(photos, two_inputs_detections, two_inputs_reading, seed)
    gains = [
        {name: new_scores[name] - old_scores[name] for name in new_scores}
        for old_scores, new_scores in zip(before, after, strict=True)
    ]
    return {BEFORE: before, AFTER: after, GAIN: gains, TWO_INPUTS: with_two_inputs}


def format_comparison(comparison: dict[str, list[Scores]]) -> str:
    """Return a text table of `compare_fine_tuning`: mean, lowest and highest value of each score."""
    summaries = {"mean": np.mean, "lowest": min, "highest": max}
    rows = {}
    for name, scores in comparison.items():
        for summary, summarise in summaries.items():
            rows[f"{name}, {summary}"] = {
                column: summarise([scores_of_half[column] for scores_of_half in scores]) for column in scores[0]
            }
    return plotting.format_table(rows)


def read_photos(run: runtime.Run, folder: Path) -> DigitDataset:
    """Return the photos of `folder`'s train split that the run's profile uses: `quick` takes the first 256.

    Raises:
        DatasetError: the split is missing or broken, or has fewer than two photos.
    """
    photos = DigitDataset.read(folder, "train").select(slice(run.budget(16, 256, None)))
    if len(photos) < 2:
        raise DatasetError(f"{folder / 'train'}: number of photos is {len(photos)}; two halves need at least 2")
    return photos
