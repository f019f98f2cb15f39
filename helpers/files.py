"""Files that are written whole or not at all, and locks between processes.

PyTorch is not imported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

DISK_REASONS = {
    errno.ENOSPC: "not written, because the disk is full (No space left on device): free some space and run it again",
    errno.EDQUOT: "not written, because your disk quota is used up: free some space and run it again",
    errno.EROFS: "not written, because the disk is read-only: choose a folder on another disk",
}
"""Text of a message, in place of the operating system's."""


@contextlib.contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it at the end, so that `path` is whole or absent.

    After an exception the temporary file is removed and `path` is left as it was.

    Raises:
        OSError: the file cannot be written; the error names `path`, and a full or read-only disk as the reason.
    """
    with name_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o644)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replace_when_complete(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def name_disk_errors(path: Path) -> Iterator[None]:
    """Raise the error of a full or read-only disk again, with `path` and the reason in plain words.

    Raises:
        OSError: with the same `errno`, `path` as its file name, and the text of `DISK_REASONS`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_REASONS or error.strerror in DISK_REASONS.values():
            raise
        raise OSError(error.errno, DISK_REASONS[error.errno], str(path)) from error


@contextlib.contextmanager
def hold_lock(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock file `path`, which one process at a time can hold; wait until no other process holds it.

    The operating system frees the lock of a process that ends in any way. The file is removed at the end.

    Args:
        waiting: printed to standard error once if another process holds the lock.

    Raises:
        OSError: the lock file cannot be made.
    """
    with name_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            print(waiting, file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        # A process that waits notices that its file was removed, and makes a new one. Windows removes no open file;
        # there the next line fails and the last one removes it.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
