"""Diagram of the detector's architecture."""

from __future__ import annotations

from matplotlib.axes import Axes

from helpers.detection.anchors import FEATURE_MAP_SIZES
from helpers.detection.scenes import CLASS_NAMES, IMAGE_SIZE
from helpers.diagrams import Block, draw_network

COLUMN = 1.75
"""Inches between neighbouring layers."""
BACKBONE_ROW, HEAD_ROW, OUTPUT_ROW, STEP_ROW = 4.0, 2.6, 1.3, 0.1
"""Heights of the rows in inches."""


def draw_detector(width: int = 32, num_anchors: int = 3, ax: Axes | None = None) -> Axes:
    """Draw the network of the assignment: backbone, one head per level, and the steps from outputs to detections.

    Args:
        width: channels of the first convolution.
        num_anchors: per cell.
        ax: where to draw (default: a figure as large as the diagram).
    """
    num_classes = len(CLASS_NAMES)
    num_outputs = num_anchors * (5 + num_classes)
    sizes = [IMAGE_SIZE, IMAGE_SIZE // 2, *[rows for rows, _ in FEATURE_MAP_SIZES]]
    blocks = {"image": Block(f"image\n{IMAGE_SIZE} × {IMAGE_SIZE} × 3", 0, BACKBONE_ROW, "data")}
    arrows: list[tuple[str, str] | tuple[str, str, str]] = []
    previous = "image"
    for number, size in enumerate(sizes):
        name, stride = f"convolution {number}", 1 if number == 0 else 2
        x, channels = COLUMN * (number + 1), width * 2**number
        blocks[name] = Block(f"3 × 3, stride {stride}\n{size} × {size} × {channels}", x, BACKBONE_ROW)
        arrows.append((previous, name))
        previous = name
    for level, (size, _) in enumerate(FEATURE_MAP_SIZES):
        x = COLUMN * (level + 3)
        blocks[f"head {level}"] = Block(f"head {level}:\n3 × 3, then 1 × 1", x, HEAD_ROW, "head")
        blocks[f"output {level}"] = Block(f"{size} × {size} cells\n× {num_outputs} numbers", x, OUTPUT_ROW, "data")
        arrows.append((f"convolution {level + 2}", f"head {level}", f"level {level}"))
        arrows.append((f"head {level}", f"output {level}"))
        arrows.append((f"output {level}", "steps"))
    parts = f"4 offsets\n+ 1 objectness + {num_classes} classes"
    text = f"{num_outputs} numbers of a cell =\n{num_anchors} anchors × ({parts})"
    blocks["cell"] = Block(text, COLUMN * 1.55, OUTPUT_ROW, "data", width=1.9, height=0.8)
    blocks["steps"] = Block(
        "decode the offsets, keep the 300 best anchors, NMS", COLUMN * 4, STEP_ROW, "step", 3.4, 0.45
    )
    backbone = [name for name in blocks if name.startswith("convolution")]
    return draw_network(blocks, arrows, ax, {"backbone": backbone})
