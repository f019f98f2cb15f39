"""Receptive fields: their width by the architecture, gridding, and the sensitivity of a network."""

import pytest
import torch
from torch.testing import assert_close

from helpers.detection.anchors import flatten_predictions
from helpers.detection.dataset import ShapeDetectionDataset, prepare_images
from helpers.detection.model import UNDILATED, Dilations, MultiScaleDetector
from helpers.detection.receptive_fields import (
    STRIDES,
    CellSensitivity,
    Objects,
    compute_effective_width,
    compute_path_weights,
    compute_reached_shares,
    compute_receptive_fields,
    find_middle_cells,
    is_field_uniform,
    measure_receptive_fields,
    measure_sensitivity,
    pick_objects,
)
from helpers.detection.recipes import TUNED

WIDE = Dilations(block3=2, block4=2, heads=(3, 4, 4))
GRIDDED = Dilations(2, 3, (4, 6, 5))
each_configuration = pytest.mark.parametrize("dilations", [UNDILATED, TUNED.dilations, GRIDDED], ids=str)


def build_small_model(dilations: Dilations = TUNED.dilations) -> MultiScaleDetector:
    torch.manual_seed(0)
    return MultiScaleDetector(dilations=dilations, width=4).eval()


def draw_objects(label: int, count: int) -> Objects:
    return pick_objects(ShapeDetectionDataset.draw(40, seed=641), label, 0.9, count)


def test_receptive_fields_by_hand():
    assert compute_receptive_fields() == (17, 33, 65)
    assert compute_receptive_fields(WIDE) == (33, 89, 185)


@pytest.mark.parametrize("dilations", [UNDILATED, WIDE, Dilations(2, 3, (4, 6, 3)), Dilations(heads=(2, 1, 1))])
def test_measured_receptive_fields_are_the_computed_ones(dilations):
    assert measure_receptive_fields(dilations) == compute_receptive_fields(dilations)


def test_a_receptive_field_that_may_be_wider_than_the_image_is_refused():
    assert measure_receptive_fields(WIDE, size=192) == (33, 89, 185)
    with pytest.raises(ValueError, match="choose a larger size"):
        measure_receptive_fields(WIDE, size=160)


@pytest.mark.parametrize("dilations", [UNDILATED, WIDE], ids=["plain", "dilated"])
def test_a_gradient_reaches_the_receptive_field_and_not_one_pixel_further(dilations):
    # Positive weights, so that no two paths cancel and every pixel of the receptive field has a gradient.
    model = MultiScaleDetector(width=2, dilations=dilations).eval()
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    image = torch.rand(1, 3, 224, 224, requires_grad=True)
    for level, width in zip(model(image), compute_receptive_fields(dilations), strict=True):
        middle = level.shape[-1] // 2
        (gradient,) = torch.autograd.grad(level[0, 4, middle, middle], image, retain_graph=True)
        columns = gradient[0].abs().sum(dim=(0, 1)).nonzero().flatten()
        assert columns.max() - columns.min() + 1 == width


