"""What sigma, resolution, skips and decoders buy: networks that differ in one thing, trained alike, in one table.

A run is one variant trained from one seed. Each decoder that can read a run's outputs makes a row of its own: reading
costs no training.

Shape letters: B batch, M images, K points, S seeds, R resolutions, C sigmas.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from helpers import files, training
from helpers.keypoints.codecs import Codec, Decoder, DSNTCodec, HeatmapCodec, generate_heatmap
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.loss import DSNT_SIGMA, KeypointLoss
from helpers.keypoints.metrics import IS_HAND, THRESHOLDS, compute_pck_per_point, evaluate_points
from helpers.keypoints.recipes import Localizer, Recipe, train_keypoints

RESOLUTIONS = (32, 64, 128)
SIGMAS = (1.0, 2.0, 3.0, 4.0)
TABLE = "ablations.csv"
JOINT, DSNT = "joint", "dsnt"
"""Stand in a table among the decoders: DARK with the hands explained together, and the mean of a map of logits."""

Row = dict[str, str | int | float | bool]
"""One reading of one run: what it is (variant … decoder), how good its points are and what its maps score by MSE."""
_PARSERS = {"variant": str, "size": int, "skips": "True".__eq__, "seed": int, "decoder": str, "epochs": int}


def vary_targets(
    base: Recipe, resolutions: Sequence[int] = RESOLUTIONS, sigmas: Sequence[float] = SIGMAS
) -> dict[str, Recipe]:
    """Returns `base` with heatmaps of every resolution × sigma; sigma is in cells, and so means other pixels on each.

    Source: section 2 of the assignment.
    """
    return {
        f"{size} cells, sigma {sigma:g}": replace(base, codec=HeatmapCodec(size, sigma), loss="mse")
        for size in resolutions
        for sigma in sigmas
    }


def remove_skips(variants: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Returns the same variants with decoders that read nothing but the backbone's last map."""
    return {f"{name}, no skips": replace(recipe, skips=False) for name, recipe in variants.items()}


def learn_by_expectation(base: Recipe, resolutions: Sequence[int]) -> dict[str, Recipe]:
    """Returns `base` trained through DSNT's decoder instead of through targets, at each resolution."""
    return {
        f"{size} cells, DSNT": replace(base, codec=DSNTCodec(size), loss="dsnt", empty_start=False)
        for size in resolutions
    }


def ablation_study(
    variants: Mapping[str, Recipe],
    num_seeds: int,
    train_set: KeypointDataset,
    selection_set: KeypointDataset,
    reported: KeypointDataset,
    folder: Path,
    device: torch.device,
) -> list[Row]:
    """Returns the rows of all variants, each trained from its own seed and those that follow: same data, same budget.

    `ablations.csv` in `folder` is written after every run, whole or not at all, and keeps the rows of earlier calls. A
    stopped study goes on where it was: a run that is there is loaded, and refused if it was made otherwise. All
    variants get their first seed before any gets its second, so that what is there can always be compared.

    Args:
        selection_set: figures that choose the best epoch.
        reported: figures that the rows are about; they choose nothing.

    Source: `ablation_study` in section 2 of the assignment.
    """
    rows: list[Row] = []
    for number in range(num_seeds):
        for name, recipe in variants.items():
            seed = recipe.training.seed + number
            recipe = replace(recipe, training=replace(recipe.training, seed=seed))
            own_folder = folder / training.variant_folder(name, seed)
            localizer = train_keypoints(recipe, train_set, selection_set, own_folder, device)
            new = evaluate_run(name, localizer, reported)
            others = [row for row in read_table(folder / TABLE) if (row["variant"], row["seed"]) != (name, seed)]
            write_table(folder / TABLE, others + new)
            rows += new
    return rows


