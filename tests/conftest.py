"""Settings of pytest for the tests: shapes in signatures of `helpers` are checked, and each test leaves nothing behind.

The hook works on modules that are imported after it, so no module of `helpers` may be imported before it.
"""

import os
import sys

import pytest
from jaxtyping import install_import_hook

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


def find_variables() -> dict[str, str]:
    """Return the environment's variables `WORKBOOK_…`."""
    return {name: value for name, value in os.environ.items() if name.startswith("WORKBOOK_")}
