"""From drawn numbers to photos: who learns from which half, how halves are graded, and the whole way to both files."""

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
from helpers.digits.fine_tuning import detect_unseen, grade_halves, halve, soften, summarise
from helpers.digits.metrics import true_numbers
from helpers.digits.reading import ReadingConfig, check_numbers, read_numbers, read_predictions
from helpers.digits.recipes import QUICK, REPORT
from helpers.digits.training import Detector

CPU = torch.device("cpu")
READING = ReadingConfig((0.5,))


@pytest.fixture(scope="module")
def house_numbers(tmp_path_factory):
    """Drawn pictures in the layout of the photos."""
    return ensure_drawn(tmp_path_factory.mktemp("drawn") / "house_numbers", DrawnConfig(5, 20, 8, 7))


@pytest.fixture(scope="module")
def pictures(house_numbers) -> DigitDataset:
    return DigitDataset.read(house_numbers, "train")


def tell_truth(dataset: DigitDataset, score: float = 0.9) -> list[Detections]:
    """Returns the true boxes as detections."""
    targets = [dataset[row][1] for row in range(len(dataset))]
    return [Detections(one["boxes"], torch.full((len(one["labels"]),), score), one["labels"]) for one in targets]


@pytest.mark.parametrize("num_photos", [8, 9])
def test_every_photo_is_in_one_half_and_the_lot_depends_on_the_seed(num_photos):
    first, second = halve(num_photos, seed=0)
    assert sorted([*first, *second]) == list(range(num_photos))
    assert len(first) - len(second) == num_photos % 2
    assert all(np.array_equal(*pair) for pair in zip(halve(num_photos, 0), (first, second), strict=True))
    assert not np.array_equal(halve(num_photos, 1)[0], first)


@pytest.mark.parametrize("recipe", [QUICK, REPORT])
def test_fine_tuning_changes_the_budget_and_the_sizes_that_it_expects_and_nothing_else(recipe):
    soft = soften(recipe, epochs=2, seed=4)
    assert (soft.training.epochs, soft.training.seed, soft.augmentation.zoom_out) == (2, 4, 0)
    assert 0 < soft.training.learning_rate < recipe.training.learning_rate
    rest = ("epochs", "seed", "learning_rate")
    own = {name: getattr(recipe.training, name) for name in rest}
    assert replace(soft, training=replace(soft.training, **own), augmentation=recipe.augmentation) == recipe


class Witness(Detector):
    """A detector that learns nothing, finds the truth, and remembers what it was shown and what it was asked."""

    model = None

    def __init__(self, seen: set[int]) -> None:
        self.seen, self.asked = seen, set()

    def detect(self, dataset: DigitDataset) -> list[Detections]:
        self.asked |= set(dataset.image_ids.tolist())
        return tell_truth(dataset)


def test_no_photo_has_a_say_in_the_detector_that_is_asked_about_it(pictures, tmp_path, monkeypatch):
    witnesses = []

    def train(recipe, folder, *, train_set, selection_set, device, start):
        witnesses.append(Witness({*train_set.image_ids.tolist(), *selection_set.image_ids.tolist()}))
        return witnesses[-1]

    monkeypatch.setattr(fine_tuning, "train", train)
    found = detect_unseen(Witness(set()), soften(QUICK, 1, seed=0), pictures, tmp_path, CPU)
    first, second = witnesses
    assert len(first.seen) == len(second.seen) == 10
    assert first.asked == second.seen == set(pictures.image_ids.tolist()) - first.seen
    assert second.asked == first.seen
    assert read_numbers(found, READING) == true_numbers(pictures.file)  # in the order of the photos


def test_each_half_is_graded_by_itself(pictures):
    found = tell_truth(pictures)
    first, second = halve(len(pictures), seed=3)
    for row in first:
        found[row] = Detections(*(column[:0] for column in found[row]))
    nothing, everything = grade_halves(pictures, found, READING, seed=3)
    assert nothing == {"AP@.5": 0, "AP": 0, "AP75": 0, "accuracy": 0}
    assert everything == {"AP@.5": pytest.approx(1), "AP": pytest.approx(1), "AP75": pytest.approx(1), "accuracy": 1}
    found[second[0]] = found[second[0]]._replace(scores=found[second[0]].scores / 2)  # found, and not read
    assert grade_halves(pictures, found, READING, seed=3)[1]["accuracy"] == 0.9


def test_the_summary_has_mean_lowest_and_highest():
    grades = {"before": [{"AP": 0.1}, {"AP": 0.5}, {"AP": 0.3}], "gain": [{"AP": -0.2}]}
    assert [line.split() for line in summarise(grades).splitlines()] == [
        ["AP"],
        ["before,", "mean", "0.300"],
        ["before,", "lowest", "0.100"],
        ["before,", "highest", "0.500"],
        *[["gain,", way, "-0.200"] for way in ("mean", "lowest", "highest")],
    ]


@pytest.fixture
def small(house_numbers, tmp_path, monkeypatch):
    """Where the smallest budget trains and writes: far from the workbook's own runs."""
    monkeypatch.setattr(fine_tuning, "ensure_drawn", lambda: house_numbers)
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    return tmp_path / "07_digit_detection" / "smoke" / "photos"


def require_both_files(folder, dataset: DigitDataset) -> None:
    """Checks what the command has left, as it would be checked before it is handed in."""
    found = read_predictions(folder / "pred.json", dataset)
    numbers = check_numbers(folder / "pred.csv", dataset.image_ids, found)
    assert len(numbers) == len(dataset)
    assert sum(len(one.scores) for one in found) > 0


def test_the_command_trains_grades_and_writes_both_files(small, house_numbers, pictures, capsys):
    command = [str(house_numbers), "--profile", "smoke"]
    assert cli.main(["photos", *command]) == 0
    said = capsys.readouterr().out
    assert said.startswith("16 photos, 2 halves of them graded")
    assert all(name in said for name in ("AP@.5", "accuracy", "drawn numbers alone, mean", "gain, lowest"))
    require_both_files(small, pictures.select(range(16)))
    assert cli.main(["photos", *command]) == 0
    assert capsys.readouterr().out == said  # loaded, not trained anew


def test_real_photos_go_the_whole_way(small, svhn_folder, capsys):
    assert cli.main(["photos", str(svhn_folder), "--profile", "smoke"]) == 0
    assert "16 photos, 2 halves of them graded" in capsys.readouterr().out
    require_both_files(small, DigitDataset.read(svhn_folder, "train").select(range(16)))


def test_what_cannot_be_done_is_said_and_not_raised(small, house_numbers, tmp_path, capsys):
    assert cli.main(["photos", str(tmp_path / "nowhere"), "--profile", "smoke"]) == 1
    assert "train.json: the annotation file is missing" in capsys.readouterr().err
    few = ensure_drawn(tmp_path / "few", DrawnConfig(6, 1, 1, 1))
    assert cli.main(["photos", str(few), "--profile", "smoke"]) == 1
    assert "number of photos is 1; two halves need at least 2" in capsys.readouterr().err
    assert cli.main(["photos", str(house_numbers), "--profile", "smoke"]) == 0
    other = ensure_drawn(tmp_path / "other", DrawnConfig(7, 3, 1, 1))
    assert cli.main(["photos", str(other), "--profile", "smoke"]) == 1
    assert "train_set is" in (said := capsys.readouterr().err)
    assert "train into another folder, or move this one away" in said
