"""Order of lessons: each runs after the lesson whose models it loads; lessons that are independent run side by side.

One lesson at a time runs in this process. Several run in a process each, whose lines are printed with the lesson's
number in front. The numbers of a lesson do not depend on that: either way it computes with one thread, unless the
environment variable `OMP_NUM_THREADS` sets another number.
"""

from __future__ import annotations

import _thread
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from helpers import paths
from helpers.course.execution import run_lesson, set_variable
from helpers.course.lessons import DEFAULTS, LessonFailed, find_loaded

THREADS = "OMP_NUM_THREADS"
LESSON_MEMORY = 2.5e9  # bytes that a lesson needs at most, kernel and loaders together
POLL = 0.5  # seconds between two checks for Ctrl-C; Windows does not interrupt a wait without a limit
WIND_DOWN = 10.0  # seconds in which an interrupted lesson may save its notebook
PATIENCE = 15.0  # seconds until the process of an interrupted lesson is killed; longer than WIND_DOWN
SERVE = "from helpers.course.schedule import serve; serve()"


@dataclass(frozen=True)
class Request:
    """Settings of a call that hold for each of its lessons."""

    profile: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: dict(DEFAULTS))
    force: bool = False


@dataclass(frozen=True)
class Outcome:
    """Result of one lesson."""

    executed: Path | None  # the executed notebook, None where the lesson failed
    reason: str = ""  # why it failed


class Schedule:
    """Lessons that wait, run and have ended."""

    def __init__(self, lesson_paths: Sequence[Path]):
        self.lessons = list(lesson_paths)
        self.waiting = list(lesson_paths)
        self.running: list[Path] = []
        self.executed: dict[Path, Path] = {}
        self.failures: dict[Path, str] = {}  # why a lesson did not run to its end

    def start_next(self, loaded_first: bool = False) -> Path | None:
        """Return a lesson that can run now, and mark it as running; None while there is none.

        Args:
            loaded_first: whether lessons that others load go before the rest, which shortens the whole when several
                run at a time.
        """
        unfinished = [*self.running, *self.waiting]
        ready = [path for path in self.waiting if find_loaded(path, unfinished) is None]
        if loaded_first:
            needed = {find_loaded(path, self.lessons) for path in self.waiting}
            ready.sort(key=lambda path: path not in needed)
        if not ready:
            return None
        self.waiting.remove(ready[0])
        self.running.append(ready[0])
        return ready[0]

    def end(self, path: Path, outcome: Outcome) -> None:
        """Mark a running lesson as finished, or as failed together with the lessons that load it."""
        self.running.remove(path)
        if outcome.executed is not None:
            self.executed[path] = outcome.executed
            return
        self.failures[path] = outcome.reason
        for dependent in [candidate for candidate in self.waiting if find_loaded(candidate, [path])]:
            self.waiting.remove(dependent)
            self.failures[dependent] = f"{dependent.stem} did not run: it loads the models of {path.stem}"

    def describe_failures(self) -> str:
        """Return all failures as one message."""
        reasons = [self.failures[path] for path in self.lessons if path in self.failures]
        count = f"{len(reasons)} of {len(self.lessons)} lessons did not finish: " if len(reasons) > 1 else ""
        return count + "; ".join(reasons)


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_jobs() -> int:
    """Return how many lessons run side by side by default: two if two cores and memory for two are free, else one."""
    return 2 if count_cores() >= 2 and psutil.virtual_memory().available >= 2 * LESSON_MEMORY else 1


def run_lessons(
    lesson_paths: Sequence[Path],
    request: Request,
    jobs: int = 1,
    on_finished: Callable[[Path, Path], None] = lambda path, executed: None,
) -> list[Path]:
    """Run lessons and return the paths of their executed notebooks, in the order of `lesson_paths`.

    A lesson that fails stops the lessons that load it, and no other.

    Args:
        jobs: number of lessons at a time.
        on_finished: called with the source and the executed notebook of each lesson as it ends; what it raises stops
            everything.

    Raises:
        LessonFailed: at least one lesson failed; raised after the others have ended.
    """
    schedule = Schedule(lesson_paths)
    jobs = min(jobs, len(schedule.lessons))
    with set_variable(THREADS, os.environ.get(THREADS, "1")):
        ended = _run_side_by_side(schedule, request, jobs) if jobs > 1 else _run_in_turn(schedule, request)
        with contextlib.closing(ended):
            for path, outcome in ended:
                schedule.end(path, outcome)
                if outcome.executed is not None:
                    on_finished(path, outcome.executed)
    if schedule.failures:
        raise LessonFailed(schedule.describe_failures())
    return [schedule.executed[path] for path in schedule.lessons]


