"""Training of a recipe: the task that `helpers.training.train` runs, and the trained detector.

Shape letters: M images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from helpers import runtime, training
from helpers.average_precision import TWELVE, Detections
from helpers.digits.batches import Batch, build_augmentation, build_loader
from helpers.digits.dataset import DigitDataset, prepare_images
from helpers.digits.metrics import evaluate_digits
from helpers.digits.model import EVERYTHING, ModelConfig, Thresholds, build_digit_rcnn, detect
from helpers.digits.recipes import Recipe

TRAINED_IN = "07_digit_detection"
"""The lesson that trains the detectors which other lessons load."""

VALIDATION_BATCH = 16
"""Images per forward pass without a gradient."""

OnEpochEnd = Callable[[training.Row, FasterRCNN], None]
"""Callback of `helpers.training.train`: gets each finished epoch's row and the network as it is then."""


@dataclass(frozen=True)
class Detector:
    """Trained network with the recipe and the history that produced it."""

    recipe: Recipe
    model: FasterRCNN
    history: list[training.Row]

    def detect(self, dataset: DigitDataset, thresholds: Thresholds = EVERYTHING) -> list[Detections]:
        """Return the detections of each image of `dataset`, in its order; the default applies no score threshold."""
        return detect_all(self.model, dataset, thresholds)

    def rebuild(self, config: ModelConfig) -> Detector:
        """Return a detector with the same weights, whose network has another configuration: for example other inputs.

        Raises:
            RuntimeError: the weights do not fit the layers of `config`.
        """
        model = build_digit_rcnn(config).to(next(self.model.parameters()).device)
        model.load_state_dict(self.model.state_dict())
        return Detector(replace(self.recipe, model=config), model.eval(), self.history)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    train_set: DigitDataset,
    selection_set: DigitDataset,
    device: torch.device,
    on_epoch_end: OnEpochEnd | None = None,
    start: FasterRCNN | None = None,
) -> Detector:
    """Train the detector of `recipe`, resuming an interrupted run and loading a finished one.

    Args:
        folder: gets `training_log.json`, `best_model.pth` and `last.pth`.
        selection_set: images that select the best epoch; they must not be the reported ones.
        on_epoch_end: called after each epoch that is trained, not for loaded ones.
        start: network with the same layers, whose weights training starts from, as in fine-tuning; `None` draws
            the weights from the seed.

    Raises:
        CheckpointError: `folder` holds a run of another recipe or other data.
    """
    torch.manual_seed(recipe.training.seed)  # the initial weights depend on the recipe only
    model = build_digit_rcnn(recipe.model, recipe.box_loss.term)
    # torch's annotations lack this form of `to`.
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if start is not None:
        model.load_state_dict(start.state_dict())
    task = Task(recipe, train_set, selection_set, device)
    identity = {
        "recipe": asdict(recipe),
        "train_set": _fingerprint(train_set),
        "selection_set": _fingerprint(selection_set),
        "start": None if start is None else training.fingerprint(start.state_dict().values()),
    }
    history = training.train(model, task, recipe.training, folder, identity=identity, on_epoch_end=on_epoch_end)
    return Detector(recipe, model, history)


def lesson_model(
    name: str,
    recipe: Recipe,
    run: runtime.Run,
    train_set: DigitDataset,
    selection_set: DigitDataset,
    on_epoch_end: OnEpochEnd | None = None,
    start: FasterRCNN | None = None,
) -> Detector:
    """Train lesson 7's detector called `name` at the profile and seed of `run`, or load it.

    Args:
        name: the detector is kept in `data/runs/07_digit_detection/<profile>/<name>_seed<seed>`.
        selection_set: the valid split. The lessons report the test split, which selects nothing.
        on_epoch_end: see `train`.
        start: see `train`.
    """
    return train(
        training.lesson_recipe(recipe, run, quick_epochs=recipe.training.epochs),
        training.lesson_folder(TRAINED_IN, name, run),
        train_set=train_set.select(slice(run.budget(smoke=32, quick=None, full=None))),
        selection_set=selection_set.select(slice(run.budget(smoke=16, quick=100, full=None))),
        device=run.device,
        on_epoch_end=on_epoch_end,
        start=start,
    )


