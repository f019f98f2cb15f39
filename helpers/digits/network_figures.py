"""Diagrams of Faster R-CNN: the network as blocks, and RoIAlign on one feature map.

Shape letters: h w a feature map.
"""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torchvision.ops import roi_align

from helpers.diagrams import Block, draw_network
from helpers.plotting import COLOURS, PREDICTION_COLOUR, add_halo


def plot_faster_rcnn(ax: Axes | None = None) -> Axes:
    """Draw the report's network: backbone and pyramid, RPN, RoIAlign and RoI head, with the shapes of their outputs."""
    blocks = {
        "image": Block("image\nany size", 0.0, 3.3, "data"),
        "resize": Block("resize\n800 / 1333 px", 0.0, 2.2, "step"),
        "backbone": Block("ResNet-50\nstrides 4 to 32", 1.8, 2.2),
        "pyramid": Block("pyramid (FPN)\n256 channels", 3.6, 2.2),
        "anchors": Block("anchors\nk in each cell", 5.75, 3.3, "data"),
        "rpn": Block("RPN\nobjectness, offsets", 5.75, 2.2, "head", 1.5),
        "nms": Block("NMS\nbest 1000 boxes", 7.55, 2.2, "step"),
        "proposals": Block("proposals\n≤ 1000 boxes", 9.45, 2.2, "data"),
        "maps": Block("4 finest maps\nstrides 4 to 32", 3.6, 0.7, "data"),
        "align": Block("RoIAlign\n256×7×7 per proposal", 9.45, 0.7, "step", 1.9),
        "head": Block("RoI head\n11 classes, offsets", 11.6, 0.7, "head", 1.5),
        "detections": Block("NMS per class\n≤ 100 detections", 11.6, 2.2, "step", 1.5),
    }
    arrows = [
        ("image", "resize"),
        ("resize", "backbone"),
        ("backbone", "pyramid", "4 maps"),
        ("pyramid", "rpn", "5 maps"),
        ("anchors", "rpn"),
        ("rpn", "nms"),
        ("nms", "proposals"),
        ("pyramid", "maps"),
        ("maps", "align"),
        ("proposals", "align"),
        ("align", "head"),
        ("head", "detections"),
    ]
    groups = {
        "first stage, once per image": ["anchors", "rpn", "nms"],
        "second stage": ["align", "head"],
    }
    return draw_network(blocks, arrows, ax, groups)


def plot_pyramid(ax: Axes | None = None) -> Axes:
    """Draw how the pyramid joins the maps of the backbone: a lateral layer per map, and sums from coarse to fine."""
    strides = (4, 8, 16, 32)
    blocks, arrows = {}, []
    for level, stride in enumerate(strides):
        y = 0.95 * level
        blocks[f"stage {level}"] = Block(f"backbone map\nstride {stride}", 0.0, y)
        blocks[f"lateral {level}"] = Block("1×1 convolution\n256 channels", 2.0, y)
        blocks[f"sum {level}"] = Block("sum" if stride < strides[-1] else "unchanged:\nno coarser map", 4.0, y, "step")
        blocks[f"output {level}"] = Block("3×3 convolution", 6.0, y)
        blocks[f"map {level}"] = Block(f"pyramid map\nstride {stride}", 8.0, y, "data")
        chain = [f"{name} {level}" for name in ("stage", "lateral", "sum", "output", "map")]
        for first, last in itertools.pairwise(chain):
            arrows.append((first, last))
        if level > 0:
            arrows.append((f"stage {level - 1}", f"stage {level}"))
            arrows.append((f"sum {level}", f"sum {level - 1}", "2×"))
    blocks["map 4"] = Block("pyramid map\nstride 64", 8.0, 0.95 * 4, "data")
    arrows.append(("map 3", "map 4", "every second cell"))
    return draw_network(blocks, arrows, ax)


