"""Controls above a picture: each change of a value is drawn, and the panels keep their places."""

import io

import numpy as np
from ipywidgets import IntSlider
from matplotlib.figure import Figure
from matplotlib.pyplot import imread

from helpers.explorers import LABEL_WIDTH, join


def build():
    figure = Figure(figsize=(3, 2), layout="constrained")
    ax = figure.subplots()
    heights = []

    def draw(height: int) -> None:
        heights.append(height)
        ax.clear()
        ax.plot([0, height])
        ax.set_title("\n" * height)  # a new layout would move the panel down

    return join(figure, {"height": IntSlider(1, min=0, max=3)}, draw), ax, heights


def test_every_change_is_drawn_with_the_controls_values():
    box, _, heights = build()
    before = box.children[-1].value
    box.children[0].value = 3
    assert heights == [1, 3]
    assert box.children[-1].value != before


def test_a_control_that_is_moved_back_shows_the_same_picture_in_the_same_place():
    box, ax, _ = build()
    before, place = imread(io.BytesIO(box.children[-1].value)), ax.get_position()
    box.children[0].value = 3
    assert ax.get_position().bounds == place.bounds
    box.children[0].value = 1
    np.testing.assert_array_equal(imread(io.BytesIO(box.children[-1].value)), before)


def test_the_title_of_a_square_panel_is_not_cut():
    figure = Figure(figsize=(4, 2), layout="constrained")
    ax = figure.subplots()
    ax.set_aspect("equal")
    join(figure, {"level": IntSlider(1)}, lambda level: ax.set_title(f"level {level}\nof two lines"))
    assert ax.title.get_window_extent().y1 <= figure.bbox.y1


def test_a_label_keeps_its_unit():
    box, _, _ = build()
    assert box.children[0].style.description_width == LABEL_WIDTH
