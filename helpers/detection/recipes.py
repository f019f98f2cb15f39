"""Named recipes, and what turns one into a trained detector.

A recipe holds everything that decides how a detector comes out; an experiment is a `dataclasses.replace` of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from helpers import paths, runtime, training
from helpers.average_precision import Detections
from helpers.detection.anchors import ANCHOR_SCALES, flatten_predictions, generate_anchors
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.inference import Candidates, InferenceConfig, detect, prepare_images, propose, suppress
from helpers.detection.loss import BoxLoss, DetectionLoss, Objectness
from helpers.detection.matching import list_positives, match_anchors_to_targets
from helpers.detection.metrics import evaluate_detections
from helpers.detection.model import Dilations, MultiScaleDetector
from helpers.detection.scenes import SceneConfig
from helpers.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a detector comes out. The defaults are the handout's, to the letter."""

    training: TrainingConfig = TrainingConfig(epochs=50, batch_size=16, optimizer="sgd", learning_rate=1e-3)
    width: int = 32  # channels of the first convolution
    dilations: Dilations = Dilations()
    anchor_scales: tuple[tuple[int, ...], ...] = ANCHOR_SCALES  # pixels, per level
    objectness_prior: float = 0.5  # share of anchors that the untrained network calls objects
    box_loss: BoxLoss = "smooth-l1"
    objectness: Objectness = "mined"
    match_thresholds: tuple[float, float] = (0.5, 0.3)  # IoU from which an anchor is positive, up to which negative
    minimum_visibility: float = 0.0  # less visible objects are neither learned nor learned against
    flips: bool = False  # half of the images are seen in the mirror
    fresh_scenes: SceneConfig | None = None  # every epoch draws as many new scenes of this kind instead of repeating
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
"""The suppression under which epochs are compared: a recipe's own can then change without training anew."""
SELECTION_SEED = 642
"""Seed of the scenes that select epochs and thresholds; 641 draws the handout's."""


@dataclass(frozen=True)
class Detector:
    """A trained network with all it needs to read images."""

    recipe: Recipe
    model: MultiScaleDetector
    anchors: Float[Tensor, "A 4"]
    history: list[training.Row]

    def propose(self, images: UInt8[Tensor, "M H W 3"], **changes: Any) -> Candidates:
        """Returns what the network proposes before suppression; `changes` as in `detect`."""
        config = replace(self.recipe.inference, **changes)
        return propose(self.model, self.anchors, images.to(self.anchors.device), config)

    def detect(self, images: UInt8[Tensor, "M H W 3"], **changes: Any) -> list[Detections]:
        """Returns the detections of each image, best score first, without a score cut.

        Args:
            changes: fields of the recipe's `InferenceConfig` to replace, such as `levels=(0,)` or `nms="hard"`.
        """
        return suppress(self.propose(images, **changes), replace(self.recipe.inference, **changes))


def train_detector(
    recipe: Recipe,
    train_set: ShapeDetectionDataset,
    selection_set: ShapeDetectionDataset,
    folder: Path,
    device: torch.device,
    on_epoch_end: Callable[[training.Row, MultiScaleDetector], None] | None = None,
) -> Detector:
    """Returns the detector that `recipe` makes of `train_set`; goes on where an interrupted run stopped.

    Args:
        train_set: the scenes to learn from; with `fresh_scenes` only their number counts.
        selection_set: scenes that choose the best epoch. They must not be the ones that are reported on.
        folder: keeps `training_log.json`, `best_model.pth` and `last.pth`.
        on_epoch_end: see `training.train`.
    """
    torch.manual_seed(recipe.training.seed)  # the same initial weights, whatever ran before
    model = MultiScaleDetector(
        num_anchors=len(recipe.anchor_scales[0]),
        dilations=recipe.dilations,
        width=recipe.width,
        objectness_prior=recipe.objectness_prior,
    )
    model = model.to(device, memory_format=torch.channels_last)
    task = DetectorTask(recipe, train_set, selection_set, device)
    learned = {name: value for name, value in asdict(recipe).items() if name != "inference"}
    settings = {"recipe": learned, "train_set": _fingerprint(train_set), "selection_set": _fingerprint(selection_set)}
    history = training.train(model, task, recipe.training, folder, identity=settings, on_epoch_end=on_epoch_end)
    return Detector(recipe, model, task.anchors, history)


