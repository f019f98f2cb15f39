"""Sandbox: a process for a student's code that sees its own files alone, with limits of time, memory and processes.

On Linux the process runs under bubblewrap (package `bubblewrap`, version 0.8 or later) in its own namespaces of users,
processes, network, mounts and inter-process communication. Inside it sees

    the system's programs (/usr), Python and its packages, read-only
    /workbook     the files of a `View`; only what the view lists
    /tmp, /home   empty

and no network, no process but its own, none of the instructor's environment variables. All that it writes is in memory,
limited in size, and gone at its end. Where bubblewrap is missing, the process is a plain one: it is ended with its
children, but can read and change what the user can.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from helpers import paths
from helpers.course.lessons import LessonFailed, shorten

LONGEST_REMARK = 300  # characters of an error message in a table
LARGEST_LINE = 9_000_000  # bytes of one reply
LARGEST_PART = 512 * 2**20  # bytes that can be written into each writable place of a sandbox
NUM_PROCESSES = 256  # processes and threads of one attempt
START_LIMIT = 180.0  # seconds until a process replies for the first time
PATIENCE = 0.25  # seconds until a stop is noticed
INTERVAL = 0.5  # seconds between two measurements
INSIDE = Path(os.sep, "workbook")  # the workbook's folder in a sandbox
ORIGINALS = Path(os.sep, "originals")  # what a process copies into its own workbook, because it may change it
FONTS = "data/fonts"  # matplotlib's list of fonts, which takes seconds to make
PLAIN = "plain process: accidents only, no protection"
BUBBLEWRAP = "bubblewrap"

_MARK = "WORKBOOK_ATTEMPT"  # environment variable of every process of a plain attempt: they are found and ended by it


@dataclass(frozen=True)
class Limits:
    """Limits of one attempt."""

    cell: float = 120.0  # seconds for one solution or one check
    memory: float = 6e9  # bytes of all its processes together
    lesson: float = 1800.0  # seconds for all of the lesson's own cells, which are trusted to end


DEFAULT_LIMITS = Limits()


class AttemptEnded(Exception):
    """An attempt's process died, hung or used too much; the message says which."""


class Stopped(Exception):
    """The grader was told to stop."""


@dataclass(frozen=True)
class View:
    """Files of an attempt: source on this machine -> place in the workbook's folder."""

    fixed: Mapping[Path, str]  # seen read-only
    copied: Mapping[Path, str]  # the attempt works on a copy


@cache
def find_sandbox() -> tuple[str, str]:
    """Return the kind of sandbox of this machine, `BUBBLEWRAP` or `PLAIN`, and why it is not bubblewrap, or ""."""
    if not sys.platform.startswith("linux"):
        return PLAIN, "bubblewrap needs Linux"
    program = shutil.which("bwrap")
    if program is None:
        return PLAIN, "bubblewrap is not installed (apt install bubblewrap)"
    command = [*build_command(View({}, {})), sys.executable, "-c", "print(1)"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return PLAIN, f"bubblewrap does not start: {shorten(error)}"
    if result.returncode == 0 and result.stdout.strip() == "1":
        return BUBBLEWRAP, ""
    return PLAIN, f"bubblewrap does not start: {shorten(result.stderr or 'no message')}"


def describe_missing_sandbox() -> str:
    """Return a warning for the instructor where there is no sandbox, or ""."""
    kind, reason = find_sandbox()
    if kind == BUBBLEWRAP:
        return ""
    return (
        f"WARNING: no sandbox, because {reason}. Submissions can read and change your files and reach the network. "
        "Grade people you do not know in a container (docs/instructors.md)."
    )


def build_command(view: View) -> list[str]:
    """Return the command of bubblewrap that the command of an attempt follows."""
    command = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    command += ["--uid", "1000", "--gid", "1000", "--hostname", "attempt"]
    command += ["--die-with-parent", "--new-session", "--clearenv"]
    command += ["--proc", "/proc", "--dev", "/dev", *_limited("/dev/shm"), *_limited("/tmp"), *_limited("/home")]
    for place in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(place):
            command += ["--symlink", os.readlink(place), place]
        elif os.path.isdir(place):
            command += ["--ro-bind", place, place]
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime", "mime.types"):
        command += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for folder in find_environment():
        command += ["--ro-bind", str(folder), str(folder)]
    for folder in find_installed_copies():
        command += ["--tmpfs", str(folder)]
    command += [*_limited(str(INSIDE)), "--dir", str(INSIDE / "notebooks"), "--dir", str(INSIDE / "data" / "runs")]
    for source, place in view.fixed.items():
        command += ["--ro-bind", str(source), str(INSIDE / place)]
    for source, place in view.copied.items():
        command += ["--ro-bind", str(source), str(ORIGINALS / place)]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(INSIDE / "notebooks")]
    for name, value in build_environment(INSIDE).items():
        command += ["--setenv", name, value]
    return command


