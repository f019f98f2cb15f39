"""What the keypoint figures say."""

import random

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.keypoints.figures import plot_examples, plot_exchange, plot_pck_curves, plot_points
from helpers.keypoints.scenes import FigureConfig, draw_scene, paint_figure


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def scenes():
    rng = random.Random(641)
    return [draw_scene(rng) for _ in range(6)]


def find_places(ax) -> list[tuple[str, list[float]]]:
    return [(dots.get_label(), dots.get_offsets()[0].tolist()) for dots in ax.collections]


def test_every_point_is_drawn_where_it_is_and_under_its_name(scenes):
    ax = plot_points(*scenes[0])
    names = ["head", "left hand", "right hand", "left foot", "right foot"]
    assert find_places(ax) == list(zip(names, scenes[0].points.tolist(), strict=True))


def test_left_and_right_differ_in_colour_and_hands_and_feet_in_shape(scenes):
    _, left_hand, right_hand, left_foot, right_foot = plot_points(*scenes[0]).collections
    colours = [dots.get_facecolor().tolist() for dots in (left_hand, right_hand, left_foot, right_foot)]
    assert colours[0] == colours[2] != colours[1] == colours[3]
    assert len(left_hand.get_paths()[0]) != len(left_foot.get_paths()[0])


def test_examples_come_first_and_then_all_points_in_two_panels(scenes):
    images, points = (np.stack(column) for column in zip(*scenes, strict=True))
    *examples, rest, hands = plot_examples(images, points, (1, 4)).axes
    assert [ax.get_title() for ax in examples] == ["figure 1", "figure 4"]
    assert [len(dots.get_offsets()) for dots in rest.collections] == [6, 6, 6]
    assert [len(dots.get_offsets()) for dots in hands.collections] == [6, 6]


@pytest.mark.parametrize("tellable", [False, True])
def test_an_exchange_says_how_many_pixels_differ(scenes, tellable):
    points = np.stack([scenes[5].points, scenes[5].points[[0, 2, 1, 3, 4]]])
    images = np.stack([paint_figure(one, FigureConfig(tellable_hands=tellable)) for one in points])
    _, axes = plt.subplots(1, 2)
    plot_exchange(images, points, list(axes))
    num_pixels = int(axes[1].get_title().split()[2])
    assert num_pixels == (images[0] != images[1]).sum()
    assert (num_pixels > 0) == tellable


def test_every_pck_curve_has_its_name():
    thresholds = np.linspace(0, 0.2, 5)
    ax = plot_pck_curves(thresholds, {"guess": thresholds + 0.8, "sure": np.ones(5)})
    assert [line.get_label() for line in ax.lines] == ["guess", "sure"]
    assert ax.get_xlim() == (0, 0.2)
