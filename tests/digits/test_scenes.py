"""Drawn scenes: places of digits, letters and neighbours, statistics against SVHN's, and repeatability."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from helpers.digits import painting, scenes
from helpers.digits.scenes import TEST_NUMBERS, TRAIN_NUMBERS, NumberConfig, draw_scene
from helpers.digits.statistics import SVHN_LAYOUT, measure_layout, summarise_layout

ALONE = NumberConfig(neighbours=0.0, letters=0.0)


def draw(count, config=TRAIN_NUMBERS, seed=0):
    rng = np.random.default_rng(seed)
    return [draw_scene(rng, config) for _ in range(count)]


def lay_out(count, config, monkeypatch, seed=0):
    """Return scenes with black pixels, because painting takes nearly all of the time, and the sign of each."""
    signs = []

    def keep_sign(sign, size, clear_span, rng):
        signs.append(sign)
        return np.zeros((*size, 3), np.uint8)

    monkeypatch.setattr(scenes, "paint", keep_sign)
    return draw(count, config, seed), signs


@pytest.mark.parametrize(("split", "config"), [("train", TRAIN_NUMBERS), ("test", TEST_NUMBERS)])
def test_layouts_have_the_statistics_of_svhn(split, config, monkeypatch):
    drawn = lay_out(3000, config, monkeypatch)[0]
    sizes = np.array([scene.image.shape[:2] for scene in drawn])
    owners = np.repeat(np.arange(len(drawn)), [len(scene.boxes) for scene in drawn])
    summary = summarise_layout(measure_layout(sizes, owners, np.concatenate([scene.boxes for scene in drawn])))
    for name, expected in SVHN_LAYOUT[split].items():
        assert summary[name] == pytest.approx(expected, rel=0.15), name


def test_numbers_of_digits_and_frequencies_of_digits_are_those_of_svhn(monkeypatch):
    drawn = lay_out(4000, TRAIN_NUMBERS, monkeypatch)[0]
    counts = np.bincount([len(scene.digits) for scene in drawn], minlength=6)[1:] / len(drawn)
    np.testing.assert_allclose(counts, np.array([5137, 18130, 8691, 1434, 10]) / 33402, atol=0.03)
    shares = np.bincount(np.concatenate([scene.digits for scene in drawn]), minlength=10)
    assert shares[1] / shares.sum() == pytest.approx(0.19, abs=0.015)
    assert shares[9] / shares.sum() == pytest.approx(0.06, abs=0.015)
    zeros = np.mean([scene.digits[0] == 0 for scene in drawn])
    assert 0 < zeros < 0.02


def test_boxes_have_whole_pixels_in_the_image_and_equal_heights(monkeypatch):
    for config in (TRAIN_NUMBERS, TEST_NUMBERS):
        for image, boxes, digits in lay_out(500, config, monkeypatch)[0]:
            assert len(boxes) == len(digits)
            assert_array_equal(boxes, np.rint(boxes))
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert boxes.min() >= 0
            assert (boxes[:, 2:] <= image.shape[1::-1]).all()
            assert np.ptp(boxes[:, 3] - boxes[:, 1]) == 0


def test_every_box_contains_nearly_all_ink_of_its_digit(monkeypatch):
    drawn, signs = lay_out(150, ALONE, monkeypatch)
    shares_inside = []
    for (image, boxes, _), sign in zip(drawn, signs, strict=True):
        for box, character in zip(boxes.astype(int), sign.characters, strict=True):
            single = sign._replace(characters=[character], num_on_plate=1)
            *_, ink = painting._draw_masks(single, image.shape[:2], np.random.default_rng(0))
            mask = np.asarray(ink, float)
            shares_inside.append(mask[box[1] : box[3], box[0] : box[2]].sum() / mask.sum())
    assert np.median(shares_inside) > 0.97
    assert np.quantile(shares_inside, 0.02) > 0.65


def test_neighbours_are_cut_by_the_border_and_do_not_overlap_a_box(monkeypatch):
    config = NumberConfig(neighbours=1.0, letters=0.0)
    drawn, signs = lay_out(200, config, monkeypatch)
    visible_shares = []
    for (image, boxes, _), sign in zip(drawn, signs, strict=True):
        for character in sign.characters[sign.num_on_plate :]:
            single = sign._replace(characters=[character], num_on_plate=1)
            height, width = image.shape[:2]
            shift = np.array([[1, 0, width], [0, 1, height], [0, 0, 1]])
            wide = single._replace(matrix=shift @ sign.matrix)  # the same on a sheet three times as wide and as high
            *_, ink = painting._draw_masks(wide, (3 * height, 3 * width), np.random.default_rng(0))
            mask = np.asarray(ink, float)
            inside = mask[height : 2 * height, width : 2 * width]
            visible_shares.append(inside.sum() / mask.sum())
            ink_between_boxes = inside[:, int(boxes[:, 0].min()) : int(boxes[:, 2].max())]
            assert ink_between_boxes.sum() < 0.05 * mask.sum()
    assert len(visible_shares) > 100
    assert np.median(visible_shares) > 0.1
    assert np.quantile(visible_shares, 0.95) < 0.6


def test_equal_seeds_give_equal_scenes_and_another_seed_gives_another():
    for first, second in zip(draw(5), draw(5), strict=True):
        for array, expected in zip(first, second, strict=True):
            assert_array_equal(array, expected)
    assert not np.array_equal(draw(1)[0].image, draw(1, seed=1)[0].image)


def test_stacked_numbers_stand_in_two_lines(monkeypatch):
    config = dataclasses.replace(ALONE, stacked=1.0, digit_counts=(0.0, 0.0, 0.0, 1.0), slope=(0.01, 0.01, 0.01))
    for _, boxes, _ in lay_out(100, config, monkeypatch)[0]:
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert middles[:2, 1].max() < middles[2:, 1].min()
        assert middles[0, 0] < middles[1, 0]
        assert middles[2, 0] < middles[3, 0]


def test_digits_of_one_line_are_placed_from_left_to_right(monkeypatch):
    for _, boxes, _ in lay_out(300, dataclasses.replace(TRAIN_NUMBERS, stacked=0.0), monkeypatch)[0]:
        assert (np.diff(boxes[:, 0] + boxes[:, 2]) > 0).all()


def test_a_letter_is_on_the_plate_and_has_no_box(monkeypatch):
    drawn, signs = lay_out(50, NumberConfig(letters=1.0, neighbours=0.0), monkeypatch)
    for (_, boxes, _), sign in zip(drawn, signs, strict=True):
        assert sign.num_on_plate == len(sign.characters) == len(boxes) + 1
        assert not sign.characters[-1].text.isdecimal()


def test_draws_have_the_three_given_quantiles():
    rng = np.random.default_rng(0)
    values = [scenes._draw_from((2.0, 5.0, 7.0), rng) for _ in range(20000)]
    np.testing.assert_allclose(np.percentile(values, (5, 50, 95)), (2, 5, 7), rtol=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gap": (0.2, 0.1, 0.3)}, "gap is"),
        ({"box_height": (0.0, 29.0, 68.0)}, "box_height is"),
        ({"stacked": 2}, "stacked is 2"),
        ({"letters": -0.1}, "letters is"),
        ({"digit_counts": (0.5, 0.4)}, "digit_counts is"),
        ({"digit_counts": ()}, "digit_counts is"),
    ],
)
def test_an_invalid_configuration_is_refused_with_the_name_of_the_field(changes, message):
    with pytest.raises(ValueError, match=message):
        NumberConfig(**changes)
