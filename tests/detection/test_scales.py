"""What the levels say, what their cells can see, and which channels know what."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers.detection import scales
from helpers.detection.anchors import flatten_predictions, generate_anchors
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.inference import prepare_images
from helpers.detection.model import Dilations, MultiScaleDetector, receptive_fields
from helpers.detection.recipes import TUNED, Detector
from helpers.detection.scales import Objects, ScalePerformance, Views

GAPPY = Dilations(2, 3, (4, 6, 5))
each_wiring = pytest.mark.parametrize("dilations", [Dilations(), TUNED.dilations, GAPPY], ids=str)


class Puppet(MultiScaleDetector):
    """A detector that says the same of every image."""

    def __init__(self, maps: list[torch.Tensor]):
        super().__init__(width=1)
        self.maps = maps

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [level.expand(len(images), -1, -1, -1) for level in self.maps]


def silent_maps() -> list[torch.Tensor]:
    """Returns maps [1, 3 · 8, h, w] whose boxes are the anchors and whose objectness is 0."""
    maps = [torch.zeros(1, 24, size, size) for size in (56, 28, 14)]
    for level in maps:
        level.unflatten(1, (3, 8))[:, :, 4] = -math.inf
    return maps


def place(label: int, box: tuple[int, int, int, int], visibility: float = 1.0) -> ShapeDetectionDataset:
    """Returns a white image with one object, which only its annotation knows."""
    return ShapeDetectionDataset(
        torch.full((1, 224, 224, 3), 255, dtype=torch.uint8),
        torch.tensor([[box]], dtype=torch.float32),
        torch.tensor([[label]]),
        torch.tensor([[visibility]]),
        torch.tensor([[False]]),
        torch.tensor([0]),
    )


def small_model(dilations: Dilations = TUNED.dilations) -> MultiScaleDetector:
    torch.manual_seed(0)
    return MultiScaleDetector(dilations=dilations, width=4).eval()


def draw_objects(label: int, count: int) -> Objects:
    return scales.pick_objects(ShapeDetectionDataset.draw(40, seed=641), label, 0.9, count)


# what the levels say


def test_the_level_that_puts_a_box_on_the_object_speaks_for_it():
    maps = silent_maps()
    row, column = 10, 12  # of level 1: centre (100, 84)
    maps[1].unflatten(1, (3, 8))[0, 1, 4:, row, column] = torch.tensor([0.0, 0.0, 20.0, 0.0])  # its 64-pixel anchor
    detector = Detector(TUNED, Puppet(maps), torch.cat(generate_anchors()), [])
    said = scales.analyze_scale_performance(detector, place(1, (68, 52, 132, 116)))
    assert_close(said.objectness, torch.tensor([[0.0], [0.5], [0.0]]))
    assert_close(said.scores, torch.tensor([[0.0], [0.5], [0.0]]))
    assert said.sizes.tolist() == [64]
    wrong_class = scales.analyze_scale_performance(detector, place(2, (68, 52, 132, 116)))
    assert_close(wrong_class.objectness, torch.tensor([[0.0], [0.5], [0.0]]))
    assert wrong_class.scores.max() < 1e-6
    elsewhere = scales.analyze_scale_performance(detector, place(1, (10, 10, 74, 74)))
    assert elsewhere.objectness.max() == 0


def test_objects_that_do_not_count_are_left_out():
    detector = Detector(TUNED, Puppet(silent_maps()), torch.cat(generate_anchors()), [])
    hidden = place(1, (68, 52, 132, 116), visibility=0.05)
    assert len(scales.analyze_scale_performance(detector, hidden, minimum_visibility=0.1).sizes) == 0
    assert len(scales.analyze_scale_performance(detector, hidden).sizes) == 1
    assert len(scales.analyze_scale_performance(detector, hidden.hide(0.1)).sizes) == 0


def test_padding_is_no_object_and_images_come_in_order():
    dataset = ShapeDetectionDataset.draw(5, seed=641)
    detector = Detector(TUNED, small_model(), torch.cat(generate_anchors()), [])
    at_once = scales.analyze_scale_performance(detector, dataset)
    in_parts = scales.analyze_scale_performance(detector, dataset, batch_size=2)
    assert at_once.labels.tolist() == dataset.labels[dataset.labels >= 0].tolist()
    for one, other in zip(at_once, in_parts, strict=True):
        assert_close(one, other)


def test_the_highest_score_wins_and_below_the_threshold_nobody():
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.2, 0.3, 0.1], [0.6, 0.8, 0.1]])
    said = ScalePerformance(torch.ones(3), torch.zeros(3, dtype=torch.int64), scores, scores)
    assert said.winners(0.5).tolist() == [2, 0, -1]


# what a cell can see


@each_wiring
def test_the_paths_reach_exactly_as_far_as_the_receptive_field(dilations):
    weights, views = scales.compute_view_weights(dilations), receptive_fields(dilations)
    for paths, view in zip(weights, views, strict=True):
        rows = paths.sum(dim=1).nonzero().squeeze(1)
        middle = len(paths) // 2
        assert (rows[0], rows[-1]) == (middle - view // 2, middle + view // 2)
        assert_close(paths, paths.T)
        assert_close(paths, paths.flip(0))


@each_wiring
def test_the_shares_of_all_paths_add_up_to_one(dilations):
    assert_close(scales.compute_view_weights(dilations).sum(dim=(1, 2)), torch.ones(3, dtype=torch.float64))


def test_taps_wider_apart_than_the_view_below_leave_gaps():
    seen = [(paths > 0).double().mean() ** 0.5 * len(paths) for paths in scales.compute_view_weights(GAPPY)]
    # Three taps of 9, 25 and 73 pixels each, 16, 48 and 80 apart: none overlap.
    assert_close(torch.stack(seen), torch.tensor([27.0, 75.0, 219.0], dtype=torch.float64))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_real_network_depends_on_nothing_but_the_pixels_with_paths(level):
    objects = draw_objects(level, count=4)
    views = scales.measure_views(small_model(), objects, level)
    assert_close(views.sensitivity.sum(dim=(1, 2)), torch.ones(4))
    paths = scales.compute_view_weights(TUNED.dilations)[level]
    half = len(paths) // 2
    for (row, column), sensitivity in zip(views.centres.tolist(), views.sensitivity, strict=True):
        rows, columns = (torch.arange(224) - place + half for place in (row, column))
        inside = ((rows >= 0) & (rows < len(paths)))[:, None] & ((columns >= 0) & (columns < len(paths)))
        reached = paths[rows.clamp(0, len(paths) - 1)][:, columns.clamp(0, len(paths) - 1)] > 0
        assert (sensitivity[~(inside & reached)] == 0).all()


@pytest.mark.parametrize("dilations", [Dilations(), TUNED.dilations], ids=str)
def test_the_effective_width_grows_with_the_share_up_to_the_whole_view(dilations):
    for level, view in enumerate(receptive_fields(dilations)):
        views = scales.measure_views(small_model(dilations), draw_objects(level, count=3), level)
        half, most, everything = (scales.compute_effective_width(views, share) for share in (0.5, 0.95, 1.0))
        assert 1 <= half <= most <= everything <= view


def test_the_effective_width_by_hand():
    sensitivity = torch.zeros(1, 9, 9)
    sensitivity[0, 4, 4], sensitivity[0, 4, 5], sensitivity[0, 1, 4] = 0.5, 0.3, 0.2  # at distance 0, 1 and 3
    views = Views(torch.tensor([[4, 4]]), sensitivity, outputs=torch.zeros(1, 3, 8))
    assert [scales.compute_effective_width(views, share) for share in (0.4, 0.7, 0.95)] == [1, 3, 7]


def test_the_middle_of_a_box_is_a_cell_of_each_level():
    box = torch.tensor([[40.0, 100, 60, 132]])  # middle (50, 116)
    assert [scales.middle_cells(box, level).tolist() for level in range(3)] == [[[29, 12]], [[14, 6]], [[7, 3]]]


def test_a_cell_in_the_middle_of_a_large_square_sees_only_green():
    images = torch.full((1, 224, 224, 3), 255, dtype=torch.uint8)
    images[0, 64:160, 64:160] = torch.tensor([0, 255, 0], dtype=torch.uint8)  # 96 pixels, middle 112
    objects = Objects(images, torch.tensor([[64.0, 64, 160, 160]]))
    seen = [scales.sees_one_colour(objects, 1, view).item() for view in (33, 95, 97, 99)]
    assert seen == [True, True, False, False]  # the first green row is 48 before the centre, the first white one 49


def test_objects_come_largest_first_with_their_own_image():
    dataset = ShapeDetectionDataset.draw(30, seed=641)
    objects = scales.pick_objects(dataset, label=1, minimum_visibility=0.95, count=5)
    sides = objects.boxes[:, 2] - objects.boxes[:, 0]
    assert len(sides) == 5
    assert (sides.diff() <= 0).all()
    for image, (x1, y1, x2, y2) in zip(objects.images, objects.boxes.int().tolist(), strict=True):
        assert (image[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4] == torch.tensor([0, 255, 0])).all(-1).float().mean() > 0.9


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_view_knows_what_its_cell_says(level):
    model, objects = small_model(), draw_objects(level, count=3)
    outputs = scales.measure_views(model, objects, level).outputs
    said = flatten_predictions([model(prepare_images(objects.images))[level]], num_anchors=3).unflatten(1, (-1, 3))
    cells = scales.middle_cells(objects.boxes, level)
    rows = cells[:, 0] * (224 // scales.STRIDES[level]) + cells[:, 1]
    assert_close(outputs, said[torch.arange(3), rows].detach())


def test_a_cell_that_nothing_moves_has_no_sensitivity():
    model = small_model()
    torch.nn.init.zeros_(model.heads[1][0][0].weight)
    assert scales.measure_views(model, draw_objects(1, count=2), 1).sensitivity.sum() == 0


# what the channels know


def test_a_channel_that_is_high_on_a_concept_alone_separates_it_perfectly():
    concept = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    concept[:, :, 0] = True
    value = concept.float()
    ranked = scales.rank_channels(torch.cat([value, -value, torch.ones_like(value)], dim=1), concept)
    np.testing.assert_allclose(ranked, [[1.0, 0.0, 0.5]])


def test_the_rank_of_a_channel_is_the_probability_of_a_right_pair():
    generator = torch.Generator().manual_seed(0)
    features = torch.randint(0, 4, (2, 3, 4, 4), generator=generator).float()  # with ties
    concepts = torch.rand(2, 2, 4, 4, generator=generator) < 0.4
    ranked = scales.rank_channels(features, concepts)
    for concept in range(2):
        for channel in range(3):
            values, inside = features[:, channel].flatten(), concepts[:, concept].flatten()
            pairs = values[inside][:, None] - values[~inside]
            expected = (pairs > 0).double().mean() + (pairs == 0).double().mean() / 2
            assert ranked[concept, channel] == pytest.approx(expected.item())


def test_cells_with_equal_features_get_equal_colours_and_others_other_ones():
    features = torch.zeros(1, 8, 6, 6)
    features[0, :, :, 3:] = torch.arange(8.0)[:, None, None]
    picture = scales.colour_features(features)
    assert picture.shape == (1, 6, 6, 3)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert np.ptp(picture[0, :, :3], axis=(0, 1)).max() == np.ptp(picture[0, :, 3:], axis=(0, 1)).max() == 0
    assert np.abs(picture[0, 0, 0] - picture[0, 0, 5]).max() == 1