def lesson_detector(name: str, recipe: Recipe, run: runtime.Run, train_set: ShapeDetectionDataset) -> Detector:
    """Returns the detector of lesson 3 called `name` at `run`'s profile and seed: loaded where it is, or else trained.

    The epoch is selected on scenes drawn for that purpose: nothing is ever chosen on the val split, which the lessons
    report.

    Args:
        name: the folder `data/runs/03_detector_training/<profile>/<name>_seed<seed>` keeps it for every lesson.
        train_set: the handout's train split.
    """
    train_set = train_set.select(slice(run.budget(smoke=32, quick=800, full=None)))
    selection_set = ShapeDetectionDataset.draw(run.budget(smoke=16, quick=100, full=200), seed=SELECTION_SEED)
    epochs = run.budget(smoke=1, quick=3, full=recipe.training.epochs)
    recipe = replace(recipe, training=replace(recipe.training, epochs=epochs, seed=run.seed))
    folder = paths.RUNS / "03_detector_training" / run.profile / training.variant_folder(name, run.seed)
    return train_detector(recipe, train_set, selection_set, folder, run.device)


def ladder(width: int, epochs: int) -> dict[str, Recipe]:
    """Returns the way from `ASSIGNMENT` to `TUNED` in rungs, each with one change more than the one before.

    Every rung keeps the handout's suppression, so that only training differs.

    Args:
        width: of the network; a narrow one climbs in minutes, with a learning rate as much higher as it is narrower.
        epochs: of every rung.
    """
    rung = replace(ASSIGNMENT, width=width, training=replace(ASSIGNMENT.training, epochs=epochs))
    optimizer = replace(TUNED.training, epochs=epochs, learning_rate=TUNED.training.learning_rate * 32 / width)
    changes: dict[str, dict[str, Any]] = {
        "assignment": {},
        "+ AdamW, one cycle, batch 4": {"training": optimizer, "objectness_prior": TUNED.objectness_prior},
        "+ GIoU box loss": {"box_loss": TUNED.box_loss},
        "+ objectness knows IoU": {"objectness": TUNED.objectness},
        "+ stricter matching": {"match_thresholds": TUNED.match_thresholds},
        "+ hidden objects ignored": {"minimum_visibility": TUNED.minimum_visibility},
        "+ fresh scenes": {"fresh_scenes": SceneConfig()},
        "+ crowded scenes": {"fresh_scenes": TUNED.fresh_scenes},
        "+ dilations": {"dilations": TUNED.dilations},
    }
    rungs = {}
    for name, change in changes.items():
        rung = replace(rung, **change)
        rungs[name] = rung
    return rungs


def describe(value: Any) -> str:
    """Returns a part of a recipe in words: of what has fields of its own, those that are not its defaults."""
    if not is_dataclass(value):
        return str(value)
    changed = (name for name, own in vars(value).items() if own != getattr(type(value)(), name))
    return ", ".join(f"{name.replace('_', ' ')} {getattr(value, name)}" for name in changed) or "plain"


