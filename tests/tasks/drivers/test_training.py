"""Drivers for losses and for the training of an epoch."""

import math

import pytest
import torch
from torch import nn

from helpers.tasks.drivers import training


class Quadratic(nn.Module):
    """Terms that are easy to differentiate: squares of the outputs of the first cell."""

    factor = 1.0
    is_summed = False

    def __init__(self, num_classes):
        super().__init__()
        self.outputs = 5 + num_classes

    def forward(self, predictions, targets, anchors):
        rows = predictions[0].unflatten(1, (-1, self.outputs))[:, 0, :, 0, 0]
        count = 1 if self.is_summed else len(targets)
        terms = [(rows[:, part] ** 2).sum() / count for part in (slice(4, 5), slice(5, None), slice(0, 4))]
        total = terms[0] + terms[1] + self.factor * terms[2]
        return dict(zip([*training.TERMS, "loss_total"], [*terms, total], strict=True))


class Summed(Quadratic):
    is_summed = True


class LighterBoxes(Quadratic):
    factor = 0.5


MAPS = [torch.arange(1.0, 33).reshape(1, 16, 1, 2)]  # two anchors with 5 + 3 outputs in each of two cells
TARGETS = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}]
SCENE = (MAPS, TARGETS, [torch.zeros(4, 4)], 3)


def test_terms_by_hand():
    terms = training.compute_terms(Quadratic, *SCENE)
    assert list(terms) == ["loss_obj", "loss_cls", "loss_loc", "loss_total"]
    assert terms["loss_obj"] == 9**2


def test_a_gradient_is_found_at_its_level_row_column_and_anchor():
    learning = training.list_learning(Quadratic, *SCENE)
    assert learning == {
        "logit raised at [level, row, column, anchor]": [],
        "logit lowered at": [[0, 0, 0, 0]],
        "class learned at": [[0, 0, 0, 0]],
        "box learned at": [[0, 0, 0, 0]],
    }
    raised = training.list_learning(Quadratic, [-MAPS[0]], *SCENE[1:])
    assert raised["logit raised at [level, row, column, anchor]"] == [[0, 0, 0, 0]]
    assert "logit lowered at" not in training.list_learning_levels(Quadratic, *SCENE)


def test_a_batch_with_the_same_image_twice_gives_quotients():
    assert set(training.compare_doubled(Quadratic, *SCENE).values()) == {1.0}
    assert set(training.compare_doubled(Summed, *SCENE).values()) == {2.0}


def test_terms_are_compared_and_a_quotient_by_0_is_nan():
    quotients = training.compare_terms(Quadratic, MAPS, [2 * MAPS[0]], *SCENE[1:])
    assert quotients == {"loss_obj": 0.25, "loss_cls": 0.25, "loss_loc": 0.25}
    assert math.isnan(training.compare_terms(Quadratic, MAPS, [0 * MAPS[0]], *SCENE[1:])["loss_obj"])


def test_the_weight_of_the_boxes_is_found():
    name = "(loss_total - loss_obj - loss_cls) / loss_loc"
    assert training.measure_weights(Quadratic, *SCENE)[name] == pytest.approx(1)
    assert training.measure_weights(LighterBoxes, *SCENE)[name] == pytest.approx(0.5)


def test_a_large_objectness_of_an_empty_image_is_seen():
    small = training.measure_empty(Quadratic, [0 * MAPS[0]], *SCENE[1:])
    assert small["loss_obj is at most that of five anchors"]
    assert small["loss_total is finite"]
    assert not training.measure_empty(Quadratic, *SCENE)["loss_obj is at most that of five anchors"]
    assert not training.measure_empty(Quadratic, [MAPS[0] * math.nan], *SCENE[1:])["loss_total is finite"]


def test_the_anchors_of_another_function_are_passed_on():
    calls = []

    def generate(sizes, scales, image_size):
        calls.append((sizes, scales, image_size))
        return [torch.zeros(4, 4)]

    terms = training.call_with_anchors(Quadratic, generate, "compute_terms", [[1, 2]], [[4, 8]], 16, MAPS, TARGETS, 3)
    assert calls == [([(1, 2)], [[4, 8]], 16)]
    assert terms["loss_obj"] == 81


def test_the_workload_of_a_loss_has_maps_and_anchors_of_equal_length():
    class Counting(Quadratic):
        def forward(self, predictions, targets, anchors):
            assert [3 * level[0, 0].numel() for level in predictions] == [len(level) for level in anchors]
            return super().forward(predictions, targets, anchors)

    assert training.time_loss(Counting, 2)


IMAGES, VALUES = [torch.tensor([[1.0, 0], [0, 1]])], [torch.tensor([1.0, -1])]


def train(model, batches, criterion, optimizer, device, anchors):
    model.train()
    total = 0.0
    for images, targets in batches:
        targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        loss = criterion(model(images.to(device)), targets, anchors)["loss_total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(batches)


def test_an_epoch_is_watched():
    result = training.run_epoch(train, IMAGES, VALUES)
    assert result["weights"].tolist() == pytest.approx([0.1, -0.1])
    assert training.watch_epoch(train, IMAGES, VALUES) == {
        "in training mode, for each batch": [True],
        "gradients": 1,
        "steps": 1,
        "the result has a gradient": False,
        "the result is one number": True,
    }


def test_a_late_epoch_starts_with_a_gradient_and_two_epochs_go_on():
    late = training.run_late_epoch(train, IMAGES, VALUES)
    assert late["in training mode, for each batch"] == [True]
    assert late["weights"].tolist() == pytest.approx([0.1, -0.1])
    first, second = training.run_two_epochs(train, IMAGES, VALUES)["returned"]
    assert second < first


def test_what_is_not_moved_to_the_device_cannot_be_used():
    def forget_images(model, batches, *_):
        model(batches[0][0])

    def forget_targets(model, batches, criterion, optimizer, device, anchors):
        images, targets = batches[0]
        criterion(model(images.to(device)), targets, anchors)

    with pytest.raises(training.ImagesNotOnDevice, match="images"):
        training.run_epoch(forget_images, IMAGES, VALUES)
    with pytest.raises(training.TargetsNotOnDevice, match="targets"):
        training.run_epoch(forget_targets, IMAGES, VALUES)


def test_waiting_images_know_their_size_and_batches_their_images():
    def read(model, batches, *_):
        images, targets = batches[0]
        return [images.size(0), images.shape[1], len(images), len(targets), len(batches.dataset)]

    assert training.run_epoch(read, IMAGES, VALUES)["returned"] == [2, 2, 2, 2, 2]
