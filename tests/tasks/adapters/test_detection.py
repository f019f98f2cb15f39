"""Adapters of the tasks about detection: with the references, every result is the workbook's to the last digit."""

import numpy as np
import pytest
import torch

from helpers.course.checks import anchors as anchor_checks
from helpers.course.checks import boxes as box_checks
from helpers.course.checks import colour_baseline, dialects
from helpers.detection import anchors, baseline, boxes, coverage, inference, matching
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.loss import DetectionLoss
from helpers.detection.model import MultiScaleDetector
from helpers.tasks import solutions
from helpers.tasks.adapters import detection

# Tasks 1.1 to 1.3, 2.1 to 2.5: boxes and anchors


@pytest.fixture(scope="module")
def dataset():
    return ShapeDetectionDataset.draw(5, seed=641)


@pytest.fixture
def originals():
    """Undo all replacements after the test."""
    yield
    solutions.restore_originals()


def replace(name, function):
    (replacement,) = getattr(detection, name)(function).values()
    return replacement


def draw_boxes(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(*shape, 2, generator=generator) * 200
    return torch.cat([corners, corners + 1 + torch.rand(*shape, 2, generator=generator) * 100], dim=-1)


def test_files_stay_the_workbooks():
    assert detection.to_corners(dialects.to_corners) == {}
    assert detection.to_coco(dialects.to_coco) == {}


def test_the_detector_of_colour_alone_is_the_workbooks(dataset):
    replacement = replace("detect_regions", colour_baseline.detect_regions)
    for image in dataset.images.numpy():
        detections, expected = replacement(image), baseline.detect_regions(image)
        assert all(map(torch.equal, detections, expected))
        assert [column.dtype for column in detections] == [column.dtype for column in expected]


def test_a_detector_that_returns_lists_is_understood():
    detections = replace("detect_regions", lambda image: ([], [], []))(np.zeros((2, 2, 3), np.uint8))
    assert [column.shape for column in detections] == [(0, 4), (0,), (0,)]


@pytest.mark.parametrize("generate", [anchor_checks.generate_anchors, anchor_checks.generate_size_by_size])
def test_anchors_of_both_orders_become_the_workbooks(generate):
    replacement = replace("generate_anchors", generate)
    for arguments in (
        {},
        {"anchor_scales": ((20, 26.5, 33), (48, 64, 96), (96, 128, 192))},
        {"anchor_scales": ((24,), (68,), (136,))},
        {"feature_map_sizes": ((28, 28), (14, 14), (7, 7))},
        {"feature_map_sizes": [(2, 3)], "anchor_scales": [(2, 4)], "image_size": 12},
        {"aspect_ratios": (0.5, 1, 2)},
    ):
        expected = anchors.generate_anchors(**arguments)
        result = replacement(**arguments)
        assert len(result) == len(expected)
        assert all(map(torch.equal, result, expected))
        assert {level.dtype for level in result} == {torch.float32}


def test_anchors_in_float64_or_as_arrays_become_tensors_in_float32():
    def generate(*arguments):
        return [level.double().numpy() for level in anchor_checks.generate_anchors(*arguments)]

    assert all(map(torch.equal, replace("generate_anchors", generate)(), anchors.generate_anchors()))


@pytest.mark.parametrize("flatten", [anchor_checks.flatten_predictions, anchor_checks.flatten_size_by_size])
def test_predictions_of_both_orders_become_the_workbooks(flatten):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 24, *size, generator=generator) for size in ((6, 5), (3, 3), (1, 2))]
    replacement = replace("flatten_predictions", flatten)
    assert torch.equal(replacement(maps, 3), anchors.flatten_predictions(maps, 3))
    maps = [level.bfloat16().requires_grad_() for level in maps]
    predictions = replacement(maps, num_anchors=3)
    assert predictions.dtype == torch.bfloat16
    assert predictions.requires_grad


@pytest.mark.parametrize(
    ("shape", "other_shape"),
    [
        ((5,), (7,)),
        ((0,), (7,)),
        ((5,), (0,)),
        ((3, 5), (7,)),
        ((5,), (3, 7)),
        ((3, 5), (3, 7)),
        ((3, 1, 5), (2, 7)),
        ((0, 5), (0, 7)),
        ((3, 0), (3, 7)),
    ],
)
def test_iou_of_any_leading_axes(shape, other_shape):
    first, second = draw_boxes(*shape), draw_boxes(*other_shape, seed=1)
    replacement = replace("compute_iou", box_checks.compute_iou)
    for left, right in ((first, second), (first.double(), second.double())):
        result = replacement(left, right)
        assert result.dtype == left.dtype
        assert torch.equal(result, boxes.compute_iou(left, right))


