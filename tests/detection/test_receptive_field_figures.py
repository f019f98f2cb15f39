"""Figures of receptive fields: titles, squares and scales agree with the given numbers."""

import matplotlib.pyplot as plt
import numpy as np

from helpers.detection.receptive_field_figures import (
    plot_gridding,
    plot_object_cells,
    plot_path_weights,
    plot_receptive_field,
)


def test_the_paths_of_a_cell_are_drawn_under_two_squares_around_its_middle():
    weights = np.zeros((5, 5))
    weights[1:4:2, 1:4:2] = 0.25
    ax = plot_path_weights(weights, (1, 2), plt.figure().add_subplot(), colour="blue", reach=4, title="3 px wide")
    assert ax.get_title() == "3 px wide"
    assert [(patch.get_width(), patch.get_linestyle()) for patch in ax.patches] == [(1, ":"), (2, "-")]
    assert ax.images[0].get_extent() == [-2.5, 2.5, 2.5, -2.5]
    assert (ax.images[0].get_array() == (weights > 0)).all()


def test_every_configuration_has_a_row_and_every_level_a_column_on_one_scale():
    widths = {"narrow": (3, 5, 5), "wide": (5, 9, 9)}
    weights = {name: np.ones((3, max(sides), max(sides))) for name, sides in widths.items()}
    shares = {"narrow": [1.0, 0.44, 1.0], "wide": [1.0, 1.0, 0.5]}
    axes = np.reshape(plot_gridding(weights, widths, shares).axes, (2, 3))
    assert [row[0].get_ylabel() for row in axes] == ["narrow", "wide"]
    assert [ax.get_title().split("\n") for ax in axes[0]] == [
        ["level 0", "3 px wide, 100% reached"],
        ["level 1", "5 px wide, 44% reached"],
        ["level 2", "5 px wide, 100% reached"],
    ]
    assert axes[1, 2].get_title() == "9 px wide, 50% reached"
    assert all(np.ptp(ax.lines[0].get_xdata()) == 16 for ax in axes.flat)
    assert all(ax.texts[0].get_text() == "16 px" for ax in axes.flat)
    assert all(upper.get_xlim() == lower.get_xlim() for upper, lower in axes.T)


def test_an_object_is_drawn_with_the_cells_of_a_level_and_the_field_of_its_middle_cell():
    image = np.full((64, 64, 3), 255, np.uint8)
    box = (16.0, 20.0, 32.0, 36.0)
    ax = plot_object_cells(image, box, 8, (24, 24), 17, plt.figure().add_subplot(), colour="blue", title="level 1")
    assert ax.get_title() == "level 1"
    assert [len(lines.get_segments()) for lines in ax.collections] == [9, 9]
    field, true_box = ax.patches[-2:]
    assert (true_box.get_xy(), true_box.get_width()) == ((16, 20), 16)
    assert (field.get_xy(), field.get_width()) == ((16, 16), 17)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-2, 52), (56, 0))


def test_a_receptive_field_is_centred_on_its_pixel_in_theory_and_in_effect():
    image, sensitivity = np.full((32, 32, 3), 255, np.uint8), np.zeros((32, 32))
    sensitivity[8, 12] = 1.0
    ax = plot_receptive_field(image, sensitivity, (8, 12), (9, 5), plt.figure().add_subplot(), colour="blue")
    theory, effect = ax.patches[-2:]
    assert (theory.get_xy(), theory.get_width(), theory.get_linestyle()) == ((8, 4), 9, "-")
    assert (effect.get_xy(), effect.get_width(), effect.get_linestyle()) == ((10, 6), 5, "--")
    assert ax.images[-1].get_array()[..., 3].sum() == 1
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 33), (33, -1))


def test_the_shown_part_around_a_receptive_field_stays_inside_the_image():
    image, sensitivity = np.full((32, 32, 3), 255, np.uint8), np.ones((32, 32))
    ax = plt.figure().add_subplot()
    plot_receptive_field(image, sensitivity, (4, 20), (9, 5), ax, colour="blue", side=16)
    assert (ax.get_xlim(), ax.get_ylim()) == ((11, 29), (17, -1))
