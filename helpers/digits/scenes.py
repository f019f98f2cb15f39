"""Scenes of house numbers as in Street View's photos: a sign on a wall seen from the side, small, with loose boxes.

This module draws the layout with the statistics of SVHN; `helpers.digits.painting` paints it. The sign has its own
coordinates (u, v), in digit heights from the middle of the number. A homography maps them to pixels; it holds the
camera, the slant and the slope of a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from helpers.digits.painting import FONTS, PLAIN_ONE, Character, Sign, measure_character, paint
from helpers.digits.reading_order import spell_number

Spread = tuple[float, float, float]
"""The 5, 50 and 95 % quantiles of a positive quantity."""

_Z95 = 1.645  # the 95 % quantile of the standard normal distribution
_LATER_SHARES = np.array([0.124, 0.178, 0.136, 0.109, 0.096, 0.088, 0.073, 0.072, 0.065, 0.059])
"""Share of each digit at the second place and after it: SVHN's frequencies without the first digits."""


@dataclass(frozen=True)
class NumberConfig:
    """Layout of a split; lengths are shares of the box height unless they are in pixels."""

    box_height: Spread = (14.0, 29.0, 68.0)  # pixels
    height_share: Spread = (0.34, 0.69, 0.92)  # box height / image height
    image_shape: Spread = (1.85, 2.13, 2.65)  # image width / height, for a number of two digits
    foreshortening: Spread = (0.42, 0.69, 0.98)  # width of a digit in the image / its width in the font
    digit_counts: tuple[float, ...] = (0.1538, 0.5428, 0.2602, 0.0429, 0.0003)  # share of numbers with 1, 2, … digits
    tightness: Spread = (0.72, 0.83, 0.95)  # height of a digit / height of its box: annotated boxes are loose
    gap: Spread = (0.04, 0.15, 0.4)  # between two digits, in digit heights of the sign
    slope: Spread = (0.01, 0.07, 0.4)  # of the line of digits, up or down, per foreshortened digit height
    slant: Spread = (0.005, 0.03, 0.15)  # of the digits' strokes, to the left or to the right
    jitter: float = 0.025  # standard deviation of the width and the middle of a box
    leading_zero: float = 0.01  # share of numbers that begin with 0; programs that convert them to integers lose it
    # Share of numbers of two digits and more that stand in two lines. SVHN's annotation reads digits that stand above
    # one another by their left edges, so `NumberScene.number` may mix the two lines. The share stays above 0 because
    # the published results rest on these images.
    stacked: float = 0.02
    neighbours: float = 0.2  # share of images with parts of other digits or letters at their edges
    letters: float = 0.08  # share of numbers with a letter before or after them

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, tuple) and name != "digit_counts" and not 0 < value[0] <= value[1] <= value[2]:
                raise ValueError(f"{name} is {value}; write three positive quantiles that never fall")
            if isinstance(value, int | float) and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; write a number from 0 to 1")
        if not self.digit_counts or min(self.digit_counts) < 0 or abs(sum(self.digit_counts) - 1) > 1e-6:
            raise ValueError(f"digit_counts is {self.digit_counts}; write shares from 0 on with the sum 1")


TRAIN_NUMBERS = NumberConfig()
"""Layout of SVHN's train split."""
TEST_NUMBERS = NumberConfig(
    box_height=(15.0, 24.0, 54.0),
    height_share=(0.18, 0.49, 0.77),
    image_shape=(1.85, 2.33, 3.0),
    foreshortening=(0.51, 0.84, 1.12),
    digit_counts=(0.19, 0.6395, 0.1592, 0.0111, 0.0002),
)
"""Layout of SVHN's test split: the same digits in a wider view, so they are smaller in the image."""


class NumberScene(NamedTuple):
    """An image and its truth: N digits, in the order in which they were set on the sign."""

    image: UInt8[np.ndarray, "H W 3"]
    boxes: Float64[np.ndarray, "N 4"]  # (x1, y1, x2, y2), whole pixels
    digits: Int64[np.ndarray, " N"]  # 0 to 9

    @property
    def number(self) -> str:
        """The true number: the digits in reading order, which follows from the boxes (`reading_order`)."""
        return spell_number(self.boxes, self.digits)


