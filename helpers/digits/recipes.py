"""Named recipes, and what turns one into a trained detector of digits.

A recipe holds everything that decides how a detector comes out; an experiment is a `dataclasses.replace` of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from helpers import paths, runtime, training
from helpers.average_precision import TWELVE, Detections
from helpers.digits.anchors import ANCHOR_SETS, FITTED_ANCHORS, AnchorSet, Resize
from helpers.digits.batches import AugmentationConfig, Batch, build_augmentation, build_loader
from helpers.digits.dataset import DigitDataset
from helpers.digits.loss import AT_ONCE, BoxLossConfig, Schedule, Term
from helpers.digits.metrics import evaluate_digits
from helpers.digits.model import EVERYTHING, ModelConfig, Thresholds, build_digit_rcnn, detect, prepare_image
from helpers.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a detector comes out. The defaults are the report's, to the letter."""

    training: TrainingConfig = TrainingConfig(
        epochs=15, batch_size=8, optimizer="adamw", learning_rate=1e-4, weight_decay=1e-4, schedule="cosine"
    )
    model: ModelConfig = ModelConfig()
    box_loss: BoxLossConfig = BoxLossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()


REPORT = Recipe()

TERM_NAMES: dict[str, Term] = {"IoU": "iou", "GIoU": "giou", "DIoU": "diou", "CIoU": "ciou"}

QUICK_RESIZE = Resize(shorter=64, longer=192)
QUICK = Recipe(
    training=TrainingConfig(
        epochs=10, batch_size=8, optimizer="adamw", learning_rate=2e-3, weight_decay=1e-2, schedule="one-cycle"
    ),
    model=ModelConfig(
        backbone="small",
        weights=None,
        resize=QUICK_RESIZE,
        anchors=FITTED_ANCHORS.on_one_level().scaled_to(QUICK_RESIZE),
        num_proposals=(200, 100),
        num_regions=64,
    ),
    augmentation=AugmentationConfig(zoom_out=0.5),  # digits are smaller in the test split than in the others
)


def vary_anchors(recipe: Recipe, sets: Mapping[str, AnchorSet] = ANCHOR_SETS) -> dict[str, Recipe]:
    """Returns `recipe` with each set of anchors in turn: as large in the image, and on as many levels, as its own."""
    variants = {}
    for name, anchors in sets.items():
        placed = anchors.on_one_level() if len(recipe.model.anchors.sizes) == 1 else anchors
        placed = placed.scaled_to(recipe.model.resize)
        variants[name] = replace(recipe, model=replace(recipe.model, anchors=placed))
    return variants


def vary_box_losses(recipe: Recipe, schedule: Schedule = AT_ONCE, gain: float = 1.0) -> dict[str, Recipe]:
    """Returns `recipe` with smooth-L1 alone and with each term, and with the report's constant CIoU.

    Args:
        schedule: λ by epoch, the same for all terms; its default leaves nothing of smooth-L1.
        gain: of the terms, see `BoxLossConfig`.
    """
    losses = {"smooth-L1": BoxLossConfig()}
    losses |= {name: BoxLossConfig(term, schedule, gain) for name, term in TERM_NAMES.items()}
    losses["constant CIoU"] = BoxLossConfig("ciou", schedule, gain, constant=True)
    return {name: replace(recipe, box_loss=box_loss) for name, box_loss in losses.items()}


@dataclass(frozen=True)
class DigitDetector:
    """A trained network with all it needs to read images."""

    recipe: Recipe
    model: FasterRCNN
    history: list[training.Row]

    def detect(self, dataset: DigitDataset, thresholds: Thresholds = EVERYTHING) -> list[Detections]:
        """Returns the detections of each image of `dataset`, in its order; without thresholds, nothing is cut."""
        return detect_all(self.model, dataset, thresholds)


def train_digits(
    recipe: Recipe,
    train_set: DigitDataset,
    selection_set: DigitDataset,
    folder: Path,
    device: torch.device,
    on_epoch_end: Callable[[training.Row, FasterRCNN], None] | None = None,
    start: FasterRCNN | None = None,
) -> DigitDetector:
    """Returns the detector that `recipe` makes of `train_set`; goes on where an interrupted run stopped.

    Args:
        selection_set: images that choose the best epoch. They must not be the ones that are reported on.
        folder: keeps `training_log.json`, `best_model.pth` and `last.pth`.
        on_epoch_end: see `training.train`.
        start: a network of the same config to go on from, as fine-tuning does; `None` starts from the seed.
    """
    torch.manual_seed(recipe.training.seed)  # the same initial weights, whatever ran before
    model = build_digit_rcnn(recipe.model, recipe.box_loss.term).to(device, memory_format=torch.channels_last)
    if start is not None:
        model.load_state_dict(start.state_dict())
    task = DigitTask(recipe, train_set, selection_set, device)
    settings = {
        "recipe": asdict(recipe),
        "train_set": _fingerprint(train_set),
        "selection_set": _fingerprint(selection_set),
        "start": None if start is None else training.fingerprint(start.state_dict().values()),
    }
    history = training.train(model, task, recipe.training, folder, settings=settings, on_epoch_end=on_epoch_end)
    return DigitDetector(recipe, model, history)