class Task:
    """Batches, losses and validation of a recipe, as `helpers.training.train` needs them."""

    monitor = "ap"
    replayable = False  # the number of regions depends on the images, so no CUDA graph can repeat a step

    def __init__(
        self, recipe: Recipe, train_set: DigitDataset, selection_set: DigitDataset, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.train_set = train_set
        self.selection_set = selection_set
        self.augment = build_augmentation(recipe.augmentation)
        self.epoch = 1  # epoch of the current batches: the weight of a box loss may depend on it

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> training.Batches:
        """Return the batches of `epoch`; images of one batch have similar shapes."""
        self.epoch = epoch
        return build_loader(self.train_set, batch_size, generator, count_workers(self.device), self.augment)

    def losses(self, model: FasterRCNN, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of one batch; "loss" is their sum, as in torchvision, with the recipe's box loss."""
        images, targets = batch
        targets = [{name: value.to(self.device) for name, value in target.items()} for target in targets]
        parts = model(prepare_images(images, self.device), targets)
        losses = {
            "objectness": parts["loss_objectness"],
            "proposal": parts["loss_rpn_box_reg"],
            "class": parts["class"],
            "box": self.recipe.box_loss.mix(parts["smooth-l1"], parts["term"], self.epoch - 1),
        }
        total = losses["objectness"] + losses["proposal"] + losses["class"] + losses["box"]
        return {"loss": total, **losses}

    def validate(self, model: FasterRCNN) -> training.Row:
        """Return COCO's twelve metrics and the losses ("valid_loss", …) on the selection set.

        No score threshold is applied: the metrics are the same for all recipes. The losses select nothing.
        """
        metrics = evaluate_digits(self.selection_set.file, detect_all(model, self.selection_set, EVERYTHING))
        row = {name: value for name, value in metrics.items() if name in TWELVE}
        losses = self.measure_losses(model)
        return row | {f"valid_{name}": value for name, value in losses.items()}

    @torch.no_grad()
    def measure_losses(self, model: FasterRCNN) -> dict[str, float]:
        """Return the mean losses of a network in evaluation mode on the selection set, without augmentation.

        torchvision computes losses in training mode only. Here the parts that compute them are in training mode, and
        batch normalisation stays in evaluation mode. The sample of anchors and proposals is the same at every call,
        and the generator of the training is left as it was.
        """
        parts: tuple[nn.Module, ...] = (model, cast(nn.Module, model.rpn), cast(nn.Module, model.roi_heads))
        sums: dict[str, float] = {}
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            for part in parts:
                part.training = True  # `train()` would also change the layers inside
            try:
                for images, targets in build_loader(self.selection_set, VALIDATION_BATCH):
                    with runtime.autocast(self.device):
                        losses = self.losses(model, (images, targets))
                    for name, value in losses.items():
                        sums[name] = sums.get(name, 0.0) + value.item() * len(images)
            finally:
                for part in parts:
                    part.training = False
        return {name: value / len(self.selection_set) for name, value in sums.items()}


def detect_all(
    model: FasterRCNN,
    dataset: DigitDataset,
    thresholds: Thresholds,
    batch_size: int = VALIDATION_BATCH,
) -> list[Detections]:
    """Return the detections of `model`, which is in evaluation mode, in each image of `dataset`, in its order.

    Args:
        batch_size: images per forward pass, of similar shapes.
    """
    detections: dict[int, Detections] = {}  # by image id
    num_workers = count_workers(next(model.parameters()).device)
    for images, targets in build_loader(dataset, batch_size, num_workers=num_workers):
        ids = [int(target["image_id"]) for target in targets]
        detections.update(zip(ids, detect(model, images, thresholds), strict=True))
    return [detections[image_id] for image_id in dataset.image_ids.tolist()]


def count_workers(device: torch.device) -> int:
    """Return the number of processes that decode images for a network on `device`: 1 for a GPU, 0 for a CPU.

    On a CPU the network needs all cores. A worker would also slow down the training process: it starts as a copy of
    that process, and until it ends, every memory page that the process writes to is copied first.
    """
    return 0 if device.type == "cpu" else 1


def _fingerprint(dataset: DigitDataset) -> str:
    """Return a digest of the records of `dataset`; the pixels are not read."""
    columns = (dataset.image_ids, dataset.sizes, dataset.owners, dataset.boxes, dataset.labels)
    return training.fingerprint(torch.from_numpy(column) for column in columns)
