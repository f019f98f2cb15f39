"""Painted signs: glyphs, their places in the image, and photos."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.digits import painting
from helpers.digits.painting import FONTS, GLYPH_HEIGHTS, PLAIN_ONE, Character, Sign, measure_character, paint


def build_sign(matrix=((40.0, 0.0, 60.0), (0.0, 40.0, 30.0), (0.0, 0.0, 1.0)), font="DejaVuSans-Bold", text="8"):
    width = measure_character(font, text)
    return Sign(font, [Character(text, -width / 2, -0.5, width)], 1, np.array(matrix), 40.0)


def find_extent(mask):
    """Return (x1, y1, x2, y2) of the pixels that are more than half covered."""
    rows, columns = np.nonzero(np.asarray(mask) > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("font", sorted(set(FONTS)))
def test_every_font_has_ten_different_digits_of_similar_height(font):
    masks = [painting._draw_glyph(font, text, 64, 0)[0] for text in "0123456789"]
    assert all(56 <= mask.height <= 74 for mask in masks)
    resized = [np.asarray(mask.resize((16, 24)), float) for mask in masks]
    for row in range(10):
        for column in range(row):
            assert np.abs(resized[row] - resized[column]).mean() > 5, f"{row} and {column} look alike"


@pytest.mark.parametrize("font", sorted(set(FONTS)))
@pytest.mark.parametrize("glyph_height", GLYPH_HEIGHTS)
def test_a_plain_one_has_a_flag_and_no_foot(font, glyph_height):
    with_foot, _ = painting._draw_glyph(font, "1", glyph_height, 0)
    plain, _ = painting._draw_glyph(font, PLAIN_ONE, glyph_height, 0)
    assert plain.height == with_foot.height
    assert plain.width <= with_foot.width
    ink = np.asarray(plain, float).sum(axis=1)
    bottom, stem = ink[-max(1, glyph_height // 12) :].mean(), ink[int(0.6 * glyph_height)]
    assert bottom == pytest.approx(stem, rel=0.35)  # with its foot it is twice as wide there and more


def test_an_eight_has_the_height_of_its_unit_and_the_place_of_the_homography():
    *_, ink = painting._draw_masks(build_sign(), (60, 120), np.random.default_rng(0))
    half = 40 * measure_character("DejaVuSans-Bold", "8") / 2
    np.testing.assert_allclose(find_extent(ink), (60 - half, 10, 60 + half, 50), atol=2)


def test_a_foreshortened_sloping_sign_has_narrow_digits_that_rise():
    matrix = ((12.0, 0.0, 60.0), (-4.0, 40.0, 30.0), (0.0, 0.0, 1.0))
    sign = build_sign(matrix)
    pair = sign._replace(characters=[Character("8", -2.0, -0.5, 0.8), Character("8", 2.0, -0.5, 0.8)], num_on_plate=2)
    *_, ink = painting._draw_masks(pair, (80, 120), np.random.default_rng(0))
    pixels = np.asarray(ink)
    left, right = find_extent(pixels[:, :60]), find_extent(pixels[:, 60:])
    assert left[2] - left[0] == pytest.approx(12 * 0.8, abs=3)
    assert left[1] - right[1] == pytest.approx(16, abs=2)


def test_the_plate_covers_the_number_and_not_its_neighbour():
    sign = build_sign()
    beside = sign._replace(characters=[*sign.characters, Character("7", 0.95, -0.5, 0.6)])
    for seed in range(20):
        plate, _, ink = painting._draw_masks(beside, (60, 120), np.random.default_rng(seed))
        number_extent, plate_extent = find_extent(np.asarray(ink)[:, :90]), find_extent(plate)
        assert (plate_extent[:2] <= number_extent[:2]).all()
        assert (plate_extent[2:] >= number_extent[2:]).all()
        assert find_extent(ink)[2] > 118 > plate_extent[2]


def test_a_photo_has_the_given_size_and_its_digit_differs_from_the_ground():
    num_visible = 0
    for seed in range(40):
        picture = paint(build_sign(), (60, 120), (40.0, 80.0), np.random.default_rng(seed))
        assert picture.shape == (60, 120, 3)
        *_, ink = painting._draw_masks(build_sign(), (60, 120), np.random.default_rng(0))
        mask = np.asarray(ink)[10:50, 47:73] > 127
        grey = picture[10:50, 47:73].mean(axis=2)
        num_visible += abs(grey[mask].mean() - grey[~mask].mean()) > 8
    assert num_visible >= 36  # a few photos are too dark or too pale


def test_ink_differs_from_every_wall():
    rng = np.random.default_rng(0)
    for grey in range(0, 256, 5):
        ink = painting._choose_ink((grey, grey, grey), rng)
        assert abs(sum(ink) / 3 - grey) > 45


def test_a_mixed_colour_lies_between():
    assert painting._mix((0, 100, 200), (100, 100, 0), 0.25) == (25, 100, 150)


def test_light_is_positive_and_texture_has_a_mean_of_almost_0():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        light, texture = painting._draw_light((40, 90), rng), painting._draw_texture((40, 90), 20.0, rng)
        assert light.shape == texture.shape == (40, 90)
        assert 0.1 < light.min() <= light.max() < 3
        assert abs(texture.mean()) < 40


def test_the_largest_and_the_smallest_image_are_painted():
    for size in ((10, 16), (600, 1300)):
        matrix = np.diag([0.5 * size[0], 0.5 * size[0], 1.0])
        matrix[:2, 2] = size[1] / 2, size[0] / 2
        sign = build_sign()._replace(matrix=matrix, unit=0.5 * size[0])
        assert paint(sign, size, (size[1] * 0.4, size[1] * 0.6), np.random.default_rng(0)).shape == (*size, 3)


def test_bricks_leave_the_canvas_its_colour_between_the_mortar():
    canvas = Image.new("RGB", (120, 60), (100, 60, 50))
    painting._draw_bricks(ImageDraw.Draw(canvas), (60, 120), 20.0, (100, 60, 50), np.random.default_rng(0))
    share = (np.asarray(canvas) == (100, 60, 50)).all(axis=2).mean()
    assert 0.5 < share < 0.99
