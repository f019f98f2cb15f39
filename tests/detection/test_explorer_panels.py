"""Panels of the explorers: they show the data of the last update."""

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from helpers.detection.explorer_panels import (
    CHEQUER,
    IGNORED_GREY,
    LEAST_OPACITY,
    MOST_TEXTS,
    plot_cell,
    plot_curves,
    plot_legend,
    plot_matching,
    plot_scene,
    update_cell,
    update_curves,
    update_matching,
    update_scene,
)
from helpers.detection.metrics import PrecisionRecall, compute_ap
from helpers.plotting import COLOURS, LEVEL_COLOURS, PREDICTION_COLOUR, TRUTH_COLOUR

IMAGE = np.zeros((224, 224, 3), np.uint8)
BOXES = np.array([[10.0, 20, 40, 60], [100.0, 110, 180, 170]])
NO_ROW = np.zeros(2, bool)


def build_ax():
    return Figure().subplots()


def read_boxes(lines) -> list[list[float]]:
    """Return the boxes that an artist of lines draws."""
    return [[*segment.min(axis=0), *segment.max(axis=0)] for segment in lines.get_segments()]


def test_true_boxes_are_green_and_solid_and_predicted_boxes_red_and_dashed():
    ax = plot_scene(build_ax(), "missed")
    update_scene(IMAGE, BOXES, BOXES[:1] + 5, ax, "", hatched=NO_ROW, crossed=NO_ROW[:1])
    _, true, predicted = ax.collections
    assert [read_boxes(true), read_boxes(predicted)] == [BOXES.tolist(), (BOXES[:1] + 5).tolist()]
    for lines, colour, dashes in ((true, TRUTH_COLOUR, None), (predicted, PREDICTION_COLOUR, [3.7, 1.6])):
        assert tuple(lines.get_color()[0][:3]) == to_rgb(colour)
        ((_, pattern),) = lines.get_linestyle()
        assert (pattern is None) == (dashes is None)


def test_chosen_boxes_are_hatched_crossed_out_and_written_at():
    ax = plot_scene(build_ax(), "missed")
    second = np.array([False, True])
    update_scene(IMAGE, BOXES, BOXES, ax, "two", hatched=second, crossed=~second, texts=[(30, 40, "s 0.9")])
    assert len(ax.collections[0].get_paths()) == 1
    assert [values.tolist() for values in ax.lines[0].get_data()] == [[25], [40]]
    assert [text.get_text() for text in ax.texts if text.get_visible()] == ["s 0.9"]
    update_scene(IMAGE, BOXES[:0], BOXES[:0], ax, "none", hatched=NO_ROW[:0], crossed=NO_ROW[:0])
    assert not any(text.get_visible() for text in ax.texts)
    assert [len(artist.get_paths()) for artist in ax.collections] == [0, 0, 0]
    assert ax.get_title() == "none"


def test_missed_boxes_are_thick_if_framed():
    ax = plot_scene(build_ax(), "missed", is_framed=True)
    update_scene(IMAGE, BOXES, BOXES, ax, "", hatched=np.array([False, True]), crossed=NO_ROW)
    missed, truth, _ = ax.collections
    assert read_boxes(missed) == BOXES[1:].tolist()
    assert missed.get_linewidth()[0] > truth.get_linewidth()[0]


def test_texts_beyond_the_largest_number_are_left_out():
    ax = plot_scene(build_ax(), "missed")
    texts = [(10, 10, str(number)) for number in range(MOST_TEXTS + 3)]
    update_scene(IMAGE, BOXES, BOXES, ax, "", hatched=NO_ROW, crossed=NO_ROW, texts=texts)
    assert [text.get_text() for text in ax.texts] == [str(number) for number in range(MOST_TEXTS)]


