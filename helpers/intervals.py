"""Confidence intervals from the bootstrap over images.

A validation split is a sample: other images of the same kind would give another number. The bootstrap imitates that: it
draws as many images as there are, with replacement, and computes the number again, a thousand times. The middle 95 %
of these numbers are the interval. It covers the choice of images, and not the choice of seeds for a training.

Shape letters: M images, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

NUM_RESAMPLES = 1000
LEVEL = 0.95  # share of the resampled numbers inside the interval


class Interval(NamedTuple):
    """A measured number and the borders of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:z.3f} ({self.low:z.3f} to {self.high:z.3f})"

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside: for a difference, whether these images can show one."""
        return self.low > 0 or self.high < 0


def resample_images(num_images: int, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Int[np.ndarray, "R M"]:
    """Return `num_resamples` draws of `num_images` images with replacement, as rows of image indices.

    Equal arguments give equal draws. Two variants that are measured on the same draws can be compared in pairs.

    Raises:
        ValueError: there is no image.
    """
    if num_images < 1:
        raise ValueError("an interval needs at least one image")
    return np.random.default_rng(seed).integers(num_images, size=(num_resamples, num_images))


def make_interval(value: float, resampled: Float[np.ndarray, " R"]) -> Interval:
    """Return `value` with the percentiles of the resampled numbers that enclose 95 % of them."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def bootstrap(
    num_images: int, statistic: Callable[[Int[np.ndarray, " M"]], float], num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Return `statistic` of all images, and its interval.

    Args:
        statistic: computes the number for the images with these indices; an index may come several times.
    """
    resampled = [statistic(images) for images in resample_images(num_images, num_resamples)]
    return make_interval(statistic(np.arange(num_images)), np.array(resampled))


def bootstrap_mean(values: ArrayLike, num_resamples: int = NUM_RESAMPLES) -> Interval:
    """Return the mean of one number per image, and its interval.

    Args:
        values: [M] or [M, …], such as whether each of an image's five points is correct: all entries of an image
            are drawn together, because they are not independent. Every image needs equally many.
    """
    array = np.asarray(values, dtype=float)
    images = resample_images(len(array), num_resamples)
    per_image = array.reshape(len(array), -1).mean(axis=1)
    resampled = per_image[images].mean(axis=1)
    return make_interval(per_image.mean(), resampled)


def bootstrap_difference(first: ArrayLike, second: ArrayLike, num_resamples: int = NUM_RESAMPLES) -> Interval:
    """Return mean(first) - mean(second) over the same images, and the interval of this paired difference.

    Args:
        first: [M] or [M, …], as in `bootstrap_mean`.
        second: the same numbers of another variant, for the same images in the same order.

    Raises:
        ValueError: the two have different shapes.
    """
    first_array, second_array = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first_array.shape != second_array.shape:
        raise ValueError(
            f"a paired difference needs the same images twice, not arrays of shapes {first_array.shape} and "
            f"{second_array.shape}"
        )
    return bootstrap_mean(first_array - second_array, num_resamples)
