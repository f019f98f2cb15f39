"""Both files for images without truth: who answers, from what, and what is refused before anything is trained."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers import paths
from helpers.course import cli
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.digits.reading import check_numbers, read_predictions


@pytest.fixture
def assignment(tmp_path, monkeypatch):
    """A folder as the assignment gives it out: its test split has no truth."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    folder = ensure_drawn(tmp_path / "numbers", DrawnConfig(5, 16, 8, 6))
    (folder / "test.json").unlink()
    return folder


def test_every_image_without_truth_is_answered_in_both_files(assignment, tmp_path, capsys):
    assert cli.main(["submission", str(assignment), "--profile", "smoke"]) == 0
    written = tmp_path / "runs" / "07_digit_detection" / "smoke" / "handin"
    unknown = DigitDataset.read_unlabelled(assignment, "test")
    found = read_predictions(written / "pred.json", unknown)
    assert sum(len(one.scores) for one in found) > 0
    numbers = check_numbers(written / "pred.csv", unknown.image_ids, found)
    said = capsys.readouterr().out
    assert said.startswith(f"6 images, {numbers.count('-1')} of them without a number")
    assert str(written) in said


def test_a_test_split_that_lists_its_images_alone_is_answered_under_the_ids_of_the_list(assignment, tmp_path):
    sizes = DigitDataset.read_unlabelled(assignment, "test").sizes.tolist()
    images = [
        {"id": 100 + number, "file_name": f"{number}.png", "height": height, "width": width}
        for number, (height, width) in enumerate(sizes, 1)
    ]
    (assignment / "test.json").write_text(json.dumps({"images": images}))
    assert cli.main(["submission", str(assignment), "--profile", "smoke"]) == 0
    table = tmp_path / "runs" / "07_digit_detection" / "smoke" / "handin" / "pred.csv"
    assert len(check_numbers(table, np.arange(101, 107))) == 6


def test_the_detector_is_that_of_lesson_7_and_not_trained_twice(assignment, tmp_path, capsys):
    assert cli.main(["submission", str(assignment), "--profile", "smoke"]) == 0
    said = capsys.readouterr().out
    detector = tmp_path / "runs" / "07_digit_detection" / "smoke" / "main_seed0" / "best_model.pth"
    trained = detector.stat().st_mtime_ns
    assert cli.main(["submission", str(assignment), "--profile", "smoke"]) == 0
    assert capsys.readouterr().out == said
    assert detector.stat().st_mtime_ns == trained


def test_what_is_missing_is_said_before_anything_is_trained(assignment, tmp_path, capsys):
    (assignment / "valid.json").unlink()
    assert cli.main(["submission", str(assignment), "--profile", "smoke"]) == 1
    assert "valid.json: the annotation file is missing" in capsys.readouterr().err
    assert cli.main(["submission", str(tmp_path), "--profile", "smoke"]) == 1
    assert "test: the folder of the images is missing" in capsys.readouterr().err
    (assignment / "test" / "3.png").write_bytes((assignment / "test" / "3.png").read_bytes()[:300])
    assert cli.main(["submission", str(assignment), "--profile", "smoke"]) == 1
    assert "3.png: the image is truncated" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("**/*.pth"))


def test_a_detector_of_other_data_is_refused(assignment, tmp_path, capsys):
    assert cli.main(["submission", str(assignment), "--profile", "smoke"]) == 0
    other = ensure_drawn(tmp_path / "other", DrawnConfig(6, 12, 6, 6))
    assert cli.main(["submission", str(other), "--profile", "smoke"]) == 1
    assert "train_set is" in (said := capsys.readouterr().err)
    assert "train into another folder, or move this one away" in said