def draw_scene(rng: np.random.Generator, config: NumberConfig = TRAIN_NUMBERS) -> NumberScene:
    """Return the next house number of the random stream `rng`.

    Law: every box lies in the image and contains most of its digit. The boxes of a number have equal heights, as in
    SVHN, and their corners are whole pixels. Other digits are cut by the border of the image and have no box.

    Source: statistics of SVHN (Netzer et al. 2011), format 1.
    """
    digits = _draw_digits(rng, config)
    font = FONTS[rng.integers(len(FONTS))]
    text_of_1 = PLAIN_ONE if rng.random() < 0.6 else "1"
    texts = [text_of_1 if digit == 1 else str(digit) for digit in digits.tolist()]
    lines = _break_lines(texts, rng, config)
    characters = _set_lines(lines, font, rng, config)

    box_height = _draw_from(config.box_height, rng)
    unit = box_height * min(_draw_from(config.tightness, rng), 1.0)
    matrix = _choose_view(unit, rng, config)
    boxes = _box_characters(characters, matrix, box_height, rng, config)
    size, corner = _choose_image_size(boxes, len(lines), len(digits), rng, config)
    boxes = _round_boxes(boxes + np.tile(corner, 2))
    matrix = np.array([[1, 0, corner[0]], [0, 1, corner[1]], [0, 0, 1]]) @ matrix

    if rng.random() < config.letters:
        characters = [*characters, _add_letter(characters, font, rng)]
    num_on_plate = len(characters)
    if rng.random() < config.neighbours:
        characters = [*characters, *_add_neighbours(matrix, size, font, rng)]
    sign = Sign(font, characters, num_on_plate, matrix, unit)
    clear_span = boxes[:, 0].min() - 0.1 * box_height, boxes[:, 2].max() + 0.1 * box_height
    return NumberScene(paint(sign, size, clear_span, rng), boxes, digits)


def _draw_from(spread: Spread, rng: np.random.Generator) -> float:
    """Return a draw from the distribution with those three quantiles: log-normal on each side of the median."""
    low, median, high = spread
    z = min(max(rng.standard_normal(), -2.6), 2.6) / _Z95
    return median * (high / median if z > 0 else median / low) ** z


def _draw_digits(rng: np.random.Generator, config: NumberConfig) -> Int64[np.ndarray, " N"]:
    count = 1 + _draw_index(config.digit_counts, rng)
    digits = np.array([_draw_index(_LATER_SHARES, rng) for _ in range(count)])
    if rng.random() < config.leading_zero:
        digits[0] = 0
    elif digits[0] == 0:
        digits[0] = 1 + _draw_index(_LATER_SHARES[1:], rng)
    return digits


def _draw_index(shares: Sequence[float] | np.ndarray, rng: np.random.Generator) -> int:
    """Return a random index with probabilities proportional to `shares`; ten times as fast as `rng.choice`."""
    totals = np.cumsum(shares)
    return int(np.searchsorted(totals, rng.random() * totals[-1], side="right"))


def _break_lines(texts: list[str], rng: np.random.Generator, config: NumberConfig) -> list[list[str]]:
    """Return the digits of each line; nearly all numbers have one line."""
    if len(texts) < 2 or rng.random() >= config.stacked:
        return [texts]
    first = (len(texts) + 1) // 2
    return [texts[:first], texts[first:]]


def _set_lines(lines: list[list[str]], font: str, rng: np.random.Generator, config: NumberConfig) -> list[Character]:
    """Return the digits with their positions on the sign; lines are centred, all gaps are equal."""
    gap = _draw_from(config.gap, rng)
    characters = []
    for number, line in enumerate(lines):
        widths = [measure_character(font, text) for text in line]
        u = -(sum(widths) + gap * (len(widths) - 1)) / 2
        v = (number - (len(lines) - 1) / 2) * 1.3
        for text, width in zip(line, widths, strict=True):
            characters.append(Character(text, u, v - 0.5, width))
            u += width + gap
    return characters


def _choose_view(unit: float, rng: np.random.Generator, config: NumberConfig) -> Float64[np.ndarray, "3 3"]:
    """Return the homography from sign coordinates to pixels around the middle of the number.

    The camera is level and looks from the side: vertical lines stay nearly vertical, horizontal lines slope, widths
    shrink, and the far end of the sign is a little smaller.
    """
    across = _draw_from(config.foreshortening, rng)
    slope = _draw_from(config.slope, rng) * (-1 if rng.random() < 0.6 else 1)
    slant = _draw_from(config.slant, rng) * (-1 if rng.random() < 0.6 else 1)
    far = rng.normal(0, 0.015)
    return np.array([[across * unit, slant * unit, 0], [slope * across * unit, unit, 0], [far, 0, 1]])


