"""Training of recipes: from a recipe and a data set to a trained network, which is loaded where it exists already.

Shape letters: M images, K points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from helpers import checkpoints, runtime, training
from helpers.keypoints.batches import Batch, FigureBatches
from helpers.keypoints.codecs import Codec, Decoded, DSNTCodec, HeatmapCodec, SimCCCodec
from helpers.keypoints.dataset import KeypointDataset, prepare_images
from helpers.keypoints.loss import KeypointLoss, Loss
from helpers.keypoints.metrics import evaluate_points
from helpers.keypoints.model import HeatmapNet, RegressionNet, RegressionVariant
from helpers.keypoints.recipes import SELECTION_SEED, Recipe

TRAINED_IN = "05_heatmap_vs_regression"
"""The lesson that trains the networks which other lessons load."""
IMAGES_PER_PASS = 100
"""Images per forward pass where no gradients are needed."""

OnEpochEnd = Callable[[training.Row, nn.Module], None]
"""Callback of `helpers.training.train`: gets each finished epoch's row and the model as it is then."""


@dataclass(frozen=True)
class TrainedModel:
    """Trained network with the recipe and the history that produced it."""

    recipe: Recipe
    model: nn.Module
    history: list[training.Row]

    def compute_outputs(self, images: UInt8[Tensor, "M H W"]) -> Float[Tensor, "M K *outputs"]:
        """Return the network's outputs before decoding; several codecs can then decode them."""
        return compute_outputs(self.model, images)

    def predict(self, images: UInt8[Tensor, "M H W"], codec: Codec | None = None) -> Decoded:
        """Return the points in pixels with their scores, decoded by `codec`, or by the recipe's if None."""
        return decode_outputs(self.compute_outputs(images), codec or self.recipe.codec, self.recipe.loss)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    train_set: KeypointDataset,
    selection_set: KeypointDataset,
    device: torch.device,
    on_epoch_end: OnEpochEnd | None = None,
) -> TrainedModel:
    """Train the network of `recipe`, resuming an interrupted run and loading a finished one.

    Args:
        folder: gets `training_log.json`, `best_model.pth` and `last.pth`.
        train_set: figures to train on; with `fresh_figures` only their number matters.
        selection_set: figures that select the best epoch; they must not be the reported ones.
        on_epoch_end: called after each epoch that is trained, not for loaded ones.

    Raises:
        CheckpointError: `folder` holds a run of another recipe or other data.
    """
    torch.manual_seed(recipe.training.seed)  # the initial weights depend on the recipe only
    # torch's annotations lack this form of `to`.
    model = build_network(recipe).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    task = Task(recipe, train_set, selection_set, device)
    identity = {
        "recipe": {**asdict(recipe), "codec": _describe_targets(recipe)},
        "train_set": _fingerprint(train_set),
        "selection_set": _fingerprint(selection_set),
    }
    history = training.train(model, task, recipe.training, folder, identity=identity, on_epoch_end=on_epoch_end)
    return TrainedModel(recipe, model, history)


def lesson_model(
    name: str,
    recipe: Recipe,
    run: runtime.Run,
    train_set: KeypointDataset,
    on_epoch_end: OnEpochEnd | None = None,
) -> TrainedModel:
    """Train lesson 5's network called `name` at the profile and seed of `run`, or load it.

    The best epoch is selected on figures that are drawn for this purpose, never on the val split, which the lessons
    report.

    Args:
        name: the network is kept in `data/runs/05_heatmap_vs_regression/<profile>/<name>_seed<seed>`.
        train_set: the handout's train split, or figures in the look of the recipe.
        on_epoch_end: see `train`.
    """
    selection_set = KeypointDataset.draw(run.budget(smoke=16, quick=100, full=200), SELECTION_SEED, recipe.figure)
    quick_epochs = 4 if recipe.training.schedule == "one-cycle" else 8  # a constant rate converges more slowly
    return train(
        training.lesson_recipe(recipe, run, quick_epochs),
        training.lesson_folder(TRAINED_IN, name, run),
        train_set=train_set.select(slice(run.budget(smoke=32, quick=None, full=None))),
        selection_set=selection_set,
        device=run.device,
        on_epoch_end=on_epoch_end,
    )


def count_updates(recipe: Recipe, num_images: int) -> int:
    """Return the optimiser updates of a training of `recipe` on `num_images` figures per epoch."""
    return recipe.training.epochs * math.ceil(num_images / recipe.training.batch_size)


def build_network(recipe: Recipe) -> nn.Module:
    """Return the untrained network of `recipe`.

    Raises:
        ValueError: the codec has no maps for the decoder, or no bins for the head "simcc".
    """
    codec = recipe.codec
    if recipe.head == "decoder":
        if not isinstance(codec, HeatmapCodec | DSNTCodec):
            raise ValueError(f"head 'decoder' outputs maps: use HeatmapCodec or DSNTCodec, not {type(codec).__name__}")
        return HeatmapNet(
            output_size=codec.size, skips=recipe.skips, width=recipe.width, empty_start=recipe.empty_start
        )
    if recipe.head == "simcc" and not isinstance(codec, SimCCCodec):
        raise ValueError(f"head 'simcc' outputs bins: use SimCCCodec, not {type(codec).__name__}")
    outputs_per_point = 4 if recipe.loss == "laplace" else 2
    if recipe.head == "pooled" and outputs_per_point == 2 and not recipe.coordinates:
        return RegressionNet(width=recipe.width, dropout=recipe.dropout)
    return RegressionVariant(
        head=recipe.head,
        outputs_per_point=outputs_per_point,
        num_bins=codec.num_bins if isinstance(codec, SimCCCodec) else 0,
        dropout=recipe.dropout,
        coordinates=recipe.coordinates,
        width=recipe.width,
    )


