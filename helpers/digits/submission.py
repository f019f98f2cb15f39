"""Files to hand in: `pred.json` and `pred.csv` for a test split without truth (command: `workbook submission`).

Lesson 7's detector, trained on the split `train`, predicts digits in every image of the split `test`. The settings that
turn detections into numbers are chosen on the split `valid`, as in the lesson.
"""

from __future__ import annotations

from pathlib import Path

from helpers import runtime
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import read_splits
from helpers.digits.metrics import true_numbers
from helpers.digits.reading import choose_reading, write_answers
from helpers.digits.recipes import base_recipe
from helpers.digits.training import lesson_model


def answer(run: runtime.Run, folder: Path) -> list[str]:
    """Returns the number read in each image of `folder`'s test split; writes both files to the run's folder `handin`.

    The detector is loaded if lesson 7 has trained it on this data at the run's profile and seed, or else trained.

    Raises:
        DatasetError: a split is missing or broken; nothing is trained then.
        CheckpointError: lesson 7 has been run with other data at this profile.
    """
    unknown = DigitDataset.read_unlabelled(folder, "test")
    for index in range(len(unknown)):
        unknown[index]  # a damaged image is found before the training, not after it
    train_set, valid_set, _ = read_splits(folder)
    detector = lesson_model("main", base_recipe(run), run, train_set, valid_set)
    chooser = valid_set.select(slice(run.budget(16, None, None)))
    reading = choose_reading(detector.detect(chooser), true_numbers(chooser.file))
    return write_answers(run.folder / "handin", unknown, detector.detect(unknown), reading)
