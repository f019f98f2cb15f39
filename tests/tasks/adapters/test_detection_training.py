"""Adapters of matching, of the network, of its loss, and of scales: the references give the workbook's results."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch

from helpers.course.checks import detection_loss, detection_model, matching, scales
from helpers.detection import loss, model, receptive_fields, training
from helpers.detection import matching as workbook_matching
from helpers.detection.anchors import generate_anchors
from helpers.detection.batches import match_dataset
from helpers.detection.boxes import encode
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import Dilations
from helpers.detection.recipes import ASSIGNMENT, TUNED
from helpers.tasks.adapters import detection
from helpers.tasks.solutions import get_original, restore_originals, use_solution
from helpers.training import compute_gradients

ANCHORS = torch.cat(generate_anchors())
SCENES = ShapeDetectionDataset.draw(3, seed=641)
HIDDEN = SCENES.hide(0.9)
assert HIDDEN.ignored.any()

DETECTOR = "helpers.detection.model.MultiScaleDetector"


@contextlib.contextmanager
def used(name, function):
    """Let the workbook use a function, and its own again afterwards."""
    use_solution(name, function)
    try:
        yield
    finally:
        restore_originals()


def match(scenes, *thresholds):
    options = {"ignored": scenes.ignored}
    return workbook_matching.match_anchors_to_targets(ANCHORS, scenes.boxes, scenes.labels, *thresholds, **options)


@pytest.mark.parametrize("scenes", [SCENES, HIDDEN], ids=["plain", "hidden objects"])
@pytest.mark.parametrize("thresholds", [(0.5, 0.3), (0.6, 0.5)])
def test_matching_by_the_reference_equals_the_workbooks(scenes, thresholds):
    expected = match(scenes, *thresholds)
    with used("match_anchors_to_targets", matching.match_anchors_to_targets):
        matches = match(scenes, *thresholds)
    assert torch.equal(matches.index, expected.index)
    assert torch.equal(matches.iou, expected.iou)


def test_matching_is_used_where_a_dataset_is_matched():
    expected = match_dataset(HIDDEN, ANCHORS)
    with used("match_anchors_to_targets", matching.match_anchors_to_targets):
        matched = match_dataset(HIDDEN, ANCHORS)
    assert all(torch.equal(column, other) for column, other in zip(matched, expected, strict=True))


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_matching_takes_any_leading_axes_and_images_without_objects(shape):
    boxes, labels = torch.zeros(*shape, 0, 4), torch.zeros(*shape, 0, dtype=torch.int64)
    expected = workbook_matching.match_anchors_to_targets(ANCHORS, boxes, labels)
    with used("match_anchors_to_targets", matching.match_anchors_to_targets):
        matches = workbook_matching.match_anchors_to_targets(ANCHORS, boxes, labels)
    assert torch.equal(matches.index, expected.index)
    assert matches.index.shape == (*shape, len(ANCHORS))


def test_a_forced_match_is_a_positive_anchor_of_its_object():
    tiny = torch.tensor([[100.0, 100, 104, 104]])
    with used("match_anchors_to_targets", matching.match_with_forcing):
        matches = workbook_matching.match_anchors_to_targets(ANCHORS, tiny, torch.tensor([1]))
    assert (matches.index == 0).sum() == 1


def test_mining_by_the_reference_equals_the_workbooks():
    losses = torch.rand(len(SCENES), len(ANCHORS), generator=torch.Generator().manual_seed(0))
    index = match(SCENES).index
    masks = index >= 0, index == workbook_matching.BACKGROUND
    masks[0][0] = False  # an image without a positive anchor
    expected = workbook_matching.hard_negative_mining(losses, *masks, most_positives=400)
    with used("hard_negative_mining", matching.hard_negative_mining):
        assert torch.equal(workbook_matching.hard_negative_mining(losses, *masks, most_positives=400), expected)
        assert torch.equal(loss.hard_negative_mining(losses, *masks), expected)
    numbers = lambda *inputs: matching.hard_negative_mining(*inputs).nonzero()[:, 0].tolist()  # noqa: E731
    with used("hard_negative_mining", numbers):
        assert torch.equal(workbook_matching.hard_negative_mining(losses, *masks), expected)


def build(seed=0, **options):
    torch.manual_seed(seed)
    return model.MultiScaleDetector(**options)


def test_the_reference_network_equals_the_workbooks_in_outputs_features_and_weights():
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    expected = build()
    with used("MultiScaleDetector", detection_model.MultiScaleDetector):
        detector = build()
    assert isinstance(detector.network, detection_model.MultiScaleDetector)
    assert len(list(detector.parameters())) == len(list(expected.parameters()))
    for level, other in zip(detector(images), expected(images), strict=True):
        assert torch.equal(level, other)
    heads = [head(level) for head, level in zip(detector.heads, detector.features(images), strict=True)]
    assert all(torch.equal(level, other) for level, other in zip(heads, detector(images), strict=True))
    again = build(seed=1)
    with used("MultiScaleDetector", detection_model.MultiScaleDetector):
        loaded = build(seed=1)
    loaded.load_state_dict(detector.state_dict())
    again.load_state_dict(expected.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(loaded(images), again(images), strict=True))


@pytest.mark.parametrize("options", [{"dilations": Dilations(block3=2)}, {"width": 2}, {"objectness_prior": 0.01}])
def test_other_configurations_are_the_workbooks_own(options):
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = build(**options)
    with used("MultiScaleDetector", detection_model.MultiScaleDetector):
        detector = build(**options)
        assert isinstance(detector, training.MultiScaleDetector)
    assert isinstance(detector, get_original(DETECTOR))
    assert all(torch.equal(a, b) for a, b in zip(detector(images), expected(images), strict=True))
    assert detector.state_dict().keys() == expected.state_dict().keys()


def build_batch(recipe=ASSIGNMENT):
    task = training.Task(recipe, SCENES, SCENES, torch.device("cpu"))
    (batch,) = task.batches(0, 3, torch.Generator().manual_seed(0))
    return task, batch


def draw_predictions():
    return torch.randn(len(SCENES), len(ANCHORS), 8, generator=torch.Generator().manual_seed(2)).requires_grad_()


def compute(predictions, recipe=ASSIGNMENT):
    task, batch = build_batch(recipe)
    terms = task.criterion(predictions, task.anchors, batch.index, batch.positives, batch.boxes, batch.labels)
    (gradient,) = torch.autograd.grad(terms["loss"], predictions)
    return {name: value.detach() for name, value in terms.items()}, gradient


def test_the_reference_loss_has_the_workbooks_gradient_to_the_last_digit():
    predictions = draw_predictions()
    expected, expected_gradient = compute(predictions)
    with used("DetectionLoss", detection_loss.DetectionLoss):
        terms, gradient = compute(predictions)
        assert type(build_batch()[0].criterion) is not get_original("helpers.detection.loss.DetectionLoss")
    assert torch.equal(gradient, expected_gradient)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():  # the order of a sum differs, the summands do not
        torch.testing.assert_close(terms[name], value, rtol=2e-6, atol=0)
    assert torch.equal(terms["objectness"], expected["objectness"])


class Doubled(detection_loss.DetectionLoss):
    """A loss of another size, which shows whether it was called."""

    def forward(self, predictions, targets, anchors):
        return {name: 2 * value for name, value in super().forward(predictions, targets, anchors).items()}


@pytest.mark.parametrize(
    ("recipe", "is_used"),
    [
        (ASSIGNMENT, True),
        (TUNED, False),
        (replace(ASSIGNMENT, box_loss="giou"), False),
        (replace(ASSIGNMENT, objectness="quality"), False),
        (replace(ASSIGNMENT, match_thresholds=(0.6, 0.5)), False),
        (replace(ASSIGNMENT, minimum_visibility=0.9), False),
    ],
)
def test_only_the_losses_of_the_contract_are_the_students(recipe, is_used):
    recipe = replace(recipe, fresh_scenes=None)
    predictions = draw_predictions()
    expected, _ = compute(predictions, recipe)
    with used("DetectionLoss", Doubled):
        terms, _ = compute(predictions, recipe)
    assert terms["loss"] == pytest.approx(float(expected["loss"]) * (2 if is_used else 1))


def compute_gradients_of_a_step():
    task, batch = build_batch()
    network = build()
    compute_gradients(task.losses, network, batch)
    return [parameter.grad for parameter in network.parameters()]


def test_a_training_step_of_the_reference_network_changes_no_digit_of_the_gradients():
    expected = compute_gradients_of_a_step()
    with (
        used("match_anchors_to_targets", matching.match_anchors_to_targets),
        used("MultiScaleDetector", detection_model.MultiScaleDetector),
    ):
        gradients = compute_gradients_of_a_step()
    assert all(torch.equal(gradient, other) for gradient, other in zip(gradients, expected, strict=True))


def test_a_training_step_of_all_references_has_the_same_gradients_up_to_rounding():
    """Cells that see background alone have equal losses: which are mined is free, so sums differ in bfloat16."""
    expected = compute_gradients_of_a_step()
    with contextlib.ExitStack() as stack:
        for name, module in (("hard_negative_mining", matching), ("DetectionLoss", detection_loss)):
            stack.enter_context(used(name, getattr(module, name)))
        gradients = compute_gradients_of_a_step()
    for gradient, other in zip(gradients, expected, strict=True):
        assert (gradient - other).norm() <= 2e-2 * other.norm()


@pytest.mark.parametrize("dilations", [Dilations(), TUNED.dilations, Dilations(2, 2, (3, 4, 4))])
def test_receptive_fields_by_the_reference_equal_the_workbooks(dilations):
    expected = receptive_fields.compute_receptive_fields(dilations)
    with used("receptive_fields", scales.receptive_fields):
        assert receptive_fields.compute_receptive_fields(dilations) == expected


def test_an_offset_of_a_matched_box_is_that_of_the_workbook():
    """The loss encodes the box of the row that the matching names."""
    index = match(SCENES).index
    anchor = int((index[0] >= 0).nonzero()[0])
    box = SCENES.boxes[0, index[0, anchor]]
    predictions = torch.zeros(1, len(ANCHORS), 8)
    predictions[0, :, :4] = encode(box, ANCHORS)
    rows = workbook_matching.list_positives(index[:1])
    arguments = (predictions, ANCHORS, index[:1], rows, SCENES.boxes[:1], SCENES.labels[:1])
    expected = loss.DetectionLoss()(*arguments)["box"]
    with used("DetectionLoss", detection_loss.DetectionLoss):
        assert loss.DetectionLoss()(*arguments)["box"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", ["train_epoch", "analyze_scale_performance"])
def test_a_task_that_no_lesson_calls_replaces_nothing(name):
    assert getattr(detection, name)(print) == {}
