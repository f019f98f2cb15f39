"""Training of a recipe: the task that `helpers.training.train` runs, and the trained detector.

Shape letters: M images, A anchors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from helpers import runtime, training
from helpers.average_precision import Detections
from helpers.detection.anchors import flatten_predictions, generate_anchors
from helpers.detection.batches import Batch, MatchedBatches, MatchedDataset, match_dataset
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.inference import BATCH_SIZE, join_candidates, predict, propose, propose_from_maps
from helpers.detection.loss import DetectionLoss
from helpers.detection.metrics import evaluate_detections
from helpers.detection.model import MultiScaleDetector
from helpers.detection.nms import Candidates, suppress
from helpers.detection.recipes import SELECTION_SEED, VALIDATION, Recipe

TRAINED_IN = "03_detector_training"
"""The lesson that trains the detectors which other lessons load."""


@dataclass(frozen=True)
class Detector:
    """A trained network with everything that inference needs."""

    recipe: Recipe
    model: MultiScaleDetector
    anchors: Float[Tensor, "A 4"]
    history: list[training.Row]

    def propose(self, images: UInt8[Tensor, "M H W 3"], **changes: Any) -> Candidates:
        """Return the candidates of each image before suppression.

        Args:
            images: bytes, on any device.
            changes: fields of the recipe's `InferenceConfig` to replace, such as `levels=(0,)`.
        """
        config = replace(self.recipe.inference, **changes)
        return propose(self.model, self.anchors, images.to(self.anchors.device), config)

    def detect(self, images: UInt8[Tensor, "M H W 3"], **changes: Any) -> list[Detections]:
        """Return the detections of each image, best score first, without a score threshold.

        Args:
            images: bytes, on any device.
            changes: fields of the recipe's `InferenceConfig` to replace, such as `levels=(0,)` or `nms="hard"`.
        """
        return suppress(self.propose(images, **changes), replace(self.recipe.inference, **changes))


def train(
    recipe: Recipe,
    folder: Path,
    *,
    train_set: ShapeDetectionDataset,
    selection_set: ShapeDetectionDataset,
    device: torch.device,
    on_epoch_end: Callable[[training.Row, nn.Module], None] | None = None,
) -> Detector:
    """Train a detector by `recipe`, resume an interrupted training, or load a finished one.

    Args:
        recipe: what is trained.
        folder: keeps `training_log.json`, `best_model.pth` and `last.pth`.
        train_set: the scenes to train on; with `fresh_scenes` only their number is used.
        selection_set: the scenes that select the best epoch. They must not be those that are reported.
        device: where the network is trained and stays.
        on_epoch_end: see `helpers.training.train`.
    """
    torch.manual_seed(recipe.training.seed)  # equal initial weights, whatever ran before
    model = MultiScaleDetector(
        num_anchors=len(recipe.anchor_scales[0]),
        dilations=recipe.dilations,
        width=recipe.width,
        objectness_prior=recipe.objectness_prior,
    )
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - stub lacks it
    task = Task(recipe, train_set, selection_set, device)
    trained_part = {name: value for name, value in asdict(recipe).items() if name != "inference"}
    identity = {
        "recipe": trained_part,
        "train_set": _fingerprint(train_set),
        "selection_set": _fingerprint(selection_set),
    }
    history = training.train(model, task, recipe.training, folder, identity=identity, on_epoch_end=on_epoch_end)
    return Detector(recipe, model, task.anchors, history)


def lesson_model(name: str, recipe: Recipe, run: runtime.Run, train_set: ShapeDetectionDataset) -> Detector:
    """Return the detector `name` of lesson 3 at the profile and seed of `run`: loaded if trained before, else trained.

    The epoch is selected on scenes drawn for that purpose. Nothing is selected on the val split, which the lessons
    report.

    Args:
        name: all lessons share the folder `data/runs/03_detector_training/<profile>/<name>_seed<seed>`.
        recipe: what is trained, for as many epochs as the profile allows.
        run: of the lesson that needs the detector.
        train_set: the handout's train split.
    """
    train_set = train_set.select(slice(run.budget(smoke=32, quick=800, full=None)))
    selection_set = ShapeDetectionDataset.draw(run.budget(smoke=16, quick=100, full=200), seed=SELECTION_SEED)
    recipe = training.lesson_recipe(recipe, run, quick_epochs=3)
    folder = training.lesson_folder(TRAINED_IN, name, run)
    return train(recipe, folder, train_set=train_set, selection_set=selection_set, device=run.device)


class Task:
    """Batches, losses and validation of a recipe for `helpers.training.train`, without loops over images or anchors."""

    monitor = "ap"
    replayable = True

    def __init__(
        self,
        recipe: Recipe,
        train_set: ShapeDetectionDataset,
        selection_set: ShapeDetectionDataset,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.anchors = torch.cat(generate_anchors(anchor_scales=recipe.anchor_scales)).to(device)
        self.criterion = DetectionLoss(recipe.box_loss, recipe.objectness)
        self.train_set = train_set
        self.selection_set = selection_set.to(device)

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> MatchedBatches:
        """Return the batches of the epoch in random order, of newly drawn scenes if the recipe has `fresh_scenes`."""
        if self.recipe.fresh_scenes is None:
            matched = self._matched_train_set
        else:
            seed = int(torch.randint(2**31, (), generator=generator))
            scenes = ShapeDetectionDataset.draw(len(self.train_set), seed, self.recipe.fresh_scenes)
            matched = self._match(scenes)
        order = torch.randperm(len(self.train_set), generator=generator)
        return MatchedBatches(matched, order.to(self.device), batch_size)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of one batch, computed in float32 whatever the precision of the network is."""
        return self._compute_losses(model(batch.images), batch)

    @torch.inference_mode()
    def validate(self, model: nn.Module) -> training.Row:
        """Return average precision and losses on the selection set.

        Average precision is measured in the same way for all recipes: all objects are evaluated and the suppression is
        `VALIDATION`, whatever the recipe ignores and suppresses. The losses are those that the recipe trains with, of
        the network in evaluation mode; their names start with "validation_".
        """
        assert isinstance(model, MultiScaleDetector)
        order = torch.arange(len(self.selection_set), device=self.device)
        parts, losses = [], []
        for batch in MatchedBatches(self._matched_selection_set, order, BATCH_SIZE):
            maps = predict(model, batch.images)
            parts.append(propose_from_maps(maps, model.num_anchors, self.anchors, VALIDATION))
            batch_losses = self._compute_losses(maps, batch)
            losses.append({name: value * len(batch.images) for name, value in batch_losses.items()})
        metrics = evaluate_detections(self.selection_set, suppress(join_candidates(parts), VALIDATION))
        row = {name: metrics[name] for name in ("ap", "ap50", "ap75")}
        for name in losses[0]:
            total = torch.stack([batch_losses[name] for batch_losses in losses]).sum().item()
            row[f"validation_{name}"] = total / len(order)
        return row

    def _compute_losses(self, maps: list[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the losses of one batch from the maps of the network, in float32."""
        predictions = flatten_predictions(maps, len(self.recipe.anchor_scales[0]))
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(predictions, self.anchors, batch.index, batch.positives, batch.boxes, batch.labels)

    @functools.cached_property
    def _matched_train_set(self) -> MatchedDataset:
        """The train set with its anchors matched; a training that is only loaded does not match it."""
        return self._match(self.train_set)

    @functools.cached_property
    def _matched_selection_set(self) -> MatchedDataset:
        """The selection set with its anchors matched as those of the train set are, for the validation loss."""
        return self._match(self.selection_set)

    def _match(self, dataset: ShapeDetectionDataset) -> MatchedDataset:
        """Return `dataset` on the device with its anchors matched and the recipe's hidden objects ignored."""
        dataset = dataset.hide(self.recipe.minimum_visibility).to(self.device)
        return match_dataset(dataset, self.anchors, self.recipe.match_thresholds)


def _fingerprint(dataset: ShapeDetectionDataset) -> str:
    """Return the digest of everything in `dataset` that affects training."""
    return training.fingerprint((dataset.images, dataset.boxes, dataset.labels, dataset.visibility, dataset.ignored))
