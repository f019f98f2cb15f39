"""Runs of lessons: folders, budgets, seeds, devices and saved results."""

import json
import platform
import random
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ipywidgets import IntSlider
from matplotlib.figure import Figure

from helpers import files, paths, runtime
from helpers.explorer_frames import read_fragment
from helpers.explorers import join


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    return runtime.start_run("03_tiny", "smoke", seed=7)


def test_a_run_has_a_folder_for_its_lesson_and_profile_which_the_first_file_makes(run, tmp_path):
    assert run.folder == tmp_path / "03_tiny" / "smoke"
    assert not list(tmp_path.iterdir())  # so a lesson starts on a read-only disk
    run.save_results({"ap50": 0.5})
    assert [path.name for path in run.folder.iterdir()] == ["results.json"]


def test_a_budget_gives_the_value_of_its_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    budgets = [runtime.start_run("01_tiny", profile).budget(smoke=1, quick=2, full=3) for profile in paths.PROFILES]
    assert budgets == [1, 2, 3]


def test_no_profile_takes_the_environment_variable_and_then_quick(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "full")
    assert runtime.start_run("01_tiny").profile == "full"
    assert runtime.start_run("01_tiny", "smoke").profile == "smoke"
    monkeypatch.delenv(paths.PROFILE_VARIABLE)
    assert runtime.start_run("01_tiny").profile == "quick"


def test_an_unknown_profile_is_refused_with_its_source(monkeypatch):
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "fast")
    with pytest.raises(ValueError, match=r"WORKBOOK_PROFILE is 'fast'; choose one of smoke, quick, full"):
        runtime.start_run("01_tiny")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_refused_before_anything_is_made(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    with pytest.raises(ValueError, match=rf"`seed` is {seed}; choose a whole number from 0 to 4294967295"):
        runtime.start_run("01_tiny", "smoke", seed)
    assert not list(tmp_path.iterdir())


def test_equal_seeds_give_equal_numbers_from_all_three_generators():
    def draw(seed):
        runtime.seed_everything(seed)
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - the global one is meant

    assert draw(3) == draw(3)
    assert all(a != b for a, b in zip(draw(3), draw(4), strict=True))


def test_results_hold_the_circumstances_and_the_metrics(run):
    results = json.loads(run.save_results({"ap50": np.float64(0.5), "steps": 3}).read_text())
    assert (results["profile"], results["seed"]) == ("smoke", 7)
    assert results["metrics"] == {"ap50": 0.5, "steps": 3.0}
    assert {"python", "torch", "torchvision", "numpy"} == set(results["versions"])
    assert results["device"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_refused_before_anything_is_written(run, value):
    with pytest.raises(ValueError, match=r"'ap50' of 03_tiny"):
        run.save_results({"ap50": value})
    assert not run.folder.exists()


def test_a_saved_figure_lies_under_its_lessons_number(run):
    figure = plt.figure()
    path = run.save_figure(figure, "curves")
    plt.close(figure)
    assert path == run.folder / "figures" / "03_curves.png"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("profile", "num_values"), [("smoke", 2), ("quick", 3)])
def test_an_explorer_is_rendered_in_a_run_of_the_command_and_nowhere_else(profile, num_values, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    monkeypatch.delenv(paths.FRAMES_VARIABLE, raising=False)
    run = runtime.start_run("03_tiny", profile)
    figure = Figure(figsize=(2, 1))
    controls = {"level": IntSlider(1, description="level")}
    explorer = join(figure, controls, lambda level: figure.suptitle(level), {"level": (0, 1, 2)}, "A number.")
    assert run.save_explorer(explorer, "level") is explorer
    assert explorer._repr_mimebundle_()[1] == {"explorer": "level"}
    assert not run.folder.exists()
    monkeypatch.setenv(paths.FRAMES_VARIABLE, "1")
    run.save_explorer(explorer, "level")
    text = (run.folder / "explorers" / "03_level.html").read_text(encoding="utf-8")
    assert len(read_fragment(text).controls[0].values) == num_values


KEEPING = """
import resource, torch
from helpers import runtime
print(runtime.reuse_memory())
for _ in range(4):
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MiB, freed at once
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept by glibc only")
def test_a_large_tensor_takes_the_kept_memory_of_the_one_before():
    lines = subprocess.run([sys.executable, "-c", KEEPING], capture_output=True, text=True, check=True).stdout.split()
    assert lines[0] == "True"
    first, *_, last = map(int, lines[1:])
    assert first > 10_000, "the system gives the first 64 MiB in pages of 4 kB"
    assert last < 100


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert runtime.reuse_memory() is False


def test_the_cpu_is_described_without_naming_the_machine():
    words = runtime.describe_device(torch.device("cpu"))
    assert "CPU" in words
    assert platform.node() not in words


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({}, torch.float32),
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_a_cpu_computes_in_bfloat16_exactly_if_it_has_the_instructions(monkeypatch, flags, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    device = torch.device("cpu")
    assert runtime.choose_precision(device) == precision
    with runtime.autocast(device):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision


@pytest.mark.parametrize(("is_supported", "precision"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_computes_in_bfloat16_exactly_if_its_hardware_does_without_emulation(
    monkeypatch, is_supported, precision
):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: is_supported or including_emulation
    )
    device = torch.device("cuda")
    assert runtime.choose_precision(device) == precision
    calls = []
    build = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda *values, **options: (calls.append((*values, options)), build("cpu"))[1]
    )
    runtime.autocast(device)
    options = {"enabled": is_supported, "cache_enabled": False}  # a recorded step copies the weights at each replay
    assert calls == [("cuda", precision, options)]


@pytest.mark.parametrize(("is_available", "kind"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_chosen_exactly_if_there_is_one(monkeypatch, is_available, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_available)
    assert runtime.choose_device().type == kind


def test_the_displayed_source_is_that_of_the_objects(capsys):
    runtime.show_source(files.write_text, runtime.Run)  # outside a notebook, display prints the text alone
    output = capsys.readouterr().out
    assert output.startswith("def write_text(path: Path, text: str) -> None:")
    assert "class Run:" in output
