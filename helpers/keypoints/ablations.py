"""Ablation study of heatmaps: variants trained alike, decoded by every decoder, and compared in one table.

A run is one variant trained from one seed. Each decoder that fits a run's outputs gives one row of the table, because
decoding needs no training.

Shape letters: B batch, M images, K points, S seeds, R resolutions, C sigmas.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from helpers import files
from helpers.intervals import Interval, bootstrap
from helpers.keypoints.codecs import Codec, DSNTCodec, HeatmapCodec
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.heatmaps import Decoder, generate_heatmap
from helpers.keypoints.loss import DSNT_SIGMA, KeypointLoss
from helpers.keypoints.metrics import (
    IS_HAND,
    THRESHOLDS,
    compute_errors,
    compute_pck_per_point,
    evaluate_points,
    measure_sizes,
)
from helpers.keypoints.recipes import Recipe
from helpers.keypoints.training import TrainedModel, train
from helpers.training import variant_folder

TABLE = "ablations.csv"
JOINT: Literal["joint"] = "joint"
DSNT: Literal["dsnt"] = "dsnt"
"""Entries of the table's column `decoder` besides `heatmaps.Decoder`: DARK with joint hands, and DSNT's expectation."""

AblationRow = dict[str, Any]
"""Results of one decoder for one run: variant, size, sigma, skips, seed, epochs, decoder, metrics, mse, mse_empty."""
_COLUMN_TYPES = {"variant": object, "size": int, "skips": bool, "seed": int, "epochs": int, "decoder": object}
"""Types of the table's columns; all others are float."""


def ablation_study(
    variants: Mapping[str, Recipe],
    num_seeds: int,
    train_set: KeypointDataset,
    selection_set: KeypointDataset,
    reported: KeypointDataset,
    folder: Path,
    device: torch.device,
) -> list[AblationRow]:
    """Return the rows of all variants, each trained from its recipe's seed and the seeds after it, with the same data.

    `ablations.csv` in `folder` is written after every run, whole or not at all, and keeps the rows of earlier calls. A
    stopped study resumes: finished runs are loaded. All variants are trained from their first seed before any is
    trained from its second, so that an unfinished study can be compared, too.

    Args:
        num_seeds: runs per variant.
        selection_set: figures that select the best epoch.
        reported: figures that the metrics in the rows are computed on; they select nothing.
        folder: gets the table, and one folder per run.

    Raises:
        CheckpointError: `folder` holds a run of the same name with another recipe or other data.
        ValueError: the codec of a variant has no maps; nothing is trained then.

    Source: `ablation_study` in section 2 of the assignment.
    """
    for name, recipe in variants.items():
        choose_codecs(name, recipe.codec)
    rows: list[AblationRow] = []
    for number in range(num_seeds):
        for name, recipe in variants.items():
            trained = train_run(
                name, recipe, number, train_set=train_set, selection_set=selection_set, folder=folder, device=device
            )
            run_rows = evaluate_run(name, trained, reported)
            seed = trained.recipe.training.seed
            other_rows = [row for row in read_table(folder / TABLE) if (row["variant"], row["seed"]) != (name, seed)]
            write_table(folder / TABLE, other_rows + run_rows)
            rows += run_rows
    return rows


def train_run(
    variant: str,
    recipe: Recipe,
    number: int,
    *,
    train_set: KeypointDataset,
    selection_set: KeypointDataset,
    folder: Path,
    device: torch.device,
) -> TrainedModel:
    """Return the network of one run of a study: trained, or loaded from `folder` if the run is finished.

    Args:
        number: 0 for the recipe's seed, 1 for the seed after it, and so on.

    Raises:
        CheckpointError: `folder` holds a run of the same name with another recipe or other data.
    """
    seed = recipe.training.seed + number
    return train(
        replace(recipe, training=replace(recipe.training, seed=seed)),
        folder / variant_folder(variant, seed),
        train_set=train_set,
        selection_set=selection_set,
        device=device,
    )


