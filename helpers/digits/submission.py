"""Both files of the assignment for a test split whose truth nobody has: `python -m helpers.digits.submission DIR`.

Lesson 7's detector, trained on `DIR/train`, is asked about every image in `DIR/test`. How detections become numbers is
chosen on `DIR/valid`, as in the lesson.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers import checkpoints, paths, runtime
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import read_splits
from helpers.digits.metrics import NO_NUMBER, true_numbers
from helpers.digits.reading import choose_reading, write_answers
from helpers.digits.recipes import base_recipe
from helpers.digits.training import lesson_model
from helpers.records import DatasetError


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes pred.json and pred.csv for the images of a test split; trains lesson 7's detector if it is not there."""
    parser = argparse.ArgumentParser(prog="python -m helpers.digits.submission", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="in the assignment's layout: train/, valid/, test/, and their .json")
    paths.add_profile_option(parser)
    options = parser.parse_args(arguments)
    run = runtime.start_run("07_digit_detection", options.profile)
    try:
        numbers = answer(run, options.folder)
    except (DatasetError, checkpoints.CheckpointError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(numbers)} images, {numbers.count(NO_NUMBER)} of them without a number")
    print(f"{run.folder / 'handin'}: pred.json and pred.csv, checked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
