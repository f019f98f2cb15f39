"""Published results of long comparisons: `results/<name>.json`, as tables for lessons and pages.

`workbook study` makes the files (`helpers.course.studies`). Each holds one record per training: variant, seed, epochs,
optimiser updates, training images, the numbers on the reported split, and a row per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from helpers import paths, records
from helpers.intervals import LEVEL

SCHEMA = {
    "type": "object",
    "required": ["runs"],
    "properties": {
        "runs": records.list_of(
            "run",
            {
                "variant": {"type": "string", "description": "the name of a recipe"},
                "seed": {"type": "integer", "description": "a whole number"},
                "epochs": {"type": "integer", "description": "a whole number"},
                "updates": {"type": "integer", "description": "the number of optimiser updates"},
                "images": {"type": "integer", "description": "the number of training images"},
                "metrics": {"type": "object", "description": "an object with a number per metric"},
                "history": {"type": "array", "description": "a list with an object per epoch"},
            },
        )
    },
}
REMEDY = "Remedy: restore it from the repository, or make it again with `workbook study {name}`"


def read_document(name: str) -> dict[str, Any]:
    """Return everything in `results/<name>.json`: question, command, device, commit and `runs`.

    Raises:
        DatasetError: the file is missing, or is no file of results.
    """
    path = paths.RESULTS / f"{name}.json"
    records.require_file(path, "file of results", REMEDY.format(name=name))
    return records.read_document(path, SCHEMA)


def read_runs(name: str) -> pd.DataFrame:
    """Return one row per training of study `name`: variant, seed, epochs, updates, images, and each metric."""
    rows = []
    for run in read_document(name)["runs"]:
        columns = {column: run[column] for column in ("variant", "seed", "epochs", "updates", "images")}
        rows.append(columns | run["metrics"])
    return pd.DataFrame(rows)


def read_histories(name: str) -> pd.DataFrame:
    """Return one row per epoch of each training of study `name`: variant, seed, epoch, losses and selection metrics."""
    rows = []
    for run in read_document(name)["runs"]:
        for epoch in run["history"]:
            rows.append({"variant": run["variant"], "seed": run["seed"], **epoch})
    return pd.DataFrame(rows)


def summarise(runs: pd.DataFrame, metric: str, baseline: str, variants: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a row per variant: seeds, updates, mean, lowest, highest, and the difference to `baseline`.

    The difference is paired: the value of a variant minus that of the baseline, both trained from the same seed. `low`
    and `high` enclose the mean difference with 95 % confidence (Student's t over the seeds; NaN for a single seed).

    Args:
        runs: from `read_runs`.
        metric: a column of `runs`.
        baseline: the variant that the others are compared with.
        variants: those to show, in this order (default: all).

    Raises:
        ValueError: there is no such variant or metric.
    """
    by_variant = {variant: rows.set_index("seed") for variant, rows in runs.groupby("variant", sort=False)}
    for variant in (baseline, *(variants or ())):
        if variant not in by_variant:
            raise ValueError(f"the results have no variant {variant!r}; they have {', '.join(map(str, by_variant))}")
    if metric not in runs.columns:
        raise ValueError(f"the results have no metric {metric!r}; they have {', '.join(map(str, runs.columns))}")
    table = []
    for variant in variants or by_variant:
        rows = by_variant[variant]
        differences = (rows[metric] - by_variant[baseline][metric]).dropna()
        low, high = _confidence(differences.to_numpy())
        table.append(
            {
                "variant": variant,
                "seeds": len(rows),
                "updates": int(rows["updates"].iloc[0]),
                "mean": rows[metric].mean(),
                "lowest": rows[metric].min(),
                "highest": rows[metric].max(),
                "difference": differences.mean(),
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(table).set_index("variant")


def format_markdown(table: pd.DataFrame) -> str:
    """Return a table of `summarise` as Markdown, for pages: mean with range, difference with interval."""
    lines = ["| variant | seeds | updates | mean (lowest to highest) | difference (95 % interval) |"]
    lines.append("|---|---|---|---|---|")
    columns = table[["seeds", "updates", "mean", "lowest", "highest", "difference", "low", "high"]]
    for variant, numbers in zip(columns.index, columns.to_numpy(dtype=float), strict=True):
        seeds, updates, mean, lowest, highest, mean_difference, low, high = numbers.tolist()
        values = f"{mean:.3f} ({lowest:.3f} to {highest:.3f})"
        difference = f"{mean_difference:+z.3f}"
        if math.isfinite(low):
            difference += f" ({low:+z.3f} to {high:+z.3f})"
        if mean_difference == 0 and low == 0:
            difference = "–"  # the baseline
        lines.append(f"| {variant} | {seeds:.0f} | {updates:.0f} | {values} | {difference} |")
    return "\n".join(lines) + "\n"


def _confidence(differences: np.ndarray) -> tuple[float, float]:
    """Return the borders of the 95 % confidence interval of the mean difference; without any spread, both are it."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    error = stats.sem(differences)
    if error == 0:
        return float(differences.mean()), float(differences.mean())
    low, high = stats.t.interval(LEVEL, len(differences) - 1, loc=differences.mean(), scale=error)
    return float(low), float(high)
