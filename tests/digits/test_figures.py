"""What the digit figures say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.digits.figures import plot_galleries, plot_layouts, plot_number
from helpers.digits.layout import SVHN_LAYOUT, measure_layout


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def build_item(width=90):
    boxes = np.array([[10.0, 5, 20, 35], [22, 6, 31, 36]])
    return np.full((40, width, 3), 90, np.uint8), boxes, np.array([0, 7])


def test_a_number_is_drawn_with_its_boxes_and_read_in_the_title():
    ax = plot_number(*build_item(), title="house")
    assert ax.get_title() == "house 07"
    found = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches]
    assert found == [(10, 5, 10, 30), (22, 6, 9, 30)]
    assert ax.images[0].get_extent() == [0, 90, 40, 0]


def test_an_image_without_digits_is_drawn_without_boxes():
    ax = plot_number(np.zeros((8, 9, 3), np.uint8), np.empty((0, 4)), np.empty(0, np.int64))
    assert (len(ax.patches), ax.get_title()) == (0, "")


def test_every_set_is_a_block_with_its_name_and_wide_images_show_their_middle():
    figure = plot_galleries({"drawn": [build_item()] * 4, "real": [build_item(200)] * 2}, columns=3)
    drawn, real = figure.subfigs
    assert [block.get_suptitle() for block in (drawn, real)] == ["drawn", "real"]
    assert [sum(bool(ax.images) for ax in block.axes) for block in (drawn, real)] == [4, 2]
    assert [len(block.axes) for block in (drawn, real)] == [6, 3]
    assert drawn.axes[0].get_xlim() == (0, 90)
    assert real.axes[0].get_xlim() == pytest.approx((48, 152))


def build_measures(seed, count=200):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 20, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, (count, 2))], axis=1)
    return measure_layout(rng.integers(50, 300, (count, 2)), np.arange(count), boxes)


def test_every_quantity_has_a_panel_with_a_curve_per_set_and_lines_of_reference():
    figure = plot_layouts({"drawn": build_measures(0), "real": build_measures(1, 50)}, SVHN_LAYOUT["train"])
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "image width (px)",
        "image height (px)",
        "box width (px)",
        "box height (px)",
        "height / width",
        "box height / image height",
    ]
    for ax, expected in zip(figure.axes, SVHN_LAYOUT["train"].values(), strict=True):
        assert len(ax.patches) == 2
        assert [line.get_xdata()[0] for line in ax.lines] == list(expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["drawn", "real"]


def test_curves_of_sets_of_any_size_hold_all_of_them():
    figure = plot_layouts({"few": build_measures(0, 20), "many": build_measures(1, 500)})
    for ax in figure.axes:
        for patch in ax.patches:
            heights = patch.get_xy()[:, 1]
            # An outline goes up and along each of the 25 bars: its corners name every height twice.
            assert heights[1:-1:2].sum() == pytest.approx(1, abs=1e-6)
