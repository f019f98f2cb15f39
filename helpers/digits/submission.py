"""The assignment's submission: `pred.json` and `pred.csv` for a test split without truth (`workbook submission`).

Lesson 7's detector with two inputs, trained on the split `train`, predicts digits in every image of the split `test`.
The settings that turn detections into numbers are chosen on the split `valid`, as in the lesson.
"""

from __future__ import annotations

from pathlib import Path

from helpers import runtime
from helpers.digits.dataset import DigitDataset
from helpers.digits.metrics import true_numbers
from helpers.digits.reading import choose_reading, write_submission_files
from helpers.digits.recipes import add_fine_input, base_recipe
from helpers.digits.splits import read_splits, read_wide_valid
from helpers.digits.training import lesson_model

FOLDER = "submission"
"""Folder for both files, inside the run's folder."""


def write_submission(run: runtime.Run, folder: Path) -> list[str]:
    """Write both files for the test split in `folder`, into `FOLDER` of the run, and return the number of each image.

    The detector is loaded if lesson 7 has trained it on this data at the run's profile and seed, or else trained. At
    `full` it has one input: with a shorter side of 800 pixels, small digits have enough pixels.

    Raises:
        DatasetError: a split is missing or broken; nothing is trained then.
        CheckpointError: lesson 7 has been run with other data at this profile.
    """
    test_set = DigitDataset.read_unlabelled(folder, "test")
    for index in range(len(test_set)):
        test_set[index]  # a damaged image is reported before the training, not after it
    train_set, valid_set, _ = read_splits(folder)
    recipe = base_recipe(run)
    detector = lesson_model("main", recipe, run, train_set, valid_set)
    if run.profile != "full":
        valid_set = read_wide_valid(folder, valid_set)
        start = detector.model
        detector = lesson_model("multi_scale", add_fine_input(recipe), run, train_set, valid_set, start=start)
    selection_set = valid_set.select(slice(run.budget(16, None, None)))
    reading = choose_reading(detector.detect(selection_set), true_numbers(selection_set.file))
    return write_submission_files(run.folder / FOLDER, test_set, detector.detect(test_set), reading)
