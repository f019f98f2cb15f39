"""Panels of the explorers: `plot_…` draws a panel with empty artists, `update_…` gives them data.

Shape letters: N true boxes, D predicted boxes, P points of a curve, h w feature map, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb, to_rgba_array
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerTuple

from helpers.detection.figures import CLASS_MARKERS, MISSED_WIDTH
from helpers.detection.metrics import PrecisionRecall
from helpers.detection.scenes import CLASS_NAMES, IMAGE_SIZE
from helpers.plotting import (
    CLASS_COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    TRUTH_STYLE,
    add_halo,
    add_outlines,
    fade,
    outline_boxes,
    plot_framed_image,
)

MOST_TEXTS = 10
"""Largest number of texts in a panel, so that they do not hide the image."""
CHEQUER = 0.95
"""Grey of every second cell, so that neighbouring cells can be distinguished."""
IGNORED_GREY = 0.6
LEAST_OPACITY = 0.6
"""Of a predicted box: its contrast to white is then 5 : 1 (WCAG asks for 3 : 1). Most objectnesses are below 0.1."""
SHADOW = LinearSegmentedColormap.from_list("shadow", [(0, 0, 0, 0), (0, 0, 0, 1)])
"""Colour map of a sensitivity over an image: transparent at 0, black at 1."""


# Scenes


def plot_scene(ax: Axes, hatched: str, text_colour: str = PREDICTION_COLOUR, is_framed: bool = False) -> Axes:
    """Draw a panel for an image with its true boxes (solid) and predicted boxes (dashed).

    Args:
        ax: the panel.
        hatched: legend text of a hatched object.
        text_colour: background of all texts.
        is_framed: whether these objects get thick outlines in place of hatches, so that overlapping ones can be
            counted.
    """
    _plot_frame(ax)
    if is_framed:
        add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, MISSED_WIDTH, hatched)
    else:
        style: dict[str, Any] = {"facecolors": (1, 1, 1, 0.7), "edgecolors": TRUTH_COLOUR, "linewidths": 0}
        ax.add_collection(PolyCollection([], label=hatched, hatch="////", **style), autolim=False)
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 1.6, "truth")
    add_outlines(ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.6, "detection")
    if is_framed:
        missed, _, predictions = ax.collections
        missed.set_zorder(2.1)  # above the thin outlines of the true boxes
        predictions.set_zorder(2.2)
    _add_marker(ax, "x", PREDICTION_COLOUR, "wrong")
    background = {"facecolor": text_colour, "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
    for _ in range(MOST_TEXTS):
        ax.text(0, 0, "", color="white", fontsize=7, ha="center", va="center_baseline", bbox=background)
    return ax


def update_scene(
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
    """Show an image and its boxes in the panel of `plot_scene`.

    Args:
        image: bytes.
        true_boxes: in pixels.
        predicted_boxes: in pixels.
        ax: the panel.
        title: above the image.
        hatched: true boxes to hatch or to draw thick, such as ignored or missed objects.
        crossed: predicted boxes to cross out, such as false positives.
        texts: (x, y) of the middle in pixels, and the text; only the first `MOST_TEXTS` are shown.
    """
    ax.images[0].set_data(image)
    filled, truth, predictions = ax.collections
    if isinstance(filled, PolyCollection):
        filled.set_verts(list(outline_boxes(true_boxes[hatched])))
    else:
        _set_boxes(filled, true_boxes[hatched])
    _set_boxes(truth, true_boxes)
    _set_boxes(predictions, predicted_boxes)
    crossed_boxes = predicted_boxes[crossed]
    x, y = (crossed_boxes[:, :2] + crossed_boxes[:, 2:]).T / 2
    ax.lines[0].set_data(x, y)
    for artist in ax.texts:
        artist.set_visible(False)
    for artist, (text_x, text_y, text) in zip(ax.texts, texts, strict=False):
        artist.set(visible=True, position=(text_x, text_y), text=text)
    ax.set_title(title, fontsize=9)


# Matching


def plot_matching(ax: Axes, colour: str) -> Axes:
    """Draw a panel for one level's cells, an object and its best anchor (in `colour`)."""
    _plot_frame(ax)
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 2.4, "object")
    add_outlines(ax, colour, "-", 1.2, "best anchor")
    ax.fill([], [], color=colour, label="cell with a positive anchor")
    ax.fill([], [], color=str(IGNORED_GREY), label="cell with an ignored, but no positive anchor")
    return ax


def update_matching(
    box: Float[np.ndarray, " 4"],
    best_anchor: Float[np.ndarray, " 4"],
    cells: Int[np.ndarray, "h w"],
    ax: Axes,
    title: str,
    *,
    colour: str,
) -> None:
    """Show an object and the cells whose anchors are matched to it in the panel of `plot_matching`.

    Args:
        box: of the object, pixels.
        best_anchor: of the level, pixels.
        cells: 1 is painted in `colour` (a positive anchor), -1 grey (an ignored anchor), 0 neither.
        ax: the panel.
        title: above the panel.
        colour: of the level.
    """
    paint = np.ones((*cells.shape, 3))
    paint[np.indices(cells.shape).sum(axis=0) % 2 == 1] = CHEQUER
    paint[cells < 0] = IGNORED_GREY
    paint[cells > 0] = to_rgb(colour)
    ax.images[0].set_data(paint)
    object_lines, anchor_lines = ax.collections
    _set_boxes(object_lines, box[None])
    _set_boxes(anchor_lines, best_anchor[None])
    ax.set_title(title, fontsize=9)


# Precision and recall


