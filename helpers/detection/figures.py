"""The detection wing's figures: arrays in, `Axes` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator, PercentFormatter, StrMethodFormatter
from torch import Tensor

from helpers.average_precision import Detections
from helpers.detection.anchors import ANCHOR_SCALES
from helpers.detection.boxes import compute_iou
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.matching import IGNORED
from helpers.detection.metrics import Failure, PrecisionRecall, compute_ap
from helpers.detection.scales import ScalePerformance
from helpers.detection.scenes import CLASS_NAMES, MAX_IOU, SIZE_RANGES
from helpers.plotting import (
    COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    TRUTH_STYLE,
    image_grid,
    plot_framed_image,
    plot_image,
)

CLASS_MARKERS = ("o", "s", "^")
"""Classes are told apart by their shape, levels by `COLOURS`: the two never compete."""
CLASS_GREYS = ("0.15", "0.5", "0.75")
SMALL_SIDE = 40
"""Up to this side, in pixels, a box is too small for its hatching to be seen."""


def plot_boxes(
    boxes: np.ndarray,
    ax: Axes,
    *,
    colour: str,
    style: str = "-",
    texts: Sequence[str] | None = None,
    cased: bool = False,
) -> Axes:
    """Draws `boxes` [N, 4] `(x1, y1, x2, y2)` in pixels over whatever `ax` shows, with one short text per box.

    Args:
        texts: written inside the box's top-left corner; `None` writes nothing.
        cased: draw a white seam to both sides of the lines, so that green is seen on green.
    """
    effects = (withStroke(linewidth=3.5, foreground="white"),) if cased else None
    for index, (x1, y1, x2, y2) in enumerate(np.asarray(boxes, dtype=float).reshape(-1, 4)):
        line = {"edgecolor": colour, "linestyle": style, "linewidth": 1.6, "path_effects": effects}
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **line))
        if texts is not None:
            ax.text(
                x1 + 2,
                y1 + 2,
                texts[index],
                color="white",
                fontsize=7,
                va="top",
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.0},
            )
    return ax


def plot_detections(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    detections: Detections,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draws an image with its truth (green, solid) and its detections (red, dashed) with class initial and score.

    Args:
        detections: what is to be shown; apply the score threshold first (`Detections.above`).
    """
    ax = plot_framed_image(image, ax, title)
    plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)
    boxes = detections.boxes.numpy()
    plot_boxes(boxes, ax, colour=PREDICTION_COLOUR, style=PREDICTION_STYLE)
    texts = [
        f"{CLASS_NAMES[label][0]} {score:.2f}".replace("0.", ".")
        for label, score in zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)
    ]
    text_size = np.array([33.0, 12.0])  # pixels of the image, at 2.2 inches for 224 of them
    for (x, y), text in zip(place_texts(boxes, text_size, image.shape[:2]), texts, strict=True):
        ax.text(
            *(x + text_size[0] / 2, y + text_size[1] / 2),
            text,
            color="white",
            fontsize=6,
            ha="center",
            va="center_baseline",
            bbox={"facecolor": PREDICTION_COLOUR, "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )
    return ax


def place_texts(
    boxes: Float[np.ndarray, "N 4"], text_size: Float[np.ndarray, " 2"], image_size: tuple[int, int]
) -> list[Float[np.ndarray, " 2"]]:
    """Returns the top-left corner of each box's text: where it covers no other text and lies at no other box.

    Of equals the first: above or below the box, beside it, inside it, one line further out. Every text stays within the
    image (height, width).
    """
    near = 3  # pixels; a text so close to a box reads as the box's own
    width, height = text_size
    placed: list[Float[np.ndarray, " 2"]] = []
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        aligned, beside = (x1, x2 - width), (x2, x1 - width)
        places = (
            (aligned, (y1 - height, y2)),
            (beside, (y1, y2 - height)),
            (aligned, (y1, y2 - height)),
            (aligned, (y1 - 2 * height, y2 + height)),
        )
        candidates = np.array([(x, y) for columns, rows in places for y in rows for x in columns])
        candidates = candidates.clip(0, np.array(image_size[::-1]) - text_size)
        gaps = np.abs(candidates[:, None] - np.reshape(placed, (-1, 2)))  # [candidates, placed, 2]
        others = np.delete(boxes, row, axis=0)
        covered = (text_size - gaps).clip(min=0).prod(axis=-1).sum(axis=-1)
        corners = np.maximum(candidates[:, None], others[:, :2] - near)
        ends = np.minimum(candidates[:, None] + text_size, others[:, 2:] + near)
        misread = (ends - corners).clip(min=0).prod(axis=-1).sum(axis=-1)
        placed.append(candidates[(10 * covered + misread).argmin()])
    return placed


def visualize_detections(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    score_threshold: float,
    indices: Sequence[int] = range(10),
) -> Figure:
    """Draws the images at `indices` with their truth (green) and the detections above the threshold (red).

    Args:
        detections: of all images of `dataset`.
    """
    figure, axes = image_grid(len(indices))
    for ax, index in zip(axes, indices, strict=True):
        real = (dataset.labels[index] >= 0).cpu()
        plot_detections(
            dataset.images[index].cpu().numpy(),
            dataset.boxes[index].cpu()[real].numpy(),
            detections[index].above(score_threshold),
            ax,
            title=f"image {int(dataset.image_ids[index])}",
        )
    return figure


def plot_failures(
    dataset: ShapeDetectionDataset,
    detections: list[Detections],
    failures: Sequence[Failure],
    score_threshold: float,
) -> Figure:
    """Draws each failure in its image: what went wrong is hatched, and the title names its kind, class and cause.

    What is too small for that is framed thickly.

    Args:
        detections: of all images of `dataset`; `failures` were explained with the same `score_threshold`.
    """
    figure, axes = image_grid(len(failures))
    for ax, failure in zip(axes, failures, strict=True):
        image = failure.image
        real = (dataset.labels[image] >= 0).cpu()
        shown = detections[image].above(score_threshold)
        missed = failure.kind == "missed"
        label = int((dataset.labels[image] if missed else shown.labels)[failure.row])
        plot_detections(
            dataset.images[image].cpu().numpy(),
            dataset.boxes[image].cpu()[real].numpy(),
            shown,
            ax,
            title=f"{failure.kind} {CLASS_NAMES[label]}:\n{failure.cause}",
        )
        x1, y1, x2, y2 = (dataset.boxes[image] if missed else shown.boxes)[failure.row].tolist()
        colour = TRUTH_COLOUR if missed else PREDICTION_COLOUR
        if min(x2 - x1, y2 - y1) > SMALL_SIDE:
            style = {"facecolor": colour, "alpha": 0.25, "edgecolor": colour, "hatch": "///"}
            ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
        else:
            gap = 8  # pixels, so that the frame hides nothing of the object
            seam = (withStroke(linewidth=5.5, foreground="white"),)
            style = {"fill": False, "edgecolor": colour, "linewidth": 3.5, "path_effects": seam}
            ax.add_patch(Rectangle((x1 - gap, y1 - gap), x2 - x1 + 2 * gap, y2 - y1 + 2 * gap, **style))
    return figure


def plot_precision_recall(curves: Mapping[str, PrecisionRecall], ax: Axes | None = None) -> Axes:
    """Draws precision against recall for each named curve, with the envelope whose area is its average precision."""
    ax = ax or plt.figure(figsize=(4.5, 3.2)).add_subplot()
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        ax.plot(curve.recall, curve.precision, color=colour, linewidth=0.8, alpha=0.5)
        ax.plot(*curve.outline(), color=colour, label=f"{name}, AP {compute_ap(curve.recall, curve.precision):.2f}")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
    ax.legend(loc="lower left")
    return ax


def plot_anchors(
    image: UInt8[np.ndarray, "H W 3"],
    anchors: Float[np.ndarray, "N 4"],
    shown: Float[np.ndarray, "A 4"],
    ax: Axes,
    *,
    colour: str,
    title: str = "",
) -> Axes:
    """Draws a faded image, the centres of one level's `anchors` as dots, and the boxes of the anchors `shown`."""
    _plot_faded(image, ax, title)
    centres = np.unique((anchors[:, :2] + anchors[:, 2:]) / 2, axis=0)
    ax.scatter(*centres.T, s=16 * 14 / len(centres) ** 0.5, color=colour, linewidths=0)  # one share of ink per level
    return plot_boxes(shown, ax, colour=colour)


def plot_match_map(
    image: UInt8[np.ndarray, "H W 3"],
    index: Int[np.ndarray, "h w"],
    true_boxes: Float[np.ndarray, "N 4"],
    ax: Axes,
    *,
    colour: str,
    title: str = "",
) -> Axes:
    """Draws which anchors of one size answer for an object (coloured), for nothing (clear) and for neither (grey).

    Args:
        index: of `match_anchors_to_targets`, for one level and size.
    """
    _plot_faded(image, ax, title)
    height, width = image.shape[:2]
    paint = np.zeros((*index.shape, 4))
    paint[index == IGNORED] = to_rgba("0.45", 0.55)
    paint[index >= 0] = to_rgba(colour)
    ax.imshow(paint, extent=(0, width, height, 0))
    return plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)


def _plot_faded(image: UInt8[np.ndarray, "H W 3"], ax: Axes, title: str) -> None:
    """Draws `image` so pale that what is drawn over it stands out."""
    plot_framed_image((255 - (255 - image) * 0.2).astype(np.uint8), ax, title)


def plot_best_iou(
    sizes: Float[np.ndarray, " N"],
    best_iou: Float[np.ndarray, "L N"],
    guaranteed: tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]],
    ax: Axes | None = None,
) -> Axes:
    """Draws each object's best IoU against its size, coloured by the level that offers it, above the guarantee.

    Args:
        sizes: sides of the objects in pixels.
        best_iou: of each object with the anchors of each level.
        guaranteed: sizes in pixels, and the IoU that every object of that size is sure of.
    """
    ax = ax or plt.figure(figsize=(8, 3.8)).add_subplot()
    winner = best_iou.argmax(axis=0)
    for level, colour in enumerate(COLOURS[: len(best_iou)]):
        own = winner == level
        ax.scatter(
            sizes[own], best_iou[level, own], s=10, alpha=0.35, linewidths=0, color=colour, label=f"level {level}"
        )
    ax.plot(*guaranteed, color="black", linewidth=1.2, label="guaranteed at any place")
    _mark_classes(ax, 1.03)
    _put_sizes_on_the_x_axis(ax)
    ax.set(ylabel="IoU of the best anchor", ylim=(0.45, 1.0))
    for handle in ax.legend(loc="lower right", ncols=4, markerscale=2).legend_handles:
        handle.set_alpha(1)
    return ax


