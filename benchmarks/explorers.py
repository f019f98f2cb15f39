"""Milliseconds from a press of a key to the changed picture on screen, for every explorer of every lesson.

python -m benchmarks.explorers
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from unittest import mock

from benchmarks import browser
from helpers import paths
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
    return results | largest


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:34} {value:.0f}")
