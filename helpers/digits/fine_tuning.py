"""Fine-tuning of lesson 7's detector on real photos (command: `workbook photos`).

Lesson 7's detector is asked about the photos in `DIR/train`. Then it is fine-tuned on one half of them and asked about
the other, and the other way round. No photo has a say in what is reported of it: the number of epochs is fixed, and how
detections are read has been chosen, once for all, on the drawn valid split. A part of so few photos would choose by
chance.

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
from helpers.digits.drawn import ensure_drawn, read_splits
from helpers.digits.metrics import evaluate_digits, measure_accuracy, true_numbers
from helpers.digits.reading import ReadingConfig, choose_reading, read_numbers, write_answers
from helpers.digits.recipes import Recipe, base_recipe
from helpers.digits.training import Detector, lesson_model, train
from helpers.records import DatasetError

Grade = dict[str, float]
"""AP@.5, AP, AP75 and the share of numbers that are read correctly."""


def halve(num_photos: int, seed: int) -> tuple[Int64[np.ndarray, " H"], Int64[np.ndarray, " _"]]:
    """Return the rows of two random halves; the first has one more if the number is odd."""
    order = np.random.default_rng(seed).permutation(num_photos)
    middle = (num_photos + 1) // 2
    return order[:middle], order[middle:]


def soften(recipe: Recipe, epochs: int, seed: int) -> Recipe:
    """Returns `recipe` for fine-tuning: a few epochs at a quarter of the learning rate, without zooming out.

    The photos that are learned from are laid out as those that are asked about: no other size is to be expected.
    """
    tuning = replace(recipe.training, epochs=epochs, learning_rate=recipe.training.learning_rate / 4, seed=seed)
    return replace(recipe, training=tuning, augmentation=replace(recipe.augmentation, zoom_out=0.0))


def detect_unseen(
    start: Detector, recipe: Recipe, photos: DigitDataset, folder: Path, device: torch.device
) -> list[Detections]:
    """Returns what is found in each photo by a detector that was fine-tuned on the half that it is not in.

    The epoch that is kept is the one that fits its own half best: a choice without any other photo.

    Args:
        recipe: of the fine-tuning; its seed draws the halves, too.
        folder: keeps both detectors, each in a folder named by the half that it learned from.
    """
    seed = recipe.training.seed
    first, second = halve(len(photos), seed)
    found: dict[int, Detections] = {}
    for name, rows, unseen in (("first half", first, second), ("second half", second, first)):
        seen, own_folder = photos.select(rows), folder / training.variant_folder(name, seed)
        detector = train(recipe, own_folder, train_set=seen, selection_set=seen, device=device, start=start.model)
        found |= zip(unseen.tolist(), detector.detect(photos.select(unseen)), strict=True)
    return [found[row] for row in range(len(photos))]


def grade_halves(
    photos: DigitDataset, detections: Sequence[Detections], reading: ReadingConfig, seed: int
) -> list[Grade]:
    """Returns how good the detections in each half are: by halves, for scores of two detectors share no scale."""
    grades = []
    for rows in halve(len(photos), seed):
        half, found = photos.select(rows).file, [detections[row] for row in rows]
        scores = evaluate_digits(half, found)
        accuracy = measure_accuracy(read_numbers(found, reading), true_numbers(half))
        grades.append({"AP@.5": scores["ap50"], "AP": scores["ap"], "AP75": scores["ap75"], "accuracy": accuracy})
    return grades


def compare(run: runtime.Run, photos: DigitDataset) -> dict[str, list[Grade]]:
    """Returns the grades with drawn numbers alone, after half of the photos, and the gain: two for every halving.

    Detectors, and both files of the first halving, are left in the folder `photos` of the run.
    """
    train_set, valid_set, _ = read_splits(ensure_drawn())
    start = lesson_model("main", base_recipe(run), run, train_set, valid_set)
    chooser = valid_set.select(slice(run.budget(16, None, None)))
    reading = choose_reading(start.detect(chooser), true_numbers(chooser.file))
    untuned, folder = start.detect(photos), run.folder / "photos"
    before, after = [], []
    for seed in range(run.budget(1, 3, 3)):
        tuned = detect_unseen(start, soften(start.recipe, run.budget(1, 6, 6), seed), photos, folder, run.device)
        if seed == 0:
            write_answers(folder, photos, tuned, reading)
        before += grade_halves(photos, untuned, reading, seed)
        after += grade_halves(photos, tuned, reading, seed)
    gains = [{name: new[name] - old[name] for name in new} for old, new in zip(before, after, strict=True)]
    return {"drawn numbers alone": before, "after half of the photos": after, "gain": gains}


def summarise(grades: dict[str, list[Grade]]) -> str:
    """Returns a table with the mean, the lowest and the highest of each."""
    ways = {"mean": np.mean, "lowest": min, "highest": max}
    rows = {
        f"{name}, {way}": {column: reduce([grade[column] for grade in own]) for column in own[0]}
        for name, own in grades.items()
        for way, reduce in ways.items()
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