def plot_coverage(best_iou: Float[np.ndarray, "L N"], ax: Axes, title: str = "") -> Axes:
    """Draws the share of objects with an anchor of at least that IoU, for each level alone and for all together."""
    ious = np.linspace(0, 1, 201)
    for level, level_iou in enumerate(best_iou):
        share = (level_iou >= ious[:, None]).mean(axis=1)
        ax.plot(ious, share, color=COLOURS[level], label=f"level {level}")
    share = (best_iou.max(axis=0) >= ious[:, None]).mean(axis=1)
    ax.plot(ious, share, color="black", linewidth=1, linestyle=":", label="all levels")
    ax.set(xlabel="IoU", xlim=(0, 1), ylim=(-0.02, 1.03), title=title)
    return ax


def plot_threshold_sweep(
    thresholds: Sequence[float], positives: Float[np.ndarray, "T C"], left_out: Float[np.ndarray, "T C"]
) -> Figure:
    """Draws, against the positive threshold, each class's anchors per object and its share of objects without any.

    Args:
        positives: mean number of positive anchors per object.
        left_out: share of objects without a positive anchor.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    for column, (name, marker) in enumerate(zip(CLASS_NAMES, CLASS_MARKERS, strict=True)):
        style = {"marker": marker, "markersize": 5, "color": "0.25", "linewidth": 1, "label": name}
        left.plot(thresholds, positives[:, column], **style)
        right.plot(thresholds, left_out[:, column], **style)
    left.set(xlabel="positive threshold (IoU)", ylabel="positive anchors per object", yscale="log")
    right.set(xlabel="positive threshold (IoU)", ylabel="objects without a positive", ylim=(-0.02, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    left.legend()
    return figure


def plot_guarantees(
    sizes: Float[np.ndarray, " S"],
    guaranteed: Float[np.ndarray, " S"],
    reference: Float[np.ndarray, " S"],
    ax: Axes,
    title: str = "",
) -> Axes:
    """Draws the guaranteed IoU against the object's size, over that of the reference anchors in grey."""
    for smallest, largest in SIZE_RANGES:
        ax.axvspan(smallest, largest, color="0.95", linewidth=0)
    ax.plot(sizes, reference, color="0.6", linewidth=3, label="assignment")
    ax.plot(sizes, guaranteed, color="black", linewidth=1.2, label="changed")
    _put_sizes_on_the_x_axis(ax)
    ax.set(ylim=(0, 1.03), title=title)
    return ax