def _project(matrix: np.ndarray, points: Float64[np.ndarray, "*N 2"]) -> Float64[np.ndarray, "*N 2"]:
    """Return `points` after the homography `matrix`."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return homogeneous[..., :2] / homogeneous[..., 2:]


def _box_characters(
    characters: list[Character], matrix: np.ndarray, box_height: float, rng: np.random.Generator, config: NumberConfig
) -> Float64[np.ndarray, "N 4"]:
    """Return a box for each character, as annotators draw them: loose, jittered, and all of one height."""
    u, v, width = np.array([(character.u, character.v, character.width) for character in characters]).T
    corners = np.stack([[u, v], [u + width, v], [u, v + 1], [u + width, v + 1]]).transpose(2, 0, 1)
    projected = _project(matrix, corners)  # [N, 4, 2]
    low, high = projected.min(axis=1), projected.max(axis=1)
    middles, sizes = (low + high) / 2, high - low
    jitter = config.jitter * box_height * rng.standard_normal((3, len(characters)))
    sizes[:, 0] = np.maximum(sizes[:, 0] + jitter[0] + 0.07 * box_height, 0.12 * box_height)
    sizes[:, 1] = max(box_height, 0.97 * sizes[:, 1].max())
    middles += jitter[1:].T + config.jitter * box_height * rng.standard_normal(2)  # per box, and common to all boxes
    return np.concatenate([middles - sizes / 2, middles + sizes / 2], axis=1)


def _choose_image_size(
    boxes: Float64[np.ndarray, "N 4"], num_lines: int, num_digits: int, rng: np.random.Generator, config: NumberConfig
) -> tuple[tuple[int, int], Float64[np.ndarray, " 2"]]:
    """Return the image's (height, width) and the shift of the boxes into it, at least one pixel from every border."""
    box_height = boxes[0, 3] - boxes[0, 1]
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    span = high - low
    height = max(box_height * num_lines**0.5 / _draw_from(config.height_share, rng), span[1] + 2)
    shape = _draw_from(config.image_shape, rng) * (1 + 0.09 * (num_digits - 2))
    width = max(height * shape, span[0] + 0.6 * box_height + 2)
    size = math.ceil(height), math.ceil(width)
    slack = np.array(size[::-1]) - span - 2
    return size, 1 + slack * np.clip(rng.normal(0.5, (0.04, 0.09)), 0, 1) - low


def _round_boxes(boxes: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N 4"]:
    """Return boxes with corners on whole pixels, at least one pixel wide, and of equal heights."""
    low = np.rint(boxes[:, :2])
    widths = np.maximum(np.rint(boxes[:, 2]) - low[:, 0], 1)
    heights = np.full(len(boxes), max(1, math.floor(boxes[0, 3] - boxes[0, 1])))
    return np.concatenate([low, low + np.stack([widths, heights], axis=1)], axis=1)


def _add_letter(characters: list[Character], font: str, rng: np.random.Generator) -> Character:
    """Return a letter before or after the number, as in "12 B" or "N 7"."""
    text = "ABCDEFHKNRa"[rng.integers(11)]
    width = measure_character(font, text)
    first, last = characters[0], characters[-1]
    u = first.u - width - 0.35 if rng.random() < 0.4 else last.u + last.width + 0.35
    return Character(text, u, last.v, width)


def _add_neighbours(matrix: np.ndarray, size: tuple[int, int], font: str, rng: np.random.Generator) -> list[Character]:
    """Return characters of other signs at the left or right border, which cuts off more than half of each."""
    height, width = size
    inverse = np.linalg.inv(matrix)
    characters = []
    for edge, place in ((0, rng.uniform(0.1, 0.45)), (width, rng.uniform(0.55, 0.9))):
        if rng.random() < 0.6:
            u, v = _project(inverse, np.array([edge, height * rng.uniform(0.3, 0.7)]))
            text = "0123456789AEH"[rng.integers(13)]
            character_width = measure_character(font, text)
            if abs(matrix[2, 0] * u) < 0.25:  # far from the horizon of the sign's plane
                characters.append(Character(text, u - (1 - place) * character_width, v - 0.5, character_width))
    return characters
