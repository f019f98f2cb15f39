"""Submission for a test split without truth: its two files, the detector behind them, and refused folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import paths
from helpers.course import cli
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.digits.reading import check_numbers, read_predictions


@pytest.fixture
def assignment(house_numbers, tmp_path, monkeypatch) -> Path:
    """A folder in the form of the assignment's: its test split has no truth."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    folder = Path(shutil.copytree(house_numbers, tmp_path / "numbers"))
    (folder / "test.json").unlink()
    return folder


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """The folder of lesson 7's run, in which detector and submission are written."""
    return tmp_path / "runs" / "07_digit_detection" / "smoke"


def submit(folder: Path) -> int:
    """Return the exit status of the command."""
    return cli.main(["submission", str(folder), "--profile", "smoke"])


def test_both_files_cover_every_image_without_truth(assignment, run_folder, capsys):
    assert submit(assignment) == 0
    test_set = DigitDataset.read_unlabelled(assignment, "test")
    detections = read_predictions(run_folder / "submission" / "pred.json", test_set)
    assert sum(len(image_detections.scores) for image_detections in detections) > 0
    numbers = check_numbers(run_folder / "submission" / "pred.csv", test_set.image_ids, detections)
    printed = capsys.readouterr().out
    assert printed.startswith(f"6 images, {numbers.count('-1')} of them without a number")
    assert str(run_folder / "submission") in printed


def test_image_ids_are_those_of_a_test_json_that_lists_images_alone(assignment, run_folder):
    sizes = DigitDataset.read_unlabelled(assignment, "test").sizes.tolist()
    images = [
        {"id": 100 + number, "file_name": f"{number}.png", "height": height, "width": width}
        for number, (height, width) in enumerate(sizes, 1)
    ]
    (assignment / "test.json").write_text(json.dumps({"images": images}))
    assert submit(assignment) == 0
    assert len(check_numbers(run_folder / "submission" / "pred.csv", np.arange(101, 107))) == 6


def test_the_detector_is_that_of_lesson_7_and_is_trained_once(assignment, run_folder, capsys):
    assert submit(assignment) == 0
    printed = capsys.readouterr().out
    checkpoints = [run_folder / name / "best_model.pth" for name in ("main_seed0", "multi_scale_seed0")]
    times_of_training = [checkpoint.stat().st_mtime_ns for checkpoint in checkpoints]
    assert submit(assignment) == 0
    assert capsys.readouterr().out == printed
    assert [checkpoint.stat().st_mtime_ns for checkpoint in checkpoints] == times_of_training


def test_missing_and_damaged_files_are_reported_before_anything_is_trained(assignment, tmp_path, capsys):
    (assignment / "valid.json").unlink()
    assert submit(assignment) == 1
    assert "valid.json: the annotation file is missing" in capsys.readouterr().err
    assert submit(tmp_path) == 1
    assert "test: the folder of the images is missing" in capsys.readouterr().err
    image = assignment / "test" / "3.png"
    image.write_bytes(image.read_bytes()[:300])
    assert submit(assignment) == 1
    assert "3.png: the image is truncated" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("**/*.pth"))


def test_a_detector_of_other_data_is_refused(assignment, tmp_path, capsys):
    assert submit(assignment) == 0
    capsys.readouterr()
    other_data = ensure_drawn(tmp_path / "other", DrawnConfig(6, 12, 6, 6))
    assert submit(other_data) == 1
    message = capsys.readouterr().err
    assert "train_set is" in message
    assert "train into another folder, or move this one away" in message
