"""Changes of nbval by the root conftest, on a notebook that nbval alone would fail or wait for."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.paths import ROOT


@pytest.fixture
def check(tmp_path):
    """Return a function that runs `pytest --nbval` on cells, each given as its source and its saved outputs."""

    def run(*cells: tuple[str, list]) -> str:
        path = tmp_path / "tiny.ipynb"
        numbered = enumerate(cells, start=1)
        saved = [new_code_cell(source, outputs=outputs, execution_count=n) for n, (source, outputs) in numbered]
        nbformat.write(new_notebook(cells=saved), path)
        options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", "-p", "conftest", "-rA", "--color=no"]
        environment = {name: value for name, value in os.environ.items() if name != "WORKBOOK_PROFILE"}
        return subprocess.run(
            [sys.executable, "-m", "pytest", *options, str(path)],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    return run


def test_a_notebook_runs_at_smoke_its_semicolons_count_and_its_warnings_are_not_compared(check):
    warning = new_output("stream", name="stderr", text="a warning of another process\n")
    profile = new_output("stream", name="stdout", text="smoke\n")
    report = check(
        ("import os, sys\nprint(os.environ['WORKBOOK_PROFILE'])", [profile]),
        ("1 + 1;", []),
        ("print('a warning of this process', file=sys.stderr)", [warning]),
    )
    assert "3 passed" in report


def test_a_fact_that_changed_still_fails(check):
    report = check(("print(1 + 1)", [new_output("stream", name="stdout", text="3\n")]))
    assert "1 failed" in report
    assert "Cell outputs differ" in report


def test_a_killed_kernel_fails_its_cell_long_before_the_timeout(check):
    report = check(("import os, signal", []), ("os.kill(os.getpid(), signal.SIGKILL)", []), ("1 + 1;", []))
    assert "2 failed, 1 passed" in report
    assert "the kernel died in this cell" in report


def test_side_by_side_a_lesson_follows_the_lesson_whose_models_it_loads(tmp_path):
    cell = new_code_cell("import time\ntime.sleep(0.5)", execution_count=1)
    for stem in ("03_third", "04_fourth", "05_fifth"):
        nbformat.write(new_notebook(cells=[cell]), tmp_path / f"{stem}.ipynb")
    options = ["--nbval", "--nbval-current-env", "-p", "conftest", "-n", "2", "--dist", "loadfile", "-v", "--color=no"]
    report = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    passed = re.findall(r"\[(gw\d)\].* PASSED (\d\d)_", report)
    processes = {lesson: process for process, lesson in passed}
    assert sorted(processes) == ["03", "04", "05"]
    assert processes["03"] == processes["04"] != processes["05"]
    order = [lesson for _, lesson in passed]
    assert order.index("03") < order.index("04")


def test_in_a_browser_a_lesson_and_the_lesson_that_loads_its_models_are_in_one_group(request):
    settings = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    names = ("03_a", "04_b", "07_c", "08_d", "05_e", "06_f")
    groups = [settings.find_group(f"tests/test_browser.py::test_x[{name}]") for name in names]
    assert groups == ["03", "03", "07", "07", "05", "06"]


def test_the_tests_of_a_file_are_in_one_group_and_so_are_the_files_that_compile_the_checks(request):
    settings = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert settings.find_group("tests/test_a.py::test_x") == "tests/test_a.py"
    assert settings.find_group("tests/test_a.py::test_x[03_a]") == "tests/test_a.py"
    assert len({settings.find_group(f"{file}::test_x") for file in settings.COMPILING}) == 1
    assert all((ROOT / file).is_file() for file in settings.SLOWEST)


def test_the_slowest_files_come_first_and_the_order_is_the_same_otherwise(request):
    settings = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    slow = [f"{settings.SLOWEST[0]}::test_{name}" for name in "ab"]
    items = [SimpleNamespace(nodeid=name) for name in ("tests/b.py::test_x", slow[0], "tests/a.py::test_x", slow[1])]
    settings.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == [*slow, "tests/b.py::test_x", "tests/a.py::test_x"]
