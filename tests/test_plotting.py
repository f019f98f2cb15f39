"""Style, grids, curves, comparisons and tables for the figures of every package."""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers import plotting


def test_a_grid_has_the_requested_axes_and_hides_the_others():
    figure, axes = plotting.image_grid(7, columns=5)
    assert len(axes) == 7
    assert len(figure.axes) == 10
    assert not any(ax.axison for ax in figure.axes)


def test_pixel_i_covers_i_to_i_plus_one():
    ax = plotting.plot_image(np.zeros((3, 5), dtype=np.uint8))
    assert ax.get_xlim() == (0, 5)
    assert ax.get_ylim() == (3, 0)
    assert ax.images[0].get_extent() == [0, 5, 3, 0]


def test_enlarged_pixels_are_numbered_where_they_begin():
    ax = plotting.plot_pixels(np.zeros((9, 9), dtype=np.uint8), range(3, 6), range(2, 8), plt.figure().add_subplot())
    assert (ax.get_xlim(), ax.get_ylim()) == ((3, 6), (8, 2))
    assert ax.get_xticks().tolist() == [3, 4, 5, 6]
    assert ax.axison


def test_an_image_keeps_its_grey_values_whatever_its_range():
    ax = plotting.plot_image(np.full((2, 2), 100, dtype=np.uint8))
    assert ax.images[0].get_clim() == (0, 255)


def test_a_history_is_drawn_against_its_epochs():
    history = [{"epoch": 1, "train_loss": 2.0, "val_loss": 3.0}, {"epoch": 2, "train_loss": 1.0, "val_loss": 2.5}]
    ax = plotting.plot_history(history, ["train_loss", "val_loss"])
    assert [line.get_label() for line in ax.lines] == ["train loss", "val loss"]
    assert [list(line.get_xdata()) for line in ax.lines] == [[1, 2], [1, 2]]
    assert list(ax.lines[1].get_ydata()) == [3.0, 2.5]


def test_a_drawing_goes_into_the_given_axes():
    figure, ax = plt.subplots()
    assert plotting.plot_image(np.zeros((2, 2, 3), dtype=np.uint8), ax) is ax
    assert plotting.plot_history([{"epoch": 1, "loss": 1.0}], ["loss"], ax) is ax
    assert figure.axes == [ax]


def test_the_style_file_holds_the_palette_in_its_order():
    with mpl.rc_context():
        plotting.use_style()
        cycle = [colour.lower() for colour in mpl.rcParams["axes.prop_cycle"].by_key()["color"]]
    assert [colour.lstrip("#") for colour in cycle] == [colour.lower().lstrip("#") for colour in plotting.COLOURS]


def test_variants_are_drawn_top_down_with_a_dot_per_seed_and_their_mean():
    ax = plotting.plot_variants({"plain": [0.5, 0.7], "better": [0.8, 0.8]}, xlabel="AP")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["plain", "better"]
    assert ax.yaxis_inverted()
    dots, bar = ax.lines[:2]
    assert list(dots.get_xdata()) == [0.5, 0.7]
    assert list(bar.get_xdata()) == pytest.approx([0.6, 0.6])
    assert [text.get_text() for text in ax.texts] == ["0.600", "0.800"]


def test_two_panels_of_variants_share_one_legend():
    figure, axes = plt.subplots(1, 2)
    for ax in axes:
        plotting.plot_variants({"plain": [0.5, 0.7], "better": [0.8, 0.8]}, ax)
    assert len(figure.legends) == 1
    assert [text.get_text() for text in figure.legends[0].texts] == ["one seed", "mean of the seeds, with its value"]


def test_a_table_aligns_its_numbers_under_their_names():
    table = plotting.format_table({"plain": {"AP": 0.5, "AP@.5": 0.75}, "a longer one": {"AP": 0.25, "AP@.5": 1.0}})
    head, first, second = table.splitlines()
    assert first == "plain            0.500   0.750"
    assert second == "a longer one     0.250   1.000"
    assert head.index("AP@.5") + 5 == len(first) == len(second)


GRID = [
    {"sigma": sigma, "size": size, "look": "plain", "seed": seed, "ap": sigma + size / 100 + seed / 1000}
    for sigma in (2, 1, 3)
    for size in (64, 32)
    for seed in (0, 1)
]


