"""Comparison of results: equal results have no difference, and every difference has its file and key."""

import json
import subprocess
import sys

import pytest

from benchmarks.compare_results import compare_folders, compare_values, find_results
from helpers.paths import ROOT


def write_results(folder, lesson, metrics):
    path = folder / lesson / "smoke" / "results.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"seed": 0, "metrics": metrics}))


@pytest.fixture
def folders(tmp_path):
    for name in ("before", "after"):
        write_results(tmp_path / name, "03_training", {"ap": 0.1, "ap50": 0.5})
    return tmp_path / "before", tmp_path / "after"


def test_equal_results_have_no_difference(folders):
    assert list(compare_folders(*folders)) == []


def test_the_last_digit_of_a_number_is_a_difference(folders):
    (path,) = find_results(folders[1])
    (folders[1] / path).write_text(json.dumps({"seed": 0, "metrics": {"ap": 0.1 + 2**-56, "ap50": 0.5}}))
    assert list(compare_folders(*folders)) == [
        f"{path}: metrics.ap is 0.1 in the first and 0.10000000000000002 in the second"
    ]


def test_a_key_or_a_lesson_of_one_side_is_a_difference(folders):
    write_results(folders[0], "04_scales", {})
    assert list(compare_folders(*folders)) == [f"04_scales/smoke/results.json: only in {folders[0]}"]
    assert list(compare_values({"a": {"b": 1}}, {"a": {"c": 2}})) == [
        "a.b is 1 in the first and missing in the second",
        "a.c is missing in the first and 2 in the second",
    ]


def run_command(*folders):
    command = [sys.executable, "-m", "benchmarks.compare_results", *map(str, folders)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_status_is_1_if_anything_differs(folders):
    equal = run_command(*folders)
    assert (equal.returncode, equal.stdout) == (0, "no difference in 1 results\n")
    write_results(folders[1], "04_scales", {})
    different = run_command(*folders)
    assert (different.returncode, different.stdout.count("\n")) == (1, 1)


def test_a_folder_without_results_is_refused(folders, tmp_path):
    refused = run_command(folders[0], tmp_path / "nowhere")
    assert refused.returncode == 1
    assert "nowhere holds no results.json: give a folder that lessons wrote to" in refused.stderr
