"""Recipes: named configurations of keypoint networks, and the variants that ablations compare.

A recipe contains everything that decides the result of a training but the data; an experiment is a
`dataclasses.replace` of one. `training` trains recipes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from helpers.keypoints.codecs import CoordinateCodec, DSNTCodec, HeatmapCodec, SimCCCodec
from helpers.keypoints.loss import Loss
from helpers.keypoints.model import FINAL_SIZE, Head
from helpers.keypoints.scenes import HANDOUT_FIGURE, FigureConfig
from helpers.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """Configuration of a keypoint network and its training. The defaults are the handout's heatmap regression."""

    training: TrainingConfig = TrainingConfig(epochs=30, batch_size=32, optimizer="adam", learning_rate=1e-3)
    codec: HeatmapCodec | CoordinateCodec | SimCCCodec | DSNTCodec = HeatmapCodec(decoder="argmax")
    loss: Loss = "mse"
    permutation_invariant: bool = False  # loss: minimum over the two assignments of the hands
    head: Literal["decoder"] | Head = "decoder"  # "decoder" is a HeatmapNet, "pooled" a RegressionNet
    width: int = 32  # channels of the first block
    skips: bool = True  # skip connections of the decoder
    empty_start: bool = False  # of the decoder: the untrained network outputs empty maps instead of noise
    dropout: float = 0.5  # of the other heads
    coordinates: bool = False  # CoordConv: the network also gets the position of each pixel
    mirrored: bool = False  # augmentation: mirror half of the images; not with a figure of `tellable_hands`
    figure: FigureConfig = HANDOUT_FIGURE  # look of the drawn figures: fresh ones, and those of the selection set
    fresh_figures: bool = False  # draw as many new figures in every epoch instead of repeating the training set


ASSIGNMENT_HEATMAP = Recipe()
ASSIGNMENT_REGRESSION = Recipe(codec=CoordinateCodec(), head="pooled")

TUNED_DSNT = Recipe(
    training=TrainingConfig(
        epochs=30, batch_size=16, optimizer="adamw", learning_rate=3e-3, weight_decay=1e-2, schedule="one-cycle"
    ),
    codec=DSNTCodec(),
    loss="dsnt",
    permutation_invariant=True,
    fresh_figures=True,
)
TUNED_HEATMAP = replace(TUNED_DSNT, codec=HeatmapCodec(decoder="dark", joint_hands=True), loss="mse", empty_start=True)
TUNED_REGRESSION = replace(TUNED_DSNT, codec=CoordinateCodec(), loss="laplace", head="flattened", dropout=0.0)

SELECTION_SEED = 642
"""Seed of the figures that select epochs; the handout's figures are drawn from seed 641."""

RESOLUTIONS = (32, 64, 128)
"""Cells per side of the heatmaps in section 2 of the assignment."""
SIGMAS = (1.0, 2.0, 3.0, 4.0)
"""Cells: standard deviations of the heatmaps in section 2 of the assignment."""


def ablation(epochs: int) -> dict[str, Recipe]:
    """Return the steps from the assignment's regression to heatmaps and DSNT, all with the same data and epochs.

    The third step, "pooled, no dropout", is the base: each later step changes what its name says, where a
    representation is head, codec and loss together. All steps but the last two have the same number of weights to
    within 2 %; these two replace the head by a decoder.

    Args:
        epochs: of every step.
    """
    pooled = replace(ASSIGNMENT_REGRESSION, training=replace(ASSIGNMENT_REGRESSION.training, epochs=epochs))
    one_cycle = replace(pooled, training=replace(TUNED_DSNT.training, epochs=epochs))
    base = replace(one_cycle, dropout=0.0)
    flattened = replace(base, head="flattened")
    decoder = replace(base, head="decoder")
    return {
        "pooled (assignment)": pooled,
        "pooled, one cycle": one_cycle,
        "pooled, no dropout": base,
        "pooled, CoordConv": replace(base, coordinates=True),
        "flattened": flattened,
        "flattened, L1": replace(flattened, loss="l1"),
        "flattened, Laplace NLL": replace(flattened, loss="laplace"),
        "SimCC": replace(base, head="simcc", codec=SimCCCodec(), loss="simcc"),
        "integral": replace(base, head="integral", codec=DSNTCodec(size=FINAL_SIZE), loss="dsnt"),
        "heatmap": replace(decoder, codec=HeatmapCodec(decoder="dark"), loss="mse", empty_start=True),
        "DSNT": replace(decoder, codec=DSNTCodec(), loss="dsnt"),
    }


def vary_targets(
    base: Recipe, resolutions: Sequence[int] = RESOLUTIONS, sigmas: Sequence[float] = SIGMAS
) -> dict[str, Recipe]:
    """Return `base` with heatmaps of every resolution and sigma.

    Args:
        resolutions: cells per side.
        sigmas: cells, so the same sigma is a different number of pixels at each resolution.

    Source: section 2 of the assignment.
    """
    return {
        f"{size} cells, sigma {sigma:g}": replace(base, codec=HeatmapCodec(size, sigma), loss="mse")
        for size in resolutions
        for sigma in sigmas
    }


def remove_skips(variants: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return the same variants without skip connections: the decoder gets the backbone's last map only."""
    return {f"{name}, no skips": replace(recipe, skips=False) for name, recipe in variants.items()}


def use_dsnt(base: Recipe, resolutions: Sequence[int]) -> dict[str, Recipe]:
    """Return `base` trained by the DSNT loss instead of target maps, at each resolution (cells per side)."""
    return {
        f"{size} cells, DSNT": replace(base, codec=DSNTCodec(size), loss="dsnt", empty_start=False)
        for size in resolutions
    }
