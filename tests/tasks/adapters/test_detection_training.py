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
from helpers.tasks.solutions import restore_originals, use_solution
from helpers.training import compute_gradients

ANCHORS = torch.cat(generate_anchors())
SCENES = ShapeDetectionDataset.draw(3, seed=641)
HIDDEN = SCENES.hide(0.9)
assert HIDDEN.ignored.any()


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


@pytest.mark.parametrize(
    "options",
    [
        {"dilations": Dilations(block3=2), "width": 4},
        {"dilations": TUNED.dilations, "width": 1},
        {"width": 2},
        {"objectness_prior": 0.01, "width": 4},
        {"dilations": Dilations(heads=(1, 6, 1)), "objectness_prior": 0.01, "num_classes": 4, "num_anchors": 2},
    ],
)
def test_the_reference_network_equals_the_workbooks_in_every_configuration(options):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = build(**options)
    with used("MultiScaleDetector", detection_model.MultiScaleDetector):
        detector = build(**options)
        assert isinstance(detector, training.MultiScaleDetector)
    for level, other in zip(detector(images), expected(images), strict=True):
        assert torch.equal(level, other)
        assert level.abs().sum() > 0


def test_a_head_without_a_bias_gets_one_for_the_prior():
    class WithoutBias(detection_model.MultiScaleDetector):
        def __init__(self, **options):
            super().__init__(**options)
            for head in self.heads:
                head[-1].bias = None

    with used("MultiScaleDetector", WithoutBias):
        detector = build(objectness_prior=0.01, width=2)
    for head in detector.heads:
        biases = head[-1].bias.detach().view(3, 8)
        torch.testing.assert_close(biases[:, 4].sigmoid(), torch.full((3,), 0.01))
        assert biases.count_nonzero() == 3


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
    own = loss.compute_class_loss
    with used("DetectionLoss", detection_loss.DetectionLoss):
        assert loss.compute_class_loss is not own
        terms, gradient = compute(predictions)
    assert torch.equal(gradient, expected_gradient)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():  # the order of a sum differs, the summands do not
        torch.testing.assert_close(terms[name], value, rtol=2e-6, atol=0)
    assert torch.equal(terms["objectness"], expected["objectness"])


class Scaled(detection_loss.DetectionLoss):
    """A loss whose terms have other sizes, which show which of them were used."""

    def forward(self, predictions, targets, anchors):
        factors = {"loss_obj": 2, "loss_cls": 3, "loss_loc": 5, "loss_total": 7}
        return {name: factors[name] * value for name, value in super().forward(predictions, targets, anchors).items()}


@pytest.mark.parametrize(
    ("recipe", "factors"),
    [
        (ASSIGNMENT, {"objectness": 2, "class": 3, "box": 5}),
        (replace(ASSIGNMENT, box_loss="giou"), {"objectness": 2, "class": 3, "box": 1}),
        (replace(ASSIGNMENT, objectness="quality"), {"objectness": 1, "class": 3, "box": 5}),
        (replace(TUNED, match_thresholds=(0.5, 0.4)), {"objectness": 1, "class": 3, "box": 1}),
        (TUNED, {"objectness": 1, "class": 3, "box": 1}),
    ],
)
def test_the_terms_of_the_assignment_are_the_students_and_the_others_the_workbooks(recipe, factors):
    recipe = replace(recipe, fresh_scenes=None)
    predictions = draw_predictions()
    expected, _ = compute(predictions, recipe)
    with used("DetectionLoss", Scaled):
        terms, _ = compute(predictions, recipe)
    for name, factor in factors.items():
        torch.testing.assert_close(terms[name], factor * expected[name], rtol=2e-6, atol=0)


@pytest.mark.parametrize("changes", [{"match_thresholds": (0.6, 0.5)}, {"minimum_visibility": 0.9}])
def test_other_matches_have_the_students_class_term_alone(changes):
    recipe = replace(ASSIGNMENT, box_loss="giou", objectness="quality", **changes)
    predictions = draw_predictions()
    expected, expected_gradient = compute(predictions, recipe)
    with used("DetectionLoss", detection_loss.DetectionLoss):
        terms, gradient = compute(predictions, recipe)
        with pytest.raises(ValueError, match="matches as the assignment does"):
            compute(predictions, replace(recipe, box_loss="smooth-l1"))
        with pytest.raises(ValueError, match="matches as the assignment does"):
            compute(predictions, replace(recipe, objectness="mined"))
    assert torch.equal(gradient, expected_gradient)
    torch.testing.assert_close(terms["class"], expected["class"], rtol=2e-6, atol=0)


def test_the_terms_of_a_batch_without_positives_are_the_workbooks():
    index = torch.full((2, len(ANCHORS)), workbook_matching.BACKGROUND)
    arguments = (ANCHORS, index, workbook_matching.list_positives(index), torch.zeros(2, 1, 4), torch.full((2, 1), -1))
    predictions = torch.randn(2, len(ANCHORS), 8, generator=torch.Generator().manual_seed(2))
    for names in ((), ("giou", "quality")):
        expected = loss.DetectionLoss(*names)(predictions, *arguments)
        with used("DetectionLoss", detection_loss.DetectionLoss):
            assert loss.DetectionLoss(*names)(predictions, *arguments) == expected


def test_every_batch_gets_its_own_terms():
    first, second = draw_predictions(), draw_predictions().detach().neg().requires_grad_()
    expected = [compute(predictions)[0]["loss"] for predictions in (first, second)]
    with used("DetectionLoss", detection_loss.DetectionLoss):
        results = [compute(predictions)[0]["loss"] for predictions in (first, second, first)]
    torch.testing.assert_close(results, [*expected, expected[0]], rtol=2e-6, atol=0)
    assert results[0] != results[1]


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


def test_the_reference_mines_other_negatives_of_a_step_only_among_equal_losses():
    _, batch = build_batch()
    with torch.no_grad():
        logits = training.flatten_predictions(build()(batch.images), 3)[..., 4].float()
    positive, negative = batch.index >= 0, batch.index == workbook_matching.BACKGROUND
    losses = torch.nn.functional.softplus(logits)
    width = batch.positives.shape[1]
    expected = workbook_matching.hard_negative_mining(losses, positive, negative, most_positives=width)
    with used("hard_negative_mining", matching.hard_negative_mining):
        mined = workbook_matching.hard_negative_mining(losses, positive, negative)
    for image in range(len(losses)):
        own, other = losses[image, mined[image]].sort().values, losses[image, expected[image]].sort().values
        assert torch.equal(own, other)
        assert len(own) == 3 * positive[image].sum()


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