def evaluate_run(variant: str, localizer: Localizer, reported: KeypointDataset) -> list[Row]:
    """Returns one row per decoder, all from the same outputs.

    `mse` is the loss that the network was trained for, and `mse_empty` what maps of zeros would score there. DSNT has
    no target, and neither of the two.
    """
    recipe, codec = localizer.recipe, localizer.recipe.codec
    outputs = localizer.outputs(reported.images)
    points = reported.points.to(outputs.device)
    known = {"variant": variant, "size": codec.size, "sigma": math.nan, "skips": recipe.skips}
    known |= {"seed": recipe.training.seed, "epochs": len(localizer.history)}
    errors = {"mse": math.nan, "mse_empty": math.nan}
    codecs: dict[str, Codec] = {DSNT: codec}
    if isinstance(codec, HeatmapCodec):
        known["sigma"] = float(codec.sigma)
        criterion = KeypointLoss(recipe.loss, codec, recipe.exchangeable_hands)
        tried = {"mse": outputs, "mse_empty": torch.zeros_like(outputs)}
        errors = {name: criterion(maps, points)["loss"].item() for name, maps in tried.items()}
        codecs = {decoder: replace(codec, decoder=decoder) for decoder in get_args(Decoder)}
        codecs[JOINT] = replace(codec, decoder="dark", exchangeable=True)
    return [
        {**known, "decoder": decoder, **measure(codec.decode(outputs).points, points), **errors}
        for decoder, codec in codecs.items()
    ]


def measure(predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"]) -> dict[str, float]:
    """Returns `metrics.evaluate_points` and `pck_head_feet@t`, the PCK of the three points that keep their names.

    Hands that look alike are guessed or not whatever the map; head and feet alone say how exactly it is read.
    """
    named = compute_pck_per_point(predicted, true)[:, ~IS_HAND].mean(1).tolist()
    row = {f"pck_head_feet@{threshold}": value for threshold, value in zip(THRESHOLDS, named, strict=True)}
    return evaluate_points(predicted, true) | row


def perfect_outputs(codec: HeatmapCodec | DSNTCodec, points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K h w"]:
    """Returns what a network that learned everything would say of `points`: what a decoder makes of it is its ceiling.

    For heatmaps the targets themselves; for DSNT logits whose softmax is the Gaussian that its regulariser asks for.
    """
    if isinstance(codec, DSNTCodec):
        return generate_heatmap(points, codec.size, DSNT_SIGMA).clamp(min=1e-30).log()
    return codec.encode(points)


def measure_ceiling(codec: HeatmapCodec | DSNTCodec, points: Float[Tensor, "M 5 2"]) -> dict[str, float]:
    """Returns how well `codec` reads perfect outputs: all that is lost here, decoding loses."""
    return measure(codec.decode(perfect_outputs(codec, points)).points, points)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Writes `rows` as CSV, whole or not at all; numbers keep all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def read_table(path: Path) -> list[Row]:
    """Returns the rows in `path`, none where there is no such file."""
    if not path.exists():
        return []
    lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    return [{name: _PARSERS.get(name, float)(value) for name, value in line.items()} for line in lines]


def select_rows(rows: Sequence[Row], **values) -> list[Row]:
    """Returns the rows whose columns have these values: `select_rows(rows, size=64, decoder="dark")`."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def average(rows: Sequence[Row], column: str) -> float:
    """Returns the mean of a column, over seeds for instance.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError(f"no row to average {column!r} over")
    return float(np.mean([row[column] for row in rows]))


def arrange(rows: Sequence[Row], column: str) -> Float[np.ndarray, "S R C"]:
    """Returns a column as seeds × resolutions × sigmas, each ascending: what `figures.plot_ablation` draws.

    Args:
        rows: one per seed, resolution and sigma, as of one decoder.
    """
    axes = [sorted({row[name] for row in rows}) for name in ("seed", "size", "sigma")]
    cells = {(row["seed"], row["size"], row["sigma"]): row[column] for row in rows}
    seeds, sizes, sigmas = axes
    return np.array([[[cells[seed, size, sigma] for sigma in sigmas] for size in sizes] for seed in seeds], float)
