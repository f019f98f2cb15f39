"""What pytest needs for the notebooks: the smallest budget, and three repairs of nbval 0.11.

It stands in the root folder because `pytest --nbval notebooks/` reads no other: `tests/conftest.py` is not on its way.
"""

from __future__ import annotations

import math
import os
import time
from queue import Empty

import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbFile

_get_message = RunningKernel.get_message


def pytest_configure() -> None:
    """Chooses the smoke budget unless another is asked for, and repairs nbval's kernel."""
    os.environ.setdefault("WORKBOOK_PROFILE", "smoke")  # by its name: helpers are imported after the shape checker
    RunningKernel.get_message = get_message_from_a_living_kernel
    RunningKernel.execute_cell_input = execute_with_history


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
