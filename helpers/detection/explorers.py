"""Explorers of detection: controls above a figure that follows them.

Plain functions compute what a control changes, and `explorer_panels` draws it.

Shape letters: N objects and D detections of one image, C classes, h w feature map, H W image.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.ops import box_iou

from helpers.average_precision import Detections
from helpers.detection.anchors import FEATURE_MAP_SIZES, generate_anchors
from helpers.detection.baseline import detect_by_colour
from helpers.detection.boxes import decode
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.explorer_panels import (
    MOST_TEXTS,
    plot_cell,
    plot_curves,
    plot_legend,
    plot_matching,
    plot_scene,
    update_cell,
    update_curves,
    update_matching,
    update_scene,
)
from helpers.detection.figures import describe_detections, place_texts
from helpers.detection.matching import IGNORED, match_anchors_to_targets
from helpers.detection.metrics import Assignment, PrecisionRecall, assign_detections, compute_ap, precision_recall_curve
from helpers.detection.nms import Candidates, InferenceConfig, Suppression, suppress
from helpers.detection.receptive_fields import STRIDES, Objects, compute_receptive_fields, measure_sensitivity
from helpers.detection.scenes import CLASS_NAMES, IMAGE_SIZE, Palette, SceneConfig
from helpers.detection.training import Detector
from helpers.explorers import Explorer, join
from helpers.plotting import LEVEL_COLOURS, TRUTH_COLOUR

NO_BOX = np.zeros((0, 4), np.float32)
NO_ROW = np.zeros(0, bool)
ENLARGED_SIDE = 64.0
"""Of the part of the image that the explorer of cells shows for level 0, pixels."""
TEXT_HEIGHT = 11.0
"""Height of a text in pixels of the image, for an image drawn 3 inches wide."""


def _place_texts(boxes: Float[np.ndarray, "D 4"], texts: Sequence[str], width: float) -> list[tuple[float, float, str]]:
    """Return (x, y) of the middle of each text, beside its box, and the text; `width` is in pixels of the image."""
    placed = []
    corners = place_texts(boxes, np.array([width, TEXT_HEIGHT]), (IMAGE_SIZE, IMAGE_SIZE))
    for (x, y), text in zip(corners, texts, strict=True):
        placed.append((float(x) + width / 2, float(y) + TEXT_HEIGHT / 2, text))
    return placed


# Looks of a scene


class LookDescription(NamedTuple):
    """A scene, and the detections of the colour baseline."""

    image: UInt8[np.ndarray, "H W 3"]
    boxes: Float[np.ndarray, "N 4"]  # (x1, y1, x2, y2) in pixels, as all boxes here
    visibility: Float[np.ndarray, " N"]
    ignored: Bool[np.ndarray, " N"]
    predicted_boxes: Float[np.ndarray, "D 4"]
    is_wrong: Bool[np.ndarray, " D"]  # false positives; the other detections are right or of ignored objects
    num_right: int


def describe_look(seed: int, config: SceneConfig) -> LookDescription:
    """Return the first scene of `seed` with the detections of the colour baseline.

    Law: the objects are the same under every look. One more object is painted over the others, which do not move.
    """
    scene = ShapeDetectionDataset.draw(1, seed, config)
    example = scene.example(0)
    detections = detect_by_colour(example.image)
    assignment = assign_detections(scene, [detections])
    return LookDescription(
        example.image,
        example.boxes,
        example.visibility,
        example.ignored,
        detections.boxes.numpy(),
        assignment.is_false_positive[0],
        int(assignment.is_true_positive[0].sum()),
    )


def explore_looks() -> Explorer:
    """Return controls for the look of a scene above its true boxes and the detections of the colour baseline."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    truth, colours = figure.subplots(1, 2)
    plot_scene(truth, "ignored", TRUTH_COLOUR)
    plot_legend(plot_scene(colours, "ignored"))
    heading = figure.suptitle(" ", fontsize=10)
    controls = {
        "seed": IntSlider(641, min=641, max=680, description="scene (seed)"),
        "num_objects": IntSlider(4, min=1, max=8, description="objects"),
        "palette": ToggleButtons(options=get_args(Palette), value="class", description="palette"),
        "texture": IntSlider(0, min=0, max=255, step=5, description="texture (grey)"),
        "noise": IntSlider(0, min=0, max=40, description="noise (grey)"),
        "visibility": FloatSlider(0.0, min=0, max=1, step=0.05, description="ignore below"),
    }

    def draw(seed: int, num_objects: int, palette: Palette, texture: int, noise: float, visibility: float) -> None:
        config = SceneConfig(palette, texture, noise, visibility, num_objects=(num_objects, num_objects))
        look = describe_look(seed, config)
        texts = _place_texts(look.boxes, [f"{share:.2f}" for share in look.visibility], width=21)
        colours_of_shapes = "handout's palette (class)" if palette == "class" else "shared palette"
        look_of_scene = f"{colours_of_shapes}, texture {texture}, noise {noise:g} (grey levels)"
        heading.set_text(f"Scene {seed}, and the detector with shape and size rules\n{look_of_scene}")
        title = (
            f"true boxes with visibilities\nignored (visibility below {visibility:.2f}): {look.ignored.sum()} objects"
        )
        update_scene(look.image, look.boxes, NO_BOX, truth, title, hatched=look.ignored, crossed=NO_ROW, texts=texts)
        num_evaluated = (~look.ignored).sum()
        title = f"detected: {look.num_right} of {num_evaluated} objects\nwrong detections: {look.is_wrong.sum()}"
        update_scene(look.image, NO_BOX, look.predicted_boxes, colours, title, hatched=NO_ROW, crossed=look.is_wrong)

    frame_values = {
        "texture": (0, 60, 100, 110, 130, 140),  # those of the lesson's table
        "noise": (0, 20),
    }
    text = "A scene with its true boxes, and the same scene with the boxes that the colour baseline detects."
    return join(figure, controls, draw, frame_values, text)