def test_a_grid_over_one_number_is_a_line_of_means_with_a_dot_per_run():
    rows = [row for row in GRID if row["size"] == 32]
    ax = plotting.plot_grid(rows, ["sigma"], "ap")
    means, *dots = ax.lines
    np.testing.assert_allclose(means.get_data(), [[1, 2, 3], [1.3205, 2.3205, 3.3205]])
    assert sorted(value for line in dots for value in line.get_ydata()) == sorted(row["ap"] for row in rows)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sigma", "ap")
    assert ax.get_legend() is None


def test_a_grid_over_two_parameters_has_a_line_for_each_value_of_the_one_with_fewer():
    ax = plotting.plot_grid(GRID, ["size", "sigma"], "ap")
    assert ax.get_xlabel() == "sigma"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["size 64", "size 32"]
    assert ax.get_xticks().tolist() == [1, 2, 3]


def test_a_grid_without_a_number_has_a_row_for_each_combination():
    rows = [{**row, "look": look} for row in GRID for look in ("plain", "busy")]
    ax = plotting.plot_grid(rows, ["look"], "ap")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["look plain", "look busy"]
    ax = plotting.plot_grid(rows, [], "ap")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["all runs"]


def test_numbers_that_span_decades_are_drawn_on_a_logarithmic_axis():
    rows = [{"rate": rate, "ap": 0.5} for rate in (0.0001, 0.001, 0.01)]
    assert plotting.plot_grid(rows, ["rate"], "ap").get_xscale() == "log"
    assert plotting.plot_grid(GRID, ["sigma"], "ap").get_xscale() == "linear"
    many = [{"rate": 1.2**step, "ap": 0.5} for step in range(25)]
    assert len(plotting.plot_grid(many, ["rate"], "ap").get_xticks()) == 9


def test_a_faded_image_keeps_white_and_a_share_of_every_contrast_to_it():
    image = np.array([[0, 155, 255]], dtype=np.uint8)
    assert plotting.fade(image, 0.4).tolist() == [[153, 215, 255]]
    assert plotting.fade(image, 1).tolist() == image.tolist()
    assert plotting.fade(image, 0).tolist() == [[255, 255, 255]]
    assert plotting.fade(np.zeros((2, 3, 3), dtype=np.uint8), 0.5).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("value", "text"), [(0.834, "0.83"), (1.0, "1.00"), (10.25, "10.25"), (-0.5, "-0.50"), (-0.001, "0.00")]
)
def test_a_short_number_keeps_its_leading_zero(value, text):
    assert plotting.format_short(value) == text


def test_a_short_number_has_as_many_decimals_as_asked_for():
    assert plotting.format_short(0.8345, 3) == "0.835"


@pytest.mark.parametrize("name", ["xaxis", "yaxis"])
def test_logarithmic_ticks_stand_at_the_given_values_and_nowhere_else(name):
    ax = plt.figure().add_subplot()
    ax.plot([0.01, 0.2], [0.01, 0.2])
    axis = getattr(ax, name)
    plotting.use_log_ticks(axis, [0.2, 0.01, 0.05])
    assert axis.get_scale() == "log"
    assert axis.get_majorticklocs().tolist() == [0.01, 0.05, 0.2]
    assert axis.get_minorticklocs().tolist() == []
    ax.figure.draw_without_rendering()
    assert [label.get_text() for label in axis.get_ticklabels()] == ["0.01", "0.05", "0.2"]
    plotting.use_log_ticks(axis, [16, 32], "{x:.0f} px")
    assert axis.get_major_formatter()(16) == "16 px"


def test_a_logarithmic_tick_at_zero_is_refused():
    with pytest.raises(ValueError, match="no place for 0: its ticks must be positive"):
        plotting.use_log_ticks(plt.figure().add_subplot().xaxis, [0, 1])


def test_a_png_has_few_colours_and_shows_white_through_what_is_transparent():
    pixels = np.zeros((40, 60, 4), dtype=np.uint8)
    pixels[..., :3] = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
    pixels[:, :30, 3] = 255
    saved = Image.open(io.BytesIO(plotting.encode_png(Image.fromarray(pixels), 16)))
    assert saved.size == (60, 40)
    assert len(saved.getcolors()) <= 16
    assert (np.asarray(saved.convert("RGB"))[:, 30:] == 255).all()