def _limited(place: str) -> list[str]:
    return ["--size", str(LARGEST_PART), "--tmpfs", place]


@cache
def find_environment() -> tuple[Path, ...]:
    """Return the folders of Python and its packages that do not lie in /usr."""
    folders: list[Path] = []
    candidates = [sys.base_prefix, sys.prefix, sys.base_exec_prefix, sys.exec_prefix]
    candidates += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    for candidate in candidates:
        folder = Path(candidate)
        is_known = any(folder.is_relative_to(known) for known in [Path(os.sep, "usr"), *folders])
        if folder.is_dir() and not is_known:
            folders.append(folder)
    return tuple(folders)


@cache
def find_installed_copies() -> tuple[Path, ...]:
    """Return the folders where the workbook is installed as a copy, which holds the solutions."""
    packages = [Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return tuple(folder / "helpers" for folder in packages if (folder / "helpers").is_dir())


def build_environment(workbook: Path) -> dict[str, str]:
    """Return the environment variables of an attempt; nothing of the instructor's is among them."""
    home = "/home" if workbook == INSIDE else str(workbook / "tmp")
    temporary = "/tmp" if workbook == INSIDE else str(workbook / "tmp")
    user = [path for path in sys.path if path == site.getusersitepackages()]
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join([str(workbook), *user]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "HOME": home,
        "USER": "student",
        "LOGNAME": "student",
        "LANG": "C.UTF-8",
        **{name: temporary for name in ("TMPDIR", "TEMP", "TMP", "IPYTHONDIR")},
        "MPLCONFIGDIR": str(workbook / FONTS),
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        paths.PROFILE_VARIABLE: "smoke",
    }


@cache
def _get_launcher(process: int) -> ThreadPoolExecutor:
    """Return the thread that starts all sandboxes of this process (a fork of it needs another one)."""
    return ThreadPoolExecutor(1, thread_name_prefix="launcher")


def launch(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program from a thread that lives as long as this process.

    bubblewrap ends a sandbox with the *thread* that started it.
    """
    return _get_launcher(os.getpid()).submit(partial(subprocess.Popen, command, **options)).result()


class Process:
    """A program in a sandbox; requests and replies are JSON objects, one per line."""

    def __init__(self, view: View, limits: Limits, stop: threading.Event | None = None) -> None:
        """Start the program.

        Args:
            view: files that it sees.
            stop: an event that ends the waiting for replies.

        Raises:
            AttemptEnded: it cannot be started.
        """
        self.limits, self.stop = limits, stop or threading.Event()
        self.kind, _ = find_sandbox()
        self._mark = uuid4().hex
        self._folder: tempfile.TemporaryDirectory | None = None
        self._waiting = bytearray()
        program = [sys.executable, "-m", "helpers.tasks.attempt"]
        self.copies: list[tuple[str, str]] = []
        try:
            if self.kind == BUBBLEWRAP:
                self.copies = [(str(ORIGINALS / place), place) for place in view.copied.values()]
                # The attempt can read the environment of bubblewrap itself in /proc/1/environ.
                variables = {"PATH": os.environ.get("PATH", os.defpath)}
                self._process = self._start([*build_command(view), *program], variables)
            else:
                folder = self._make_workbook(view)
                variables = build_environment(folder) | {_MARK: self._mark}
                self._process = self._start(program, variables, folder / "notebooks")
        except OSError as error:
            self._remove_folder()
            raise AttemptEnded(f"no process: {error}") from error

    def _start(
        self, command: Sequence[str], variables: Mapping[str, str], folder: Path | None = None
    ) -> subprocess.Popen[bytes]:
        return launch(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=variables,
            start_new_session=True,
        )

    def _make_workbook(self, view: View) -> Path:
        """Copy the files of a view into a temporary folder, for a plain process."""
        if not hasattr(os, "fork"):
            raise OSError("grading needs Linux or macOS; on Windows use the container of docs/instructors.md")
        self._folder = tempfile.TemporaryDirectory(prefix="workbook_", ignore_cleanup_errors=True)
        folder = Path(self._folder.name).resolve()
        for source, place in {**view.fixed, **view.copied}.items():
            shutil.copytree(source, folder / place, dirs_exist_ok=True)
        for name in ("notebooks", "tmp", "data/runs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return folder

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request.

        Raises:
            AttemptEnded: the process has died, or does not read.
        """
        assert self._process.stdin is not None
        started = time.monotonic()
        timer = threading.Timer(START_LIMIT, self._kill)
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            if time.monotonic() - started >= START_LIMIT:
                raise AttemptEnded(
                    f"its process did not read its inputs within {START_LIMIT:g} s; "
                    "grade it again when the machine is less busy"
                ) from None
            raise AttemptEnded(f"its process died{self._read_errors()}") from None
        finally:
            timer.cancel()

    def receive(self, seconds: float) -> dict[str, Any]:
        """Return the next reply.

        Raises:
            AttemptEnded: the process died, used too much memory or too many processes, sent too much or no JSON, or
                did not reply within `seconds`.
            Stopped: the grader was told to stop.
        """
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline, measured = time.monotonic() + seconds, time.monotonic()
        while (end := self._waiting.find(b"\n")) < 0:
            if self.stop.is_set():
                raise Stopped
            if len(self._waiting) > LARGEST_LINE:
                raise AttemptEnded(f"it returned more than {LARGEST_LINE / 1e6:g} MB")
            readable, _, _ = select.select([descriptor], [], [], PATIENCE)
            if readable:
                part = os.read(descriptor, 1 << 20)
                if not part:
                    raise AttemptEnded(f"its process died{self._read_errors()}")
                self._waiting += part
            if time.monotonic() > deadline:
                raise AttemptEnded(f"it was still running after {seconds:g} s")
            if time.monotonic() - measured > INTERVAL:
                self._measure()
                measured = time.monotonic()
        line = bytes(self._waiting[:end])
        del self._waiting[: end + 1]
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            raise AttemptEnded("its reply is not JSON") from None
        if not isinstance(reply, dict):
            raise AttemptEnded("its reply is not a JSON object")
        return reply

    def _measure(self) -> None:
        """Check memory and number of processes."""
        processes = self.find_processes(with_strays=False)
        if len(processes) > NUM_PROCESSES:
            raise AttemptEnded(f"it started more than {NUM_PROCESSES} processes")
        size = _add_memory(processes, "rss")
        if size > self.limits.memory:  # shared memory is counted once per process there; the exact number is slow
            size = _add_memory(processes, "pss")
        if size > self.limits.memory:
            raise AttemptEnded(f"it took {size / 1e9:.1f} GB of memory")

    def find_processes(self, with_strays: bool = True) -> list[psutil.Process]:
        """Return the process and all that it started.

        Args:
            with_strays: whether to search the machine for processes that left it, which a sandbox prevents; it is slow.
        """
        try:
            root = psutil.Process(self._process.pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            processes = []
        if self.kind == PLAIN and with_strays:
            known = {process.pid for process in processes}
            processes += [
                process
                for process in psutil.process_iter()
                if process.pid not in known and _read_environment(process).get(_MARK) == self._mark
            ]
        return processes

    def _read_errors(self) -> str:
        """Return what a process that has ended wrote to standard error, as a part of a message."""
        assert self._process.stderr is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        os.set_blocking(self._process.stderr.fileno(), False)
        text = (self._process.stderr.read(4000) or b"").decode(errors="replace").strip()
        return f": {shorten(text.splitlines()[-1], 200)}" if text else ""

    def _kill(self) -> list[psutil.Process]:
        """Kill the process and all that it started, and return them."""
        processes = self.find_processes()
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return processes

    def close(self) -> None:
        """End the process and all that it started, and remove its files."""
        processes = self._kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        deadline = time.monotonic() + 10
        while any(map(_is_alive, processes)) and time.monotonic() < deadline:
            time.sleep(0.005)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


@contextlib.contextmanager
def open_process(view: View, limits: Limits, stop: threading.Event | None = None) -> Iterator[Process]:
    """Start a process, and end it with the block."""
    process = Process(view, limits, stop)
    try:
        yield process
    finally:
        process.close()


def _read_environment(process: psutil.Process) -> dict[str, str]:
    """Return the environment a process was started with; empty where it may not be read."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _add_memory(processes: Sequence[psutil.Process], kind: str) -> int:
    """Return the bytes of all processes together, counted as `rss` or as `pss`."""
    size = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            information = process.memory_info() if kind == "rss" else process.memory_full_info()
            size += getattr(information, kind, 0) or information.rss
    return size


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process has not ended; one that its parent has not asked about yet has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def require_fork() -> None:
    """Check that this system can grade at all.

    Raises:
        LessonFailed: it cannot.
    """
    if not hasattr(os, "fork"):
        raise LessonFailed("grading needs Linux or macOS; on Windows use the container of docs/instructors.md")