def predict_points(
    variants: Mapping[str, Recipe],
    num_seeds: int,
    train_set: KeypointDataset,
    selection_set: KeypointDataset,
    reported: KeypointDataset,
    folder: Path,
    device: torch.device,
) -> dict[tuple[str, str], Float[Tensor, "S M 5 2"]]:
    """Return the points that the networks of a study predict for `reported`, for each variant and decoder.

    The arguments are those of `ablation_study`, whose networks are loaded. The table of a study has means over the
    images; the points of each image are needed for an interval over images.
    """
    points: dict[tuple[str, str], list[Tensor]] = {}
    for name, recipe in variants.items():
        codecs = choose_codecs(name, recipe.codec)
        for number in range(num_seeds):
            trained = train_run(
                name, recipe, number, train_set=train_set, selection_set=selection_set, folder=folder, device=device
            )
            outputs = trained.compute_outputs(reported.images)
            for decoder, codec in codecs.items():
                points.setdefault((name, decoder), []).append(codec.decode(outputs).points.cpu())
    return {key: torch.stack(seeds) for key, seeds in points.items()}


def measure_images(
    points: Float[Tensor, "S M 5 2"], true: Float[Tensor, "M 5 2"], threshold: float | None = None
) -> Float[np.ndarray, " M"]:
    """Return one number per image: the mean error of head and feet in pixels, or their PCK at `threshold`.

    Seeds are averaged within each image. The mean over the images is the column `error_head_feet`, or
    `pck_head_feet@t`, of a study's table.

    Args:
        points: predicted by the networks of every seed, (x, y) pixels.
        true: (x, y) pixels.
        threshold: share of each figure's size; None for the error.
    """
    errors = torch.stack([compute_errors(predicted, true) for predicted in points])[..., ~IS_HAND]  # [S, M, 3]
    if threshold is not None:
        errors = (errors / measure_sizes(true).unsqueeze(1) <= threshold).double()
    return errors.mean((0, 2)).numpy()


def compare_errors(first: Float[np.ndarray, " M"], second: Float[np.ndarray, " M"]) -> Interval:
    """Return mean(first) / mean(second) with its interval over the images, which are the same for both.

    Args:
        first: errors of `measure_images`, pixels.
        second: errors of another variant, for the same images in the same order.
    """
    return bootstrap(len(first), lambda images: float(first[images].mean() / second[images].mean()))


def choose_codecs(variant: str, codec: Codec) -> dict[str, HeatmapCodec | DSNTCodec]:
    """Return the codecs that decode the outputs of a network trained with `codec`, by the name of the decoder.

    Raises:
        ValueError: the codec has no maps.
    """
    match codec:
        case HeatmapCodec():
            codecs: dict[str, HeatmapCodec | DSNTCodec]
            codecs = {decoder: replace(codec, decoder=decoder) for decoder in get_args(Decoder)}
            return codecs | {JOINT: replace(codec, decoder="dark", joint_hands=True)}
        case DSNTCodec():
            return {DSNT: codec}
        case _:
            raise ValueError(f"variant {variant!r}: {type(codec).__name__} has no maps; use HeatmapCodec or DSNTCodec")


def evaluate_run(variant: str, trained: TrainedModel, reported: KeypointDataset) -> list[AblationRow]:
    """Return one row per decoder, all from the same outputs of the network.

    Column `mse` is the training loss on `reported`, and `mse_empty` the loss of maps of zeros. Both are NaN for DSNT,
    which has no target maps.
    """
    recipe = trained.recipe
    outputs = trained.compute_outputs(reported.images)
    points = reported.points.to(outputs.device)
    sigma = mse = mse_empty = math.nan
    if isinstance(recipe.codec, HeatmapCodec):
        sigma = float(recipe.codec.sigma)
        criterion = KeypointLoss(recipe.loss, recipe.codec, recipe.permutation_invariant)
        mse = criterion(outputs, points)["loss"].item()
        mse_empty = criterion(torch.zeros_like(outputs), points)["loss"].item()
    rows: list[AblationRow] = []
    for decoder, codec in choose_codecs(variant, recipe.codec).items():
        row: AblationRow = {"variant": variant, "size": codec.size, "sigma": sigma, "skips": recipe.skips}
        row |= {"seed": recipe.training.seed, "epochs": len(trained.history), "decoder": decoder}
        row |= measure(codec.decode(outputs).points, points)
        rows.append(row | {"mse": mse, "mse_empty": mse_empty})
    return rows


