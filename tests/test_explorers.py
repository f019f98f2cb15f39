"""Controls above a picture: each change of a value is drawn, and the panels keep their places."""

import base64
import io

import numpy as np
import pytest
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons
from matplotlib.figure import Figure
from matplotlib.pyplot import imread

from helpers.explorers import LABEL_WIDTH, SAVED_COLOURS, describe_value, join


def build():
    figure = Figure(figsize=(3, 2), layout="constrained")
    ax = figure.subplots()
    heights = []

    def draw(height: int) -> None:
        heights.append(height)
        ax.clear()
        ax.plot([0, height])
        ax.set_title("\n" * height)  # a new layout would move the panel down

    controls = {"height": IntSlider(1, min=0, max=3, description="height (px)")}
    return join(figure, controls, draw, {"height": (1, 2)}, "A line."), ax, heights


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

    def draw(level: int) -> None:
        ax.set_title(f"level {level}\nof two lines")

    join(figure, {"level": IntSlider(1)}, draw, {"level": (1,)}, "A square.")
    assert ax.title.get_window_extent().y1 <= figure.bbox.y1


def test_a_label_keeps_its_unit():
    box, _, _ = build()
    assert box.children[0].style.description_width == LABEL_WIDTH


def test_a_saved_notebook_has_the_picture_the_labels_and_the_name():
    box, _, _ = build()
    box.set_name("line")
    box.children[0].value = 3
    data, metadata = box._repr_mimebundle_()
    assert metadata == {"explorer": "line"}
    assert data["text/plain"] == "Explorer: height (px)"
    assert "application/vnd.jupyter.widget-view+json" in data
    saved = imread(io.BytesIO(base64.b64decode(data["image/png"])))[..., :3]
    shown = imread(io.BytesIO(box.children[-1].value))[..., :3]
    assert len(np.unique(saved.reshape(-1, 3), axis=0)) <= SAVED_COLOURS
    assert np.abs(saved - shown).max() < 0.2


def test_an_explorer_without_a_name_has_no_metadata():
    assert build()[0]._repr_mimebundle_()[1] == {}


@pytest.mark.parametrize(
    ("control", "value", "text"),
    [
        (FloatSlider(2.5), 2.5, "2.5"),
        (IntSlider(4), 4, "4"),
        (SelectionSlider(options=[("first", 0), ("second", 1)]), 1, "second"),
        (SelectionSlider(options=(16, 32)), 32, "32"),
        (ToggleButtons(options=("dark", "argmax")), "argmax", "argmax"),
    ],
)
def test_a_value_is_described_as_its_control_shows_it(control, value, text):
    assert describe_value(control, value) == text


@pytest.mark.parametrize(("values", "message"), [(range(101), "101 frames"), ((1, 2), "start value 0")])
def test_frames_that_cannot_be_rendered_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        join(Figure(), {"level": IntSlider(0)}, lambda level: None, {"level": values}, "Nothing.")
