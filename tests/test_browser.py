"""Every lesson in a real JupyterLab and a real browser: it runs without a fault, and keys move its explorers.

The lessons run at the profile of the environment and use the models that an earlier run has trained. The files in
`data/runs/browser/` are a picture of every explorer, and the milliseconds from each key press to the changed picture.

With `-n 2 --dist loadgroup` two lessons are open at a time. Each process has its own JupyterLab; `tests/conftest.py`
keeps the tests of a lesson, and the lesson that loads its models, in one process.
"""

import json

import pytest

from helpers import files, paths
from helpers.course import lessons

playwright = pytest.importorskip("playwright", reason="no playwright: pip install -e .[test]")
from benchmarks import browser  # noqa: E402 - it needs playwright

PICTURES = paths.RUNS / "browser"
LESSONS = lessons.find_lessons()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab in a browser, one per test process."""
    if browser.find_browser() is None:
        pytest.skip(browser.HOW_TO_GET_A_BROWSER)
    with browser.open_lab(tmp_path_factory.mktemp("lab"), LESSONS) as lab:
        yield lab


@pytest.fixture(scope="module", params=[path.stem for path in LESSONS])
def stem(request, lab):
    """Name of the lesson that is open in `lab`, all its cells run."""
    lab.run(request.param)
    yield request.param
    lab.close()


def test_a_lesson_has_no_error_no_warning_and_no_missing_picture(stem, lab):
    assert lab.find_faults() == []


def test_a_lesson_has_explorers_whose_labels_are_complete_and_whose_controls_tab_reaches(stem, lab):
    explorers = lab.find_explorers()
    assert explorers
    assert [flaw for explorer in explorers for flaw in explorer.find_flaws()] == []


def test_every_control_moves_its_picture_by_keyboard_and_moves_it_back(stem, lab):
    times = {}
    for number, explorer in enumerate(lab.find_explorers(), start=1):
        explorer.save_screenshot(PICTURES / f"{stem[:2]}_explorer_{number}.png")
        before = explorer.read_picture()
        for control in explorer.controls:
            value = control.read()
            changes = explorer.move(control, num_presses=3)
            assert changes, f"{control.label!r} changes nothing in the picture of explorer {number}"
            state = control.read(), explorer.read_picture()
            comes_back = state == (value, before)  # not in the assertion: pytest would compare for minutes
            assert comes_back, f"{control.label!r} of explorer {number} does not come back"
            times.setdefault(f"explorer {number}", []).extend(map(round, changes))
    files.write_text(PICTURES / f"{stem[:2]}_milliseconds.json", json.dumps(times, indent=2) + "\n")
