"""What happens on a Dask worker: a run of a grid goes to a process that can be stopped, and its files can be fetched.

A worker may have a disk of its own: whatever it returns names files, and the caller reads those that it has not.
"""

from __future__ import annotations

import contextlib
import json
import platform
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from distributed import Reschedule, Worker, WorkerPlugin, get_worker

from helpers import paths

POLL = 0.5  # seconds between two looks at whether a run is still wanted
PATIENCE = 12.0  # seconds until a runner that was told to stop is killed; longer than runner.WIND_DOWN
LEFT_BEHIND = ("last.pth", ".lock")  # serve who goes on with a run, on the disk where it was begun
SERVE = "from helpers.course.grid.runner import serve; serve()"


@dataclass(frozen=True)
class Job:
    """One run of a notebook, as it travels to a worker; see `runner.run_job`."""

    name: str  # the digest's first digits
    stem: str  # of the notebook
    notebook: str  # its text, without outputs
    parameters: Mapping[str, Any]  # all of them, and the profile
    variables: Mapping[str, str]
    digest: str
    working_folder: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what lies on the disk of the worker that had it."""

    reason: str  # why it did not finish; empty when it did
    host: str
    files: Mapping[str, tuple[int, int]]  # path below the run's folder -> size in bytes, time of change in ns


class Stopped(Exception):
    """Nobody wants the run any longer."""


class Runner:
    """A process that runs notebooks one after another: `helpers.course.grid.runner`."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in the terminal is for the caller, who then says what is to stop
        )
        self.answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def run(self, job: Job, is_wanted: Callable[[], bool]) -> str:
        """Returns why `job` did not finish, or nothing when it did.

        Raises:
            Stopped: it was not wanted any longer, and has been stopped.
        """
        children: list[psutil.Process] = []
        with contextlib.suppress(OSError):  # of a runner that died while it was idle: its answer says so
            self.process.stdin.write(json.dumps(asdict(job)) + "\n")
            self.process.stdin.flush()
        while True:
            try:
                answer = self.answers.get(timeout=POLL)
            except queue.Empty:
                with contextlib.suppress(psutil.Error):
                    children = psutil.Process(self.process.pid).children(recursive=True)
                if not is_wanted():
                    self.close()
                    self.wait()
                    raise Stopped from None
            else:
                if answer is not None:
                    return json.loads(answer)["reason"]
                _kill(children)
                if self.process.stdin.closed:  # by the plugin: the worker leaves
                    raise Stopped
                return f"{job.stem}: the process that ran it died, {_describe_end(self.process.wait())}"

    def close(self) -> None:
        """Ends the runner, and with it the run that it may have; returns at once."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def wait(self) -> None:
        """Returns when the runner has ended, by itself or by force."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(self.process.pid)
                _kill([*process.children(recursive=True), process])


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _describe_end(status: int) -> str:
    """Returns the exit status of a process in words."""
    return f"killed by {signal.Signals(-status).name}; out of memory?" if status < 0 else f"with status {status}"


class Runners(WorkerPlugin):
    """Keeps a worker's runners: one per run at a time, each used again until a run of its fails."""

    name = "workbook-runners"
    idempotent = True  # a second caller must not end the runs of the first

    def setup(self, worker: Worker) -> None:
        """Starts as many as the worker may need at a time, so that they are ready when the runs come."""
        self.all = [Runner() for _ in range(worker.state.nthreads)]
        self.idle = list(self.all)

    def teardown(self, worker: Worker) -> None:
        """Ends all of them, and the runs that they have."""
        for runner in self.all:
            runner.close()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Runner]:
        """Yields a runner of its own; the borrower takes it out of use by closing it."""
        self.idle = [runner for runner in self.idle if runner.process.poll() is None]
        runner = self.idle.pop() if self.idle else Runner()
        self.all = [other for other in self.all if other is not runner and other.process.poll() is None] + [runner]
        try:
            yield runner
        finally:
            if not runner.process.stdin.closed:
                self.idle.append(runner)


def execute(job: Job) -> Outcome:
    """Returns how `job` ended on the worker that calls this, from within a task.

    Raises:
        Reschedule: the run was stopped; Dask forgets it, or begins it anew where somebody wants it again.
    """
    worker = get_worker()
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state == "executing"

    with worker.plugins[Runners.name].lend() as runner:
        try:
            reason = runner.run(job, is_wanted)
        except Stopped:
            raise Reschedule from None
        if reason:
            runner.close()  # whatever went wrong, the next run starts in a fresh one
    return Outcome(reason, platform.node(), list_files(job.name))


def find_folder(name: str) -> Path:
    """Returns the folder of the run `name` on this host."""
    return paths.RUNS / paths.GRIDS / name


def list_files(name: str) -> dict[str, tuple[int, int]]:
    """Returns size in bytes and time of change in ns of each file that the run `name` has to show."""
    folder = find_folder(name)
    file_paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".partial"]
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in file_paths if path.name not in LEFT_BEHIND}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def read_part(name: str, path: str, offset: int, size: int) -> bytes:
    """Returns up to `size` bytes from `offset` of a file of the run `name`."""
    with open(find_folder(name) / path, "rb") as file:
        file.seek(offset)
        return file.read(size)