def _run_in_turn(schedule: Schedule, request: Request) -> Generator[tuple[Path, Outcome], None, None]:
    """Run one lesson after another in this process; yield each with its outcome."""
    with _kill_kernels_at_interrupt():
        while (path := schedule.start_next()) is not None:
            yield path, _run_one(path, request)


@contextlib.contextmanager
def _kill_kernels_at_interrupt() -> Iterator[None]:
    """Let Ctrl-C kill the kernels first: one that is interrupted while it computes prints a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        _kill(psutil.Process().children(recursive=True))
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _run_one(path: Path, request: Request) -> Outcome:
    """Run one lesson, print its progress, and return its outcome."""
    folder = paths.RUNS / path.stem / request.profile
    try:
        return Outcome(run_lesson(path, folder, request.profile, request.parameters, request.force))
    except LessonFailed as failure:
        if failure.trace:
            print(failure.trace, flush=True)
        reason = str(failure)
    except OSError as error:
        reason = f"{path.stem}: {error}"
    print(f"{path.stem} · failed", flush=True)
    return Outcome(None, reason)


def _run_side_by_side(schedule: Schedule, request: Request, jobs: int) -> Generator[tuple[Path, Outcome], None, None]:
    """Run up to `jobs` lessons at a time in a process each; yield each lesson with its outcome as it ends.

    If the caller stops early, all processes have ended before this generator has.
    """
    print(f"lessons at a time: {jobs}, {THREADS} {os.environ[THREADS]}", flush=True)
    processes: dict[Path, LessonProcess] = {}
    pool = ThreadPoolExecutor(jobs)
    futures: dict[Future[Outcome], Path] = {}
    try:
        while True:
            while len(futures) < jobs and (path := schedule.start_next(loaded_first=True)) is not None:
                processes[path] = LessonProcess(path, request)
                futures[pool.submit(processes[path].watch)] = path
            if not futures:
                return
            done, _ = wait(futures, timeout=POLL, return_when=FIRST_COMPLETED)
            for future in done:
                path = futures.pop(future)
                del processes[path]
                yield path, future.result()
    finally:
        for process in processes.values():
            process.interrupt()
        deadline = time.monotonic() + PATIENCE
        for process in processes.values():
            process.stop(deadline)
        pool.shutdown()


_PRINTING = threading.Lock()


class LessonProcess:
    """A process that runs one lesson and ends when its standard input is closed, however the caller ends."""

    def __init__(self, path: Path, request: Request):
        """Start the process."""
        self.path = path
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, json.dumps({"path": str(path), **asdict(request)})],
            cwd=paths.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in a terminal reaches the caller alone, which then stops this process
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )

    def watch(self) -> Outcome:
        """Print the lines of the lesson until it ends, and return its outcome."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with _PRINTING:
                print(f"{self.path.stem[:2]}  {line.rstrip()}", flush=True)
        reply = self.process.stdout.read()
        status = self.process.wait()
        if not reply:
            return Outcome(None, f"{self.path.stem}: its process ended early, with status {status}; out of memory?")
        content = json.loads(reply)
        return Outcome(content["executed"] and Path(content["executed"]), content["reason"])

    def interrupt(self) -> None:
        """Make the process end, without waiting for it."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def stop(self, deadline: float) -> None:
        """Wait for the process to end until the time `deadline`, then kill it and all that it started."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(self.process.pid)
                _kill([*process.children(recursive=True), process])


def serve() -> None:
    """Run the lesson of the request in the first argument; write its outcome to standard output as JSON.

    All that is printed meanwhile goes to standard error.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a caller may have let its children ignore it
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
        sys.stdout = WholeLines(sys.stdout)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    request = json.loads(sys.argv[1])
    path = Path(request.pop("path"))
    try:
        outcome = _run_one(path, Request(**request))
    except KeyboardInterrupt:
        outcome = Outcome(None, f"{path.stem} was interrupted")
    executed = None if outcome.executed is None else str(outcome.executed)
    replies.write(json.dumps({"executed": executed, "reason": outcome.reason}))
    replies.close()


class WholeLines(io.TextIOBase):
    """Text stream that writes each line when it is complete, so that no other process can write into it."""

    def __init__(self, stream: io.TextIOBase):
        self.stream = stream
        self.unfinished = ""

    def write(self, text: str) -> int:
        """Write the lines that `text` completes and keep the rest."""
        lines, newline, self.unfinished = (self.unfinished + text).rpartition("\n")
        if newline:
            self.stream.write(lines + newline)
            self.stream.flush()
        return len(text)


def _end_with_standard_input() -> None:
    """End this process and all that it started when its standard input is closed."""
    while os.read(0, 1):
        pass
    _thread.interrupt_main()
    _kill(psutil.Process().children(recursive=True))  # at once: a kernel that computes reads no message
    time.sleep(WIND_DOWN)
    os._exit(1)


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kill the processes that are still running."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
