"""Summary of finished runs for the terminal: the places of their files and their first numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.course.lessons import RESULTS, read_results, shorten, show

HEADLINES = 8  # metrics shown per lesson; a notebook saves its headline numbers first


def summarise(executed: Sequence[Path]) -> str:
    """Return for each run the places of its notebook, results and figures, and its headline numbers.

    Raises:
        LessonFailed: the results of a run are missing or damaged.
    """
    lines = []
    for path in executed:
        results = read_results(path.with_name(RESULTS))
        num_figures = len(list((path.parent / "figures").glob("*.png")))
        lines += ["", f"{path.stem} · {results.profile} · seed {results.seed} · {results.device}"]
        lines += [f"  notebook  {show(path)}", f"  results   {show(path.with_name(RESULTS))}"]
        if num_figures:
            lines.append(f"  figures   {show(path.parent / 'figures')}/ ({num_figures})")
        metrics = list(results.metrics.items())
        lines += [f"    {name:<36} {_show_number(value)}" for name, value in metrics[:HEADLINES]]
        if len(metrics) > HEADLINES:
            lines.append(f"    … and {len(metrics) - HEADLINES} more in {RESULTS}")
    return "\n".join(lines)


def _show_number(value: object) -> str:
    """Return a number with four digits, in a column of ten characters; anything else as short text."""
    return f"{value:10.4g}" if isinstance(value, int | float) else f"{shorten(value, 40):>10}"
