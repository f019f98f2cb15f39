"""The assignment's own budget on the machine at hand: lessons through papermill, by the clock.

`python -m benchmarks.full_budget --kernel workbook-gpu0` runs lessons 3, 5 and 6 at `full` from nothing, measures the
training step on the same device, and keeps times and results in `benchmarks/full_budget/`, in a file named after it.
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
    """Returns the device, seconds and metrics of each lesson, seconds and epochs of each training, and step ratios.

    Raises:
        jupyter_client.kernelspec.NoSuchKernel: no such kernel is registered; `make kernel` does.
        subprocess.CalledProcessError: a lesson or a benchmark failed, having said why.
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
            results = json.loads((runs / path.stem / profile / "results.json").read_text(encoding="utf-8"))
            record |= {"device": results["device"], "versions": results["versions"]}
            seconds = round(time.perf_counter() - started, 1)
            refused = REFUSAL in (runs / path.name).read_text(encoding="utf-8")  # by a GPU that then did not replay
            record["lessons"][path.stem] = {
                "seconds": seconds,
                "recording_refused": refused,
                "metrics": results["metrics"],
            }
        for log in sorted(runs.rglob(checkpoints.LOG)):
            history = checkpoints.read_log(log)
            seconds = round(sum(row["seconds"] for row in history), 1)  # saving is not counted
            name = log.parent.relative_to(runs).as_posix()
            record["trainings"][name] = {"epochs": len(history), "seconds": seconds}
    for module in STEPS:
        command = [sys.executable, "-m", module]
        lines = subprocess.run(command, env=environment, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True, check=True)
        record["steps"] |= {name: float(value) for name, value in re.findall(r"^(\S+) +(\S+)$", lines.stdout, re.M)}
    return record


def main() -> None:
    """Writes the record and prints what of it is to be reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", default=LESSONS, help=f"their numbers (default: {' '.join(LESSONS)})")
    parser.add_argument("--kernel", default="python3", help="as papermill's -k; `make kernel GPU=0` registers one")
    parser.add_argument("--profile", choices=paths.PROFILES, default="full", help="the budget (default: full)")
    arguments = parser.parse_args()
    record = measure(arguments.lessons, arguments.profile, arguments.kernel)
    name = re.sub(r"[^a-z0-9]+", "_", f"{record['device']} {arguments.profile}".lower())
    files.write_text(RECORDS / f"{name}.json", json.dumps(record, indent=2) + "\n")
    for lesson, result in record["lessons"].items():
        print(f"{lesson:64} {result['seconds']:9.1f} s")
    for training_name, result in record["trainings"].items():
        print(f"{training_name:64} {result['seconds']:9.1f} s for {result['epochs']} epochs")
    for step, value in record["steps"].items():
        print(f"{step:64} {value:9.3f}")
    print(f"kept in {RECORDS / f'{name}.json'}")


if __name__ == "__main__":
    main()
