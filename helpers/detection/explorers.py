"""Explorers of the detection wing: controls over a picture that follows them.

What a control changes is computed by a plain function and drawn by `panels`.

Shape letters: N objects and D detections of one image, C classes, h w feature map, H W image.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons, VBox
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from helpers.average_precision import Detections
from helpers.detection.anchors import FEATURE_MAP_SIZES, generate_anchors
from helpers.detection.baseline import detect_by_colour
from helpers.detection.boxes import decode
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.explorer_panels import (
    MOST_TEXTS,
    plot_answers,
    plot_cut_curves,
    plot_findings,
    plot_legend,
    plot_looking,
    update_answers,
    update_cut_curves,
    update_findings,
    update_looking,
)
from helpers.detection.figures import place_texts
from helpers.detection.inference import Candidates, InferenceConfig, suppress
from helpers.detection.matching import IGNORED, match_anchors_to_targets
from helpers.detection.metrics import Assignment, PrecisionRecall, assign_detections, compute_ap, precision_recall_curve
from helpers.detection.model import receptive_fields
from helpers.detection.recipes import Detector
from helpers.detection.scales import STRIDES, Objects, measure_views
from helpers.detection.scenes import CLASS_NAMES, IMAGE_SIZE, Palette, SceneConfig
from helpers.explorers import join
from helpers.plotting import COLOURS, TRUTH_COLOUR

NO_BOX = np.zeros((0, 4), np.float32)
NO_ROW = np.zeros(0, bool)


def _place_words(boxes: Float[np.ndarray, "D 4"], words: Sequence[str], width: float) -> list[tuple[float, float, str]]:
    """Returns each word with the (x, y) of its middle, beside its box; `width` is a word's in pixels of the image."""
    size = np.array([width, 11.0])  # at 3 inches for the image
    corners = place_texts(boxes, size, (IMAGE_SIZE, IMAGE_SIZE))
    return [(*(corner + size / 2).tolist(), word) for corner, word in zip(corners, words, strict=True)]


# How a scene may look


class LookDescription(NamedTuple):
    """A scene, and what the detector by colour makes of it."""

    image: UInt8[np.ndarray, "H W 3"]
    boxes: Float[np.ndarray, "N 4"]  # (x1, y1, x2, y2) pixels, as are all boxes here
    visibility: Float[np.ndarray, " N"]
    ignored: Bool[np.ndarray, " N"]
    found: Float[np.ndarray, "D 4"]
    wrong: Bool[np.ndarray, " D"]  # of what is found; the rest is right, or lies on an object that is ignored
    num_right: int


def describe_look(seed: int, config: SceneConfig) -> LookDescription:
    """Returns the first scene of the stream `seed`.

    Law: its objects are the same under every look; one object more is painted over the others, which stay in place.
    """
    scene = ShapeDetectionDataset.draw(1, seed, config)
    found = detect_by_colour(scene.images[0].numpy())
    assignment = assign_detections(scene, [found])
    truth = (column[0, scene.labels[0] >= 0].numpy() for column in (scene.boxes, scene.visibility, scene.ignored))
    wrong, right = assignment.is_false_positive[0], assignment.is_true_positive[0]
    return LookDescription(scene.images[0].numpy(), *truth, found.boxes.numpy(), wrong, int(right.sum()))


def explore_looks() -> VBox:
    """Returns controls for all that a scene's look may be, above its truth and what the detector by colour finds."""
    figure = Figure(figsize=(6.4, 3.7), layout="constrained")
    truth, colours = figure.subplots(1, 2)
    plot_findings(truth, "ignored", TRUTH_COLOUR)
    plot_legend(plot_findings(colours, "ignored"))
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
        seen = describe_look(seed, config)
        texts = _place_words(seen.boxes, [f"{share:.2f}" for share in seen.visibility], width=21)
        title = f"truth and visibility, {seen.ignored.sum()} seen by less than {visibility:.2f}"
        own = {"hatched": seen.ignored, "crossed": NO_ROW, "texts": texts}
        update_findings(seen.image, seen.boxes, NO_BOX, truth, title, **own)
        title = f"by colour: {seen.num_right} of {(~seen.ignored).sum()} found, {seen.wrong.sum()} wrong"
        update_findings(seen.image, NO_BOX, seen.found, colours, title, hatched=NO_ROW, crossed=seen.wrong)

    return join(figure, controls, draw)