def plot_curves(ax: Axes) -> Axes:
    """Draw a panel for each class's precision over recall: pale for all detections, bold above the score threshold.

    A marker, with one shape per class, shows where the score threshold ends the curve.
    """
    for name, marker, colour in zip(CLASS_NAMES, CLASS_MARKERS, CLASS_COLOURS, strict=True):
        ax.plot([], [], color=colour, linewidth=1, alpha=0.5)
        ax.plot([], [], color=colour, linewidth=2.2)
        ax.plot([], [], marker=marker, color=colour, markersize=8, markeredgecolor="black", label=name)
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
    ax.legend(loc="lower left")
    return ax


def update_curves(
    curves: Sequence[PrecisionRecall], curves_above: Sequence[PrecisionRecall], ax: Axes, title: str
) -> None:
    """Show the curve of each class, and its part above the score threshold, in the panel of `plot_curves`."""
    for label, (curve, part) in enumerate(zip(curves, curves_above, strict=True)):
        pale, bold, end = ax.lines[3 * label : 3 * label + 3]
        pale.set_data(*curve.outline())
        bold.set_data(*part.outline())
        end.set_data(part.recall[-1:], part.precision[-1:])
    ax.set_title(title, fontsize=9)


# Receptive fields


def plot_cell(ax: Axes, colour: str) -> Axes:
    """Draw a panel for a cell's receptive field (in `colour`), its sensitivity (black), and its predicted box."""
    _plot_frame(ax)
    extent = (0, IMAGE_SIZE, IMAGE_SIZE, 0)
    ax.imshow(np.zeros((1, 1)), cmap=SHADOW, vmin=0, vmax=1, extent=extent)
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 1.2, "truth")
    add_outlines(ax, colour, "-", 2.2, "receptive field")
    add_outlines(ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.8, "predicted box (paler: lower objectness)")
    _add_marker(ax, "+", "black", "place")
    ax.fill([], [], color="0.2", label="changes objectness")
    ax.set(xlim=(-2, IMAGE_SIZE + 2), ylim=(IMAGE_SIZE + 2, -2))
    return ax


def update_cell(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    predicted_box: Float[np.ndarray, " 4"],
    sensitivity: Float[np.ndarray, "H W"],
    field: Float[np.ndarray, " 4"],
    ax: Axes,
    title: str,
    *,
    objectness: float,
    place: tuple[float, float],
    side: float = IMAGE_SIZE,
) -> None:
    """Show a cell of one level in the panel of `plot_cell`.

    Args:
        image: bytes.
        true_boxes: in pixels.
        predicted_box: of the cell, pixels.
        sensitivity: |gradient| per pixel, drawn in black; the largest hundredth is fully black.
        field: the square of the receptive field, pixels.
        ax: the panel.
        title: above the image.
        objectness: from 0 to 1: the opacity of the predicted box, at least `LEAST_OPACITY`.
        place: (x, y) in pixels, marked by a cross.
        side: of the square around `place` that is shown, moved into the image, pixels.
    """
    background, shadow = ax.images
    background.set_data(fade(image, 0.3))
    positive = sensitivity[sensitivity > 0]
    if len(positive):
        sensitivity = np.clip(sensitivity / np.quantile(positive, 0.99), 0, 1)
    shadow.set_data(sensitivity)
    truth, field_lines, prediction = ax.collections
    _set_boxes(truth, true_boxes)
    _set_boxes(field_lines, field[None])
    _set_boxes(prediction, predicted_box[None])
    prediction.set_alpha(max(objectness, LEAST_OPACITY))
    x, y = place
    ax.lines[0].set_data([x], [y])
    left = min(max(x - side / 2, 0), IMAGE_SIZE - side)
    top = min(max(y - side / 2, 0), IMAGE_SIZE - side)
    margin = 2 * side / IMAGE_SIZE
    ax.set(xlim=(left - margin, left + side + margin), ylim=(top + side + margin, top - margin))
    ax.set_title(title, fontsize=9)


# Shared parts


def plot_legend(*axes: Axes) -> Legend:
    """Draw one line below all panels of the figure that explains the artists of one of `axes`.

    With several axes, which have the same artists, an entry shows side by side the colours that its artist has in them.
    """
    names = axes[0].get_legend_handles_labels()[1]
    columns = zip(*(ax.get_legend_handles_labels()[0] for ax in axes), strict=True)
    handles = []
    for column in columns:
        by_colour = {_read_colour(artist): artist for artist in column}
        handles.append(tuple(by_colour.values()) if len(by_colour) > 1 else column[0])
    figure = axes[0].get_figure(root=True)
    assert figure is not None
    style: dict[str, Any] = {"loc": "outside lower center", "ncols": len(names), "columnspacing": 1.4}
    return figure.legend(handles, names, handler_map={tuple: HandlerTuple(ndivide=None, pad=0)}, **style)


def _read_colour(artist: Any) -> str:
    """Return the colour of a line, or the colour that fills a patch or a collection of polygons."""
    colour = artist.get_color() if hasattr(artist, "get_color") else artist.get_facecolor()
    return to_hex(np.reshape(to_rgba_array(colour), (-1, 4))[0])


def _set_boxes(lines: Any, boxes: Float[np.ndarray, "N 4"]) -> None:
    """Show `boxes` with an artist of `plotting.add_outlines`."""
    assert isinstance(lines, LineCollection)
    lines.set_segments(list(outline_boxes(boxes)))


def _plot_frame(ax: Axes) -> None:
    """Draw an empty image in a thin frame."""
    plot_framed_image(np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 255, np.uint8), ax, margin=2)


def _add_marker(ax: Axes, marker: str, colour: str, label: str) -> None:
    """Add one artist for any number of crosses, with a white outline that makes them visible on every background."""
    ax.plot([], [], marker, color=colour, markersize=9, markeredgewidth=2, path_effects=add_halo(2), label=label)
