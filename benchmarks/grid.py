"""Overhead of a grid beyond papermill called in a loop, and throughput of two workers over one.

The loop runs in one process, which has imported papermill. So the overhead is that of the grid alone: its processes,
their imports, and the copies and tables of results. Both start a kernel for every run. The runs of the second
measurement compute in one thread for some seconds.

python -m benchmarks.grid
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import nbformat
import papermill
from distributed import Client
from nbformat.v4 import new_code_cell, new_notebook

from helpers import paths
from helpers.course.grid import plan

NUM_TURNS = 3
NUM_RUNS = 4  # per turn
STEPS = 80_000_000  # of a computing run: some eight seconds

PARAMETERS = "profile = None\nseed = 0\nsteps = 0"
WORK = "total = sum(step * step for step in range(steps))"
SAVE = """\
import json, os, pathlib
folder = pathlib.Path(os.environ["WORKBOOK_RUNS"], "tiny", os.environ["WORKBOOK_PROFILE"])
folder.mkdir(parents=True, exist_ok=True)
path = (folder / "results.json").write_text(json.dumps({"seed": seed, "device": "CPU", "metrics": {"total": total}}))"""


def write_notebook(folder: Path) -> Path:
    """Write a notebook of three cells and return its path."""
    cells = [new_code_cell(source) for source in (PARAMETERS, WORK, SAVE)]
    cells[0].metadata["tags"] = ["parameters"]
    path = folder / "tiny.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@contextlib.contextmanager
def _start(num_workers: int) -> Iterator[Client]:
    with contextlib.redirect_stdout(io.StringIO()), plan.connect(None, num_workers, num_workers) as client:
        yield client


def _time_grid(client: Client, path: Path, seeds: Iterator[int], steps: int, num_runs: int) -> float:
    """Return the seconds of `num_runs` new runs."""
    chosen = ",".join(str(next(seeds)) for _ in range(num_runs))
    start = time.perf_counter()
    grid = plan.plan_grid(path, [f"seed={chosen}", f"steps={steps}", "profile=smoke"])
    rows = []
    for job, reason in plan.run_jobs(client, grid, grid.jobs):
        rows.append(plan.describe_run(grid, job, reason))
        plan.write_table(grid.find_table(), rows)
    seconds = time.perf_counter() - start
    if any(row["state"] != "finished" for row in rows):
        raise AssertionError(f"not all finished: {rows}")
    return seconds


def _time_by_hand(path: Path, folder: Path, steps: int, num_runs: int) -> float:
    """Return the seconds of the same runs with papermill alone."""
    start = time.perf_counter()
    for number in range(num_runs):
        parameters = {"seed": number, "steps": steps}
        papermill.execute_notebook(
            path, folder / "by_hand.ipynb", parameters, kernel_name="python3", progress_bar=False
        )
    return time.perf_counter() - start


def measure(num_turns: int = NUM_TURNS, num_runs: int = NUM_RUNS) -> dict[str, float]:
    """Return the seconds of a run by hand, the seconds that a grid adds, and the throughput of two workers over one."""
    seeds = itertools.count()
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), write_notebook(Path(name))
        places = {paths.RUNS_VARIABLE: name, paths.PROFILE_VARIABLE: "smoke"}
        with mock.patch.dict(os.environ, places), mock.patch.object(paths, "RUNS", folder), _start(1) as one_worker:
            _time_grid(one_worker, path, seeds, 0, 1)
            _time_by_hand(path, folder, 0, 1)
            turns = [
                (_time_grid(one_worker, path, seeds, 0, num_runs), _time_by_hand(path, folder, 0, num_runs))
                for _ in range(num_turns)
            ]
            with _start(2) as two_workers:
                _time_grid(two_workers, path, seeds, 0, 2)
                pairs = [
                    [_time_grid(client, path, seeds, STEPS, num_runs) for client in (one_worker, two_workers)]
                    for _ in range(num_turns)
                ]
    return {
        "grid.by_hand_seconds": statistics.median(by_hand for _, by_hand in turns) / num_runs,
        "grid.overhead_seconds": statistics.median(grid - by_hand for grid, by_hand in turns) / num_runs,
        "grid.two_workers_ratio": statistics.median(one / two for one, two in pairs),
    }


if __name__ == "__main__":
    for measured, value in measure().items():
        print(f"{measured:26} {value:7.2f}")