@torch.inference_mode()
def compute_outputs(model: nn.Module, images: UInt8[Tensor, "M H W"]) -> Float[Tensor, "M K *outputs"]:
    """Return the outputs of `model`, which must be in evaluation mode, for each image, on the model's device."""
    device = next(model.parameters()).device
    with runtime.autocast(device):  # as in training
        return torch.cat([model(prepare_images(batch.to(device))) for batch in images.split(IMAGES_PER_PASS)])


def decode_outputs(outputs: Float[Tensor, "M K *outputs"], codec: Codec, loss: Loss) -> Decoded:
    """Return the points of a network that was trained with `loss`; the scales of "laplace" are not decoded."""
    return codec.decode(outputs[..., :2] if loss == "laplace" else outputs)


def make_stage_writer(images: UInt8[Tensor, "M H W"], folder: Path) -> OnEpochEnd:
    """Return an `on_epoch_end` that writes the network's outputs for `images` to `folder`, for `read_stages`.

    The outputs are kept in files because a run that is loaded or resumed does not repeat its first epochs.
    """

    def write_stage(row: training.Row, model: nn.Module) -> None:
        epoch = int(row["epoch"])
        state = {"outputs": compute_outputs(model, images).cpu()}
        checkpoints.write_checkpoint(folder / f"epoch_{epoch:03}.pt", {"epoch": epoch}, state)

    return write_stage


def read_stages(folder: Path) -> dict[int, Float[Tensor, "M K *outputs"]]:
    """Read the outputs that `make_stage_writer` has written, by epoch in ascending order.

    Raises:
        CheckpointError: a file is damaged or lies under the name of another epoch.
    """
    stages = {int(path.stem[-3:]): path for path in sorted(folder.glob("epoch_*.pt"))}
    cpu = torch.device("cpu")
    return {
        epoch: checkpoints.read_checkpoint(path, {"epoch": epoch}, cpu, {"outputs"})["outputs"]
        for epoch, path in stages.items()
    }


class Task:
    """Batches, losses and validation of a recipe for `helpers.training.train`.

    Raises:
        ValueError: the recipe mirrors figures whose left hand is marked.
    """

    monitor = "pck"
    replayable = True

    def __init__(
        self, recipe: Recipe, train_set: KeypointDataset, selection_set: KeypointDataset, device: torch.device
    ) -> None:
        if recipe.mirrored and recipe.figure.tellable_hands:
            raise ValueError(
                "mirrored=True and tellable_hands=True contradict each other: the mitten marks the left hand, and in "
                "the mirror it would mark the right one; set one of the two to False"
            )
        self.recipe = recipe
        self.device = device
        self.criterion = KeypointLoss(recipe.loss, recipe.codec, recipe.permutation_invariant)
        self.train_set = train_set.to(device)
        self.selection_set = selection_set.to(device)

    def batches(self, epoch: int, batch_size: int, generator: torch.Generator) -> FigureBatches:
        """Return the epoch's batches in random order; half of the images are mirrored if the recipe mirrors."""
        figures, count = self.train_set, len(self.train_set)
        if self.recipe.fresh_figures:
            seed = int(torch.randint(2**31, (), generator=generator))
            figures = KeypointDataset.draw(count, seed, self.recipe.figure).to(self.device)
        order = torch.randperm(count, generator=generator).to(self.device)
        mirrored = None
        if self.recipe.mirrored:
            mirrored = (torch.rand(count, generator=generator) < 0.5).to(self.device)
        return FigureBatches(figures, order, mirrored, batch_size)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of one batch, computed in float32 for outputs of any precision."""
        outputs = model(batch.images)
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(outputs, batch.points)

    def validate(self, model: nn.Module) -> training.Row:
        """Return permutation-invariant metrics on the selection set: PCK and the mean error in pixels.

        "pck" is PCK@0.05. All heatmaps are decoded by DARK with joint hands, whatever decoder the recipe has, so that
        the selected epoch does not depend on the decoder.
        """
        codec = self.recipe.codec
        if isinstance(codec, HeatmapCodec):
            codec = replace(codec, decoder="dark", joint_hands=True)
        outputs = compute_outputs(model, self.selection_set.images)
        points = decode_outputs(outputs, codec, self.recipe.loss).points
        metrics = evaluate_points(points, self.selection_set.points)
        return {"pck": metrics["pck_swap@0.05"], "pck@0.02": metrics["pck_swap@0.02"], "error": metrics["error_swap"]}


def _describe_targets(recipe: Recipe) -> dict[str, Any]:
    """Return the kind and the target options of the recipe's codec, without those that only change the decoding."""
    options = {name: value for name, value in asdict(recipe.codec).items() if name not in ("decoder", "joint_hands")}
    return {"kind": type(recipe.codec).__name__, **options}


def _fingerprint(dataset: KeypointDataset) -> str:
    """Return the fingerprint of all data of `dataset` that training uses."""
    return training.fingerprint((dataset.images, dataset.points))
