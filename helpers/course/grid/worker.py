"""Dask worker's side of a grid: starts a process per run, stops it when the run is cancelled, and serves its files.

A worker may have its own disk: a run returns the names of its files, and the caller fetches those that it lacks.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from distributed import Reschedule, Status, get_worker

from helpers import paths
from helpers.course.grid import run

POLL = 0.5  # seconds between two checks whether a run is still wanted
STOP_SECONDS = run.SAVING_SECONDS + 2  # a run that was told to stop is killed after this time
NOT_COPIED = ("last.pth", ".lock")  # needed only to resume on the same host
CLOSING = (Status.closing, Status.closed, Status.failed)


@dataclass(frozen=True)
class Job:
    """One run of a notebook, as it is sent to a worker; see `run.run_job`."""

    name: str  # first digits of the digest
    stem: str  # of the notebook
    notebook: str  # its text, without outputs
    parameters: Mapping[str, Any]  # all parameters, and the profile
    variables: Mapping[str, str]
    digest: str
    working_folder: str


@dataclass(frozen=True)
class Outcome:
    """The result of a run, and its files on the worker's disk."""

    reason: str  # why it did not finish; empty for a finished run
    host: str
    files: Mapping[str, tuple[int, int]]  # path below the run's folder -> size in bytes, modification time in ns


def execute(job: Job) -> Outcome:
    """Execute `job` from within a Dask task and return its outcome.

    Raises:
        Reschedule: the run was cancelled and has been stopped; Dask forgets it or starts it again.
    """
    worker = get_worker()
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return worker.status not in CLOSING and task is not None and task.state == "executing"

    reason = run_process(job, is_wanted)
    return Outcome(reason, platform.node(), list_files(job.name))


def run_process(job: Job, is_wanted: Callable[[], bool]) -> str:
    """Execute `job` in its own process and return why it did not finish, or "".

    Raises:
        Reschedule: `is_wanted` became false; the process and its kernel have been stopped.
    """
    arguments = asdict(job) | {"folder": str(find_folder(job.name).absolute())}
    del arguments["name"]
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.course.grid.run", str(os.getpid())],
        cwd=paths.ROOT,  # so that the run imports the same helpers as its worker
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # until the run writes its log
        start_new_session=True,  # Ctrl-C in the terminal reaches the caller only, which then cancels its runs
    )
    text: bytes | None = json.dumps(arguments).encode()
    children: list[psutil.Process] = []
    while True:
        try:
            output, errors = process.communicate(text, timeout=POLL)
            break
        except subprocess.TimeoutExpired:
            text = None  # the first call sends all of it
            children = run.find_children(psutil.Process(process.pid))
        if not is_wanted():
            _stop(process)
            raise Reschedule
    if process.returncode == 0:
        return output.decode()
    run.kill(children)
    reason = f"{job.stem}: the process of this run {_describe_end(process.returncode)}"
    last_line = errors.decode(errors="replace").strip().rpartition("\n")[2]
    return f"{reason}: {last_line}" if last_line else reason


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the kernel of a run and wait until the run has saved its notebook and ended; kill the run if it does not.

    A kernel that computes does not react to anything but a kill.
    """
    deadline = time.monotonic() + STOP_SECONDS
    process.terminate()
    while process.poll() is None:
        children = run.find_children(psutil.Process(process.pid))
        if time.monotonic() > deadline:
            process.kill()
        run.kill(children)
        try:
            process.communicate(timeout=POLL)
        except subprocess.TimeoutExpired:
            continue


def _describe_end(status: int) -> str:
    """Return the exit status of a process in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name} (out of memory?)"
    return f"ended with status {status}"


def find_folder(name: str) -> Path:
    """Return the folder of the run `name` on this host."""
    return paths.RUNS / paths.GRIDS / name


def list_files(name: str) -> dict[str, tuple[int, int]]:
    """Return size in bytes and modification time in ns of each file of the run `name` that the caller should have."""
    folder = find_folder(name)
    file_paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".partial"]
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in file_paths if path.name not in NOT_COPIED}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def read_part(name: str, path: str, offset: int, size: int) -> bytes:
    """Return up to `size` bytes from `offset` of a file of the run `name`."""
    with open(find_folder(name) / path, "rb") as file:
        file.seek(offset)
        return file.read(size)
