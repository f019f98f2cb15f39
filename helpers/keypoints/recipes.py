"""Named recipes, and what turns one into a trained localiser of points.

A recipe holds everything that decides how a localiser comes out; an experiment is a `dataclasses.replace` of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from helpers import files, paths, runtime, training
from helpers.keypoints.codecs import Codec, CoordinateCodec, Decoded, DSNTCodec, HeatmapCodec, SimCCCodec
from helpers.keypoints.dataset import KeypointDataset, mirror, prepare_images
from helpers.keypoints.loss import KeypointLoss, Loss
from helpers.keypoints.metrics import evaluate_points
from helpers.keypoints.model import FINAL_SIZE, Head, HeatmapNet, RegressionNet
from helpers.keypoints.scenes import HANDOUT_FIGURE, FigureConfig
from helpers.training import TrainingConfig

Network = HeatmapNet | RegressionNet


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a localiser comes out. The defaults are the handout's heatmaps, to the letter."""

    training: TrainingConfig = TrainingConfig(epochs=30, batch_size=32, optimizer="adam", learning_rate=1e-3)
    codec: HeatmapCodec | CoordinateCodec | SimCCCodec | DSNTCodec = HeatmapCodec(decoder="argmax")
    loss: Loss = "mse"
    exchangeable_hands: bool = False  # the loss forgives names of hands that are exchanged
    head: Literal["decoder"] | Head = "decoder"  # a decoder makes a HeatmapNet, every other head a RegressionNet
    width: int = 32  # channels of the first block
    skips: bool = True  # of the decoder
    empty_start: bool = False  # of the decoder: the untrained network shows empty maps, not noise
    dropout: float = 0.5  # of the other heads
    coordinates: bool = False  # the network also sees where each pixel is
    mirrored: bool = False  # half of the images are seen in the mirror; never with a figure of `tellable_hands`
    figure: FigureConfig = HANDOUT_FIGURE  # the look of the figures that are drawn: fresh ones, and those that select
    fresh_figures: bool = False  # every epoch draws as many new figures instead of repeating


ASSIGNMENT_HEATMAP = Recipe()
ASSIGNMENT_REGRESSION = Recipe(codec=CoordinateCodec(), head="pooled")

TUNED_DSNT = Recipe(
    training=TrainingConfig(
        epochs=30, batch_size=16, optimizer="adamw", learning_rate=3e-3, weight_decay=1e-2, schedule="one-cycle"
    ),
    codec=DSNTCodec(),
    loss="dsnt",
    exchangeable_hands=True,
    fresh_figures=True,
)
TUNED_HEATMAP = replace(TUNED_DSNT, codec=HeatmapCodec(decoder="dark", exchangeable=True), loss="mse", empty_start=True)
TUNED_REGRESSION = replace(TUNED_DSNT, codec=CoordinateCodec(), loss="rle", head="flattened", dropout=0.0)

SELECTION_SEED = 642
"""Seed of the figures that select epochs; 641 draws the handout's."""


def repair_ladder(epochs: int) -> dict[str, Recipe]:
    """Returns the way from the regression that fails to heatmaps and DSNT, all trained on the same figures as often.

    Each rung names the one thing in which it differs from "pooled, no dropout", the third; a representation is head,
    codec and loss together. All rungs but the last two have equal weights; those trade the head for a decoder.

    Args:
        epochs: of every rung.
    """
    pooled = replace(ASSIGNMENT_REGRESSION, training=replace(ASSIGNMENT_REGRESSION.training, epochs=epochs))
    cycled = replace(pooled, training=replace(TUNED_DSNT.training, epochs=epochs))
    base = replace(cycled, dropout=0.0)
    flattened = replace(base, head="flattened")
    decoded = replace(base, head="decoder")
    return {
        "pooled (assignment)": pooled,
        "pooled, one cycle": cycled,
        "pooled, no dropout": base,
        "pooled, CoordConv": replace(base, coordinates=True),
        "flattened": flattened,
        "flattened, L1": replace(flattened, loss="l1"),
        "flattened, RLE": replace(flattened, loss="rle"),
        "SimCC": replace(base, head="simcc", codec=SimCCCodec(), loss="simcc"),
        "integral": replace(base, head="integral", codec=DSNTCodec(size=FINAL_SIZE), loss="dsnt"),
        "heatmap": replace(decoded, codec=HeatmapCodec(decoder="dark"), loss="mse", empty_start=True),
        "DSNT": replace(decoded, codec=DSNTCodec(), loss="dsnt"),
    }


@dataclass(frozen=True)
class Localizer:
    """A trained network with all it needs to read images."""

    recipe: Recipe
    model: Network
    history: list[training.Row]

    def outputs(self, images: UInt8[Tensor, "M H W"]) -> Float[Tensor, "M K *outputs"]:
        """Returns what the network says, still in its own terms: reading it can then be varied at no cost."""
        return compute_outputs(self.model, images)

    def predict(self, images: UInt8[Tensor, "M H W"], codec: Codec | None = None) -> Decoded:
        """Returns the points in pixels with their scores, read by `codec` or else by the recipe's."""
        return read_outputs(self.outputs(images), codec or self.recipe.codec, self.recipe.loss)


