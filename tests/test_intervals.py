"""Confidence intervals from the bootstrap over images."""

import numpy as np
import pytest
from scipy import stats

from helpers import intervals


def test_the_interval_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(3).normal(2.0, 0.5, size=200)
    interval = intervals.bootstrap_mean(values, num_resamples=4000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=5).confidence_interval
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(expected, abs=0.01)


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_approximation():
    values = np.random.default_rng(0).random(400) < 0.8
    interval = intervals.bootstrap_mean(values)
    half_width = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.high - interval.low == pytest.approx(2 * half_width, rel=0.1)


def test_points_of_one_image_are_drawn_together():
    per_image = np.random.default_rng(1).random(100) < 0.5
    points = np.repeat(per_image[:, None], 5, axis=1)  # all five points of an image agree
    assert intervals.bootstrap_mean(points) == intervals.bootstrap_mean(per_image)


def test_a_paired_difference_is_narrower_than_two_separate_intervals():
    images = np.random.default_rng(2).normal(size=300)
    difference = intervals.bootstrap_difference(images + 0.05, images)
    assert difference == pytest.approx((0.05, 0.05, 0.05))
    assert difference.excludes_zero
    assert not intervals.bootstrap_difference(images, images).excludes_zero


def test_any_statistic_of_the_drawn_images_has_an_interval():
    values = np.random.default_rng(4).random(50)
    interval = intervals.bootstrap(50, lambda images: float(np.mean(values[images])))
    assert interval == pytest.approx(intervals.bootstrap_mean(values))


def test_the_text_of_an_interval_has_three_decimals():
    assert str(intervals.Interval(0.84444, 0.8312, 0.8576)) == "0.844 (0.831 to 0.858)"


def test_different_images_have_no_paired_difference():
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\)"):
        intervals.bootstrap_difference(np.zeros(3), np.zeros(4))


def test_no_image_has_no_interval():
    with pytest.raises(ValueError, match="at least one image"):
        intervals.bootstrap_mean([])


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert str(intervals.Interval(-0.0001, -0.0004, 0.0002)) == "0.000 (0.000 to 0.000)"
