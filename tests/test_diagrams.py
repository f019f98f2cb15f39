"""Diagrams of network architectures."""

import pytest
from matplotlib.patches import FancyBboxPatch

from helpers.diagrams import Block, draw_network

BLOCKS = {
    "image": Block("image\n3×224×224", 0, 0, "data"),
    "backbone": Block("backbone", 2.5, 0),
    "head": Block("head", 2.5, 1.5, "head"),
}


def test_arrows_join_the_facing_sides_of_the_blocks():
    ax = draw_network(BLOCKS, [("image", "backbone"), ("backbone", "head", "features")])
    ends = [(text.xyann, text.xy) for text in ax.texts if getattr(text, "arrow_patch", None)]
    across = (0.675, 0), (2.5 - 0.675, 0)
    upwards = (2.5, 0.31), (2.5, 1.5 - 0.31)
    assert [pytest.approx(value) for end in ends for value in end] == [*across, *upwards]


def test_every_block_text_and_group_title_is_drawn_inside_the_axes():
    ax = draw_network(BLOCKS, [("image", "backbone", "pixels")], groups={"network": ["backbone", "head"]})
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert sorted(texts) == sorted(["network", "pixels", "image\n3×224×224", "backbone", "head"])
    assert sum(isinstance(patch, FancyBboxPatch) for patch in ax.patches) == len(BLOCKS) + 1
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for text in ax.texts:
        x, y = text.get_position()
        assert left <= x <= right
        assert bottom <= y <= top


def test_an_unknown_block_is_named():
    with pytest.raises(ValueError, match="there is no block 'neck'; the blocks are image, backbone, head"):
        draw_network(BLOCKS, [("image", "neck")])


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="block 'loss' has the kind 'loos'"):
        draw_network({"loss": Block("loss", 0, 0, "loos")}, [])
