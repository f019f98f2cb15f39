"""Time of the assignment's full budget on this machine: lessons through papermill, and the training step.

`python -m benchmarks.full_budget --kernel workbook-gpu0` runs lessons 3, 5 and 6 at `full` without results of earlier
runs and measures the training step on the same device. Times and results are written to a file in
`benchmarks/full_budget/` that is named after the device.
To reach on a GPU: `assignment_seed0` of lesson 3, 50 epochs, in at most 20 seconds, and step ratios of at most 1.15.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager

from helpers import checkpoints, files, paths
from helpers.course.lessons import find_lessons
from helpers.cuda_graphs import REFUSAL

RECORDS = Path(__file__).with_suffix("")
LESSONS = ("03", "05", "06")
STEPS = ("benchmarks.training_step", "benchmarks.keypoints")


def measure(lessons: Sequence[str], profile: paths.Profile, kernel: str) -> dict[str, Any]:
    """Return the device, seconds and metrics of each lesson, seconds and epochs of each training, and step ratios.

    Raises:
        jupyter_client.kernelspec.NoSuchKernel: no such kernel is registered; `workbook kernel` registers one.
        subprocess.CalledProcessError: a lesson or a benchmark failed; its output holds the reason.
    """
    environment = os.environ | KernelSpecManager().get_kernel_spec(kernel).env
    record: dict[str, Any] = {"profile": profile, "lessons": {}, "trainings": {}, "steps": {}}
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)  # empty: nothing is loaded from earlier runs
        for path in find_lessons(lessons):
            command = ["papermill", str(path), str(runs / path.name), "-p", "profile", profile, "-k", kernel]
            started = time.perf_counter()
            environment_of_run = environment | {paths.RUNS_VARIABLE: folder}
            subprocess.run([sys.executable, "-m", *command], env=environment_of_run, cwd=path.parent, check=True)
            seconds = round(time.perf_counter() - started, 1)
            results = json.loads((runs / path.stem / profile / "results.json").read_text(encoding="utf-8"))
            record |= {"device": results["device"], "versions": results["versions"]}
            record["lessons"][path.stem] = {
                "seconds": seconds,
                "recording_refused": was_refused(runs / path.name),
                "metrics": results["metrics"],
            }
        record["trainings"] = read_trainings(runs)
    for module in STEPS:
        command = [sys.executable, "-m", module]
        output = subprocess.run(command, env=environment, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True, check=True)
        record["steps"] |= parse_measurements(output.stdout)
    return record


def was_refused(notebook: Path) -> bool:
    """Return whether an executed notebook holds the warning of a GPU that could not record a training step."""
    return REFUSAL in notebook.read_text(encoding="utf-8")


def read_trainings(runs: Path) -> dict[str, dict[str, float]]:
    """Return the epochs and the seconds of each training below `runs`, without the time of saving, by its folder."""
    trainings = {}
    for log in sorted(runs.rglob(checkpoints.LOG)):
        history = checkpoints.read_log(log)
        seconds = round(sum(row["seconds"] for row in history), 1)
        trainings[log.parent.relative_to(runs).as_posix()] = {"epochs": len(history), "seconds": seconds}
    return trainings


def parse_measurements(output: str) -> dict[str, float]:
    """Return the numbers that a benchmark prints, by name: lines with a name, blanks and a number, and no others."""
    return {name: float(value) for name, value in re.findall(r"^(\S+) +(-?\d+(?:\.\d+)?|nan|-?inf)$", output, re.M)}


def name_record(device: str, profile: str) -> str:
    """Return the file name of a record: lower-case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", f"{device} {profile}".lower()).strip("_") + ".json"


def main() -> None:
    """Write the record to a file and print its times."""
    parser = argparse.ArgumentParser(description="Measure the assignment's full budget on this machine.")
    parser.add_argument("lessons", nargs="*", default=LESSONS, help=f"their numbers (default: {' '.join(LESSONS)})")
    parser.add_argument("--kernel", default="python3", help="as papermill's -k (see `workbook kernel --help`)")
    parser.add_argument("--profile", choices=paths.PROFILES, default="full", help="the budget (default: full)")
    arguments = parser.parse_args()
    record = measure(arguments.lessons, arguments.profile, arguments.kernel)
    path = RECORDS / name_record(record["device"], arguments.profile)
    files.write_text(path, json.dumps(record, indent=2) + "\n")
    for lesson, result in record["lessons"].items():
        print(f"{lesson:64} {result['seconds']:9.1f} s")
    for training_name, result in record["trainings"].items():
        print(f"{training_name:64} {result['seconds']:9.1f} s for {result['epochs']} epochs")
    for step, value in record["steps"].items():
        print(f"{step:64} {value:9.3f}")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
