"""Figures of how detections are made and judged: suppression, the precision-recall curve, losses of a training.

Every function takes arrays and draws into an `Axes`.

Shape letters: K candidates of one image, N objects, D detections of one class, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from helpers.detection.figures import plot_boxes
from helpers.detection.metrics import precision_envelope
from helpers.plotting import (
    COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    TRUTH_STYLE,
    add_halo,
    fade,
    plot_framed_image,
)

HIT_COLOUR, FALSE_ALARM_COLOUR = COLOURS[2], COLOURS[1]
NUMBER_SIZE = 12
"""Pixels of the image that a number at the corner of a box takes at most."""
MARGIN = 12
"""Pixels around an image in which boxes and numbers that leave it are drawn."""


def plot_suppression(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "K 4"],
    suppressors: Int[np.ndarray, " K"],
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw the candidates of one class: each remaining box solid, and in its colour, dashed, the boxes that it removed.

    Args:
        image: bytes.
        boxes: in pixels; box 0 has the best score. Each has its number at its upper left corner.
        suppressors: for each box the number of the box that removed it, or its own number if it remains.
        ax: a new one if `None`.
        title: above the image.
    """
    ax = plot_framed_image(fade(image, 0.25), ax, title, margin=MARGIN)
    colours = {row: COLOURS[rank % len(COLOURS)] for rank, row in enumerate(dict.fromkeys(suppressors.tolist()))}
    for row in reversed(range(len(boxes))):  # the best box is drawn last, above the others
        suppressor = int(suppressors[row])
        is_remaining = suppressor == row
        width = 2.6 if is_remaining else 1.1
        x1, y1, x2, y2 = boxes[row]
        ax.add_patch(
            Rectangle(
                (x1, y1),
                x2 - x1,
                y2 - y1,
                fill=False,
                edgecolor=colours[suppressor],
                linewidth=width,
                linestyle="-" if is_remaining else "--",
                path_effects=add_halo(width) if is_remaining else None,
            )
        )
        _write_number(row, (x1, y1), ax, colour=colours[suppressor], is_filled=is_remaining)
    return ax


def plot_ranked_detections(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    boxes: Float[np.ndarray, "D 4"],
    ranks: Sequence[int],
    ax: Axes | None = None,
    title: str = "",
    is_hit: Bool[np.ndarray, " D"] | None = None,
) -> Axes:
    """Draw true boxes (thick, solid) and detections (thin, dashed), each detection with its rank at a corner.

    The detections are above the true boxes and have no white edges, so that both are visible where they coincide. The
    rank is at the upper left corner. Where it would cover the rank of an earlier box, it is beside or above this
    corner, or at another corner.

    Args:
        image: bytes.
        true_boxes: in pixels.
        boxes: of the detections, in pixels.
        ranks: of the detections, counted from 1 over all images.
        ax: a new one if `None`.
        title: above the image.
        is_hit: whether each detection is a hit (green number) or a false alarm (orange); without it numbers are black.
    """
    ax = plot_framed_image(fade(image, 0.4), ax, title, margin=MARGIN)
    plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE, width=3.2)
    plot_boxes(boxes, ax, colour=PREDICTION_COLOUR, style=PREDICTION_STYLE, width=1.2, has_halo=False)
    places: list[tuple[float, float]] = []
    for row, ((x1, y1, x2, y2), rank) in enumerate(zip(boxes, ranks, strict=True)):
        colour = PREDICTION_COLOUR
        if is_hit is not None:
            colour = HIT_COLOUR if is_hit[row] else FALSE_ALARM_COLOUR
        near = [(x1 - NUMBER_SIZE / 2, y1), (x1, y1 - NUMBER_SIZE / 2), (x1 - NUMBER_SIZE, y1), (x1, y1 - NUMBER_SIZE)]
        corners = [(x1, y1), *near, (x2, y1), (x1, y2), (x2, y2)]
        places.append(next((corner for corner in corners if not _is_near(corner, places)), (x1, y1)))
        _write_number(rank, places[-1], ax, colour=colour, is_filled=True)
    return ax


def _is_near(corner: tuple[float, float], places: Sequence[tuple[float, float]]) -> bool:
    """Return whether a number at `corner` would cover one of those at `places`."""
    return any(max(abs(corner[0] - x), abs(corner[1] - y)) < NUMBER_SIZE for x, y in places)


def _write_number(number: int, corner: tuple[float, float], ax: Axes, colour: str, is_filled: bool) -> None:
    """Write a number on the upper left corner of a box, white on the colour of the box or the other way round."""
    background = {"facecolor": colour if is_filled else "white", "edgecolor": colour, "pad": 1.2, "linewidth": 0.8}
    text_colour = "white" if is_filled else colour
    ax.text(*corner, str(number), fontsize=7, color=text_colour, ha="center", va="center_baseline", bbox=background)


def plot_curve_steps(
    recall: Float[np.ndarray, " D"],
    precision: Float[np.ndarray, " D"],
    is_hit: Bool[np.ndarray, " D"],
    ax: Axes | None = None,
) -> Axes:
    """Draw how a precision-recall curve grows: one numbered marker per detection, and the area under its envelope.

    Args:
        recall: after each detection, best score first.
        precision: after each detection.
        is_hit: whether each detection is a hit (filled circle) or a false alarm (cross).
        ax: a new one if `None`.
    """
    ax = ax or plt.figure(figsize=(6.5, 3.4)).add_subplot()
    edges = np.concatenate([[0.0], recall])
    envelope = precision_envelope(precision)
    ax.stairs(envelope, edges, baseline=0, fill=True, color=COLOURS[0], alpha=0.15, label="area under the envelope: AP")
    ax.stairs(envelope, edges, baseline=None, color=COLOURS[0], linewidth=1.2, label="envelope")
    ax.plot(recall, precision, color="0.4", linewidth=1.2, linestyle=":", label="curve")
    for name, marker, rows in (("hit", "o", is_hit), ("false alarm", "X", ~is_hit)):
        colour = HIT_COLOUR if name == "hit" else FALSE_ALARM_COLOUR
        ax.plot(recall[rows], precision[rows], marker, color=colour, markersize=8, label=name)
    for number, place in enumerate(zip(recall, precision, strict=True), start=1):
        offset = (7, 4) if is_hit[number - 1] else (-15, -3)  # the curve leaves a false alarm to the right
        ax.annotate(str(number), place, xytext=offset, textcoords="offset points", fontsize=9)
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.12))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_losses(history: Sequence[Mapping[str, float]], ax: Axes, title: str = "") -> Axes:
    """Draw the training loss and the loss on the selection scenes of each epoch.

    Args:
        history: one row per epoch, with "loss" and "validation_loss". A log of an older version lacks the second.
        ax: where to draw.
        title: name of the recipe.
    """
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 15 else None
    for name, label, style in (("loss", "training", "-"), ("validation_loss", "selection", "--")):
        losses = [row.get(name, float("nan")) for row in history]
        ax.plot(epochs, losses, style, marker=marker, label=label)
    ax.set(xlabel="epoch", ylabel="loss", title=title)
    ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend()
    return ax