# Anchor matching

ANCHOR_SETS: dict[str, dict[str, Any]] = {
    "assignment": {},
    "one size": {"anchor_scales": ((24,), (68,), (136,))},
    "three ratios": {"aspect_ratios": (0.5, 1, 2)},
    "strides × 2": {"feature_map_sizes": ((28, 28), (14, 14), (7, 7))},
}
"""Arguments of `generate_anchors`."""


class LevelMatches(NamedTuple):
    """Matches of one level's anchors with one object."""

    cells: Int[np.ndarray, "h w"]  # 1 has a positive anchor, -1 none but an ignored anchor, 0 neither
    num_positive: int  # anchors
    num_ignored: int  # anchors
    best_anchor: Float[np.ndarray, " 4"]
    best_iou: float


@functools.cache
def _generate_anchors(name: str) -> list[Float[Tensor, "_num_anchors 4"]]:
    """Return the anchors of the set, level by level; they depend on no slider."""
    return generate_anchors(**ANCHOR_SETS[name])


def describe_matching(
    x: float, y: float, size: float, name: str, positive_from: float, negative_to: float
) -> list[LevelMatches]:
    """Return the matches of each level with a square object.

    Args:
        x: of its centre, pixels.
        y: of its centre, pixels.
        size: its side, pixels.
        name: of `ANCHOR_SETS`.
        positive_from: smallest IoU of a positive anchor.
        negative_to: largest IoU of a background anchor.
    """
    box = torch.tensor([[x - size / 2, y - size / 2, x + size / 2, y + size / 2]])
    map_sizes = ANCHOR_SETS[name].get("feature_map_sizes", FEATURE_MAP_SIZES)
    levels = []
    for anchors, map_size in zip(_generate_anchors(name), map_sizes, strict=True):
        index, iou = match_anchors_to_targets(anchors, box, torch.tensor([0]), positive_from, negative_to)
        positive, ignored = index >= 0, index == IGNORED
        has_positive = positive.view(*map_size, -1).any(dim=-1).numpy()
        has_ignored = ignored.view(*map_size, -1).any(dim=-1).numpy()
        best = int(iou.argmax())
        levels.append(
            LevelMatches(
                cells=np.where(has_positive, 1, -has_ignored.astype(int)),
                num_positive=int(positive.sum()),
                num_ignored=int(ignored.sum()),
                best_anchor=anchors[best].numpy(),
                best_iou=iou[best].item(),
            )
        )
    return levels


