"""What the explorers move: `plot_…` makes a panel and its artists, still empty, `update_…` gives them data.

Shape letters: N true boxes, D predicted boxes, P points of a curve, h w feature map, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.legend import Legend
from matplotlib.patheffects import withStroke

from helpers.detection.figures import CLASS_MARKERS
from helpers.detection.metrics import PrecisionRecall
from helpers.detection.scenes import CLASS_NAMES, IMAGE_SIZE
from helpers.plotting import (
    COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    TRUTH_STYLE,
    add_outlines,
    outline_boxes,
    plot_framed_image,
)

MOST_TEXTS = 10
"""Boxes that can have a text in one panel: more would hide what is below them."""
CHEQUER = 0.95
"""Grey of every second cell, so that cells can be told apart."""
IGNORED_GREY = 0.6
SHADOW = LinearSegmentedColormap.from_list("shadow", [(0, 0, 0, 0), (0, 0, 0, 1)])
"""A pixel's weight over an image: clear where it counts for nothing."""


def plot_findings(ax: Axes, hatched: str, text_colour: str = PREDICTION_COLOUR) -> Axes:
    """Returns a panel for an image with its truth (green, solid) and what is predicted (red, dashed).

    Args:
        hatched: what a hatched object is, for the legend.
        text_colour: behind all texts.
    """
    _plot_frame(ax)
    style = {"facecolors": (1, 1, 1, 0.7), "edgecolors": TRUTH_COLOUR, "linewidths": 0, "hatch": "////"}
    ax.add_collection(PolyCollection([], label=hatched, **style), autolim=False)
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 1.6, "truth")
    add_outlines(ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.6, "detection")
    _add_marker(ax, "x", PREDICTION_COLOUR, "wrong")
    background = {"facecolor": text_colour, "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
    for _ in range(MOST_TEXTS):
        ax.text(0, 0, "", color="white", fontsize=7, ha="center", va="center_baseline", bbox=background)
    return ax


def update_findings(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    predicted_boxes: Float[np.ndarray, "D 4"],
    ax: Axes,
    title: str,
    *,
    hatched: Bool[np.ndarray, " N"],
    crossed: Bool[np.ndarray, " D"],
    texts: Sequence[tuple[float, float, str]] = (),
) -> None:
    """Shows an image and its boxes in the panel of `plot_findings`.

    Args:
        hatched: true boxes that are filled with strokes, as ignored or missed ones are.
        crossed: predicted boxes whose middle is crossed out, as wrong ones are.
        texts: (x, y) of the middle in pixels, and what is written there; the first `MOST_TEXTS` are.
    """
    ax.images[0].set_data(image)
    filled, true, predicted = ax.collections
    filled.set_verts(outline_boxes(true_boxes[hatched]))
    true.set_segments(outline_boxes(true_boxes))
    predicted.set_segments(outline_boxes(predicted_boxes))
    wrong = predicted_boxes[crossed]
    ax.lines[0].set_data((wrong[:, 0] + wrong[:, 2]) / 2, (wrong[:, 1] + wrong[:, 3]) / 2)
    for artist in ax.texts:
        artist.set_visible(False)
    for artist, (x, y, text) in zip(ax.texts, texts, strict=False):
        artist.set(visible=True, position=(x, y), text=text)
    ax.set_title(title, fontsize=9)


def plot_answers(ax: Axes, colour: str) -> Axes:
    """Returns a panel for one level's cells, an object (green) and the anchor that fits it best (in `colour`)."""
    _plot_frame(ax)
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 2.4, "object")
    add_outlines(ax, colour, "-", 1.2, "best anchor")
    ax.fill([], [], color=colour, label="cells with a positive anchor")
    ax.fill([], [], color=str(IGNORED_GREY), label="cells with none, but an ignored one")
    return ax


def update_answers(
    box: Float[np.ndarray, " 4"],
    best_anchor: Float[np.ndarray, " 4"],
    answers: Int[np.ndarray, "h w"],
    ax: Axes,
    title: str,
    *,
    colour: str,
) -> None:
    """Shows an object and whose anchors answer for it in the panel of `plot_answers`.

    Args:
        answers: of each cell: 1 is painted in the level's `colour`, -1 grey, and 0 left as it is.
    """
    paint = np.ones((*answers.shape, 3))
    paint[np.indices(answers.shape).sum(axis=0) % 2 == 1] = CHEQUER
    paint[answers < 0] = IGNORED_GREY
    paint[answers > 0] = to_rgb(colour)
    ax.images[0].set_data(paint)
    for lines, own in zip(ax.collections, (box, best_anchor), strict=True):
        lines.set_segments(outline_boxes(own[None]))
    ax.set_title(title, fontsize=9)