def _put_sizes_on_the_x_axis(ax: Axes) -> None:
    """Scales the x axis by ratios, as IoU does, and marks the assignment's anchor sizes."""
    ax.set_xscale("log")
    ax.set_xticks(sorted({size for sizes in ANCHOR_SCALES for size in sizes}), minor=False)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="size of the object (px)", xlim=(15, 205))


def plot_truth(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "N 4"],
    ax: Axes | None = None,
    title: str = "",
    texts: Sequence[str] = (),
    filled: Bool[np.ndarray, " N"] | None = None,
) -> Axes:
    """Draws an image with its true boxes in green, each with its text at its centre; the `filled` ones are hatched."""
    ax = plot_framed_image(image, ax, title)
    plot_boxes(boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)
    if filled is not None:
        for x1, y1, x2, y2 in boxes[filled]:
            style = {"facecolor": "white", "edgecolor": TRUTH_COLOUR, "hatch": "////", "alpha": 0.7}
            ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
    for (x1, y1, x2, y2), text in zip(boxes, texts, strict=False):
        style = {"fontsize": 7, "color": "white", "ha": "center", "va": "center_baseline"}
        background = {"facecolor": TRUTH_COLOUR, "edgecolor": "none", "pad": 1.0}
        ax.text((x1 + x2) / 2, (y1 + y2) / 2, text, bbox=background, **style)
    return ax