def explore_matching() -> Explorer:
    """Return controls for an object, the anchors and the thresholds above the anchors matched to the object."""
    figure = Figure(figsize=(8.2, 3.5), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, colour in zip(axes, LEVEL_COLOURS, strict=False):
        plot_matching(ax, colour)
    plot_legend(*axes)
    controls = {
        "x": FloatSlider(74, min=0, max=IMAGE_SIZE, step=1, description="x (px)"),
        "y": FloatSlider(102, min=0, max=IMAGE_SIZE, step=1, description="y (px)"),
        "size": IntSlider(78, min=16, max=192, description="size (px)"),
        "positive_from": FloatSlider(0.5, min=0.5, max=0.9, step=0.05, description="positive (IoU)"),
        "negative_to": FloatSlider(0.3, min=0.0, max=0.5, step=0.05, description="negative (IoU)"),
        "name": ToggleButtons(options=tuple(ANCHOR_SETS), value="assignment", description="anchors"),
    }

    def draw(x: float, y: float, size: float, name: str, positive_from: float, negative_to: float) -> None:
        box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2])
        levels = describe_matching(x, y, size, name, positive_from, negative_to)
        for number, (ax, level) in enumerate(zip(axes, levels, strict=True)):
            positive = f"{level.num_positive} anchors positive (IoU ≥ {positive_from:.2f})"
            ignored = f"{level.num_ignored} anchors ignored (IoU > {negative_to:.2f})"
            title = f"level {number}: best IoU {level.best_iou:.2f}\n{positive}\n{ignored}"
            update_matching(box, level.best_anchor, level.cells, ax, title, colour=LEVEL_COLOURS[number])

    frame_values = {  # the lesson asks for 16 px at 0.65, 78 px at 0.7, and where no anchor is positive
        "size": (16, 24, 40, 78, 160),
        "positive_from": (0.5, 0.65, 0.7),
        "x": (72, 74, 76),  # of the finest cells: a corner, the middle, the next corner
        "y": (100, 102),
    }
    text = "A square object on the cells of three levels: cells with positive and with ignored anchors."
    return join(figure, controls, draw, frame_values, text)


# Suppression and score threshold

SUPPRESSION_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
"""IoU. Each is measured on all images before a slider can move."""


class SuppressionOutcome(NamedTuple):
    """The detections of all images after suppression, and their assignment to objects."""

    detections: list[Detections]
    assignment: Assignment
    curves: list[PrecisionRecall]  # of each class, at IoU 0.5


def measure_suppression(
    dataset: ShapeDetectionDataset, candidates: Candidates, config: InferenceConfig
) -> SuppressionOutcome:
    """Return the detections after suppression, without a score threshold, and their assignment.

    Args:
        dataset: the true objects.
        candidates: of all images of `dataset`.
        config: of the suppression.
    """
    detections = suppress(candidates, config)
    curves = [precision_recall_curve(dataset, detections, label) for label in range(len(CLASS_NAMES))]
    return SuppressionOutcome(detections, assign_detections(dataset, detections), curves)


class ThresholdDescription(NamedTuple):
    """The detections of one image above a score threshold, and the average precision of all images above it."""

    detections: Detections  # of the image
    is_wrong: Bool[np.ndarray, " D"]
    num_right: int
    is_missed: Bool[np.ndarray, " N"]
    curves: list[PrecisionRecall]  # of each class, down to the threshold
    ap: float  # mean area of the curves


def describe_threshold(outcome: SuppressionOutcome, image: int, score_threshold: float) -> ThresholdDescription:
    """Return the detections of one image with at least this score, and what they leave missed.

    Law: the result is that of suppressing, thresholding and measuring anew. Nothing is assigned again, because an
    assignment does not depend on detections of lower score.
    """
    detections = outcome.detections[image].above(score_threshold)
    num_detections = len(detections.scores)
    is_wrong = outcome.assignment.is_false_positive[image]
    is_right = outcome.assignment.is_true_positive[image]
    matched = outcome.assignment.matched[image]
    is_below = np.arange(len(matched)) >= num_detections
    is_missed = outcome.assignment.is_missed[image].copy()
    is_missed[matched[is_right & is_below]] = True
    curves = [
        PrecisionRecall(*(column[curve.scores >= score_threshold] for column in curve)) for curve in outcome.curves
    ]
    ap = float(np.mean([compute_ap(curve.recall, curve.precision) for curve in curves]))
    num_right = int(is_right[:num_detections].sum())
    return ThresholdDescription(detections, is_wrong[:num_detections], num_right, is_missed, curves, ap)


