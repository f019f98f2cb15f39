"""Tables of keypoint results: metrics of each method as means over its seeds, with intervals over the images.

A method is a name and the predicted points of one or several seeds, for the same M images. Columns are those of
`metrics.evaluate_points`; tables show them under the names of `describe_column`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from helpers.intervals import bootstrap_difference, bootstrap_mean
from helpers.keypoints.metrics import IS_HAND, compute_correctness, compute_errors, evaluate_points

Seeds = Sequence[Float[Tensor, "M 5 2"]]
"""Predicted points of one method, (x, y) pixels, one tensor per seed."""


def describe_column(column: str) -> str:
    """Return the heading of a column of `metrics.evaluate_points`, with its unit.

    Raises:
        ValueError: there is no such column.
    """
    kind, _, threshold = column.partition("@")
    headings = {
        "pck": f"raw PCK@{threshold}",
        "pck_swap": f"swap-invariant PCK@{threshold}",
        "error": "error (px)",
        "error_swap": "swap-invariant error (px)",
        "error_head_feet": "error of head and feet (px)",
    }
    if kind not in headings or kind.startswith("pck") != bool(threshold):
        raise ValueError(f"{column!r} is no column of evaluate_points; one is 'pck@0.05', another 'error_head_feet'")
    return headings[kind]


def average_seeds(seeds: Seeds, true: Float[Tensor, "M 5 2"]) -> dict[str, float]:
    """Return every column of `metrics.evaluate_points` as the mean over the seeds."""
    rows = pd.DataFrame([evaluate_points(points, true) for points in seeds])
    return rows.mean().to_dict()


def measure_images(seeds: Seeds, true: Float[Tensor, "M 5 2"], column: str) -> Float[np.ndarray, "M points"]:
    """Return the values of each image whose mean over all images is the number in `column`, averaged over the seeds.

    They are shares of seeds in which a point is correct, or errors in pixels.
    """
    kind, _, threshold = column.partition("@")
    permutation_invariant = kind.endswith("_swap")
    values = []
    for points in seeds:
        if threshold:
            correct = compute_correctness(points, true, float(threshold), permutation_invariant=permutation_invariant)
            values.append(correct.double())
        else:
            values.append(compute_errors(points, true, permutation_invariant))
    mean = torch.stack(values).mean(0)
    return (mean[:, ~IS_HAND] if kind == "error_head_feet" else mean).numpy()


def tabulate_points(
    predicted: Mapping[str, Seeds], true: Float[Tensor, "M 5 2"], columns: Sequence[str], intervals: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a row per method and a column per metric.

    Args:
        predicted: the seeds of each method.
        true: (x, y) pixels.
        columns: of `metrics.evaluate_points`.
        intervals: those columns whose numbers are followed by their 95 % interval over the images.
    """
    rows = {}
    for name, seeds in predicted.items():
        averages = average_seeds(seeds, true)
        row: dict[str, float | str] = {}
        for column in columns:
            interval = str(bootstrap_mean(measure_images(seeds, true, column))) if column in intervals else ""
            row[describe_column(column)] = interval or averages[column]
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def compare_points(
    predicted: Mapping[str, Seeds],
    true: Float[Tensor, "M 5 2"],
    pairs: Sequence[tuple[str, str]],
    columns: Sequence[str],
) -> pd.DataFrame:
    """Return a row per pair of methods with the difference, second minus first, and its 95 % interval.

    Both methods of a pair are measured on the same images, so the differences are paired.

    Args:
        pairs: names of two methods each.
        columns: of `metrics.evaluate_points`.
    """
    rows = []
    for first, second in pairs:
        row = {"from": first, "to": second}
        for column in columns:
            before = measure_images(predicted[first], true, column)
            after = measure_images(predicted[second], true, column)
            row[f"change of {describe_column(column)}"] = str(bootstrap_difference(after, before))
        rows.append(row)
    return pd.DataFrame(rows).set_index(["from", "to"])