# Who answers for an object

ANCHOR_SETS: dict[str, dict[str, Any]] = {
    "assignment": {},
    "one size": {"anchor_scales": ((24,), (68,), (136,))},
    "three ratios": {"aspect_ratios": (0.5, 1, 2)},
    "strides × 2": {"feature_map_sizes": ((28, 28), (14, 14), (7, 7))},
}
"""What `generate_anchors` is asked for."""


class LevelAnswer(NamedTuple):
    """What one level's anchors have to do with an object."""

    answers: Int[np.ndarray, "h w"]  # of each cell: 1 has a positive anchor, -1 none but an ignored one, 0 neither
    num_positive: int  # anchors, as is the next
    num_ignored: int
    best_anchor: Float[np.ndarray, " 4"]
    best_iou: float


@functools.cache
def _generate_anchors(name: str) -> list[Float[Tensor, "_num_anchors 4"]]:
    """Returns the anchors of the set, level by level; no slider changes them."""
    return generate_anchors(**ANCHOR_SETS[name])


def describe_matching(
    x: float, y: float, size: float, name: str, positive_from: float, negative_to: float
) -> list[LevelAnswer]:
    """Returns for each level who answers for a square object.

    Args:
        x: of its centre, pixels, as are y and its size.
        name: of `ANCHOR_SETS`.
        positive_from: smallest IoU of a positive anchor.
        negative_to: largest IoU of a negative one.
    """
    box = torch.tensor([[x - size / 2, y - size / 2, x + size / 2, y + size / 2]])
    map_sizes = ANCHOR_SETS[name].get("feature_map_sizes", FEATURE_MAP_SIZES)
    levels = []
    for anchors, map_size in zip(_generate_anchors(name), map_sizes, strict=True):
        index, iou = match_anchors_to_targets(anchors, box, torch.tensor([0]), positive_from, negative_to)
        positive, ignored = index >= 0, index == IGNORED
        has_positive, has_ignored = (kind.view(*map_size, -1).any(dim=-1).numpy() for kind in (positive, ignored))
        answers = np.where(has_positive, 1, -has_ignored.astype(int))
        best = int(iou.argmax())
        counts = int(positive.sum()), int(ignored.sum())
        levels.append(LevelAnswer(answers, *counts, anchors[best].numpy(), iou[best].item()))
    return levels


