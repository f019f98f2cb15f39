"""Child processes of an attempt: work that runs in a fork of this process, with limits of time and memory.

Modules that this process has imported are at hand in the child at once. Whatever the child does to itself (it hangs,
ends, fills its memory, replaces functions) does not reach this process, and processes that it leaves behind are ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

LARGEST_REPLY = 8_000_000
"""Bytes that a child may send; JSON takes up to 40 times as much memory."""
INTERVAL = 0.5  # seconds between two measurements of memory
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux

Send = Callable[[Any], None]
"""Function of a child that sends a value that JSON can hold."""


@dataclass(frozen=True)
class Reply:
    """What a child sent until it ended."""

    values: list[Any]  # in order
    problem: str  # why it did not end by itself, or ""


def adopt_orphans() -> None:
    """Let this process be the parent of its descendants whose own parent has ended, so that it finds them (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def run_in_child(work: Callable[[Send], None], seconds: float, memory: float) -> Reply:
    """Run `work(send)` in a fork of this process, and return what it sent.

    Args:
        seconds: after which the child is killed.
        memory: bytes that all processes below this one may use together.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work_and_exit(work, writer)
    os.close(writer)
    os.set_blocking(reader, False)
    try:
        data, problem = _wait(child, reader, seconds, memory)
    finally:
        os.close(reader)
        end_descendants()
    return Reply(_parse(data), problem)


def _work_and_exit(work: Callable[[Send], None], writer: int) -> None:
    """Run the work of a child; this function does not return."""

    def send(value: Any) -> None:
        data = json.dumps(value).encode() + b"\n"
        while data:
            data = data[os.write(writer, data) :]

    status = 1
    try:
        work(send)
        status = 0
    finally:
        os._exit(status)  # no handler of the student's code runs, and no thread is waited for


def _wait(child: int, reader: int, seconds: float, memory: float) -> tuple[bytes, str]:
    """Return what the child has sent until it ended, and why it was ended."""
    data = bytearray()
    started = measured = time.monotonic()
    status: int | None = None  # of the child, once it has ended
    while True:
        readable, _, _ = select.select([reader], [], [], 0.02 if status is None else 0)
        part = b""
        if readable:
            with contextlib.suppress(BlockingIOError):
                part = os.read(reader, 1 << 20)
        data += part
        if len(data) > LARGEST_REPLY:
            return b"", f"it returned more than {LARGEST_REPLY / 1e6:g} MB"
        if part:
            continue
        if status is not None:  # and all that it wrote has been read
            return bytes(data), "" if status == 0 else "its process died"
        number, exit_status = os.waitpid(child, os.WNOHANG)
        if number:
            status = exit_status
        now = time.monotonic()
        if now - started > seconds:
            return bytes(data), f"it was still running after {seconds:g} s"
        if now - measured > INTERVAL:
            measured = now
            if (size := measure_memory()) > memory:
                return bytes(data), f"it took {size / 1e9:.1f} GB of memory"


def _parse(data: bytes) -> list[Any]:
    """Return the values in complete lines; what cannot be read ends the list."""
    values = []
    for line in data.split(b"\n")[:-1]:
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return values


def measure_memory() -> int:
    """Return the bytes that the processes below this one use, without the pages that they share with others."""
    size = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            size += process.memory_full_info().uss
    return size


def end_descendants() -> None:
    """Kill every process below this one, whatever its parent, session or environment."""
    for _ in range(200):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        descendants = psutil.Process().children(recursive=True)
        if not descendants:
            return
        for process in descendants:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.005)