def plot_roi_align(
    feature_map: Float[np.ndarray, "h w"], box: tuple[float, float, float, float], num_cells: int = 7
) -> Figure:
    """Draw a proposal on one channel of a feature map, one of its parts, and the cells that RoIAlign computes.

    The part in the middle row and column is drawn enlarged, with the points at which the map is read.

    Args:
        box: (x1, y1, x2, y2) of the proposal, in cells of the map.
        num_cells: cells along each side of the result.
    """
    x1, y1, x2, y2 = box
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.8))
    height, width = feature_map.shape
    low, high = float(feature_map.min()), float(feature_map.max())
    limits = {"cmap": "Greys", "vmin": low, "vmax": low + 1.3 * (high - low)}  # pale enough for lines and points
    for ax in (left, middle):
        ax.imshow(feature_map, extent=(0, width, height, 0), **limits)
        ax.set(
            xticks=range(width + 1), yticks=range(height + 1), xlabel="cell of the map, x", ylabel="cell of the map, y"
        )
    left.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            linewidth=1.8,
            label="proposal",
            fill=False,
            edgecolor=PREDICTION_COLOUR,
            path_effects=add_halo(1.8),
        )
    )
    part_width, part_height = (x2 - x1) / num_cells, (y2 - y1) / num_cells
    for number in range(1, num_cells):
        x, y = x1 + number * part_width, y1 + number * part_height
        left.plot([x, x], [y1, y2], color=PREDICTION_COLOUR, linewidth=0.7)
        left.plot([x1, x2], [y, y], color=PREDICTION_COLOUR, linewidth=0.7)
    margin = 0.25 * (y2 - y1)  # of the map around the proposal
    left.set(xlim=(max(0, x1 - margin), min(width, x2 + margin)), ylim=(min(height, y2 + margin), max(0, y1 - margin)))
    part_x, part_y = x1 + num_cells // 2 * part_width, y1 + num_cells // 2 * part_height
    for ax in (left, middle):
        part = {"linewidth": 2.0, "edgecolor": COLOURS[0], "path_effects": add_halo(2.0), "zorder": 3}
        ax.add_patch(Rectangle((part_x, part_y), part_width, part_height, fill=False, label="one part", **part))
    # torchvision's layers sample 2 × 2 points in each part, at a quarter and at three quarters of its sides.
    shares = np.array([0.25, 0.75])
    points_x, points_y = np.meshgrid(part_x + part_width * shares, part_y + part_height * shares)
    middle.scatter(points_x, points_y, s=30, color=COLOURS[1], zorder=4, label="sampled point")
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    centre_style = {"linestyle": "none", "marker": "+", "color": "black", "markersize": 7}
    middle.plot(columns.ravel(), rows.ravel(), label="centre of a cell", **centre_style)
    half = 1.2 * max(part_width, part_height)
    centre_x, centre_y = part_x + part_width / 2, part_y + part_height / 2
    middle.set(xlim=(centre_x - half, centre_x + half), ylim=(centre_y + half, centre_y - half))
    right.imshow(pool_proposal(feature_map, box, num_cells), extent=(0, num_cells, num_cells, 0), **limits)
    right.set(
        xticks=range(num_cells + 1),
        yticks=range(num_cells + 1),
        xlabel="cell of the result, x",
        ylabel="cell of the result, y",
    )
    result_part = {"linewidth": 2.0, "edgecolor": COLOURS[0], "path_effects": add_halo(2.0)}
    right.add_patch(Rectangle((num_cells // 2, num_cells // 2), 1, 1, fill=False, **result_part))
    for ax in (left, middle, right):
        ax.grid(True, color="0.7", linewidth=0.6)
        ax.tick_params(labelsize=7)
    left.set_title(f"proposal on the map, {num_cells} × {num_cells} parts", fontsize=9)
    middle.set_title("one part: mean of 2 × 2 points", fontsize=9)
    right.set_title(f"after RoIAlign: {num_cells} × {num_cells} cells", fontsize=9)
    handles, labels = [], []
    for ax, first in ((left, 0), (middle, 1)):  # the part has its entry from the left panel
        ax_handles, ax_labels = ax.get_legend_handles_labels()
        handles += ax_handles[first:]
        labels += ax_labels[first:]
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def pool_proposal(
    feature_map: Float[np.ndarray, "h w"], box: tuple[float, float, float, float], num_cells: int = 7
) -> Float[np.ndarray, "cells cells"]:
    """Return the values of RoIAlign for one box on one channel: the mean of 2 × 2 sampled points in each part.

    Args:
        box: (x1, y1, x2, y2) in cells of the map, whose first cell covers 0 to 1.

    Source: He et al., "Mask R-CNN" (arXiv:1703.06870), section 3.
    """
    maps = torch.from_numpy(np.ascontiguousarray(feature_map)).float()[None, None]
    rows = torch.tensor([[0.0, *box]])
    pooled = roi_align(maps, rows, num_cells, sampling_ratio=2, aligned=True)
    return pooled[0, 0].numpy()