def find_overlap(dataset: ShapeDetectionDataset) -> int:
    """Return the image in which two evaluated objects of one class overlap most; none other overlaps with its class."""
    overlaps = []
    for number in range(len(dataset)):
        example = dataset.example(number)
        boxes, labels = torch.from_numpy(example.boxes).float(), torch.from_numpy(example.labels)
        is_pair = (labels[:, None] == labels) & ~torch.from_numpy(example.ignored)[:, None]
        is_pair &= is_pair.T & ~torch.eye(len(labels), dtype=torch.bool)
        iou = box_iou(boxes, boxes)[is_pair]
        overlaps.append(float(iou.max()) if (iou > 0).sum() == 2 else 0.0)  # each pair is counted twice
    return int(np.argmax(overlaps))


def explore_suppression(dataset: ShapeDetectionDataset, candidates: Candidates) -> Explorer:
    """Return controls for suppression and score threshold above one image's detections and the precision of all.

    Args:
        dataset: the true objects; `dataset.hide(0.1)` ignores hidden ones.
        candidates: of all images of `dataset`.
    """
    figure = Figure(figsize=(7.4, 3.7), layout="constrained")
    scene, precision = figure.subplots(1, 2)
    plot_legend(plot_scene(scene, "missed", is_framed=True))
    plot_curves(precision)
    outcomes = {
        (nms, threshold): measure_suppression(dataset, candidates, InferenceConfig(nms, threshold))
        for nms in get_args(Suppression)
        for threshold in SUPPRESSION_THRESHOLDS
    }
    controls = {
        "image": IntSlider(find_overlap(dataset), min=0, max=len(dataset) - 1, description="image"),
        "nms": ToggleButtons(options=get_args(Suppression), value="hard", description="NMS"),
        "nms_threshold": SelectionSlider(options=SUPPRESSION_THRESHOLDS, value=0.5, description="τ (IoU)"),
        "score": FloatSlider(0.5, min=0.0, max=0.95, step=0.05, description="score from"),
    }

    def draw(image: int, nms: Suppression, nms_threshold: float, score: float) -> None:
        outcome = outcomes[nms, nms_threshold]
        everything = describe_threshold(outcome, image, 0.0)
        above = describe_threshold(outcome, image, score)
        example = dataset.example(image)
        boxes = above.detections.boxes.numpy()
        is_missed = above.is_missed[: len(example.labels)]
        texts = describe_detections(above.detections)[:MOST_TEXTS]
        update_scene(
            example.image,
            example.boxes,
            boxes,
            scene,
            f"{above.num_right} right, {above.is_wrong.sum()} wrong, {is_missed.sum()} missed",
            hatched=is_missed,
            crossed=above.is_wrong,
            texts=_place_texts(boxes[:MOST_TEXTS], texts, width=31),
        )
        title = (
            f"{nms} NMS, τ {nms_threshold:.2f}\nAP@0.5 {everything.ap:.3f}, from score {score:.2f} on: {above.ap:.3f}"
        )
        update_curves(everything.curves, above.curves, precision, title)

    frame_values = {
        "nms_threshold": (0.3, 0.5, 0.7, 0.85, 1.0),
        "score": (0.0, 0.2, 0.5, 0.8),
        "nms": get_args(Suppression),
    }
    text = "Remaining detections in one image, missed objects with thick outlines, and precision-recall curves of all."
    return join(figure, controls, draw, frame_values, text)


# Receptive field of a cell


class CellDescription(NamedTuple):
    """The receptive field of one cell, and the prediction of its anchor with the highest objectness."""

    field: Float[np.ndarray, " 4"]  # square of the receptive field; it may reach beyond the image
    sensitivity: Float[np.ndarray, "H W"]  # |gradient| of the objectness; adds up to 1, or to 0 if no pixel changes it
    objectness: float
    label: int
    box: Float[np.ndarray, " 4"]


