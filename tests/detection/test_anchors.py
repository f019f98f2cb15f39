"""Anchors: their positions and sizes, and the order they share with flattened predictions."""

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from helpers.detection.anchors import ANCHOR_SCALES, FEATURE_MAP_SIZES, flatten_predictions, generate_anchors

# by hand


def test_the_assignment_has_12348_anchors():
    assert [len(level) for level in generate_anchors()] == [9408, 2352, 588]


def test_the_first_cell_of_each_level_is_centred_half_a_stride_from_the_corner():
    fine, middle, coarse = generate_anchors()
    assert_close(fine[0], torch.tensor([-6.0, -6.0, 10.0, 10.0]))  # stride 4: centre 2, size 16
    assert_close(middle[0], torch.tensor([-20.0, -20.0, 28.0, 28.0]))  # stride 8: centre 4, size 48
    assert_close(coarse[0], torch.tensor([-40.0, -40.0, 56.0, 56.0]))  # stride 16: centre 8, size 96


def test_anchors_are_ordered_by_row_then_column_then_size_then_ratio():
    (anchors,) = generate_anchors([(2, 2)], [(10, 20)], image_size=100, aspect_ratios=(1.0, 4.0))
    expected = [
        (20, 20, 30, 30),  # around (25, 25): size 10, ratio 1
        (22.5, 15, 27.5, 35),  # size 10, ratio 4: 20 high, 5 wide
        (15, 15, 35, 35),
        (20, 5, 30, 45),
        (70, 20, 80, 30),  # next column: around (75, 25)
    ]
    assert_close(anchors[:5], torch.tensor(expected, dtype=torch.float32))
    assert_close(anchors[8], torch.tensor([20.0, 70.0, 30.0, 80.0]))  # next row: around (25, 75)


# law


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_size_is_the_root_of_the_area_and_ratio_is_height_by_width(ratio):
    x1, y1, x2, y2 = generate_anchors([(3, 3)], [(32,)], aspect_ratios=(ratio,))[0].unbind(-1)
    assert_close((x2 - x1) * (y2 - y1), torch.full((9,), 32.0**2))
    assert_close((y2 - y1) / (x2 - x1), torch.full((9,), ratio))


def test_anchors_fill_the_image_symmetrically():
    for anchors in generate_anchors():
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        assert_close(centres.mean(dim=0), torch.tensor([112.0, 112.0]))


def test_maps_need_not_be_square():
    (anchors,) = generate_anchors([(2, 4)], [(8,)], image_size=64)
    assert len(anchors) == 8
    assert_close((anchors[:, :2] + anchors[:, 2:])[-1] / 2, torch.tensor([56.0, 48.0]))


@pytest.mark.parametrize(
    ("level", "row", "column", "anchor"), [(0, 0, 0, 0), (0, 55, 3, 2), (1, 7, 20, 1), (2, 13, 13, 2)]
)
def test_the_prediction_of_a_cell_has_the_index_of_its_anchor(level, row, column, anchor):
    maps = [torch.zeros(2, 3 * 8, height, width) for height, width in FEATURE_MAP_SIZES]
    paint = torch.arange(1.0, 9.0)
    maps[level][1, anchor * 8 : anchor * 8 + 8, row, column] = paint
    predictions = flatten_predictions(maps, num_anchors=3)
    image, row_of_anchor = predictions[..., 0].nonzero().squeeze(0)
    assert image == 1
    assert_close(predictions[image, row_of_anchor], paint)
    x1, y1, x2, y2 = torch.cat(generate_anchors())[row_of_anchor]
    stride = (4, 8, 16)[level]
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == ((column + 0.5) * stride, (row + 0.5) * stride)
    assert x2 - x1 == ANCHOR_SCALES[level][anchor]


# oracle


def test_anchors_are_torchvisions_up_to_its_rounding_and_its_corner_start():
    generator = AnchorGenerator(sizes=ANCHOR_SCALES, aspect_ratios=((1.0,),) * 3)
    images = ImageList(torch.zeros(1, 3, 224, 224), [(224, 224)])
    maps = [torch.zeros(1, 1, height, width) for height, width in FEATURE_MAP_SIZES]
    theirs = generator(images, maps)[0].split([9408, 2352, 588])
    for ours, anchors, stride in zip(generate_anchors(), theirs, (4, 8, 16), strict=True):
        assert_close(ours, anchors + stride / 2)  # it centres cell i at i * stride


def test_ratios_are_torchvisions_up_to_its_rounding():
    generator = AnchorGenerator(sizes=((32, 64),), aspect_ratios=((0.5, 1.0, 2.0),))
    theirs = (
        generator.cell_anchors[0].unflatten(0, (3, 2)).transpose(0, 1).flatten(0, 1)
    )  # its order is ratio, then size
    (ours,) = generate_anchors([(1, 1)], [(32, 64)], aspect_ratios=(0.5, 1.0, 2.0))
    assert_close(ours - 112, theirs, atol=0.5, rtol=0)


# edge


def test_each_level_needs_its_sizes():
    with pytest.raises(ValueError, match="shorter"):
        generate_anchors([(2, 2), (1, 1)], [(16,)])


def test_flattening_keeps_numbers_and_gradients():
    maps = [torch.randn(2, 6, 2, 3, requires_grad=True), torch.randn(2, 6, 1, 1, requires_grad=True)]
    predictions = flatten_predictions(maps, num_anchors=2)
    assert predictions.shape == (2, 14, 3)
    predictions.sum().backward()
    assert all(torch.equal(level.grad, torch.ones_like(level)) for level in maps)