def train_keypoints(
    recipe: Recipe,
    train_set: KeypointDataset,
    selection_set: KeypointDataset,
    folder: Path,
    device: torch.device,
    on_epoch_end: Callable[[training.Row, Network], None] | None = None,
) -> Localizer:
    """Returns the localiser that `recipe` makes of `train_set`; goes on where an interrupted run stopped.

    Args:
        train_set: the figures to learn from; with `fresh_figures` only their number counts.
        selection_set: figures that choose the best epoch. They must not be the ones that are reported on.
        folder: keeps `training_log.json`, `best_model.pth` and `last.pth`.
        on_epoch_end: see `training.train`; what lessons watch heatmaps grow with.
    """
    torch.manual_seed(recipe.training.seed)  # the same initial weights, whatever ran before
    model = build_network(recipe).to(device, memory_format=torch.channels_last)
    task = KeypointTask(recipe, train_set, selection_set, device)
    settings = {
        "recipe": {**asdict(recipe), "codec": _describe_targets(recipe.codec)},
        "train_set": _fingerprint(train_set),
        "selection_set": _fingerprint(selection_set),
    }
    history = training.train(model, task, recipe.training, folder, identity=settings, on_epoch_end=on_epoch_end)
    return Localizer(recipe, model, history)


def lesson_localizer(
    name: str,
    recipe: Recipe,
    run: runtime.Run,
    train_set: KeypointDataset,
    on_epoch_end: Callable[[training.Row, Network], None] | None = None,
) -> Localizer:
    """Returns the localiser of lesson 5 called `name` at `run`'s profile and seed: loaded where it is, or else trained.

    The epoch is selected on figures drawn for that purpose: nothing is ever chosen on the val split, which the lessons
    report.

    Args:
        name: the folder `data/runs/05_heatmap_vs_regression/<profile>/<name>_seed<seed>` keeps it for every lesson.
        train_set: the handout's train split, or figures of the recipe's look.
        on_epoch_end: see `training.train`; what is loaded has no epochs to see.
    """
    train_set = train_set.select(slice(run.budget(smoke=32, quick=None, full=None)))
    num_selecting = run.budget(smoke=16, quick=100, full=200)
    selection_set = KeypointDataset.draw(num_selecting, SELECTION_SEED, recipe.figure)
    few = 4 if recipe.training.schedule == "one-cycle" else 8  # a rate that never falls needs longer to come to rest
    epochs = run.budget(smoke=1, quick=few, full=recipe.training.epochs)
    recipe = replace(recipe, training=replace(recipe.training, epochs=epochs, seed=run.seed))
    lesson = paths.RUNS / "05_heatmap_vs_regression" / run.profile
    folder = lesson / training.variant_folder(name, run.seed)
    return train_keypoints(recipe, train_set, selection_set, folder, run.device, on_epoch_end)


def keep_stages(images: UInt8[Tensor, "M H W"], folder: Path) -> Callable[[training.Row, Network], None]:
    """Returns an `on_epoch_end` that writes into `folder` what the network says of `images`, for `read_stages`.

    On disk, because a run that is loaded or goes on after an interruption does not repeat its first epochs.
    """

    def keep(row: training.Row, model: Network) -> None:
        with files.replace_when_complete(folder / f"epoch_{row['epoch']:03}.pt") as partial:
            torch.save(compute_outputs(model, images).cpu(), partial)

    return keep


def read_stages(folder: Path) -> dict[int, Float[Tensor, "M K *outputs"]]:
    """Returns the outputs after each epoch that `keep_stages` has written, in order."""
    return {int(path.stem[-3:]): torch.load(path, weights_only=True) for path in sorted(folder.glob("epoch_*.pt"))}


def train_variants(
    variants: Mapping[str, Recipe],
    num_seeds: int,
    train_set: KeypointDataset,
    selection_set: KeypointDataset,
    folder: Path,
    device: torch.device,
) -> dict[str, list[Localizer]]:
    """Returns each variant trained from seeds 0, 1, …: same data, same seeds, same budget for all.

    What `folder` holds already is loaded, so a stopped comparison goes on where it was.
    """

    def train_one(recipe: Recipe, own_folder: Path) -> Localizer:
        return train_keypoints(recipe, train_set, selection_set, own_folder, device)

    return training.train_variants(variants, num_seeds, folder, train_one)


def build_network(recipe: Recipe) -> Network:
    """Returns the untrained network whose outputs the recipe's codec reads."""
    codec = recipe.codec
    if recipe.head == "decoder":
        return HeatmapNet(
            output_size=codec.size, skips=recipe.skips, width=recipe.width, empty_start=recipe.empty_start
        )
    return RegressionNet(
        head=recipe.head,
        outputs_per_point=4 if recipe.loss == "rle" else 2,
        num_bins=codec.num_bins if recipe.head == "simcc" else 0,
        dropout=recipe.dropout,
        coordinates=recipe.coordinates,
        width=recipe.width,
    )