def explore_matching() -> VBox:
    """Returns controls for an object's place and size, the anchors and the thresholds, above who answers for it."""
    figure = Figure(figsize=(8.2, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, colour in zip(axes, COLOURS, strict=False):
        plot_answers(ax, colour)
    plot_legend(axes[0])
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
            positive = f"{level.num_positive} positive (≥ {positive_from:.2f})"
            ignored = f"{level.num_ignored} ignored (> {negative_to:.2f})"
            title = f"level {number}: best IoU {level.best_iou:.2f}\n{positive}, {ignored}"
            update_answers(box, level.best_anchor, level.answers, ax, title, colour=COLOURS[number])

    return join(figure, controls, draw)


# Which detections stay

Suppression = Literal["hard", "soft"]
SUPPRESSION_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
"""IoU; each takes a suppression and an assignment of all images before a slider can move."""


class Suppressed(NamedTuple):
    """What suppression leaves of the candidates of all images, and how good it is."""

    detections: list[Detections]
    assignment: Assignment
    curves: list[PrecisionRecall]  # of each class, at IoU .5


def measure_suppression(
    dataset: ShapeDetectionDataset, candidates: Candidates, config: InferenceConfig, minimum_visibility: float
) -> Suppressed:
    """Returns what a suppression leaves, before any score cut.

    Args:
        candidates: of all images of `dataset`.
        minimum_visibility: less visible objects neither count nor can be held against who finds them.
    """
    detections = suppress(candidates, config)
    truth = {"dataset": dataset, "detections": detections, "minimum_visibility": minimum_visibility}
    curves = [precision_recall_curve(label=label, **truth) for label in range(len(CLASS_NAMES))]
    return Suppressed(detections, assign_detections(**truth), curves)


class CutDescription(NamedTuple):
    """What a score cut leaves in one image, and of the average precision of all."""

    kept: Detections  # of the image
    wrong: Bool[np.ndarray, " D"]
    num_right: int
    missed: Bool[np.ndarray, " N"]
    curves: list[PrecisionRecall]  # of each class, up to the cut
    ap: float  # their mean area


def describe_cut(suppressed: Suppressed, image: int, score_threshold: float) -> CutDescription:
    """Returns what is left of the detections with at least this score.

    Law: the same as suppressing, cutting and measuring anew, but nothing is assigned again, because who found what
    never depends on lower scores.
    """
    kept = suppressed.detections[image].above(score_threshold)
    columns = [column[image] for column in suppressed.assignment]
    _, _, _, found, _, is_right, is_wrong, is_missed = columns
    below = np.arange(len(found)) >= len(kept.scores)
    missed = is_missed.copy()
    missed[found[is_right & below]] = True
    curves = [
        PrecisionRecall(*(column[curve.scores >= score_threshold] for column in curve)) for curve in suppressed.curves
    ]
    ap = float(np.mean([compute_ap(curve.recall, curve.precision) for curve in curves]))
    num_kept = len(kept.scores)
    return CutDescription(kept, is_wrong[:num_kept], int(is_right[:num_kept].sum()), missed, curves, ap)


def explore_suppression(
    dataset: ShapeDetectionDataset, candidates: Candidates, minimum_visibility: float = 0.1
) -> VBox:
    """Returns controls for suppression and score cut above one image's detections and the precision of all.

    Args:
        candidates: of all images of `dataset`.
    """
    figure = Figure(figsize=(7.4, 3.7), layout="constrained")
    scene, precision = figure.subplots(1, 2)
    plot_legend(plot_findings(scene, "missed"))
    plot_cut_curves(precision)
    settings = [(nms, threshold) for nms in get_args(Suppression) for threshold in SUPPRESSION_THRESHOLDS]
    outcomes = {
        setting: measure_suppression(dataset, candidates, InferenceConfig(*setting), minimum_visibility)
        for setting in settings
    }
    controls = {
        "image": IntSlider(0, min=0, max=len(dataset) - 1, description="image"),
        "nms": ToggleButtons(options=get_args(Suppression), value="hard", description="NMS"),
        "nms_threshold": SelectionSlider(options=SUPPRESSION_THRESHOLDS, value=0.5, description="τ (IoU)"),
        "score": FloatSlider(0.5, min=0.0, max=0.95, step=0.05, description="score from"),
    }

    def draw(image: int, nms: Suppression, nms_threshold: float, score: float) -> None:
        suppressed = outcomes[nms, nms_threshold]
        seen = describe_cut(suppressed, image, score)
        pixels, boxes = dataset.images[image].cpu().numpy(), seen.kept.boxes.numpy()
        real = (dataset.labels[image] >= 0).cpu().numpy()
        title = f"{seen.num_right} right, {seen.wrong.sum()} wrong, {seen.missed.sum()} missed"
        flags = {"hatched": seen.missed[real], "crossed": seen.wrong}
        spoken = zip(seen.kept.labels[:MOST_TEXTS].tolist(), seen.kept.scores[:MOST_TEXTS].tolist(), strict=True)
        words = [f"{CLASS_NAMES[label][0]} {value:.2f}".replace("0.", ".") for label, value in spoken]
        texts = _place_words(boxes[:MOST_TEXTS], words, width=26)
        update_findings(pixels, dataset.boxes[image].cpu().numpy()[real], boxes, scene, title, **flags, texts=texts)
        whole = describe_cut(suppressed, image, 0.0)
        title = f"AP@.5 {whole.ap:.3f}, after the cut at {score:.2f}: {seen.ap:.3f}"
        update_cut_curves(whole.curves, seen.curves, precision, title)

    return join(figure, controls, draw)


# What a cell sees


class CellDescription(NamedTuple):
    """What one cell depends on, and what the surest of its anchors says."""

    view: Float[np.ndarray, " 4"]  # the square of pixels that it can depend on; it may reach beyond the image
    sensitivity: Float[np.ndarray, "H W"]  # |gradient| of its objectness; adds up to 1, or to 0 if nothing moves it
    objectness: float
    label: int
    box: Float[np.ndarray, " 4"]


def describe_cell(
    detector: Detector, image: UInt8[Tensor, "H W 3"], level: int, row: int, column: int
) -> CellDescription:
    """Returns what a cell of the level sees and says.

    Only the part of the image that the cell can depend on is computed. Law: that changes nothing, for the part begins
    at a multiple of the coarsest stride, so that every map's cells stay where they were.
    """
    size, stride, half = image.shape[0], STRIDES[level], receptive_fields(detector.recipe.dilations)[level] // 2
    cell = np.array([row, column])
    first, last = cell * stride - half, cell * stride + half
    top, left = (first // STRIDES[-1] * STRIDES[-1]).clip(min=0).tolist()
    bottom, right = (-(-(last + 1) // STRIDES[-1]) * STRIDES[-1]).clip(max=size).tolist()
    middle = torch.tensor([(column + 0.5) * stride - left, (row + 0.5) * stride - top])
    part = Objects(image[None, top:bottom, left:right].to(detector.anchors.device), middle.repeat(1, 2))
    views = measure_views(detector.model, part._replace(boxes=part.boxes.to(part.images.device)), level)
    sensitivity = np.zeros(image.shape[:2], np.float32)
    sensitivity[top:bottom, left:right] = views.sensitivity[0].cpu().numpy()

    outputs = views.outputs[0].float()
    best = int(outputs[:, 4].argmax())
    cells = [(size // one) ** 2 for one in STRIDES]
    anchor = (sum(cells[:level]) + row * (size // stride) + column) * len(outputs) + best
    box = decode(outputs[best, :4], detector.anchors[anchor]).cpu().numpy()
    view = np.array([first[1], first[0], last[1] + 1, last[0] + 1], float)
    return CellDescription(view, sensitivity, outputs[best, 4].sigmoid().item(), int(outputs[best, 5:].argmax()), box)


def explore_cells(detectors: Mapping[str, Detector], dataset: ShapeDetectionDataset) -> VBox:
    """Returns controls for a place in an image above what the three cells that lie over it see and say.

    Args:
        detectors: by their names, with anchors on the same levels.
    """
    figure = Figure(figsize=(8.2, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, colour in zip(axes, COLOURS, strict=False):
        plot_looking(ax, colour)
    plot_legend(axes[0])
    controls = {
        "network": ToggleButtons(options=tuple(detectors), description="network"),
        "image": IntSlider(0, min=0, max=len(dataset) - 1, description="image"),
        "x": IntSlider(114, min=2, max=IMAGE_SIZE - 2, step=4, description="x (px)"),
        "y": IntSlider(114, min=2, max=IMAGE_SIZE - 2, step=4, description="y (px)"),
    }

    @functools.lru_cache(maxsize=200)  # of 0.2 MB: a step to the next fine cell mostly stays in the same coarse one
    def describe(network: str, image: int, level: int, row: int, column: int) -> CellDescription:
        return describe_cell(detectors[network], dataset.images[image], level, row, column)

    def draw(network: str, image: int, x: int, y: int) -> None:
        boxes = dataset.boxes[image][dataset.labels[image] >= 0].cpu().numpy()
        for level, (ax, stride) in enumerate(zip(axes, STRIDES, strict=True)):
            seen = describe(network, image, level, y // stride, x // stride)
            title = f"level {level} sees {seen.view[2] - seen.view[0]:.0f} px, objectness {seen.objectness:.2f}"
            shown = dataset.images[image].cpu().numpy(), boxes, seen.box, seen.sensitivity, seen.view
            update_looking(*shown, ax, title, objectness=seen.objectness, place=(x, y))

    return join(figure, controls, draw)