def plot_cut_curves(ax: Axes) -> Axes:
    """Returns a panel for each class's precision over recall: pale for all detections, bold for those that are kept.

    A marker, of one shape per class, stands where the score threshold cuts the curve.
    """
    for name, marker, colour in zip(CLASS_NAMES, CLASS_MARKERS, COLOURS, strict=False):
        ax.plot([], [], color=colour, linewidth=1, alpha=0.5)
        ax.plot([], [], color=colour, linewidth=2.2)
        ax.plot([], [], marker=marker, color=colour, markersize=8, markeredgecolor="black", label=name)
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
    ax.legend(loc="lower left")
    return ax


def update_cut_curves(whole: Sequence[PrecisionRecall], kept: Sequence[PrecisionRecall], ax: Axes, title: str) -> None:
    """Shows the classes' curves, and what of them is kept, in the panel of `plot_cut_curves`."""
    for number, (all_of_it, cut) in enumerate(zip(whole, kept, strict=True)):
        pale, bold, end = ax.lines[3 * number : 3 * number + 3]
        pale.set_data(*all_of_it.outline())
        bold.set_data(*cut.outline())
        end.set_data(cut.recall[-1:], cut.precision[-1:])
    ax.set_title(title, fontsize=9)


def plot_looking(ax: Axes, colour: str) -> Axes:
    """Returns a panel for what one cell can see (in `colour`), what moves it (black), and the box that it predicts."""
    _plot_frame(ax)
    style = {"cmap": SHADOW, "vmin": 0, "vmax": 1, "extent": (0, IMAGE_SIZE, IMAGE_SIZE, 0)}
    ax.imshow(np.zeros((1, 1)), **style)
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 1.2, "truth")
    add_outlines(ax, colour, "-", 2.2, "what the cell can see")
    add_outlines(ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.8, "its box, the paler the less sure")
    _add_marker(ax, "+", "black", "place")
    ax.fill([], [], color="0.2", label="moves its objectness")
    ax.set(xlim=(-2, IMAGE_SIZE + 2), ylim=(IMAGE_SIZE + 2, -2))
    return ax


def update_looking(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    predicted_box: Float[np.ndarray, " 4"],
    sensitivity: Float[np.ndarray, "H W"],
    view: Float[np.ndarray, " 4"],
    ax: Axes,
    title: str,
    *,
    objectness: float,
    place: tuple[float, float],
) -> None:
    """Shows a cell of one level in the panel of `plot_looking`.

    Args:
        sensitivity: |gradient| per pixel; it is drawn in black, its largest hundredth in full.
        view: the square that the cell can depend on, pixels.
        objectness: 0..1; the predicted box is as opaque as that.
        place: (x, y) in pixels, marked by a cross.
    """
    background, shadow = ax.images
    background.set_data((255 - (255 - image) * 0.3).astype(np.uint8))
    felt = sensitivity[sensitivity > 0]
    shadow.set_data(np.clip(sensitivity / np.quantile(felt, 0.99), 0, 1) if len(felt) else sensitivity)
    for lines, boxes in zip(ax.collections, (true_boxes, view[None], predicted_box[None]), strict=True):
        lines.set_segments(outline_boxes(boxes))
    ax.collections[2].set_alpha(objectness)
    ax.lines[0].set_data(*([coordinate] for coordinate in place))
    ax.set_title(title, fontsize=9)


def plot_legend(ax: Axes) -> Legend:
    """Draws one line below all panels of the figure that says what the artists of `ax` are."""
    handles, names = ax.get_legend_handles_labels()
    return ax.figure.legend(handles, names, loc="outside lower center", ncols=len(names), columnspacing=1.4)


def _plot_frame(ax: Axes) -> None:
    """Draws an empty image in a thin frame."""
    plot_framed_image(np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 255, np.uint8), ax, margin=2)


def _add_marker(ax: Axes, marker: str, colour: str, label: str) -> None:
    """Adds one artist for any number of crosses, with a white seam that shows them on everything."""
    seam = (withStroke(linewidth=4, foreground="white"),)
    ax.plot([], [], marker, color=colour, markersize=9, markeredgewidth=2, path_effects=seam, label=label)