@torch.inference_mode()
def compute_outputs(
    model: Network, images: UInt8[Tensor, "M H W"], batch_size: int = 100
) -> Float[Tensor, "M K *outputs"]:
    """Returns what `model`, in evaluation mode, says of each image; runs where the model is.

    Args:
        batch_size: images per forward pass.
    """
    device = next(model.parameters()).device
    with runtime.autocast(device):  # as in training
        return torch.cat([model(prepare_images(batch.to(device))) for batch in images.split(batch_size)])


def read_outputs(outputs: Float[Tensor, "M K *outputs"], codec: Codec, loss: Loss) -> Decoded:
    """Returns the points that a network trained with `loss` says; "rle" also says spreads, which no codec reads."""
    return codec.decode(outputs[..., :2] if loss == "rle" else outputs)


class KeypointTask:
    """Brings a recipe's batches, losses and validation to `training.train`; nothing per image or point in Python.

    Raises:
        ValueError: the recipe mirrors figures whose mitten would then name the wrong hand.
    """

    monitor = "pck"
    replayable = True

    def __init__(
        self, recipe: Recipe, train_set: KeypointDataset, selection_set: KeypointDataset, device: torch.device
    ) -> None:
        if recipe.mirrored and recipe.figure.tellable_hands:
            raise ValueError(
                "mirrored=True and tellable_hands=True contradict each other: the mitten marks the left hand, and in "
                "the mirror it would mark the right one; give up one of the two"
            )
        self.recipe = recipe
        self.device = device
        self.criterion = KeypointLoss(recipe.loss, recipe.codec, recipe.exchangeable_hands)
        self.train_set = train_set.to(device)
        self.selection_set = selection_set.to(device)

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> FigureBatches:
        """Returns the epoch's batches in random order, half of the images mirrored where the recipe says so."""
        figures, count = self.train_set, len(self.train_set)
        if self.recipe.fresh_figures:
            seed = int(torch.randint(2**31, (), generator=generator))
            figures = KeypointDataset.draw(count, seed, self.recipe.figure).to(self.device)
        order = torch.randperm(count, generator=generator)
        mirrored = torch.rand(count, generator=generator) < (0.5 if self.recipe.mirrored else 0.0)
        return FigureBatches(figures, order.to(self.device), mirrored.to(self.device), batch_size)

    def losses(self, model: Network, batch: Batch) -> dict[str, Tensor]:
        """Returns the loss of one batch, computed in float32 whatever the network ran in."""
        outputs = model(batch.images)
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(outputs, batch.points)

    def validate(self, model: Network) -> training.Row:
        """Returns the share of points found on the selection set and the mean error in pixels, hands exchangeable.

        "pck" counts points within 0.05 of the figure's size. All heatmaps are read alike, by the best reader, whatever
        the recipe's: which epoch is the best does then not depend on it.
        """
        codec = self.recipe.codec
        if isinstance(codec, HeatmapCodec):
            codec = replace(codec, decoder="dark", exchangeable=True)
        outputs = compute_outputs(model, self.selection_set.images)
        points = read_outputs(outputs, codec, self.recipe.loss).points
        metrics = evaluate_points(points, self.selection_set.points)
        return {"pck": metrics["pck_swap@0.05"], "pck@0.02": metrics["pck_swap@0.02"], "error": metrics["error_swap"]}


class Batch(NamedTuple):
    """What one training step needs, on the device."""

    images: Float[Tensor, "B 1 H W"]
    points: Float[Tensor, "B K 2"]  # (x, y) pixels


@dataclass(frozen=True)
class FigureBatches:
    """One epoch: gathers a batch from the device's own memory when it is asked for."""

    figures: KeypointDataset
    order: Int[Tensor, " M"]
    mirrored: Bool[Tensor, " M"]
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for rows, mirrored in zip(self.order.split(self.batch_size), self.mirrored.split(self.batch_size), strict=True):
            images, points = self.figures.images[rows], self.figures.points[rows]
            other_images, other_points = mirror(images, points)
            chosen = mirrored[:, None, None]
            images = torch.where(chosen, other_images, images)
            yield Batch(prepare_images(images), torch.where(chosen, other_points, points))


def _describe_targets(codec: Codec) -> dict[str, Any]:
    """Returns what of `codec` decides how a network is trained: its kind and targets, but not how maps are read."""
    options = {name: value for name, value in asdict(codec).items() if name not in ("decoder", "exchangeable")}
    return {"kind": type(codec).__name__, **options}


def _fingerprint(dataset: KeypointDataset) -> str:
    """Returns what stands for everything in `dataset` that training can see."""
    return training.fingerprint((dataset.images, dataset.points))
