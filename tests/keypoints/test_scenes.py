"""Stick figures: geometry, pixels, and hands that look alike or are marked."""

import math
import random

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageDraw
from scipy import ndimage

from helpers.keypoints.scenes import (
    FEET,
    HANDS,
    IMAGE_SIZE,
    POINT_NAMES,
    FigureConfig,
    draw_scene,
    exchange_rows,
    lay_out,
    paint_figure,
)

SWAPPED = [0, 2, 1, 3, 4]  # left and right hand exchanged
TELLABLE = FigureConfig(tellable_hands=True)


@pytest.fixture(scope="module")
def points():
    rng = random.Random(0)
    return [lay_out(rng) for _ in range(200)]


def test_a_pair_is_left_and_right_of_one_limb_and_is_exchanged_alone():
    assert POINT_NAMES[HANDS] == ("left_hand", "right_hand")
    assert POINT_NAMES[FEET] == ("left_foot", "right_foot")
    assert exchange_rows(HANDS) == SWAPPED
    assert exchange_rows(HANDS, FEET) == [0, 2, 1, 4, 3]


def test_points_are_pixel_centres_inside_the_image(points):
    stacked = np.stack(points)
    assert stacked.shape == (200, len(POINT_NAMES), 2)
    assert_array_equal(stacked % 1, 0.5)
    assert (stacked > 0).all()
    assert (stacked < IMAGE_SIZE).all()


def test_a_figure_is_drawn_as_in_the_handout():
    """By hand: centre (60, 70), arms level and hanging, legs ten pixels apart."""
    points = np.array([[60, 50], [40, 64], [60, 84], [50, 107], [70, 107]]) + 0.5
    image = Image.new("L", (128, 128), 255)
    draw = ImageDraw.Draw(image)
    draw.ellipse([52, 42, 68, 58], outline=0, width=3)
    for line in ([60, 58, 60, 82], [60, 64, 40, 64], [60, 64, 60, 84], [60, 82, 50, 107], [60, 82, 70, 107]):
        draw.line(line, fill=0, width=3)
    assert_array_equal(paint_figure(points), np.asarray(image))


def test_a_layout_takes_five_random_numbers():
    rng, expected = random.Random(8), random.Random(8)
    points = lay_out(rng)
    x, y = expected.randint(40, 88), expected.randint(40, 88)
    left, right, spread = expected.uniform(-60, 60), expected.uniform(-60, 60), expected.uniform(10, 30)
    assert rng.getstate() == expected.getstate()
    turn = math.radians(90 - left)
    assert_array_equal(points[0], [x + 0.5, y - 20 + 0.5])
    assert_array_equal(points[1], [x - int(20 * math.cos(turn)) + 0.5, y - 6 + int(20 * math.sin(turn)) + 0.5])
    assert_array_equal(points[4], [x + int(spread) + 0.5, y + 37 + 0.5])
    assert abs(points[2][0] - 0.5 - x - 20 * math.sin(math.radians(right))) < 1


def test_every_point_lies_on_ink_or_inside_the_head(points):
    for figure in points:
        image = paint_figure(figure)
        columns, rows = np.floor(figure).astype(int).T
        assert (image[rows[1:], columns[1:]] == 0).all()
        assert image[rows[0], columns[0]] == 255


def test_the_handouts_hands_cannot_be_told_apart(points):
    assert sum(np.array_equal(paint_figure(figure), paint_figure(figure[SWAPPED])) for figure in points) == 200


def test_mittens_tell_the_hands_apart(points):
    """For all figures whose hands are at least one pixel apart."""
    separate = [figure for figure in points if np.linalg.norm(figure[1] - figure[2]) >= 1]
    assert len(separate) > 190
    for figure in separate:
        assert not np.array_equal(paint_figure(figure, TELLABLE), paint_figure(figure[SWAPPED], TELLABLE))


def test_the_mitten_is_at_the_left_hand(points):
    for figure in points:
        extra = (paint_figure(figure, TELLABLE) == 0) & (paint_figure(figure) != 0)
        rows, columns = np.nonzero(extra)
        assert len(rows) > 0
        centres = np.stack([columns, rows], axis=1) + 0.5
        assert np.linalg.norm(centres - figure[1], axis=1).max() < 5


def test_the_same_seed_gives_the_same_points_in_every_look():
    plain, mittens = random.Random(4), random.Random(4)
    for _ in range(20):
        first, second = draw_scene(plain), draw_scene(mittens, TELLABLE)
        assert_array_equal(first.points, second.points)
        assert not np.array_equal(first.image, second.image)


def test_a_figure_is_one_connected_black_shape_on_white(points):
    for figure in points[:50]:
        image = paint_figure(figure)
        assert set(np.unique(image)) == {0, 255}
        assert ndimage.label(image == 0, np.ones((3, 3)))[1] == 1
