"""Milliseconds from a press of a key to the changed picture, for explorers in JupyterLab and for published ones.

python -m benchmarks.explorers
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from unittest import mock

from playwright.sync_api import sync_playwright

from benchmarks import browser
from helpers import files, paths
from helpers.course import lessons

NUM_PRESSES = 8  # of each control, there and back


def measure() -> dict[str, float]:
    """Return the median and the 95th percentile of each explorer, and the largest of both; nothing without a browser.

    The lessons run at smoke unless WORKBOOK_PROFILE is set: their explorers draw as much at every budget.
    """
    if browser.find_browser() is None:
        print(browser.HOW_TO_GET_A_BROWSER)
        return {}
    profile = os.environ.get(paths.PROFILE_VARIABLE, "smoke")
    lesson_paths = lessons.find_lessons()
    results = {}
    with (
        mock.patch.dict(os.environ, {paths.PROFILE_VARIABLE: profile}),
        tempfile.TemporaryDirectory() as folder,
        browser.open_lab(Path(folder), lesson_paths) as lab,
    ):
        for path in lesson_paths:
            lab.run(path.stem)
            for number, explorer in enumerate(lab.find_explorers(), start=1):
                times = [time for control in explorer.controls for time in explorer.move(control, NUM_PRESSES)]
                name = f"explorers.{path.stem[:2]}_{number}"
                results[f"{name}_median_ms"] = statistics.median(times)
                results[f"{name}_95_percent_ms"] = statistics.quantiles(times, n=20)[-1]
            lab.close()
    largest = {
        f"explorers.largest_{name}": max(value for key, value in results.items() if key.endswith(name))
        for name in ("median_ms", "95_percent_ms")
    }
    return results | largest | measure_fragments(lessons.FIGURES / "explorers")


def measure_fragments(folder: Path) -> dict[str, float]:
    """Return the median of each explorer without a kernel in `folder`, and the largest; nothing if there is none.

    A page from disk holds one explorer at a time.
    """
    program = browser.find_browser()
    results: dict[str, float] = {}
    if program is None:
        return results
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        chromium = playwright.chromium.launch(executable_path=program)
        page = chromium.new_page(viewport=browser.VIEW)
        for path in sorted(folder.glob("*.html")):
            file = Path(temporary) / path.name
            files.write_text(file, f"<!DOCTYPE html><meta charset='utf-8'>{path.read_text(encoding='utf-8')}")
            page.goto(file.as_uri())
            (fragment,) = browser.find_fragments(page)
            times = [time for control in fragment.controls for time in fragment.move(control)]
            results[f"explorers.without_kernel_{path.stem}_median_ms"] = statistics.median(times)
        chromium.close()
    if results:
        results["explorers.largest_without_kernel_ms"] = max(results.values())
    return results


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:34} {value:.0f}")