def test_the_iou_of_a_dataset_with_its_padding_is_the_workbooks(dataset):
    replacement = replace("compute_iou", box_checks.compute_iou)
    every_anchor = torch.cat(anchors.generate_anchors())
    assert (dataset.labels < 0).any()
    assert torch.equal(replacement(dataset.boxes, every_anchor), boxes.compute_iou(dataset.boxes, every_anchor))
    assert torch.equal(replacement(dataset.boxes, dataset.boxes), boxes.compute_iou(dataset.boxes, dataset.boxes))


@pytest.mark.parametrize("name", ["encode", "decode"])
@pytest.mark.parametrize(("shape", "other_shape"), [((5,), (5,)), ((0,), (0,)), ((3, 5), (5,)), ((2, 3, 5), (3, 5))])
def test_offsets_of_any_leading_axes(name, shape, other_shape):
    values = draw_boxes(*shape) / (100 if name == "decode" else 1)
    own_anchors = draw_boxes(*other_shape, seed=1)
    replacement = replace(name, getattr(box_checks, name))
    assert torch.equal(replacement(values, own_anchors), getattr(boxes, name)(values, own_anchors))


def test_the_gradient_of_decoded_boxes_is_the_workbooks():
    offsets, own_anchors = draw_boxes(2, 5) / 100, draw_boxes(2, 5, seed=1)
    gradients = []
    for function in (replace("decode", box_checks.decode), boxes.decode):
        variable = offsets.clone().requires_grad_()
        function(variable, own_anchors).square().sum().backward()
        gradients.append(variable.grad)
    assert torch.equal(*gradients)


def test_arrays_become_tensors():
    first, second = draw_boxes(3), draw_boxes(3, seed=1)
    for name in ("compute_iou", "encode", "decode"):

        def in_numpy(*arguments, name=name):
            return getattr(box_checks, name)(*arguments).double().numpy()

        result = replace(name, in_numpy)(first / 50, second)
        assert isinstance(result, torch.Tensor)
        assert result.dtype == torch.float32


def run_detector(dataset):
    """Return numbers of all steps that use boxes and anchors: coverage, matching, a loss's gradient, candidates."""
    torch.manual_seed(0)
    model = MultiScaleDetector(width=4)
    every_anchor = torch.cat(anchors.generate_anchors())
    matches = matching.match_anchors_to_targets(every_anchor, dataset.boxes, dataset.labels)
    predictions = anchors.flatten_predictions(model(dataset.images[:2].permute(0, 3, 1, 2) / 255), 3)
    positives = matching.list_positives(matches.index[:2])
    losses = DetectionLoss("giou", "quality")(
        predictions, every_anchor, matches.index[:2], positives, dataset.boxes[:2], dataset.labels[:2]
    )
    losses["loss"].backward()
    gradient = model.block1[0][0].weight.grad
    config = inference.InferenceConfig()
    found = inference.propose(model.eval(), every_anchor, dataset.images[:2], config)
    best = coverage.compute_best_iou(dataset.boxes[dataset.labels >= 0], every_anchor)
    return [best, matches.index, matches.iou, gradient, *losses.values(), *found]


@pytest.mark.parametrize(
    ("generate", "flatten"),
    [
        (anchor_checks.generate_anchors, anchor_checks.flatten_predictions),
        (anchor_checks.generate_size_by_size, anchor_checks.flatten_size_by_size),
    ],
    ids=["cell by cell", "size by size"],
)
def test_a_detector_on_all_references_gives_the_same_numbers(dataset, originals, generate, flatten):
    expected = run_detector(dataset)
    functions = {"generate_anchors": generate, "flatten_predictions": flatten}
    functions |= {name: getattr(box_checks, name) for name in ("compute_iou", "encode", "decode")}
    for name, function in functions.items():
        assert solutions.use_solution(name, function)
    assert matching.compute_iou is boxes.compute_iou
    assert boxes.compute_iou is not solutions.get_original("helpers.detection.boxes.compute_iou")
    results = run_detector(dataset)
    assert len(results) == len(expected)
    assert all(map(torch.equal, results, expected))