def plot_scenes(dataset: ShapeDetectionDataset, indices: Sequence[int], filled: Bool[Tensor, "M N"]) -> Figure:
    """Draws the images at `indices` with their truth; the objects that are `filled` are hatched."""
    figure, axes = image_grid(len(indices), size=1.8)
    for index, ax in zip(indices, axes, strict=True):
        real = dataset.labels[index] >= 0
        boxes, chosen = dataset.boxes[index][real].numpy(), filled[index][real].numpy()
        plot_truth(dataset.images[index].numpy(), boxes, ax, f"image {int(dataset.image_ids[index])}", filled=chosen)
    return figure


def plot_misreading(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    read_boxes: Float[np.ndarray, "N 4"],
    ax: Axes,
) -> Axes:
    """Draws an image with its true boxes (green) and with what a reader took them for (red), as far as that reaches."""
    plot_truth(image, true_boxes[:0], ax)
    plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE, cased=True)
    plot_boxes(read_boxes, ax, colour=PREDICTION_COLOUR, style=PREDICTION_STYLE)
    right, bottom = np.maximum(image.shape[1::-1], read_boxes[:, 2:].max(axis=0)) + 4
    ax.set(xlim=(-4, right), ylim=(bottom, -4))
    return ax


def plot_iou_by_class(iou: Float[np.ndarray, " N"], labels: Int[np.ndarray, " N"], ax: Axes) -> Axes:
    """Draws how many objects of each class have which IoU."""
    for label, (name, colour) in enumerate(zip(CLASS_NAMES, CLASS_GREYS, strict=True)):
        ax.hist(
            iou[labels == label], bins=np.linspace(0, 1, 41), color=colour, label=name, histtype="stepfilled", alpha=0.8
        )
    ax.set(xlabel="IoU", ylabel="objects", xlim=(0, 1))
    ax.legend(loc="upper right")
    return ax