def base_recipe(run: runtime.Run) -> Recipe:
    """Returns what the lessons train at `run`'s profile: a small network, or the report's with fitted anchors."""
    return run.budget(QUICK, QUICK, vary_anchors(REPORT)["fitted"])


def lesson_digits(
    name: str,
    recipe: Recipe,
    run: runtime.Run,
    train_set: DigitDataset,
    selection_set: DigitDataset,
    on_epoch_end: Callable[[training.Row, FasterRCNN], None] | None = None,
) -> DigitDetector:
    """Returns the detector of lesson 7 called `name` at `run`'s profile and seed: loaded where it is, or else trained.

    Args:
        name: the folder `data/runs/07_digit_detection/<profile>/<name>_seed<seed>` keeps it for every lesson.
        selection_set: the valid split. The lessons report the test split, which chooses nothing.
        on_epoch_end: see `training.train`; what is loaded has no epochs to see.
    """
    train_set = train_set.select(slice(run.budget(smoke=32, quick=None, full=None)))
    selection_set = selection_set.select(slice(run.budget(smoke=16, quick=100, full=None)))
    epochs = run.budget(smoke=1, quick=recipe.training.epochs, full=recipe.training.epochs)
    recipe = replace(recipe, training=replace(recipe.training, epochs=epochs, seed=run.seed))
    folder = paths.RUNS / "07_digit_detection" / run.profile / training.variant_folder(name, run.seed)
    return train_digits(recipe, train_set, selection_set, folder, run.device, on_epoch_end)


def train_variants(
    variants: Mapping[str, Recipe],
    num_seeds: int,
    train_set: DigitDataset,
    selection_set: DigitDataset,
    folder: Path,
    device: torch.device,
    start: FasterRCNN | None = None,
) -> dict[str, list[DigitDetector]]:
    """Returns each variant trained from seeds 0, 1, …: same data, same seeds, same budget, same `start` for all.

    What `folder` holds already is loaded, so a stopped comparison goes on where it was.
    """

    def train_one(recipe: Recipe, own_folder: Path) -> DigitDetector:
        return train_digits(recipe, train_set, selection_set, own_folder, device, start=start)

    return training.train_variants(variants, num_seeds, folder, train_one)


class DigitTask:
    """Brings a recipe's batches, losses and validation to `training.train`."""

    monitor = "ap"
    replayable = False  # how many regions there are depends on the images

    def __init__(
        self, recipe: Recipe, train_set: DigitDataset, selection_set: DigitDataset, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.train_set = train_set
        self.selection_set = selection_set
        self.augment = build_augmentation(recipe.augmentation)
        self.epoch = 1  # the one whose batches are under way: the weight of a box loss may depend on it

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> training.Batches:
        """Returns the epoch's batches; images of one batch are of about one shape."""
        self.epoch = epoch
        return build_loader(self.train_set, batch_size, generator, count_workers(self.device), self.augment)

    def losses(self, model: FasterRCNN, batch: Batch) -> dict[str, Tensor]:
        """Returns the losses of one batch; "loss" is torchvision's sum of four, with the recipe's box loss for one."""
        images, targets = batch
        targets = [{name: value.to(self.device) for name, value in target.items()} for target in targets]
        parts = model([prepare_image(image, self.device) for image in images], targets)
        losses = {
            "objectness": parts["loss_objectness"],
            "proposal": parts["loss_rpn_box_reg"],
            "class": parts["class"],
            "box": self.recipe.box_loss.mix(parts["smooth-l1"], parts["term"], self.epoch - 1),
        }
        return {"loss": sum(losses.values()), **losses}

    def validate(self, model: FasterRCNN) -> training.Row:
        """Returns COCO's twelve numbers on the selection set: one ruler for all recipes, without any score cut."""
        metrics = evaluate_digits(self.selection_set.file, detect_all(model, self.selection_set, EVERYTHING))
        return {name: value for name, value in metrics.items() if name in TWELVE}


def detect_all(
    model: FasterRCNN,
    dataset: DigitDataset,
    thresholds: Thresholds,
    batch_size: int = 16,
) -> list[Detections]:
    """Returns what `model`, in evaluation mode, finds in each image of `dataset`, in its order.

    Args:
        batch_size: images per forward pass, of about one shape.
    """
    found: dict[int, Detections] = {}
    num_workers = count_workers(next(model.parameters()).device)
    for images, targets in build_loader(dataset, batch_size, num_workers=num_workers):
        ids = [int(target["image_id"]) for target in targets]
        found.update(zip(ids, detect(model, images, thresholds), strict=True))
    return [found[image_id] for image_id in dataset.image_ids.tolist()]


def count_workers(device: torch.device) -> int:
    """Returns how many processes decode for a network on `device`: one, which keeps ahead of it, or none on a CPU.

    There all cores are the network's. A worker would take its share of them, and more: it begins as a copy of this
    process, and until it ends, what this process writes to has to be copied for it page by page.
    """
    return 0 if device.type == "cpu" else 1


def _fingerprint(dataset: DigitDataset) -> str:
    """Returns what stands for the records of `dataset`; its pixels stay on disk until they are trained on."""
    columns = (dataset.image_ids, dataset.sizes, dataset.owners, dataset.boxes, dataset.labels)
    return training.fingerprint(torch.from_numpy(column) for column in columns)
