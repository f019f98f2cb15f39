"""Sandbox: a process that runs a student's code, with limits of time, memory and file size.

It protects against accidents only: the code may read whatever the user may read, and code that is meant to deceive a
check in its own process can do so. Grade students whom you would not give an account in a container.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from subprocess import DEVNULL
from uuid import uuid4

import psutil
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from helpers import paths
from helpers.course.lessons import find_lessons, find_loaded, shorten

LONGEST_REMARK = 300  # characters of an error message in a table
LARGEST_MESSAGE = 10_000_000  # bytes of a kernel's reply, which contains the text of an error
LARGEST_FILE = 1_000_000_000  # bytes that an attempt may write into one file
START_LIMIT = 120.0  # seconds until a kernel replies for the first time
GRACE = 5.0  # seconds between an interrupt and the end of the process

_MARK = "WORKBOOK_ATTEMPT"  # environment variable of every process of an attempt: they are found and ended by it
_LIMIT_FILE_SIZE = f"""
try:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, ({LARGEST_FILE}, {LARGEST_FILE}))
except ImportError:
    pass  # not on Windows
"""


@dataclass(frozen=True)
class Limits:
    """Limits of one attempt."""

    cell: float = 120.0  # seconds for one solution or one check, which is then interrupted
    memory: float = 6e9  # bytes of all its processes together


DEFAULT_LIMITS = Limits()


class AttemptEnded(Exception):
    """An attempt's process died, hung or used too much memory; the message says which."""


def make_workbook(folder: Path, stem: str) -> None:
    """Copy what lesson `stem` needs of the workbook into `folder`: helpers, data and trained models.

    Each attempt gets a copy of its own, so that code of one student cannot change the files of another one.
    """
    rubbish = shutil.ignore_patterns("__pycache__", "try_it", "figures", "*.ipynb", "results.json")
    shutil.copytree(paths.ROOT / "helpers", folder / "helpers", ignore=rubbish)
    lesson = next((path for path in find_lessons() if path.stem == stem), None)
    needed = [] if lesson is None else [lesson, find_loaded(lesson, find_lessons())]
    runs = [paths.RUNS / path.stem / "smoke" for path in needed if path is not None]
    for data in (paths.HANDOUT, paths.DATA / "house_numbers", *runs):
        if data.exists():
            shutil.copytree(data, folder / data.relative_to(paths.ROOT), ignore=rubbish)
    (folder / "notebooks").mkdir()
    (folder / "tmp").mkdir()


class Attempt:
    """A kernel that runs the cells of one attempt in a folder of its own."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Start the kernel.

        Args:
            folder: a workbook written by `make_workbook`; the kernel imports from it.

        Raises:
            AttemptEnded: the kernel does not reply.
        """
        self.limits, self._mark = limits, uuid4().hex
        temporary = {name: str(folder / "tmp") for name in ("TMPDIR", "TEMP", "TMP", "IPYTHONDIR")}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WORKBOOK_")}
        environment |= temporary | {_MARK: self._mark, paths.PROFILE_VARIABLE: "smoke", "MPLBACKEND": "agg"}
        environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        encryption = Config(KernelManager={"transport_encryption": "auto"})  # or each start prints a warning
        self._manager = KernelManager(kernel_name="python3", config=encryption)
        self._context = zmq.Context()
        self._context.maxmsgsize = LARGEST_MESSAGE  # the text of an error can be as large as the memory
        self._client: BlockingKernelClient = self._manager.client(context=self._context)
        try:
            self._manager.start_kernel(cwd=str(folder / "notebooks"), env=environment, stdout=DEVNULL, stderr=DEVNULL)
            self._client.load_connection_info(self._manager.get_connection_info())
            # Only replies are read. Printed output is not subscribed to, so its amount does not matter.
            self._client.start_channels(iopub=False, stdin=False, hb=False)
            self._wait(self._client.kernel_info(), START_LIMIT)
            self.run(_LIMIT_FILE_SIZE, START_LIMIT)
        except Exception as error:
            self.close()
            raise AttemptEnded(f"no kernel: {error}") from error

    def run(self, source: str, limit: float) -> str:
        """Run a cell; return "" if it ran to its end, else the error that stopped it.

        Raises:
            AttemptEnded: the process died, used too much memory, or could not be interrupted after `limit` seconds.
        """
        message = self._client.execute(source, allow_stdin=False, stop_on_error=False)
        try:
            content = self._wait(message, limit)
        except TimeoutError:
            self._manager.interrupt_kernel()
            try:
                self._wait(message, GRACE)
            except TimeoutError:
                raise AttemptEnded(f"it was still running after {limit:g} s, and would not be interrupted") from None
            return f"it was still running after {limit:g} s"
        if content["status"] == "ok":
            return ""
        problem = f"{content.get('ename', 'Error')}: {content.get('evalue', content['status'])}"
        return shorten(problem[: 10 * LONGEST_REMARK], LONGEST_REMARK)

    def _wait(self, message: str, limit: float) -> dict:
        """Return the content of the kernel's reply to a message."""
        deadline = time.monotonic() + limit
        while True:
            try:
                reply = self._client.get_shell_msg(timeout=min(0.5, max(0.01, deadline - time.monotonic())))
                if reply["parent_header"].get("msg_id") == message:
                    return reply["content"]
            except Empty:
                if not self._manager.is_alive():
                    raise AttemptEnded("its process died") from None
                if (size := self._measure_memory()) > self.limits.memory:
                    raise AttemptEnded(f"it took {size / 1e9:.1f} GB of memory") from None
                if time.monotonic() > deadline:
                    raise TimeoutError from None

    def _measure_memory(self) -> int:
        """Return the bytes in memory of the attempt's processes together."""
        size = 0
        for process in self._find_processes():
            try:
                size += process.memory_info().rss
            except psutil.Error:
                continue
        return size

    def _find_processes(self) -> list[psutil.Process]:
        """Return the kernel and all processes that it started, including those that left its process group."""
        return [process for process in psutil.process_iter() if _read_environment(process).get(_MARK) == self._mark]

    def close(self) -> None:
        """End the kernel and all processes that it started."""
        self._client.stop_channels()
        self._context.destroy(linger=0)
        for process in self._find_processes():
            try:
                process.kill()
            except psutil.Error:
                continue
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)


def _read_environment(process: psutil.Process) -> dict[str, str]:
    """Return the environment a process was started with; empty where it may not be read."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}
