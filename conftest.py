"""Settings of pytest for the notebooks: the smallest budget, the order of lessons, and three fixes of nbval 0.11.

This file is in the root folder because `pytest --nbval notebooks/` reads no other one, `tests/conftest.py` included.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbFile

_get_message = RunningKernel.get_message


def pytest_configure() -> None:
    """Chooses the smoke budget unless another is asked for, and repairs nbval's kernel."""
    os.environ.setdefault("WORKBOOK_PROFILE", "smoke")  # by its name: helpers are imported after the shape checker
    RunningKernel.get_message = get_message_from_a_living_kernel
    RunningKernel.execute_cell_input = execute_with_history


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler for `--dist loadfile` in which a lesson follows the lesson whose models it loads.

    Both go to one process, in the order of their names: two at a time would train the same models in the same folder.
    """
    from xdist.scheduler import LoadFileScheduling

    class LessonScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return find_group(super()._split_scope(nodeid))

    return LessonScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def find_group(file: str) -> str:
    """Return the name shared by the test files that one process runs in order: for a lesson the lesson it loads."""
    path = Path(file)
    if path.suffix != ".ipynb":
        return file
    from helpers.course.lessons import find_loaded

    loaded = find_loaded(path, sorted(path.parent.glob("*.ipynb")))
    return (loaded or path).as_posix()


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leaves standard error out of the comparison: warnings and text progress bars name processes, paths and rates."""
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += ("stderr",)


def get_message_from_a_living_kernel(kernel: RunningKernel, stream: str, timeout: float | None = None) -> dict:
    """Returns the next message; nbval would wait for a killed kernel until the cell's timeout.

    Raises:
        Empty: nothing came within `timeout` seconds.
        RuntimeError: nothing will come, the kernel is dead.
    """
    deadline = time.monotonic() + (math.inf if timeout is None else timeout)
    while True:
        try:
            return _get_message(kernel, stream, timeout=min(1.0, max(0.0, deadline - time.monotonic())))
        except Empty:
            if not kernel.is_alive():
                raise RuntimeError("the kernel died in this cell (out of memory?)") from None
            if time.monotonic() >= deadline:
                raise


def execute_with_history(kernel: RunningKernel, source: str, allow_stdin: bool | None = None) -> str:
    """Returns the id of the execution request; without history IPython ignores a trailing `;` and knows no `_`."""
    return kernel.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)
