"""What the explorers' panels show is what they were given last."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from helpers.detection.explorer_panels import (
    CHEQUER,
    IGNORED_GREY,
    MOST_TEXTS,
    plot_answers,
    plot_cut_curves,
    plot_findings,
    plot_legend,
    plot_looking,
    update_answers,
    update_cut_curves,
    update_findings,
    update_looking,
)
from helpers.detection.metrics import PrecisionRecall, compute_ap
from helpers.plotting import COLOURS, PREDICTION_COLOUR, TRUTH_COLOUR

IMAGE = np.zeros((224, 224, 3), np.uint8)
BOXES = np.array([[10.0, 20, 40, 60], [100.0, 110, 180, 170]])
NOBODY = np.zeros(2, bool)


def build_ax():
    return Figure().subplots()


def read_boxes(lines) -> list[list[float]]:
    """Returns the boxes that an artist of lines draws."""
    return [[*segment.min(axis=0), *segment.max(axis=0)] for segment in lines.get_segments()]


def test_truth_is_green_and_solid_and_what_is_predicted_red_and_dashed():
    ax = plot_findings(build_ax(), "missed")
    update_findings(IMAGE, BOXES, BOXES[:1] + 5, ax, "", hatched=NOBODY, crossed=NOBODY[:1])
    _, true, predicted = ax.collections
    assert [read_boxes(true), read_boxes(predicted)] == [BOXES.tolist(), (BOXES[:1] + 5).tolist()]
    for lines, colour, dashes in ((true, TRUTH_COLOUR, None), (predicted, PREDICTION_COLOUR, [3.7, 1.6])):
        assert tuple(lines.get_color()[0][:3]) == to_rgb(colour)
        ((_, pattern),) = lines.get_linestyle()
        assert (pattern is None) == (dashes is None)


def test_chosen_boxes_are_hatched_crossed_out_and_written_at():
    ax = plot_findings(build_ax(), "missed")
    second = np.array([False, True])
    update_findings(IMAGE, BOXES, BOXES, ax, "two", hatched=second, crossed=~second, texts=[(30, 40, "s .9")])
    assert len(ax.collections[0].get_paths()) == 1
    assert [values.tolist() for values in ax.lines[0].get_data()] == [[25], [40]]
    assert [text.get_text() for text in ax.texts if text.get_visible()] == ["s .9"]
    update_findings(IMAGE, BOXES[:0], BOXES[:0], ax, "none", hatched=NOBODY[:0], crossed=NOBODY[:0])
    assert not any(text.get_visible() for text in ax.texts)
    assert [len(artist.get_paths()) for artist in ax.collections] == [0, 0, 0]
    assert ax.get_title() == "none"


def test_more_texts_than_a_panel_has_room_for_are_left_out():
    ax = plot_findings(build_ax(), "missed")
    texts = [(10, 10, str(number)) for number in range(MOST_TEXTS + 3)]
    update_findings(IMAGE, BOXES, BOXES, ax, "", hatched=NOBODY, crossed=NOBODY, texts=texts)
    assert [text.get_text() for text in ax.texts] == [str(number) for number in range(MOST_TEXTS)]


def test_a_cell_is_painted_by_what_its_anchors_answer():
    ax = plot_answers(build_ax(), COLOURS[1])
    answers = np.array([[0, 0, 1], [-1, 0, 0]])
    update_answers(BOXES[0], BOXES[1], answers, ax, "", colour=COLOURS[1])
    paint = np.asarray(ax.images[0].get_array())
    assert tuple(paint[0, 2]) == pytest.approx(to_rgb(COLOURS[1]))
    assert paint[:, :, 0].tolist()[1] == pytest.approx([IGNORED_GREY, 1.0, CHEQUER])
    assert paint[0, :2, 0].tolist() == pytest.approx([1.0, CHEQUER])
    assert [read_boxes(lines) for lines in ax.collections] == [[BOXES[0].tolist()], [BOXES[1].tolist()]]


def test_the_area_below_a_drawn_curve_is_its_average_precision():
    ax = plot_cut_curves(build_ax())
    curve = PrecisionRecall(
        np.array([0.25, 0.25, 0.5, 0.75]), np.array([1, 0.5, 2 / 3, 0.75]), np.array([0.9, 0.8, 0.7, 0.6])
    )
    kept = PrecisionRecall(*(column[:2] for column in curve))
    update_cut_curves([curve] * 3, [kept] * 3, ax, "AP")
    whole, bold, end = ax.lines[:3]
    for line, drawn in ((whole, curve), (bold, kept)):
        assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(
            compute_ap(drawn.recall, drawn.precision)
        )
    assert end.get_xydata().tolist() == [[0.25, 0.5]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["circle", "square", "triangle"]


def test_a_class_of_which_nothing_is_kept_has_an_empty_curve():
    ax = plot_cut_curves(build_ax())
    nothing = PrecisionRecall(*(np.zeros(0) for _ in range(3)))
    update_cut_curves([nothing] * 3, [nothing] * 3, ax, "")
    assert ax.lines[1].get_xydata().tolist() == [[0, 0]]
    assert len(ax.lines[2].get_xydata()) == 0


def test_a_box_is_as_opaque_as_its_cell_is_sure_and_what_moves_it_is_black():
    ax = plot_looking(build_ax(), COLOURS[0])
    sensitivity = np.zeros((224, 224), np.float32)
    sensitivity[100, 100:110] = 0.1
    style = {"objectness": 0.25, "place": (105, 100)}
    update_looking(IMAGE, BOXES, BOXES[0], sensitivity, np.array([90.0, 90, 123, 123]), ax, "level 0", **style)
    _, view, predicted = ax.collections
    assert predicted.get_alpha() == 0.25
    assert read_boxes(view) == [[90, 90, 123, 123]]
    assert ax.images[1].get_array()[100, 98:101].tolist() == [0, 0, 1]
    update_looking(IMAGE, BOXES, BOXES[0], 0 * sensitivity, BOXES[1], ax, "", **style)
    assert not ax.images[1].get_array().any()  # a cell that nothing moves


@pytest.mark.parametrize(
    "panel",
    [
        lambda ax: plot_findings(ax, "ignored"),
        lambda ax: plot_answers(ax, COLOURS[0]),
        lambda ax: plot_looking(ax, COLOURS[0]),
    ],
    ids=["findings", "answers", "looking"],
)
def test_a_legend_names_every_kind_of_artist_once(panel):
    names = [text.get_text() for text in plot_legend(panel(build_ax())).get_texts()]
    assert len(names) >= 4
    assert len(set(names)) == len(names)
