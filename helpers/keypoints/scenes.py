"""Keypoint scenes: the handout's stick figures, equal to the last byte, and a variant whose left hand is marked."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw

from helpers.coco import PIXEL_CENTRE

IMAGE_SIZE = 128
POINT_NAMES = ("head", "left_hand", "right_hand", "left_foot", "right_foot")
HANDS, FEET = slice(1, 3), slice(3, 5)
"""Rows of `POINT_NAMES`, left before right. The left foot is the one at the smaller x; the hands look alike."""
SKELETON = ((0, 1), (0, 2), (0, 3), (0, 4))
"""Pairs of points that a limb joins. Neck and hip are not keypoints, so every limb starts at the head."""

HEAD_RADIUS = 8
NECK_TO_CENTRE = 12  # pixels, as all lengths here; also from the centre to the hip
SHOULDER_TO_CENTRE = 6
ARM_LENGTH = 20
LEG_HEIGHT = 25
STROKE_WIDTH = 3
MITTEN_RADIUS = 4


@dataclass(frozen=True)
class FigureConfig:
    """Look of the figures; the default is the handout's."""

    tellable_hands: bool = False  # mark the left hand by a mitten, a filled disc nine pixels wide, so that hands differ


HANDOUT_FIGURE = FigureConfig()


def exchange_rows(*pairs: slice) -> list[int]:
    """Return the rows of `POINT_NAMES` with left and right exchanged in each of the pairs."""
    rows = list(range(len(POINT_NAMES)))
    for pair in pairs:
        rows[pair] = reversed(rows[pair])
    return rows


class FigureScene(NamedTuple):
    """Grey image of one figure, and the figure's points in the order of `POINT_NAMES`."""

    image: UInt8[np.ndarray, "128 128"]
    points: Float64[np.ndarray, "5 2"]  # (x, y) pixels: centres of the pixels in the handout's files


def draw_scene(rng: random.Random, config: FigureConfig = HANDOUT_FIGURE) -> FigureScene:
    """Return the next scene of the random stream `rng`.

    Law: equal states of `rng` give equal points, whatever `config` is.

    Source: the assignment's data generator (handout, section 1).
    """
    points = lay_out(rng)
    return FigureScene(paint_figure(points, config), points)


def lay_out(rng: random.Random) -> Float64[np.ndarray, "5 2"]:
    """Return the points of the next figure: two random numbers for its centre, one per arm and one for both legs."""
    x, y = rng.randint(40, 88), rng.randint(40, 88)
    left, right = (_reach(rng.uniform(-60, 60)) for _ in range(2))
    spread = int(rng.uniform(10, 30))
    shoulder, foot = y - SHOULDER_TO_CENTRE, y + NECK_TO_CENTRE + LEG_HEIGHT
    pixels = (
        (x, y - NECK_TO_CENTRE - HEAD_RADIUS),
        (x - left[0], shoulder + left[1]),
        (x + right[0], shoulder + right[1]),
        (x - spread, foot),
        (x + spread, foot),
    )
    return np.array(pixels, float) + PIXEL_CENTRE


def _reach(angle: float) -> tuple[int, int]:
    """Return the offset of a hand from its shoulder, sideways and down, cut to whole pixels as in the handout."""
    turn = math.radians(90 - angle)
    return int(ARM_LENGTH * math.cos(turn)), int(ARM_LENGTH * math.sin(turn))


def paint_figure(
    points: Float64[np.ndarray, "5 2"], config: FigureConfig = HANDOUT_FIGURE
) -> UInt8[np.ndarray, "128 128"]:
    """Return the image of the figure with these points, black on white.

    Law: in the handout's look, exchanging the rows of the two hands returns the identical image.
    """
    head, left_hand, right_hand, *feet = (tuple(pixel) for pixel in np.floor(points).astype(int).tolist())
    x, y = head[0], head[1] + HEAD_RADIUS + NECK_TO_CENTRE
    hip, shoulder = (x, y + NECK_TO_CENTRE), (x, y - SHOULDER_TO_CENTRE)
    image = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE), 255)
    draw = ImageDraw.Draw(image)
    draw.circle(head, HEAD_RADIUS, outline=0, width=STROKE_WIDTH)
    limbs = [((x, y - NECK_TO_CENTRE), hip), (shoulder, left_hand), (shoulder, right_hand)]
    for start, end in limbs + [(hip, foot) for foot in feet]:
        draw.line((start, end), fill=0, width=STROKE_WIDTH)
    if config.tellable_hands:
        draw.circle(left_hand, MITTEN_RADIUS, fill=0)
    return np.array(image)
