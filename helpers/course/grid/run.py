"""One run of a grid: a process that executes one notebook and ends when its parent does.

Command: `python -m helpers.course.grid.run PARENT`, started by `helpers.course.grid.worker`. PARENT is the worker's
process id. The job (JSON, the arguments of `run_job`) is read from standard input. The reason why the run did not
finish is written to standard output; it is empty for a finished run.

    data/runs/grids/<name>/             all files of one run; the `data/runs` of its lesson
        <lesson>.log                    a line per cell, and the errors
        <lesson>/<profile>/             as in `helpers.course.lessons`: notebook, results.json, figures, checkpoints
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
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
from helpers.course import execution, lessons

LOCK = ".lock"
POLL = 0.5  # seconds between two checks of the parent, and between two attempts to get a GPU
SAVING_SECONDS = 10.0  # time for a stopped run to save its notebook


def main() -> None:
    """Execute the job from standard input and write the reason of a failure to standard output."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the latter is ignored by local workers and by what they start
        signal.signal(number, signal.default_int_handler)
    exit_with_parent(int(sys.argv[1]))
    job = json.loads(sys.stdin.buffer.read())
    report = os.dup(1)  # kernels do not inherit the copy, so standard output closes when this process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        reason = run_job(**job)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        os._exit(1)
    os.write(report, reason.encode(errors="backslashreplace"))
    os._exit(0)  # an ordinary exit flushes the log once more, which fails on a full disk


def exit_with_parent(parent: int) -> None:
    """Start a thread that stops this process and its kernel when the process `parent` has ended for any reason."""

    def watch() -> None:
        while os.getppid() == parent and psutil.pid_exists(parent):  # Windows keeps the id of a parent that ended
            time.sleep(POLL)
        deadline = time.monotonic() + SAVING_SECONDS
        process = psutil.Process()
        process.terminate()
        while time.monotonic() < deadline:
            kill(find_children(process))
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def find_children(process: psutil.Process) -> list[psutil.Process]:
    """Return all descendants of `process`; none if it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill the processes that are still running."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def run_job(
    folder: str,
    stem: str,
    notebook: str,
    parameters: Mapping[str, Any],
    variables: Mapping[str, str],
    digest: str,
    working_folder: str,
) -> str:
    """Execute a notebook in this process, which is for this run only; return why it did not finish, or "".

    Standard output, standard error and the environment of the process are changed and not restored.

    Args:
        folder: the run's folder on this host; notebook, log and results are written there.
        notebook: its text.
        parameters: all of the notebook's parameters, and the profile.
        variables: the caller's `lessons.read_settings`; they replace those of this host.
        digest: as the caller computed it; a different one here means different code.
        working_folder: of the kernel, if this host has it.
    """
    for variable in lessons.read_settings():
        del os.environ[variable]
    os.environ.update({**variables, paths.RUNS_VARIABLE: folder})
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(Path(folder, LOCK)):
            print_into(Path(folder, f"{stem}.log"))
            with reserve_gpu(find_gpus()):
                return _run(nbformat.reads(notebook, as_version=4), stem, folder, parameters, digest, working_folder)
    except OSError as error:
        return f"{stem}: {error}"


def _run(
    notebook: nbformat.NotebookNode,
    stem: str,
    folder: str,
    parameters: Mapping[str, Any],
    digest: str,
    working_folder: str,
) -> str:
    """Execute the notebook and print its errors; return why it did not finish, or ""."""
    profile = parameters["profile"]
    if lessons.compute_digest(notebook, profile, parameters) != digest:
        return f"{platform.node()} has other helpers or another requirements.lock than the caller: {paths.ROOT}"
    defaults = lessons.read_parameters(notebook)
    changed = {name: parameters[name] for name in defaults if not is_same(parameters[name], defaults[name])}
    start = Path(working_folder) if Path(working_folder).is_dir() else lessons.NOTEBOOKS
    try:
        execution.run_notebook(notebook, stem, Path(folder, stem, profile), profile, changed, working_folder=start)
    except lessons.LessonFailed as failure:
        print(failure.trace, failure, sep="\n", flush=True)
        return failure.reason
    except Exception as error:  # an error of the program fails this run, not the grid
        traceback.print_exc()
        return f"{stem}: {type(error).__name__}: {error}"
    return ""


def is_same(value: Any, default: Any) -> bool:
    """Return whether a parameter has its default value: equal as JSON, so 1, 1.0, True and "1" are different."""
    return json.dumps(value) == json.dumps(default)


def print_into(path: Path) -> None:
    """Redirect the output of this process and of its kernels to the end of the file `path`, below a line of origin."""
    sys.stdout.flush()
    with open(path, "ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    blank_line = "\n" if os.fstat(1).st_size else ""  # after the log of an earlier attempt
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{blank_line}{now} · {platform.node()} · process {os.getpid()}", flush=True)


def find_gpus() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.replace(" ", "").split(",") if name not in ("", "-1", "NoDevFiles")]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return re.findall(r"^GPU \d+:.*\(UUID: (\S+)\)", listing, flags=re.MULTILINE)


@contextlib.contextmanager
def reserve_gpu(gpus: Sequence[str]) -> Iterator[None]:
    """Make one of `gpus` the only visible one, and lock it against other runs on this host; wait until one is free."""
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
        time.sleep(POLL)


if __name__ == "__main__":
    main()
