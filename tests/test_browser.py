"""Every lesson in a real JupyterLab and a real browser: it runs without a blemish, and its explorers follow the keys.

The lessons run at the profile in force and find what an earlier run has trained. What is seen is kept in
`data/runs/browser/`: a picture of every explorer, and the milliseconds from each press of a key to the changed picture.
"""

import json

import pytest

from helpers import files, paths
from helpers.course import lessons

playwright = pytest.importorskip("playwright", reason="no playwright: pip install -e .[test]")
from benchmarks import browser  # noqa: E402 - it needs playwright

SEEN = paths.RUNS / "browser"
STEMS = [path.stem for path in lessons.find_lessons()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if browser.find_browser() is None:
        pytest.skip(browser.HOW_TO_GET_A_BROWSER)
    with browser.open_lab(tmp_path_factory.mktemp("lab"), lessons.find_lessons()) as lab:
        yield lab


@pytest.fixture(scope="module", params=STEMS)
def stem(request, lab):
    """The lesson that is open in `lab`, all its cells run."""
    lab.run(request.param)
    yield request.param
    lab.close()


def test_a_reader_finds_no_error_no_warning_and_nothing_missing(stem, lab):
    assert lab.find_faults() == []


def test_a_lesson_has_explorers_whose_labels_are_whole_and_whose_controls_tab_reaches(stem, lab):
    explorers = lab.find_explorers()
    assert explorers
    assert [flaw for explorer in explorers for flaw in explorer.find_flaws()] == []


def test_every_control_moves_its_picture_by_keyboard_and_moves_it_back(stem, lab):
    times = {}
    for number, explorer in enumerate(lab.find_explorers(), start=1):
        explorer.save_screenshot(SEEN / f"{stem[:2]}_explorer_{number}.png")
        before = explorer.read_picture()
        for control in explorer.controls:
            value = control.read()
            moved = explorer.move(control, num_presses=3)
            assert moved, f"{control.label!r} changes nothing in the picture of explorer {number}"
            assert (control.read(), explorer.read_picture()) == (value, before), f"{control.label!r} does not come back"
            times.setdefault(f"explorer {number}", []).extend(map(round, moved))
    files.write_text(SEEN / f"{stem[:2]}_milliseconds.json", json.dumps(times, indent=2) + "\n")