def test_a_cell_is_painted_by_the_match_of_its_anchors():
    ax = plot_matching(build_ax(), COLOURS[1])
    cells = np.array([[0, 0, 1], [-1, 0, 0]])
    update_matching(BOXES[0], BOXES[1], cells, ax, "", colour=COLOURS[1])
    paint = np.asarray(ax.images[0].get_array())
    assert tuple(paint[0, 2]) == pytest.approx(to_rgb(COLOURS[1]))
    assert paint[:, :, 0].tolist()[1] == pytest.approx([IGNORED_GREY, 1.0, CHEQUER])
    assert paint[0, :2, 0].tolist() == pytest.approx([1.0, CHEQUER])
    assert [read_boxes(lines) for lines in ax.collections] == [[BOXES[0].tolist()], [BOXES[1].tolist()]]


def test_the_area_below_a_drawn_curve_is_its_average_precision():
    ax = plot_curves(build_ax())
    curve = PrecisionRecall(
        np.array([0.25, 0.25, 0.5, 0.75]), np.array([1, 0.5, 2 / 3, 0.75]), np.array([0.9, 0.8, 0.7, 0.6])
    )
    part = PrecisionRecall(*(column[:2] for column in curve))
    update_curves([curve] * 3, [part] * 3, ax, "AP")
    pale, bold, end = ax.lines[:3]
    for line, drawn in ((pale, curve), (bold, part)):
        assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(
            compute_ap(drawn.recall, drawn.precision)
        )
    assert end.get_xydata().tolist() == [[0.25, 0.5]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["circle", "square", "triangle"]


def test_a_class_without_detections_above_the_threshold_has_an_empty_curve():
    ax = plot_curves(build_ax())
    empty = PrecisionRecall(*(np.zeros(0) for _ in range(3)))
    update_curves([empty] * 3, [empty] * 3, ax, "")
    assert ax.lines[1].get_xydata().tolist() == [[0, 0]]
    assert len(ax.lines[2].get_xydata()) == 0


def test_a_box_is_as_opaque_as_its_objectness_and_the_sensitivity_is_black():
    ax = plot_cell(build_ax(), COLOURS[0])
    sensitivity = np.zeros((224, 224), np.float32)
    sensitivity[100, 100:110] = 0.1
    style = {"objectness": 0.75, "place": (105, 100)}
    update_cell(IMAGE, BOXES, BOXES[0], sensitivity, np.array([90.0, 90, 123, 123]), ax, "level 0", **style)
    _, field, predicted = ax.collections
    assert predicted.get_alpha() == 0.75
    assert read_boxes(field) == [[90, 90, 123, 123]]
    assert ax.images[1].get_array()[100, 98:101].tolist() == [0, 0, 1]
    style = {"objectness": 0.01, "place": (10, 100), "side": 56}
    update_cell(IMAGE, BOXES, BOXES[0], 0 * sensitivity, BOXES[1], ax, "", **style)
    assert predicted.get_alpha() == LEAST_OPACITY
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 56.5), (128.5, 71.5))
    assert not ax.images[1].get_array().any()  # a cell whose objectness no pixel changes


@pytest.mark.parametrize(
    "panel",
    [
        lambda ax: plot_scene(ax, "ignored"),
        lambda ax: plot_matching(ax, COLOURS[0]),
        lambda ax: plot_cell(ax, COLOURS[0]),
    ],
    ids=["scene", "matching", "cell"],
)
def test_a_legend_has_every_kind_of_artist_once(panel):
    names = [text.get_text() for text in plot_legend(panel(build_ax())).get_texts()]
    assert len(names) >= 4
    assert len(set(names)) == len(names)


def test_a_legend_of_several_panels_shows_the_colours_of_all():
    axes = Figure().subplots(1, 2)
    for ax, colour in zip(axes, LEVEL_COLOURS, strict=False):
        plot_matching(ax, colour)
    legend = plot_legend(*axes)
    lines = [to_hex(line.get_color()) for line in legend.findobj(Line2D)]
    assert lines == [TRUTH_COLOUR.lower(), *(colour.lower() for colour in LEVEL_COLOURS[:2])]
    patches = [to_hex(patch.get_facecolor()) for patch in legend.findobj(Rectangle)]
    assert patches == [*(colour.lower() for colour in LEVEL_COLOURS[:2]), to_hex(str(IGNORED_GREY))]