def find_controls(rungs: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Returns two variants of the `ladder` that tell what its order hides.

    The first takes the dilations without what the rungs below them changed. The second is the best we know for the
    specified network: cells that see so little do better with more positives, negatives that stay clear of them, and
    scenes no more crowded than the handout's.
    """
    return {
        "AdamW and dilations alone": replace(rungs["+ AdamW, one cycle, batch 4"], dilations=TUNED.dilations),
        "no dilations, milder matching": replace(rungs["+ fresh scenes"], match_thresholds=(0.5, 0.4)),
    }


def train_variants(
    variants: Mapping[str, Recipe],
    num_seeds: int,
    train_set: ShapeDetectionDataset,
    selection_set: ShapeDetectionDataset,
    folder: Path,
    device: torch.device,
) -> dict[str, list[Detector]]:
    """Returns each variant trained from seeds 0, 1, …: same data, same seeds, same budget for all.

    What `folder` holds already is loaded, so a stopped comparison goes on where it was.
    """

    def train_one(recipe: Recipe, own_folder: Path) -> Detector:
        return train_detector(recipe, train_set, selection_set, own_folder, device)

    return training.train_variants(variants, num_seeds, folder, train_one)


class DetectorTask:
    """Brings a recipe's batches, losses and validation to `training.train`; nothing per image or anchor in Python."""

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
        self._matched = None if recipe.fresh_scenes else self._match(train_set)

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> MatchedBatches:
        """Returns the epoch's batches in random order, half of the images mirrored where the recipe flips."""
        if self.recipe.fresh_scenes:
            seed = int(torch.randint(2**31, (), generator=generator))
            matched = self._match(ShapeDetectionDataset.draw(len(self.train_set), seed, self.recipe.fresh_scenes))
        else:
            matched = self._matched
        order = torch.randperm(len(self.train_set), generator=generator)
        mirrored = torch.rand(len(self.train_set), generator=generator) < (0.5 if self.recipe.flips else 0.0)
        return MatchedBatches(matched, order.to(self.device), mirrored.to(self.device), batch_size)

    def losses(self, model: MultiScaleDetector, batch: Batch) -> dict[str, Tensor]:
        """Returns the losses of one batch, computed in float32 whatever the network ran in."""
        predictions = flatten_predictions(model(batch.images), model.num_anchors)
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(predictions, self.anchors, *batch[1:])

    def validate(self, model: MultiScaleDetector) -> training.Row:
        """Returns average precision on the selection set: one ruler for all recipes.

        All its objects count, and suppression is the same, whatever the recipe ignores and suppresses.
        """
        detections = detect(model, self.anchors, self.selection_set.images, VALIDATION)
        metrics = evaluate_detections(self.selection_set, detections)
        return {name: metrics[name] for name in ("ap", "ap50", "ap75")}

    def _match(self, dataset: ShapeDetectionDataset) -> MatchedDataset:
        dataset = dataset.hide(self.recipe.minimum_visibility).to(self.device)
        return match_dataset(dataset, self.anchors, self.recipe.match_thresholds, mirrored=self.recipe.flips)


class Batch(NamedTuple):
    """What one training step needs, on the device."""

    images: Float[Tensor, "B 3 H W"]
    index: Int[Tensor, "B A"]  # row of each anchor's object, NEGATIVE or IGNORED
    positives: Int[Tensor, "B P"]  # the anchors that have one, padded with -1
    boxes: Float[Tensor, "B N 4"]
    labels: Int[Tensor, "B N"]


class MatchedDataset(NamedTuple):
    """A dataset whose anchors know their objects, in each view: the image as it is and, if wanted, its mirror image."""

    images: UInt8[Tensor, "M H W 3"]
    labels: Int[Tensor, "M N"]
    boxes: Float[Tensor, "M views N 4"]
    index: Int[Tensor, "M views A"]  # one byte each
    positives: Int[Tensor, "M views P"]


def match_dataset(
    dataset: ShapeDetectionDataset,
    anchors: Float[Tensor, "A 4"],
    thresholds: tuple[float, float] = (0.5, 0.3),
    mirrored: bool = False,
) -> MatchedDataset:
    """Returns `dataset` with every anchor matched, so that no training step has to.

    Args:
        thresholds: IoU from which an anchor is positive, and up to which it is negative.
        mirrored: match the mirror images too.
    """
    views = [dataset.boxes]
    if mirrored:
        views.append(mirror_boxes(dataset.boxes, width=dataset.images.shape[2]))
    boxes = torch.stack(views, dim=1)
    labels, ignored = (column.unsqueeze(1).expand(boxes.shape[:3]) for column in (dataset.labels, dataset.ignored))
    index = match_anchors_to_targets(anchors, boxes, labels, *thresholds, ignored).index.to(torch.int8)
    return MatchedDataset(dataset.images, dataset.labels, boxes, index, list_positives(index))


def mirror_boxes(boxes: Float[Tensor, "*batch 4"], width: int) -> Float[Tensor, "*batch 4"]:
    """Returns the boxes of the mirrored image.

    The handout's corners name pixels by their index: its shapes cover pixel x1 to pixel x2, both included, and pixel i
    of a mirrored image is pixel width - 1 - i. The usual x -> width - x would shift every box by one pixel.
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - 1 - x2, y1, width - 1 - x1, y2], dim=-1)


def _fingerprint(dataset: ShapeDetectionDataset) -> str:
    """Returns what stands for everything in `dataset` that training can see."""
    return training.fingerprint((dataset.images, dataset.boxes, dataset.labels, dataset.visibility, dataset.ignored))


@dataclass(frozen=True)
class MatchedBatches:
    """One epoch: gathers a batch from the device's own memory when it is asked for."""

    matched: MatchedDataset
    order: Int[Tensor, " M"]
    mirrored: Bool[Tensor, " M"]
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for rows, mirrored in zip(self.order.split(self.batch_size), self.mirrored.split(self.batch_size), strict=True):
            images = self.matched.images[rows]
            images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
            view = mirrored.long()
            index, positives, boxes = (
                column[rows, view] for column in (self.matched.index, self.matched.positives, self.matched.boxes)
            )
            yield Batch(prepare_images(images), index, positives, boxes, self.matched.labels[rows])
