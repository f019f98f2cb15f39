"""Training recipes: the configuration of each detector, the named recipes, and the ablation between them.

An experiment is a `dataclasses.replace` of a recipe. `helpers.detection.training` trains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from helpers.detection.anchors import ANCHOR_SCALES
from helpers.detection.loss import BoxLoss, Objectness
from helpers.detection.model import Dilations
from helpers.detection.nms import InferenceConfig
from helpers.detection.scenes import SceneConfig
from helpers.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a trained detector. The defaults are exactly the handout's."""

    training: TrainingConfig = TrainingConfig(epochs=50, batch_size=16, optimizer="sgd", learning_rate=1e-3)
    width: int = 32  # channels of the first convolution
    dilations: Dilations = Dilations()
    anchor_scales: tuple[tuple[int, ...], ...] = ANCHOR_SCALES  # pixels, per level
    objectness_prior: float = 0.5  # share of anchors that the untrained network predicts as objects
    box_loss: BoxLoss = "smooth-l1"
    objectness: Objectness = "mined"
    match_thresholds: tuple[float, float] = (0.5, 0.3)  # smallest IoU of a positive, largest of a background anchor
    minimum_visibility: float = 0.0  # objects with a lower visibility are ignored in training
    fresh_scenes: SceneConfig | None = None  # each epoch draws new scenes of this kind, as many as the train set has
    inference: InferenceConfig = InferenceConfig(nms="hard", nms_threshold=0.5)


ASSIGNMENT = Recipe()
TUNED = Recipe(
    training=TrainingConfig(
        epochs=12, batch_size=4, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-2, schedule="one-cycle"
    ),
    dilations=Dilations(block3=2, block4=3, heads=(3, 4, 4)),
    objectness_prior=0.01,
    box_loss="giou",
    objectness="quality",
    match_thresholds=(0.6, 0.5),
    minimum_visibility=0.02,
    fresh_scenes=SceneConfig(num_objects=(7, 7)),
    inference=InferenceConfig(nms="soft", nms_threshold=0.85),
)

VALIDATION = InferenceConfig(nms="hard", nms_threshold=0.5)
"""The suppression with which epochs are compared. The recipe's own suppression can then change without training."""
SELECTION_SEED = 642
"""Seed of the scenes on which epochs and thresholds are selected; seed 641 draws the handout's scenes."""


def ablation(width: int, epochs: int) -> dict[str, Recipe]:
    """Return the cumulative ablation from `ASSIGNMENT` to `TUNED`: each step adds one change to the step before.

    Every step uses the handout's suppression, so that only training differs.

    Args:
        width: of the network. A narrow network trains in minutes, with a learning rate that is as many times higher as
            the network is narrower.
        epochs: of every step.
    """
    step = replace(ASSIGNMENT, width=width, training=replace(ASSIGNMENT.training, epochs=epochs))
    optimizer = replace(TUNED.training, epochs=epochs, learning_rate=TUNED.training.learning_rate * 32 / width)
    changes: dict[str, dict[str, Any]] = {
        "assignment": {},
        "+ AdamW, one cycle, batch 4": {"training": optimizer, "objectness_prior": TUNED.objectness_prior},
        "+ GIoU box loss": {"box_loss": TUNED.box_loss},
        "+ objectness predicts IoU": {"objectness": TUNED.objectness},
        "+ stricter matching": {"match_thresholds": TUNED.match_thresholds},
        "+ hidden objects ignored": {"minimum_visibility": TUNED.minimum_visibility},
        "+ fresh scenes": {"fresh_scenes": SceneConfig()},
        "+ crowded scenes": {"fresh_scenes": TUNED.fresh_scenes},
        "+ dilations": {"dilations": TUNED.dilations},
    }
    steps = {}
    for name, change in changes.items():
        step = replace(step, **change)
        steps[name] = step
    return steps


def ablation_controls(steps: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return two variants that test whether the order of the ablation steps matters.

    The first has the dilations without the changes between the optimiser and the dilations. The second has neither
    dilations nor crowded scenes, and thresholds with more positive anchors, because its receptive field is small.

    Args:
        steps: from `ablation`.
    """
    return {
        "AdamW and dilations alone": replace(steps["+ AdamW, one cycle, batch 4"], dilations=TUNED.dilations),
        "no dilations, milder matching": replace(steps["+ fresh scenes"], match_thresholds=(0.5, 0.4)),
    }


def leave_one_out(width: int, epochs: int) -> dict[str, Recipe]:
    """Return variants of the last step of `ablation` that lack one change each.

    Leaving out the dilations gives the step before the last of `ablation`, which is therefore not repeated here.

    Args:
        width: of the network, as in `ablation`.
        epochs: of every variant.
    """
    steps = ablation(width, epochs)
    tuned, start = steps["+ dilations"], steps["assignment"]
    return {
        "without AdamW, one cycle, batch 4": replace(
            tuned, training=start.training, objectness_prior=start.objectness_prior
        ),
        "without GIoU box loss": replace(tuned, box_loss=start.box_loss),
        "without objectness that predicts IoU": replace(tuned, objectness=start.objectness),
        "without stricter matching": replace(tuned, match_thresholds=start.match_thresholds),
        "without hidden objects ignored": replace(tuned, minimum_visibility=start.minimum_visibility),
        "without fresh scenes": replace(tuned, fresh_scenes=None),
        "without crowded scenes": replace(tuned, fresh_scenes=SceneConfig()),
    }


def list_changes(recipe: Recipe, baseline: Recipe) -> list[dict[str, str]]:
    """Return a row per setting in which `recipe` differs: "setting", "before" (in `baseline`) and "after", in words."""
    settings = []
    for values in (baseline, recipe):
        parts = {name: value for name, value in vars(values).items() if name not in ("training", "inference")}
        settings.append(parts | vars(values.training) | vars(values.inference))
    before, after = settings
    rows = []
    for name, value in after.items():
        if value != before[name]:
            row = {"setting": name.replace("_", " "), "before": describe(before[name]), "after": describe(value)}
            rows.append(row)
    return rows


def describe(value: Any) -> str:
    """Return a part of a recipe in words: of a configuration, the fields that differ from its defaults.

    Scenes always have their number of objects: "plain" would not tell them from the scenes of the train split.
    """
    if not is_dataclass(value) or isinstance(value, type):
        return str(value)
    default = type(value)()
    changed = [name for name, setting in vars(value).items() if setting != getattr(default, name)]
    if isinstance(value, SceneConfig) and "num_objects" not in changed:
        changed.insert(0, "num_objects")
    return ", ".join(f"{name.replace('_', ' ')} {getattr(value, name)}" for name in changed) or "plain"