def plot_statistics(dataset: ShapeDetectionDataset) -> Figure:
    """Draws how many objects an image holds, how large they are, how much they overlap and how much is seen of them."""
    figure, axes = plt.subplots(2, 2, figsize=(8, 5))
    (counts_ax, sizes_ax), (overlaps_ax, visibility_ax) = axes
    real = dataset.labels >= 0
    labels, boxes, visibility = (column[real].numpy() for column in (dataset.labels, dataset.boxes, dataset.visibility))

    numbers, counts = np.unique(real.sum(dim=1).numpy(), return_counts=True)
    counts_ax.bar(numbers, counts, color="0.6", width=0.7)
    counts_ax.set(xlabel="objects in the image", ylabel="images", xticks=numbers)
    sizes_ax.hist(boxes[:, 2] - boxes[:, 0], bins=np.arange(15, 195, 2), color="0.6")  # a bin per even width
    top = 1.15 * sizes_ax.get_ylim()[1]
    for name, sizes in zip(CLASS_NAMES, SIZE_RANGES, strict=True):
        sizes_ax.text(sum(sizes) / 2, 0.96 * top, name, ha="center", va="top", fontsize=9)
    sizes_ax.set(xlabel="width of the box (px)", ylabel="objects", ylim=(0, top))

    iou = compute_iou(dataset.boxes, dataset.boxes)
    pairs = (real[:, :, None] & real[:, None, :]).triu(diagonal=1)
    overlaps_ax.hist(iou[pairs].numpy(), bins=np.linspace(0, 1, 41), color="0.6")
    overlaps_ax.axvline(MAX_IOU, color="black", linewidth=1, linestyle=":")
    overlaps_ax.set(xlabel="IoU of two boxes in an image", ylabel="pairs", yscale="log", xlim=(0, 1))

    shares = np.linspace(0, 0.995, 200)  # at 1 every curve jumps to 100 %
    for label, (name, marker) in enumerate(zip(CLASS_NAMES, CLASS_MARKERS, strict=True)):
        below = (visibility[labels == label] <= shares[:, None] + 1e-6).mean(axis=1)
        visibility_ax.plot(
            shares, below, color="0.25", linewidth=1, marker=marker, markevery=20, markersize=5, label=name
        )
    visibility_ax.set(xlabel="visibility", ylabel="objects at most so visible", xlim=(-0.02, 1), ylim=(0, 0.62))
    visibility_ax.yaxis.set_major_formatter(PercentFormatter(1))
    visibility_ax.legend(loc="upper left")
    return figure


