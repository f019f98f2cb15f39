"""Runs one notebook of a grid after another, in a process of its own that ends when its standard input does.

A worker cannot interrupt its own threads; a process it can. Its standard input is its lifeline: whoever holds the other
end may die in any way, and the runner still hears of it, stops its kernel and leaves. Being kept for the next run, it
imports papermill once.

    data/runs/grids/<name>/             everything of one run; its own `data/runs`, as the lesson sees it
        <lesson>.log                    a line per cell, and what went wrong
        <lesson>/<profile>/             as in `helpers.course.lessons`: notebook, results.json, figures, checkpoints
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import platform
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import nbformat
import psutil

from helpers import paths
from helpers.course import lessons

LOCK = ".lock"
WIND_DOWN = 10.0  # seconds in which an interrupted run may save its notebook


def serve() -> None:
    """Runs the jobs that arrive on standard input, a line of JSON each; answers `{"reason": …}`, empty when finished.

    Whatever else is printed goes to standard error, and during a run into its log.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have told its children to ignore it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    gpus = find_gpus()
    jobs: queue.Queue[str | None] = queue.Queue()
    with contextlib.suppress(KeyboardInterrupt):  # that is how `_listen` ends a run
        threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
        while (line := jobs.get()) is not None:
            reason = run_job(**json.loads(line), gpus=gpus)
            print(json.dumps({"reason": reason}), file=answers, flush=True)


def _listen(jobs: queue.Queue[str | None]) -> None:
    """Hands on each line of standard input; at its end, ends the run under way and then the process."""
    for line in sys.stdin:
        jobs.put(line)
    jobs.put(None)
    _thread.interrupt_main()
    for child in psutil.Process().children(recursive=True):  # at once: a kernel deep in a computation hears nothing
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    time.sleep(WIND_DOWN)
    os._exit(1)


def run_job(
    name: str,
    stem: str,
    notebook: str,
    parameters: Mapping[str, Any],
    variables: Mapping[str, str],
    digest: str,
    working_folder: str,
    gpus: Sequence[str] = (),
) -> str:
    """Returns why the run did not finish, or nothing when its notebook, log and results lie in its folder.

    Args:
        notebook: its text.
        variables: the caller's `lessons.read_settings`; this host's own do not count.
        digest: as the caller computed it: another one here means other code.
        working_folder: of the kernel, where this host has it.
        gpus: of which the run gets one.
    """
    folder = paths.RUNS / paths.GRIDS / name
    environment = dict(os.environ)
    try:
        for variable in lessons.read_settings():
            del os.environ[variable]
        os.environ.update({**variables, paths.RUNS_VARIABLE: str(folder)})
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / LOCK), _print_into(folder / f"{stem}.log"), _take_one(gpus):
            again = "\n" if os.fstat(1).st_size else ""  # below the log of an earlier try
            print(
                f"{again}{time.strftime('%Y-%m-%d %H:%M:%S')} · {platform.node()} · process {os.getpid()}", flush=True
            )
            return _run(nbformat.reads(notebook, as_version=4), stem, folder, parameters, digest, Path(working_folder))
    except OSError as error:
        return f"{stem}: {error}"
    finally:
        os.environ.clear()
        os.environ.update(environment)


def _run(
    notebook: nbformat.NotebookNode,
    stem: str,
    folder: Path,
    parameters: Mapping[str, Any],
    digest: str,
    working_folder: Path,
) -> str:
    """Returns why it did not finish, having printed all that is known about it."""
    profile = parameters["profile"]
    if lessons.compute_digest(notebook, profile, parameters) != digest:
        return f"{platform.node()} has other helpers or another requirements.lock than the caller: {paths.ROOT}"
    given = {
        parameter: value for parameter, value in parameters.items() if parameter in lessons.read_parameters(notebook)
    }
    start = working_folder if working_folder.is_dir() else lessons.NOTEBOOKS
    try:
        lessons.run_notebook(notebook, stem, folder / stem / profile, profile, given, working_folder=start)
    except lessons.LessonFailed as failure:
        print(failure.trace, failure, sep="\n", flush=True)
        return failure.reason
    except Exception as error:  # of the machinery; the next run must not suffer from it
        traceback.print_exc()
        return f"{stem}: {type(error).__name__}: {error}"
    return ""


@contextlib.contextmanager
def _print_into(path: Path) -> Iterator[None]:
    """Sends what this process and its kernels print to the end of the file `path`."""
    sys.stdout.flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(path, "ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a full disk
            sys.stdout.flush()
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)


def find_gpus() -> list[str]:
    """Returns the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.replace(" ", "").split(",") if name not in ("", "-1", "NoDevFiles")]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return re.findall(r"^GPU \d+:.*\(UUID: (\S+)\)", listing, flags=re.MULTILINE)


@contextlib.contextmanager
def _take_one(gpus: Sequence[str]) -> Iterator[None]:
    """Shows kernels one of `gpus`, which no other run of this host has meanwhile; waits until there is one."""
    if not gpus:
        yield
        return
    user = re.sub(r"\W", "", os.environ.get("USER", ""))
    locks = {gpu: filelock.FileLock(Path(tempfile.gettempdir(), f"workbook-{user}-{gpu}.lock")) for gpu in gpus}
    while True:
        for gpu, lock in locks.items():
            with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=0):
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                yield
                return
        time.sleep(0.2)
