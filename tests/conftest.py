"""Settings of pytest: shapes in signatures are checked, tests leave nothing behind, tests of a lesson stay together.

The hook works on modules that are imported after it, so no module of `helpers` may be imported before it.
"""

import os
import signal
import sys
from typing import Any

import pytest
from jaxtyping import install_import_hook

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job; commands under test would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The numeric tower lets an int stand where a float is asked for: Python's typing rules do, beartype alone does not.
install_import_hook("helpers", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures of each test; pyplot is imported by the tests that draw, and not by this fixture."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(autouse=True)
def same_variables():
    """Fail a test that changes a variable `WORKBOOK_…` of the environment and does not restore it."""
    before = find_variables()
    yield
    after = find_variables()
    for name in before.keys() | after.keys():
        os.environ.pop(name, None)
    os.environ.update(before)
    assert after == before


@pytest.fixture
def float32(monkeypatch):
    """Let networks run in float32: bfloat16, where a CPU multiplies it, changes what a short training reaches."""
    import torch

    from helpers import runtime

    monkeypatch.setattr(runtime, "choose_precision", lambda device: torch.float32)


def find_variables() -> dict[str, str]:
    """Return the environment's variables `WORKBOOK_…`."""
    return {name: value for name, value in os.environ.items() if name.startswith("WORKBOOK_")}


COMPILING = (
    "tests/course/checks/test_catalogue.py",
    "tests/course/checks/test_cells.py",
    "tests/course/test_student_copy.py",
    "tests/test_student_copy.py",
    "tests/course/test_cli.py",
)
"""Files of tests that compile the checks of all tasks. In one process, this is done once."""
SLOWEST = (*COMPILING, "tests/course/test_site.py", "tests/course/test_grading.py", "tests/course/grid/test_plan.py")
"""Files that take longest. They come first, so that at the end no process waits for another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the slowest files to the front; the order is the same otherwise."""
    ranks = {name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: ranks.get(find_file(item.nodeid), len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler for `--dist loadgroup`, whose groups are those of `find_group`.

    The groups of xdist 3.8 have no effect with pytest 9.2: xdist writes them into node ids, which no longer change.
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return find_group(nodeid)

    return GroupScheduling(config, log) if config.getoption("dist") == "loadgroup" else None


def find_group(nodeid: str) -> str:
    """Return the group of a test. All tests of a group run in one process.

    In a browser it is a lesson with the lesson that loads its models. Otherwise it is a file, or the files that compile
    the checks.
    """
    from helpers.course.lessons import LOADS

    file = find_file(nodeid)
    if file == "tests/test_browser.py":
        number = nodeid.rpartition("[")[2][:2]
        return LOADS.get(number, number)
    return COMPILING[0] if file in COMPILING else file


def find_file(nodeid: str) -> str:
    """Return the file of a test."""
    return nodeid.partition("::")[0]
