"""Record of the full budget: what is parsed from the output of benchmarks, logs and notebooks."""

import json
import warnings

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from benchmarks import full_budget, timing
from helpers import checkpoints, cuda_graphs
from helpers.cuda_graphs import ReplayedStep
from helpers.paths import ROOT


def test_the_measurements_that_a_benchmark_prints_are_parsed_and_no_other_line(capsys):
    measurements = {"step.tuned_ratio": 1.023, "keypoints.heatmap_seconds": 0.5, "a_name_" * 9: -12.0}
    print("launch.detector_graphed: skipped, it needs a GPU\nsome words\nname 1.0 2.0\n")
    timing.print_measurements(measurements)
    assert full_budget.parse_measurements(capsys.readouterr().out) == measurements


@pytest.mark.parametrize("module", full_budget.STEPS)
def test_the_benchmarks_of_the_record_print_their_measurements_in_that_form(module):
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert source.endswith('if __name__ == "__main__":\n    print_measurements(measure())\n')


def test_a_training_is_recorded_by_its_folder_with_its_epochs_and_their_seconds(tmp_path):
    folder = tmp_path / "03_training" / "full" / "assignment_seed0"
    folder.mkdir(parents=True)
    history = [{"epoch": 1, "seconds": 1.26}, {"epoch": 2, "seconds": 2.0}]
    (folder / checkpoints.LOG).write_text(json.dumps({"identity": {}, "history": history}))
    assert full_budget.read_trainings(tmp_path) == {"03_training/full/assignment_seed0": {"epochs": 2, "seconds": 3.3}}


def test_the_warning_of_a_step_that_cannot_be_recorded_is_found_in_the_notebook(tmp_path, monkeypatch):
    def fail(function):
        raise RuntimeError("not permitted")

    monkeypatch.setattr(cuda_graphs, "capture", fail)
    step = ReplayedStep(lambda model, batch: {"loss": model(batch).sum()})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step(torch.nn.Linear(1, 1), torch.zeros(2, 1))
    text = warnings.formatwarning(caught[0].message, UserWarning, "/tmp/training.py", 1)
    for name, output, expected in (("a", text, True), ("b", "3 epochs\n", False)):
        cell = new_code_cell("train()", outputs=[new_output("stream", name="stderr", text=output)])
        nbformat.write(new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
        assert full_budget.was_refused(tmp_path / f"{name}.ipynb") == expected


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "nvidia_a100_sxm4_80gb_full.json"),
        ("x86_64 CPU, 2 threads", "x86_64_cpu_2_threads_full.json"),
    ],
)
def test_a_record_is_named_after_device_and_profile(device, name):
    assert full_budget.name_record(device, "full") == name