def measure(predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"]) -> dict[str, float]:
    """Return the columns of `metrics.evaluate_points` and `pck_head_feet@t`, the mean PCK of head and feet.

    The assignment of hands that look alike is random for every map. Head and feet alone show how exactly maps are
    decoded.
    """
    pck = compute_pck_per_point(predicted, true)[:, ~IS_HAND].mean(1).tolist()
    row = {f"pck_head_feet@{threshold}": value for threshold, value in zip(THRESHOLDS, pck, strict=True)}
    return evaluate_points(predicted, true) | row


def make_perfect_outputs(codec: HeatmapCodec | DSNTCodec, points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K h w"]:
    """Return the outputs of a network that predicts `points` perfectly.

    For heatmaps these are the targets. For DSNT they are logits whose softmax is the Gaussian of its regularisation
    term.
    """
    if isinstance(codec, DSNTCodec):
        return generate_heatmap(points, codec.size, DSNT_SIGMA).clamp(min=1e-30).log()
    return codec.encode(points)


def measure_ceiling(codec: HeatmapCodec | DSNTCodec, points: Float[Tensor, "M 5 2"]) -> dict[str, float]:
    """Return `measure` of `codec` on perfect outputs: every error in it comes from the decoding."""
    return measure(codec.decode(make_perfect_outputs(codec, points)).points, points)


def write_table(path: Path, rows: Sequence[AblationRow]) -> None:
    """Write `rows` as CSV, whole or not at all; numbers keep all their digits."""
    with files.replace_when_complete(path) as partial:
        pd.DataFrame.from_records(rows).to_csv(partial, index=False, na_rep="nan", lineterminator="\n")


def read_table(path: Path) -> list[AblationRow]:
    """Read the rows that `write_table` has written to `path`; no rows where there is no such file."""
    if not path.exists():
        return []
    table = pd.read_csv(path, dtype=object, na_filter=False)  # texts first: a variant may be called "NA"
    table["skips"] = table["skips"] == "True"
    types = {name: _COLUMN_TYPES.get(name, float) for name in table}
    return table.astype(types).to_dict("records")


def select_rows(rows: Sequence[AblationRow], **values: str | float | bool) -> list[AblationRow]:
    """Return the rows whose columns have these values: `select_rows(rows, size=64, decoder="dark")`."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def average(rows: Sequence[AblationRow], column: str) -> float:
    """Return the mean of a column over `rows`, for instance over seeds.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError(f"no row to average {column!r} over")
    return float(np.mean([row[column] for row in rows]))


def arrange(rows: Sequence[AblationRow], column: str) -> Float[np.ndarray, "S R C"]:
    """Return a column as an array of seeds × resolutions × sigmas, each ascending, for `plot_ablation`.

    Args:
        rows: one per seed, resolution and sigma, for instance those of one decoder.

    Raises:
        KeyError: a combination of seed, resolution and sigma has no row.
    """
    seeds, sizes, sigmas = (sorted({row[name] for row in rows}) for name in ("seed", "size", "sigma"))
    cells = {(row["seed"], row["size"], row["sigma"]): row[column] for row in rows}
    values = np.empty((len(seeds), len(sizes), len(sigmas)))
    for index, cell in zip(np.ndindex(values.shape), itertools.product(seeds, sizes, sigmas), strict=True):
        values[index] = cells[cell]
    return values
