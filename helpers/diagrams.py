"""Diagrams of network architectures: blocks, arrows between them, and groups, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

BLOCK_COLOURS = {
    "data": "#F3F3F3",  # images, tensors, boxes
    "layer": "#CFE3F1",  # layers with weights
    "head": "#FCE3CF",  # layers that predict
    "step": "#D9EEDD",  # steps without weights: NMS, matching, decoding
}
"""Fill colour of each kind of block, pale enough for black text."""
INCHES_PER_UNIT = 1.0  # of the diagram's coordinates on the page


@dataclass(frozen=True)
class Block:
    """A box with text, at a place in inches from the lower left corner of the diagram."""

    text: str  # one to three short lines: what it is, and the shape of its output
    x: float  # of the centre
    y: float  # of the centre, upwards
    kind: str = "layer"  # one of BLOCK_COLOURS
    width: float = 1.35
    height: float = 0.62


def draw_network(
    blocks: Mapping[str, Block],
    arrows: Sequence[tuple[str, str] | tuple[str, str, str]],
    ax: Axes | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Axes:
    """Draw `blocks` and the arrows between them, in inches, so that text has the same size in every diagram.

    Args:
        blocks: each block under a short name, for `arrows` and `groups`.
        arrows: (from, to) or (from, to, text), by the blocks' names. An arrow leaves a block on the side that faces
            the other block: left or right if they are further apart in x than in y, otherwise top or bottom.
        ax: where to draw (default: a figure as large as the diagram).
        groups: for each title the blocks that a dashed frame encloses, such as the backbone.

    Raises:
        ValueError: an arrow or a group names a block that does not exist, or a block has an unknown kind.
    """
    _check(blocks, arrows, groups or {})
    left, right = _extent([block.x for block in blocks.values()], [block.width for block in blocks.values()])
    bottom, top = _extent([block.y for block in blocks.values()], [block.height for block in blocks.values()])
    margin = 0.45 if groups else 0.15
    if ax is None:
        size = (right - left + 2 * margin) * INCHES_PER_UNIT, (top - bottom + 2 * margin) * INCHES_PER_UNIT
        ax = plt.figure(figsize=size).add_subplot()
    ax.set(xlim=(left - margin, right + margin), ylim=(bottom - margin, top + margin), aspect="equal")
    ax.set_axis_off()
    for title, names in (groups or {}).items():
        _draw_group(title, [blocks[name] for name in names], ax)
    for first, last, *texts in arrows:
        _draw_arrow(blocks[first], blocks[last], texts[0] if texts else "", ax)
    for block in blocks.values():
        _draw_block(block, ax)
    return ax


def _check(
    blocks: Mapping[str, Block],
    arrows: Sequence[tuple[str, str] | tuple[str, str, str]],
    groups: Mapping[str, Sequence[str]],
) -> None:
    """Raise a ValueError that names the first unknown block or kind."""
    mentioned = [name for arrow in arrows for name in arrow[:2]]
    for names in groups.values():
        mentioned.extend(names)
    for name in mentioned:
        if name not in blocks:
            raise ValueError(f"there is no block {name!r}; the blocks are {', '.join(blocks)}")
    for name, block in blocks.items():
        if block.kind not in BLOCK_COLOURS:
            raise ValueError(f"block {name!r} has the kind {block.kind!r}; choose one of {', '.join(BLOCK_COLOURS)}")


def _extent(centres: Sequence[float], sizes: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest border of blocks along one axis."""
    borders = list(zip(centres, sizes, strict=True))
    return min(centre - size / 2 for centre, size in borders), max(centre + size / 2 for centre, size in borders)


def _draw_block(block: Block, ax: Axes) -> None:
    corner = block.x - block.width / 2, block.y - block.height / 2
    shape = "square,pad=0" if block.kind == "data" else "round,pad=0,rounding_size=0.08"
    style = {"facecolor": BLOCK_COLOURS[block.kind], "edgecolor": "0.35", "linewidth": 1.0, "zorder": 3}
    ax.add_patch(FancyBboxPatch(corner, block.width, block.height, boxstyle=shape, **style))
    ax.text(block.x, block.y, block.text, ha="center", va="center", fontsize=8, zorder=4, linespacing=1.25)


def _draw_group(title: str, blocks: Sequence[Block], ax: Axes) -> None:
    left, right = _extent([block.x for block in blocks], [block.width for block in blocks])
    bottom, top = _extent([block.y for block in blocks], [block.height for block in blocks])
    pad = 0.14
    frame = {"fill": False, "edgecolor": "0.55", "linestyle": "--", "linewidth": 1.0, "zorder": 1}
    size = right - left + 2 * pad, top - bottom + 2 * pad
    ax.add_patch(FancyBboxPatch((left - pad, bottom - pad), *size, boxstyle="square,pad=0", **frame))
    ax.text(left - pad, top + pad + 0.04, title, fontsize=9, color="0.3", va="bottom")


def _draw_arrow(first: Block, last: Block, text: str, ax: Axes) -> None:
    """Draw an arrow between the facing sides of two blocks, with its text beside its middle."""
    dx, dy = last.x - first.x, last.y - first.y
    gap_x = abs(dx) - (first.width + last.width) / 2
    gap_y = abs(dy) - (first.height + last.height) / 2
    if gap_x >= gap_y:
        sign = 1 if dx > 0 else -1
        start = first.x + sign * first.width / 2, first.y
        end = last.x - sign * last.width / 2, last.y
    else:
        sign = 1 if dy > 0 else -1
        start = first.x, first.y + sign * first.height / 2
        end = last.x, last.y - sign * last.height / 2
    line = {"arrowstyle": "-|>", "color": "0.25", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xy=end, xytext=start, arrowprops=line, zorder=2)
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if gap_x >= gap_y:
        ax.text(middle[0], middle[1] + 0.05, text, fontsize=7, color="0.3", ha="center", va="bottom")
    else:
        ax.text(middle[0] + 0.06, middle[1], text, fontsize=7, color="0.3", ha="left", va="center")
