"""Figures of box losses on pairs of boxes: arrays in, `Axes` or figures out.

A figure that an explorer changes has two functions: `plot_…` makes its artists, `update_…` gives them new data.

Shape letters: T positions or steps, L losses, N boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from helpers.diagrams import Block, draw_network
from helpers.plotting import COLOURS, PREDICTION_COLOUR, PREDICTION_STYLE, TRUTH_COLOUR, TRUTH_STYLE

LOSS_STYLES = {
    "smooth-l1": (COLOURS[1], "-", 1.6),
    "iou": (COLOURS[0], "-", 4.0),
    "giou": (COLOURS[4], "-", 2.6),
    "diou": (COLOURS[2], "-", 1.7),
    "ciou": (COLOURS[3], "--", 1.7),
}
"""Colour, line style and width of each loss: where losses are equal, a thinner line is drawn on a wider one."""
SMOOTH_L1_SHARE = 0.1
"""Factor of smooth-L1 in figures: its offsets are in tenths of a width, so its values are about ten times as large."""
PULL_SCALE = 3.0
"""Factor of the arrows in `plot_pulls`: the gradient of a distant box is small beside the box."""
LOSS_LABELS = {"smooth-l1": "smooth-L1 / 10", "iou": "IoU", "giou": "GIoU", "diou": "DIoU", "ciou": "CIoU"}

Curves = Mapping[str, tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]]]
"""Values and slopes of each loss."""


def plot_scenarios(
    true: Float[np.ndarray, " 4"],
    examples: Mapping[str, Float[np.ndarray, "_examples 4"]],
    positions: Mapping[str, Float[np.ndarray, " _T"]],
    curves: Mapping[str, Curves],
    labels: Mapping[str, str],
) -> Figure:
    """Draw one column per scenario: example boxes, the losses by position, and their slopes.

    Args:
        examples: predicted boxes of each scenario, drawn with the true box.
        positions: positions of each scenario at which its curves are measured.
        labels: meaning and unit of a position, for each scenario.
    """
    figure, axes = plt.subplots(3, len(curves), figsize=(3.6 * len(curves), 7.2), height_ratios=(1, 1.25, 1.25))
    for column, (scenario, curves_by_loss) in enumerate(curves.items()):
        sketch, values, slopes = axes[:, column]
        _frame_boxes(np.concatenate([true[None], *examples.values()]), sketch)
        for box in examples[scenario]:
            _add_box(box, sketch, PREDICTION_COLOUR, PREDICTION_STYLE, 1.3)
        _add_box(true, sketch, TRUTH_COLOUR, TRUTH_STYLE, 2.2)
        sketch.set_title(scenario)
        for loss, (value, slope) in curves_by_loss.items():
            colour, line, width = LOSS_STYLES[loss]
            share = SMOOTH_L1_SHARE if loss == "smooth-l1" else 1.0
            style = {"color": colour, "linestyle": line, "linewidth": width, "label": LOSS_LABELS[loss]}
            values.plot(positions[scenario], share * value, **style)
            slopes.plot(positions[scenario], share * slope, **style)
        values.set(ylim=(-0.05, None), xticklabels=[])
        slopes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        slopes.set_xlabel(labels[scenario])
    axes[1, 0].set_ylabel("loss")
    axes[2, 0].set_ylabel("slope of the loss")
    lines, names = axes[1, 0].get_legend_handles_labels()
    boxes = [axes[0, 0].patches[-1], axes[0, 0].patches[0]]
    names += ["true box", "predicted box"]
    figure.legend([*lines, *boxes], names, loc="outside upper center", ncols=len(names))
    return figure


def plot_descents(
    true: Float[np.ndarray, " 4"],
    paths: Mapping[str, Float[np.ndarray, "T 4"]],
    overlaps: Mapping[str, Float[np.ndarray, " T"]],
    shown: Sequence[int],
) -> Figure:
    """Draw the descent of a box on each loss: the box after the `shown` steps, and its IoU after every step."""
    figure = plt.figure(figsize=(2.6 * len(paths), 5.2))
    panels = figure.subplot_mosaic([[*paths], ["overlap"] * len(paths)], height_ratios=(1, 1.05))
    all_boxes = np.concatenate([true[None], *(path[list(shown)] for path in paths.values())])
    strengths = np.linspace(0.3, 1.0, len(shown))
    for loss, path in paths.items():
        ax = panels[loss]
        _frame_boxes(all_boxes, ax)
        for step, strength in zip(shown, strengths, strict=True):
            _add_box(path[step], ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.3, strength)
            ax.patches[-1].set_label(f"box after {step} steps" if step else "start")
        _add_box(true, ax, TRUTH_COLOUR, TRUTH_STYLE, 2.0)
        ax.patches[-1].set_label("true box")
        ax.set_title(LOSS_LABELS[loss].split(" /")[0])
        colour, line, width = LOSS_STYLES[loss]
        label = LOSS_LABELS[loss].split(" /")[0]
        panels["overlap"].plot(overlaps[loss], color=colour, linestyle=line, linewidth=width, label=label)
    panels["overlap"].set(xlabel="step", ylabel="IoU with the truth", xlim=(0, None), ylim=(-0.03, 1.03))
    panels["overlap"].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[list(paths)[-1]].legend(loc="center left", bbox_to_anchor=(1.05, 0.5))
    return figure


def plot_pulls(
    true: Float[np.ndarray, " 4"],
    predicted: Float[np.ndarray, " 4"],
    gradients: Mapping[str, Float[np.ndarray, " 4"]],
) -> Figure:
    """Draw a true and a predicted box once per loss, with an arrow at each side along the negative gradient.

    A number at each arrow is the length of the gradient at this side.

    Args:
        gradients: gradient of each loss by (x1, y1, x2, y2); the arrows are `PULL_SCALE` times as long.
    """
    figure, axes = plt.subplots(1, len(gradients), figsize=(2.9 * len(gradients), 3.0), squeeze=False)
    all_gradients = np.array(list(gradients.values()))
    for ax, (loss, gradient) in zip(axes.flat, gradients.items(), strict=True):
        title = LOSS_LABELS[loss] if gradient.any() else f"{LOSS_LABELS[loss]}: no gradient"
        plot_pair(true, predicted, PULL_SCALE * gradient, ax, title, 0.0)
        _label_sides(predicted, gradient, ax)
        _frame_boxes(np.concatenate([[true, predicted], predicted - PULL_SCALE * all_gradients]), ax)
    names = ["hull", "true box", "predicted box"]  # in the order of `plot_pair`
    figure.legend(axes[0, 0].patches, names, loc="outside lower center", ncols=len(names))
    return figure


def _label_sides(box: Float[np.ndarray, " 4"], gradient: Float[np.ndarray, " 4"], ax: Axes) -> None:
    """Write the length of the gradient at each side of a box, beside the arrow of `plot_pulls`; none near 0."""
    (x1, y1, x2, y2), (middle_x, middle_y) = box, (box[:2] + box[2:]) / 2
    places = [(x1, middle_y, "right", "bottom"), (middle_x, y1, "left", "bottom")]
    places += [(x2, middle_y, "left", "bottom"), (middle_x, y2, "left", "top")]
    for (x, y, horizontal, vertical), component in zip(places, gradient, strict=True):
        if abs(component) >= 0.005:  # a smaller one has no visible arrow
            offset = (-4 if horizontal == "right" else 4, 4 if vertical == "bottom" else -4)  # points
            style = {"ha": horizontal, "va": vertical, "fontsize": 8, "color": COLOURS[0]}
            ax.annotate(f"{abs(component):.2f}", (x, y), offset, textcoords="offset points", **style)


def draw_loss_stages() -> Axes:
    """Draw the two places in Faster R-CNN where a box loss is computed, and the boxes that each of them gets."""
    blocks = {
        "image": Block("image", 0.0, 0.0, "data", width=0.8),
        "backbone": Block("backbone\nand FPN", 1.5, 0.0),
        "rpn": Block("RPN", 3.5, 0.0, "head"),
        "proposals": Block("proposals", 5.3, 0.0, "data", width=1.1),
        "heads": Block("RoI head", 7.4, 0.0, "head"),
        "boxes": Block("classes\nand boxes", 9.2, 0.0, "data", width=1.1),
        "anchors": Block("anchors: IoU ≥ 0.7, or\nbest anchor of a digit", 3.5, 1.2, "step", width=1.8),
        "matching": Block("proposals: IoU ≥ 0.5", 7.4, 1.2, "step", width=1.8),
        "first": Block("box loss of the RPN:\nsmooth-L1", 3.5, -1.2, "data", width=1.8),
        "second": Block("box loss of the RoI head:\nreplaced in this lesson", 7.4, -1.2, "data", width=1.8),
    }
    arrows = [("image", "backbone"), ("backbone", "rpn", "maps"), ("rpn", "proposals")]
    arrows += [("proposals", "heads", "RoIAlign"), ("heads", "boxes")]
    arrows += [("anchors", "rpn", "matched"), ("matching", "heads", "matched")]
    arrows += [("rpn", "first", "training"), ("heads", "second", "training")]
    return draw_network(blocks, arrows)


def plot_overlaps(
    overlaps: Mapping[str, Float[np.ndarray, " _N"]], ax: Axes | None = None, threshold: float | None = None
) -> Axes:
    """Draw the distribution of the IoU of boxes with their true boxes, for several sets.

    Args:
        threshold: an IoU that is marked by a dotted line.
    """
    ax = ax or plt.figure(figsize=(6, 3)).add_subplot()
    for number, (name, values) in enumerate(overlaps.items()):
        weights = np.full(len(values), 1 / max(1, len(values)))
        style = {"histtype": "step", "color": COLOURS[number], "linewidth": 1.8}
        label = f"{name}: mean {values.mean():.2f}" if len(values) else f"{name}: none"
        ax.hist(values, np.linspace(0, 1, 41).tolist(), weights=weights, label=label, **style)
    if threshold is not None:
        ax.axvline(threshold, color="0.5", linestyle=":")
    ax.set(xlabel="IoU with the true box", ylabel="share of boxes", xlim=(0, 1))
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return ax


def plot_paired_differences(
    differences: Mapping[str, Sequence[float]],
    half_widths: Mapping[str, float],
    ax: Axes | None = None,
    xlabel: str = "",
) -> Axes:
    """Draw one row per variant: a dot per seed, the mean with its interval, and a line at 0, the reference.

    Args:
        differences: for each variant one number per seed: the variant minus the reference with the same seed.
        half_widths: half the width of each interval; NaN draws none.
    """
    ax = ax or plt.figure(figsize=(6.5, 0.36 * len(differences) + 0.9)).add_subplot()
    ax.axvline(0, color="0.5", linestyle=":")
    for row, (name, values) in enumerate(differences.items()):
        seeds = "one seed" if row == 0 else None
        mean = "mean and 95 % interval" if row == 0 else None
        ax.plot(values, [row + 0.2] * len(values), "o", color=COLOURS[0], markersize=4, alpha=0.6, label=seeds)
        style = {"color": COLOURS[1], "markersize": 6, "capsize": 3, "linewidth": 1.6, "label": mean}
        ax.errorbar(float(np.mean(values)), row - 0.1, xerr=half_widths[name], fmt="D", **style)
    ax.set_yticks(range(len(differences)), list(differences))
    ax.set_ylim(len(differences) - 0.5, -0.5)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(xlabel)
    return ax


# The explorer


def plot_pair(
    true: Float[np.ndarray, " 4"],
    predicted: Float[np.ndarray, " 4"],
    gradient: Float[np.ndarray, " 4"],
    ax: Axes,
    title: str,
    reach: float,
) -> None:
    """Draw a true box, a predicted box, the enclosing box, and the negative gradient at each side as an arrow.

    Args:
        gradient: gradient of the loss by (x1, y1, x2, y2).
        reach: margin around the true box, in units of the boxes.
    """
    for colour, line, width in (("0.7", ":", 1.2), (TRUTH_COLOUR, TRUTH_STYLE, 2.2)):
        _add_box(true, ax, colour, line, width)
    _add_box(predicted, ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.8)
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.015, "minlength": 0}
    ax.quiver(np.zeros(4), np.zeros(4), np.zeros(4), np.zeros(4), color=COLOURS[0], zorder=3, **arrows)
    ax.set(xlim=(true[0] - reach, true[2] + reach), ylim=(true[3] + reach, true[1] - reach), aspect="equal")
    ax.set_axis_off()
    update_pair(true, predicted, gradient, ax, title)


def update_pair(
    true: Float[np.ndarray, " 4"],
    predicted: Float[np.ndarray, " 4"],
    gradient: Float[np.ndarray, " 4"],
    ax: Axes,
    title: str,
) -> None:
    """Show another prediction in the axes of `plot_pair`."""
    hull = np.concatenate([np.minimum(true[:2], predicted[:2]), np.maximum(true[2:], predicted[2:])])
    for patch, box in zip(ax.patches, (hull, true, predicted), strict=True):
        patch.set_bounds(*box[:2], *(box[2:] - box[:2]))  # pyright: ignore[reportAttributeAccessIssue] - a Rectangle
    (arrows,) = ax.collections
    middle = (predicted[:2] + predicted[2:]) / 2
    arrows.set_offsets(
        [(predicted[0], middle[1]), (middle[0], predicted[1]), (predicted[2], middle[1]), (middle[0], predicted[3])]
    )
    right, down = np.array([-gradient[0], 0, -gradient[2], 0]), np.array([0, -gradient[1], 0, -gradient[3]])
    arrows.set_UVC(right, down)  # pyright: ignore[reportAttributeAccessIssue] - a Quiver
    ax.set_title(title)


def plot_bars(values: Float[np.ndarray, " L"], names: Sequence[str], ax: Axes, xlabel: str, limit: float) -> None:
    """Draw a bar with its value for each loss; bars longer than 0.8 `limit` are cut there."""
    ax.barh(range(len(names)), values, color=[LOSS_STYLES[name][0] for name in names])
    for row in range(len(names)):
        ax.text(0, row, "", va="center", fontsize=9)
    ax.set_yticks(range(len(names)), [LOSS_LABELS[name] for name in names])
    ax.set(xlim=(0, limit), ylim=(len(names) - 0.4, -0.6), xlabel=xlabel)
    ax.grid(visible=False, axis="y")
    update_bars(values, ax)


def update_bars(values: Float[np.ndarray, " L"], ax: Axes) -> None:
    """Show other values in the axes of `plot_bars`."""
    limit = ax.get_xlim()[1]
    for bar, text, value in zip(ax.patches, ax.texts, values, strict=True):
        length = min(value, 0.8 * limit)
        bar.set_width(length)  # pyright: ignore[reportAttributeAccessIssue] - a Rectangle
        text.set(x=length + 0.02 * limit, text=f"{value:.3f}")


def _add_box(
    box: Float[np.ndarray, " 4"], ax: Axes, colour: str, line: str, width: float, strength: float = 1.0
) -> None:
    (x1, y1, x2, y2), style = box, {"edgecolor": colour, "linestyle": line, "linewidth": width, "alpha": strength}
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style))


def _frame_boxes(boxes: Float[np.ndarray, "N 4"], ax: Axes) -> None:
    """Set the limits of `ax` to all boxes, with equal units, y downwards and no axes."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = 0.06 * (high - low).max()
    ax.set(xlim=(low[0] - margin, high[0] + margin), ylim=(high[1] + margin, low[1] - margin), aspect="equal")
    ax.set_axis_off()