@each_configuration
def test_the_paths_reach_exactly_as_far_as_the_receptive_field(dilations):
    weights, widths = compute_path_weights(dilations), compute_receptive_fields(dilations)
    for paths, width in zip(weights, widths, strict=True):
        rows = paths.sum(dim=1).nonzero().squeeze(1)
        middle = len(paths) // 2
        assert (rows[0], rows[-1]) == (middle - width // 2, middle + width // 2)
        assert_close(paths, paths.T)
        assert_close(paths, paths.flip(0))


@each_configuration
def test_the_shares_of_all_paths_add_up_to_one(dilations):
    assert_close(compute_path_weights(dilations).sum(dim=(1, 2)), torch.ones(3, dtype=torch.float64))


def test_taps_further_apart_than_the_field_before_leave_gridding():
    widths = compute_receptive_fields(GRIDDED)
    shares = compute_reached_shares(compute_path_weights(GRIDDED), widths)
    # Three taps of 9, 25 and 73 pixels each, 16, 48 and 80 apart: none overlap.
    assert shares == pytest.approx([(27 / widths[0]) ** 2, (75 / widths[1]) ** 2, (219 / widths[2]) ** 2])
    assert max(shares) < 1


def test_a_network_without_dilations_reaches_its_whole_receptive_field():
    assert compute_reached_shares(compute_path_weights(UNDILATED), compute_receptive_fields()) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_real_network_depends_on_nothing_but_the_pixels_with_paths(level):
    objects = draw_objects(level, count=4)
    cells = measure_sensitivity(build_small_model(), objects, level)
    assert_close(cells.sensitivity.sum(dim=(1, 2)), torch.ones(4))
    paths = compute_path_weights(TUNED.dilations)[level]
    half = len(paths) // 2
    for (row, column), sensitivity in zip(cells.centres.tolist(), cells.sensitivity, strict=True):
        rows, columns = (torch.arange(224) - place + half for place in (row, column))
        inside = ((rows >= 0) & (rows < len(paths)))[:, None] & ((columns >= 0) & (columns < len(paths)))
        reached = paths[rows.clamp(0, len(paths) - 1)][:, columns.clamp(0, len(paths) - 1)] > 0
        assert (sensitivity[~(inside & reached)] == 0).all()


@pytest.mark.parametrize("dilations", [UNDILATED, TUNED.dilations], ids=str)
def test_the_effective_width_grows_with_the_share_up_to_the_receptive_field(dilations):
    for level, width in enumerate(compute_receptive_fields(dilations)):
        cells = measure_sensitivity(build_small_model(dilations), draw_objects(level, count=3), level)
        half, most, everything = (compute_effective_width(cells, share) for share in (0.5, 0.95, 1.0))
        assert 1 <= half <= most <= everything <= width


def test_the_effective_width_by_hand():
    sensitivity = torch.zeros(1, 9, 9)
    sensitivity[0, 4, 4], sensitivity[0, 4, 5], sensitivity[0, 1, 4] = 0.5, 0.3, 0.2  # at distance 0, 1 and 3
    cells = CellSensitivity(torch.tensor([[4, 4]]), sensitivity, outputs=torch.zeros(1, 3, 8))
    assert [compute_effective_width(cells, share) for share in (0.4, 0.7, 0.95)] == [1, 3, 7]


def test_the_middle_of_a_box_is_a_cell_of_each_level():
    box = torch.tensor([[40.0, 100, 60, 132]])  # middle (50, 116)
    assert [find_middle_cells(box, level).tolist() for level in range(3)] == [[[29, 12]], [[14, 6]], [[7, 3]]]


def test_a_cell_in_the_middle_of_a_large_square_has_a_uniform_field_up_to_its_edge():
    images = torch.full((1, 224, 224, 3), 255, dtype=torch.uint8)
    images[0, 64:160, 64:160] = torch.tensor([0, 255, 0], dtype=torch.uint8)  # 96 pixels, middle 112
    objects = Objects(images, torch.tensor([[64.0, 64, 160, 160]]))
    is_uniform = [is_field_uniform(objects, 1, width).item() for width in (33, 95, 97, 99)]
    assert is_uniform == [
        True,
        True,
        False,
        False,
    ]  # the first green row is 48 before the centre, the first white one 49


def test_objects_come_largest_first_with_their_images():
    dataset = ShapeDetectionDataset.draw(30, seed=641)
    objects = pick_objects(dataset, label=1, minimum_visibility=0.95, count=5)
    sides = objects.boxes[:, 2] - objects.boxes[:, 0]
    assert len(sides) == 5
    assert (sides.diff() <= 0).all()
    for image, (x1, y1, x2, y2) in zip(objects.images, objects.boxes.int().tolist(), strict=True):
        assert (image[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4] == torch.tensor([0, 255, 0])).all(-1).float().mean() > 0.9


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_outputs_of_a_cell_are_those_of_the_whole_network(level):
    model, objects = build_small_model(), draw_objects(level, count=3)
    outputs = measure_sensitivity(model, objects, level).outputs
    expected = flatten_predictions([model(prepare_images(objects.images))[level]], num_anchors=3)
    expected = expected.unflatten(1, (-1, 3))
    cells = find_middle_cells(objects.boxes, level)
    rows = cells[:, 0] * (224 // STRIDES[level]) + cells[:, 1]
    assert_close(outputs, expected[torch.arange(3), rows].detach())


def test_a_cell_without_weights_has_no_sensitivity():
    model = build_small_model()
    torch.nn.init.zeros_(model.heads[1][0][0].weight)
    assert measure_sensitivity(model, draw_objects(1, count=2), 1).sensitivity.sum() == 0
