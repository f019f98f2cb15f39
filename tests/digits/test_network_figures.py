"""Diagrams of Faster R-CNN, and RoIAlign on one feature map."""

import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from helpers.digits.network_figures import plot_faster_rcnn, plot_pyramid, plot_roi_align, pool_proposal


def test_the_network_has_every_part_that_the_lesson_names():
    text = " ".join(text.get_text() for text in plot_faster_rcnn().texts)
    for part in (
        "resize",
        "ResNet-50",
        "FPN",
        "anchors",
        "RPN",
        "NMS",
        "proposals",
        "RoIAlign",
        "RoI head",
        "11 classes",
    ):
        assert part in text


def test_the_pyramid_has_five_maps_and_sums_from_coarse_to_fine():
    ax = plot_pyramid()
    texts = [text.get_text() for text in ax.texts]
    strides = [text.partition("stride ")[2] for text in texts if text.startswith("pyramid map")]
    assert strides == ["4", "8", "16", "32", "64"]
    assert texts.count("2×") == 3
    assert sum(isinstance(patch, FancyBboxPatch) for patch in ax.patches) == 4 * 5 + 1


def test_roi_align_of_a_ramp_is_the_ramp_at_the_middles_of_the_parts():
    """Bilinear sampling is exact on a plane: column x has the value x + 0.5 at its centre."""
    ramp = np.tile(np.arange(20) + 0.5, (12, 1)).astype(np.float32)
    pooled = pool_proposal(ramp, (3.0, 2.0, 10.0, 9.0))
    assert pooled[0] == pytest.approx(np.arange(3.5, 10.5))
    assert pooled[6] == pytest.approx(pooled[0])


def test_a_proposal_is_drawn_with_its_parts_and_one_part_with_its_four_points():
    figure = plot_roi_align(np.eye(12, dtype=np.float32), (3.0, 2.0, 10.0, 9.0))
    left, middle, right = figure.axes
    (points,) = middle.collections
    # The parts are cells of 1 × 1; the fourth row and column is the middle one.
    assert points.get_offsets().tolist() == [[6.25, 5.25], [6.75, 5.25], [6.25, 5.75], [6.75, 5.75]]
    assert [ax.patches[-1].get_bbox().bounds for ax in (left, middle)] == [(6, 5, 1, 1)] * 2
    assert right.patches[0].get_bbox().bounds == (3, 3, 1, 1)
    assert len(left.lines) == 2 * 6
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["proposal", "one part", "sampled point", "centre of a cell"]
    assert right.images[0].get_array().shape == (7, 7)