def describe_cell(
    detector: Detector, image: UInt8[Tensor, "H W 3"], level: int, row: int, column: int
) -> CellDescription:
    """Return the receptive field and the prediction of one cell.

    Only the part of the image that the cell can depend on is computed. Law: the result is that of the whole image,
    because the part starts at a multiple of the coarsest stride, so that the cells of every map keep their positions.
    """
    size, stride = image.shape[0], STRIDES[level]
    half = compute_receptive_fields(detector.recipe.dilations)[level] // 2
    cell = np.array([row, column])
    first, last = cell * stride - half, cell * stride + half
    top, left = (first // STRIDES[-1] * STRIDES[-1]).clip(min=0).tolist()
    bottom, right = (-(-(last + 1) // STRIDES[-1]) * STRIDES[-1]).clip(max=size).tolist()
    middle = torch.tensor([(column + 0.5) * stride - left, (row + 0.5) * stride - top])
    device = detector.anchors.device
    part = Objects(image[None, top:bottom, left:right].to(device), middle.repeat(1, 2).to(device))
    measured = measure_sensitivity(detector.model, part, level)
    sensitivity = np.zeros(image.shape[:2], np.float32)
    sensitivity[top:bottom, left:right] = measured.sensitivity[0].cpu().numpy()

    outputs = measured.outputs[0].float()
    best = int(outputs[:, 4].argmax())
    cells_before = sum((size // finer) ** 2 for finer in STRIDES[:level]) + row * (size // stride) + column
    anchor = detector.anchors[cells_before * len(outputs) + best]
    return CellDescription(
        field=np.array([first[1], first[0], last[1] + 1, last[0] + 1], float),
        sensitivity=sensitivity,
        objectness=outputs[best, 4].sigmoid().item(),
        label=int(outputs[best, 5:].argmax()),
        box=decode(outputs[best, :4], anchor).cpu().numpy(),
    )


def explore_cells(detectors: Mapping[str, Detector], dataset: ShapeDetectionDataset) -> Explorer:
    """Return controls for a place in an image above the receptive fields and predictions of the three cells there.

    Args:
        detectors: by their names, with anchors on the same levels.
        dataset: the images.
    """
    figure = Figure(figsize=(8.2, 3.45), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, colour in zip(axes, LEVEL_COLOURS, strict=False):
        plot_cell(ax, colour)
    plot_legend(*axes)
    controls = {
        "network": ToggleButtons(options=tuple(detectors), description="network"),
        "image": IntSlider(0, min=0, max=len(dataset) - 1, description="image"),
        "x": IntSlider(
            162, min=2, max=IMAGE_SIZE - 2, step=4, description="x (px)"
        ),  # inside a square of val's image 0
        "y": IntSlider(162, min=2, max=IMAGE_SIZE - 2, step=4, description="y (px)"),
    }

    @functools.lru_cache(maxsize=200)  # 0.2 MB each: a step to the next fine cell mostly stays in the same coarse one
    def describe(network: str, image: int, level: int, row: int, column: int) -> CellDescription:
        return describe_cell(detectors[network], dataset.images[image], level, row, column)

    def draw(network: str, image: int, x: int, y: int) -> None:
        example = dataset.example(image)
        for level, (ax, stride) in enumerate(zip(axes, STRIDES, strict=True)):
            cell = describe(network, image, level, y // stride, x // stride)
            width = cell.field[2] - cell.field[0]
            name = f"level {level}, enlarged" if level == 0 else f"level {level}"
            update_cell(
                example.image,
                example.boxes,
                cell.box,
                cell.sensitivity,
                cell.field,
                ax,
                f"{name}\nfield {width:.0f} px wide, objectness {cell.objectness:.2f}",
                objectness=cell.objectness,
                place=(x, y),
                side=ENLARGED_SIDE if level == 0 else IMAGE_SIZE,
            )

    frame_values = {
        "x": (34, 78, 130, 154, 162, 170, 178, 186),  # from 154 on: from the middle of the square to its right edge
        "y": (142, 162),
        "network": tuple(detectors)[:2],
    }
    text = "One image three times, with the receptive field and the prediction of the cell at a place, by level."
    return join(figure, controls, draw, frame_values, text)
