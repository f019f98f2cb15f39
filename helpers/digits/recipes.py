"""Named recipes of digit detectors, and variants of a recipe.

A recipe holds everything that determines a trained detector; an experiment is a `dataclasses.replace` of one.
`training` trains it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace

from helpers import runtime
from helpers.digits.anchors import ANCHOR_SETS, FITTED_ANCHORS, AnchorSet, Resize
from helpers.digits.batches import BLUR_SIGMAS, AugmentationConfig
from helpers.digits.loss import AT_ONCE, BoxLossConfig, Schedule, Term
from helpers.digits.model import ModelConfig, MultiScaleConfig
from helpers.digits.multi_scale import FineInput
from helpers.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a trained detector. The defaults are the report's settings."""

    training: TrainingConfig = TrainingConfig(
        epochs=15, batch_size=8, optimizer="adamw", learning_rate=1e-4, weight_decay=1e-4, schedule="cosine"
    )
    model: ModelConfig = ModelConfig()
    box_loss: BoxLossConfig = BoxLossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()


REPORT = Recipe()
"""The report's recipe, with its anchors."""

TERM_NAMES: dict[str, Term] = {"IoU": "iou", "GIoU": "giou", "DIoU": "diou", "CIoU": "ciou"}
"""Overlap losses by the names that tables and figures show."""

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
"""The recipe for two CPU cores: a small network, a small input and fitted anchors."""


def vary_anchors(recipe: Recipe, sets: Mapping[str, AnchorSet] = ANCHOR_SETS) -> dict[str, Recipe]:
    """Return `recipe` with each anchor set in turn.

    Each set covers the same share of the image as at torchvision's resize, and is on one level if the anchors of
    `recipe` are.
    """
    variants = {}
    for name, anchors in sets.items():
        if len(recipe.model.anchors.sizes) == 1:
            anchors = anchors.on_one_level()
        anchors = anchors.scaled_to(recipe.model.resize)
        variants[name] = replace(recipe, model=replace(recipe.model, anchors=anchors))
    return variants


def vary_box_losses(recipe: Recipe, schedule: Schedule = AT_ONCE, gain: float = 1.0) -> dict[str, Recipe]:
    """Return `recipe` with smooth-L1 alone, with each overlap loss, and with the report's constant CIoU.

    Args:
        schedule: λ by epoch, the same for all overlap losses; the default replaces smooth-L1 completely.
        gain: factor of the overlap losses, see `BoxLossConfig`.
    """
    losses = {"smooth-L1": BoxLossConfig()}
    losses |= {name: BoxLossConfig(term, schedule, gain) for name, term in TERM_NAMES.items()}
    losses["constant CIoU"] = BoxLossConfig("ciou", schedule, gain, constant=True)
    return {name: replace(recipe, box_loss=box_loss) for name, box_loss in losses.items()}


def add_fine_input(recipe: Recipe) -> Recipe:
    """Return the recipe of fine-tuning a detector of `recipe` with a second input of twice the sides.

    Both inputs have the same anchors, in pixels of the input. So both are for digits of the same pixels: the tallest
    fill the whole height of the coarse input, and half the height of the fine one. Epochs, learning rate and zooming
    out were chosen for `QUICK` on drawn images in the layout of test, which are neither in test nor in
    `splits.read_wide_valid`. For the report's network they have not been tried.
    """
    resize = recipe.model.resize
    fine = FineInput(Resize(2 * resize.shorter, 2 * resize.longer), tallest=resize.shorter)
    fields = {field.name: getattr(recipe.model, field.name) for field in dataclasses.fields(recipe.model)}
    training = replace(recipe.training, epochs=2, learning_rate=0.75 * recipe.training.learning_rate)
    if recipe.model.backbone == "resnet50":
        # The fine input takes four times the memory, which a batch of the usual size would not leave on a GPU.
        training = replace(training, batch_size=max(1, recipe.training.batch_size // 4))
    return replace(
        recipe,
        training=training,
        model=MultiScaleConfig(**fields, fine=fine),
        augmentation=replace(recipe.augmentation, zoom_out=0.5, canvas=(1.0, 2.5)),
    )


MULTI_SCALE = add_fine_input(QUICK)
"""The recipe for two CPU cores with inputs of 64 and 128 pixels; it starts from a detector of `QUICK`."""


def base_recipe(run: runtime.Run) -> Recipe:
    """Return what the lessons train at the profile of `run`: `QUICK`, or the report's recipe with fitted anchors."""
    return run.budget(QUICK, QUICK, vary_anchors(REPORT)["fitted"])


def describe_recipe(recipe: Recipe) -> dict[str, str]:
    """Return the hyperparameters of `recipe` as text, for one column of a table."""
    training, network, augmentation = recipe.training, recipe.model, recipe.augmentation
    sizes = [f"{size * network.anchors.scale:g}" for size in sum(network.anchors.sizes, ())]
    low, high = augmentation.canvas
    zoom_out = (
        f"probability {augmentation.zoom_out:g}, canvas × {low:g} to {high:g}" if augmentation.zoom_out else "not used"
    )
    return {
        "backbone": "ResNet-50" if network.backbone == "resnet50" else "small, 3 stages",
        "initial weights": "COCO" if network.weights else "random",
        "input: shorter / longer side (px)": f"{network.resize.shorter} / {network.resize.longer}",
        "anchor sizes, √area (px of the input)": ", ".join(sizes),
        "anchor ratios, height / width": ", ".join(f"{ratio:g}" for ratio in network.anchors.ratios),
        "levels of the pyramid with anchors": str(len(network.anchors.sizes)),
        "proposals per image, training / evaluation": " / ".join(str(count) for count in network.num_proposals),
        "sampled proposals per image": str(network.num_regions),
        "largest share of positives in the sample": f"{network.positive_fraction:g}",
        "box loss": "smooth-L1" if recipe.box_loss.term is None else recipe.box_loss.term,
        "optimiser": {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}[training.optimizer],
        "largest learning rate": f"{training.learning_rate:g}",
        "weight decay": f"{training.weight_decay:g}",
        "schedule of the learning rate": training.schedule,
        "epochs": str(training.epochs),
        "images per batch": str(training.batch_size),
        "colour jitter": f"probability {augmentation.colour:g}, factors 0.8 to 1.2",
        "blur": f"probability {augmentation.blur:g}, 3 × 3, sigma {BLUR_SIGMAS[0]:g} to {BLUR_SIGMAS[1]:g} px",
        "zooming out": zoom_out,
        "normalisation": "in the network, mean and deviation of ImageNet",
    }