def plot_looks(looks: Mapping[str, ShapeDetectionDataset], indices: Sequence[int]) -> Figure:
    """Draws the images at `indices`, one row each, in every look, one column each; ignored objects are hatched."""
    figure, axes = image_grid(len(indices) * len(looks), columns=len(looks), size=1.6)
    for number, ax in enumerate(axes):
        name = list(looks)[number % len(looks)]
        dataset, index = looks[name], indices[number // len(looks)]
        image, ignored = dataset.images[index].numpy(), dataset.ignored[index].numpy()
        boxes = dataset.boxes[index].numpy()[ignored]
        plot_truth(image, boxes, ax, name if number < len(looks) else "", filled=np.ones(len(boxes), bool))
    return figure


def plot_scale_performance(performance: ScalePerformance, score_threshold: float) -> Figure:
    """Draws, against the object's size, the objectness that each level reports and the level whose box is detected.

    Left a dot per object and level, and the levels' means over neighbouring sizes; right the share of objects that each
    level detects with at least `score_threshold`, and grey the share that none does.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    sizes, labels, objectness, _ = (column.numpy() for column in performance)
    winners = performance.winners(score_threshold).numpy()
    answers = [(level, COLOURS[level], f"level {level}") for level in range(len(objectness))]
    for level, colour, _ in answers:
        left.scatter(sizes, objectness[level], s=8, alpha=0.3, linewidths=0, color=colour)
    for label, ((smallest, largest), num_bins) in enumerate(zip(SIZE_RANGES, (4, 6, 6), strict=True)):
        edges = np.linspace(smallest, largest, num_bins + 1)
        bins = np.searchsorted(edges[1:-1], sizes, side="right")
        member = (bins == np.arange(num_bins)[:, None]) & (labels == label)  # [bins, N]
        counts = np.maximum(member.sum(axis=1), 1)
        bottom = np.zeros(num_bins)
        for level, colour, name in [*answers, (-1, "0.8", "no level")]:
            if level >= 0:
                left.plot((edges[:-1] + edges[1:]) / 2, member @ objectness[level] / counts, color=colour)
            share = (member & (winners == level)).sum(axis=1) / counts
            style = {"color": colour, "edgecolor": "white", "linewidth": 0.6, "label": None if label else name}
            right.bar(edges[:-1], share, np.diff(edges), bottom, align="edge", **style)
            bottom += share
    for ax, ylabel in ((left, "highest objectness on the object"), (right, "objects detected")):
        _put_sizes_on_the_x_axis(ax)
        ax.set(ylabel=ylabel, ylim=(-0.02 if ax is left else 0, 1))
        _mark_classes(ax, 1.03)
    right.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _mark_classes(ax: Axes, height: float) -> None:
    """Writes each class above the sizes that it takes, at `height` of the y axis."""
    for name, (smallest, largest) in zip(CLASS_NAMES, SIZE_RANGES, strict=True):
        ax.plot((smallest, largest), (height, height), color="0.5", linewidth=1, marker="|", clip_on=False)
        ax.text((smallest * largest) ** 0.5, height + 0.01, name, color="0.3", fontsize=9, ha="center", va="bottom")


def plot_size_ap(
    results: Mapping[str, Sequence[Mapping[str, float]]],
    colours: Sequence[str],
    ax: Axes | None = None,
    predicted: Mapping[str, Sequence[float]] | None = None,
) -> Axes:
    """Draws COCO's AP of small, medium and large objects as bars, and the AP of the class of that size as diamonds.

    Args:
        results: per variant the metrics of `evaluate_detections`, one per seed; bars and diamonds are their means, and
            dots the seeds of the class.
        colours: of the variants.
        predicted: per variant three shares to compare with, drawn as lines across its bars.
    """
    ax = ax or plt.figure(figsize=(8, 3.4)).add_subplot()
    groups = np.arange(3)
    width = 0.8 / len(results)
    for number, ((name, seeds), colour) in enumerate(zip(results.items(), colours, strict=True)):
        x = groups + (number - (len(results) - 1) / 2) * width
        sizes = np.array([[one[f"ap_{size}"] for size in ("small", "medium", "large")] for one in seeds])
        classes = np.array([[one[f"ap_{name}"] for name in CLASS_NAMES] for one in seeds])
        ax.bar(x, sizes.mean(axis=0), 0.92 * width, color=colour, alpha=0.55, label=name)
        if len(seeds) > 1:
            label = None if number else "one seed, of the class"
            ax.plot(np.tile(x, len(seeds)), classes.ravel(), ".", color="black", markersize=4, label=label)
        ax.plot(x, classes.mean(axis=0), "D", color=colour, markeredgecolor="black", markersize=6)
        if predicted is not None:
            style = {"color": "0.35", "linewidth": 1.5, "linestyle": ":", "label": None if number else "share covered"}
            ax.hlines(predicted[name], x - 0.46 * width, x + 0.46 * width, **style)
    ax.set(ylabel="AP", ylim=(0, 1.03), xticks=groups)
    ax.set_xticklabels(
        [f"AP {size}  (◆ {name}s)" for size, name in zip(("small", "medium", "large"), CLASS_NAMES, strict=True)]
    )
    ax.grid(visible=False, axis="x")
    handles, names = ax.get_legend_handles_labels()
    bars = [*range(len(names) - len(results), len(names)), *range(len(names) - len(results))]  # before the lines
    handles, names = [handles[index] for index in bars], [names[index] for index in bars]
    ax.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=len(names))
    return ax


def plot_view_weights(
    weights: Float[np.ndarray, "S S"], view: int, sizes: Sequence[int], ax: Axes, *, colour: str, reach: int
) -> Axes:
    """Draws which pixels a cell can see, the darker the more paths lead there, under the outlines of two squares.

    Args:
        weights: of one level, from `compute_view_weights`.
        view: width of the level's receptive field in pixels.
        sizes: of the squares whose middle the cell is, pixels.
        reach: pixels shown to each side of the centre; a bar below says how long 16 of them are.
    """
    shades = LinearSegmentedColormap.from_list("paths", ["white", colour, "black"])
    half = len(weights) / 2
    ax.imshow(np.sqrt(weights / weights.max()), cmap=shades, vmin=0, vmax=1, extent=(-half, half, half, -half))
    for size, style in zip(sizes, (":", "-"), strict=True):
        ax.add_patch(
            Rectangle(
                (-size / 2, -size / 2), size, size, fill=False, edgecolor=COLOURS[3], linestyle=style, linewidth=2
            )
        )
    seen = (weights > 0).sum() / view**2
    ax.set(xlim=(-reach, reach), ylim=(reach, -reach), xticks=[], yticks=[])
    ax.set_title(f"{view} px wide, {seen:.0%} of it seen", fontsize=9)
    ax.plot((-reach, 16 - reach), (1.09 * reach, 1.09 * reach), color="black", linewidth=2.5, clip_on=False)
    ax.text(16 - 0.94 * reach, 1.09 * reach, "16 px", fontsize=8, va="center")
    ax.grid(visible=False)
    return ax


def plot_view_patterns(
    weights: Mapping[str, Float[np.ndarray, "L _S _S"]], views: Mapping[str, Sequence[int]]
) -> Figure:
    """Draws what a cell of each level can see, one row per wiring, under the extremes of the level's class.

    Args:
        weights: per wiring, from `compute_view_weights`.
        views: per wiring, from `receptive_fields`.
    """
    figure, axes = plt.subplots(len(weights), 3, figsize=(7, 0.2 + 2.4 * len(weights)), squeeze=False)
    reaches = [max(widths) // 2 + 3 for widths in zip(*views.values(), strict=True)]
    for row, (name, levels) in zip(axes, weights.items(), strict=True):
        row[0].set_ylabel(name)
        for level, (ax, paths) in enumerate(zip(row, levels, strict=True)):
            style = {"colour": COLOURS[level], "reach": reaches[level]}
            plot_view_weights(paths, views[name][level], SIZE_RANGES[level], ax, **style)
    for level, ax in enumerate(axes[0]):
        ax.set_title(f"level {level}\n{ax.get_title()}", fontsize=9)
    return figure


def plot_view(
    image: UInt8[np.ndarray, "H W 3"],
    sensitivity: Float[np.ndarray, "H W"],
    centre: tuple[int, int],
    widths: tuple[int, int],
    ax: Axes,
    *,
    colour: str,
    title: str = "",
) -> Axes:
    """Draws a faded image, what moves one cell's objectness in it, and the cell's view in theory and in effect.

    Args:
        sensitivity: |gradient| per pixel; it is drawn in black, its largest hundredth in full.
        centre: (row, column) of the pixel at the centre of the view.
        widths: of the view in theory (solid) and in effect (dashed), pixels.
    """
    _plot_faded(image, ax, title)
    height, width = image.shape[:2]
    paint = np.zeros((height, width, 4))
    paint[..., 3] = np.clip(sensitivity / np.quantile(sensitivity[sensitivity > 0], 0.99), 0, 1)
    ax.imshow(paint, extent=(0, width, height, 0))
    y, x = centre
    for side, style in zip(widths, ("-", "--"), strict=True):
        corner = (x + 0.5 - side / 2, y + 0.5 - side / 2)
        ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=colour, linestyle=style, linewidth=2))
    ax.plot(x + 0.5, y + 0.5, "+", color=colour, markersize=8, markeredgewidth=2)
    return ax


def plot_features(
    image: UInt8[np.ndarray, "H W 3"],
    components: Sequence[Float[np.ndarray, "_h _w 3"]],
    channels: Sequence[Float[np.ndarray, "K _h _w"]],
    titles: Sequence[Sequence[str]],
) -> Figure:
    """Draws one row per level: the image at the middle of its cells, the principal components, and single channels.

    Args:
        titles: per level, of its channels.
    """
    columns = 2 + len(channels[0])
    figure, axes = image_grid(columns * len(components), columns=columns, size=1.75)
    height, width = image.shape[:2]
    for level, (picture, maps, names) in enumerate(zip(components, channels, titles, strict=True)):
        first, second, *rest = axes[level * columns : (level + 1) * columns]
        h, w = picture.shape[:2]
        step = height // h
        plot_image(image[step // 2 :: step, step // 2 :: step], first)
        first.set_title(f"level {level}: {h} × {w} cells", fontsize=8.5)
        second.imshow(picture, extent=(0, width, height, 0))
        second.set_title("three components", fontsize=8.5)
        for values, name, ax in zip(maps, names, rest, strict=True):
            ax.imshow(values, extent=(0, width, height, 0), cmap="gray")
            ax.set_title(name, fontsize=8.5)
    return figure
