"""Recorded steps against plain ones, with a stand-in for the recorder; the last test needs a GPU and no stand-in."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import cuda_graphs, training
from helpers.cuda_graphs import ReplayedStep
from helpers.detection import recipes as detection
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.model import MultiScaleDetector
from helpers.detection.training import Task as DetectorTask
from helpers.digits.training import Task as DigitTask
from helpers.keypoints import recipes as keypoints
from helpers.keypoints import training as keypoint_training
from helpers.keypoints.dataset import KeypointDataset
from helpers.training import TrainingConfig
from tests import line
from tests.line import LineTask, without_seconds

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CONFIG = TrainingConfig(epochs=3, batch_size=4, optimizer="sgd", learning_rate=0.02, seed=7)


NETWORKS: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""All networks of `build_network`, among which the stand-in finds the one whose gradients it must not change."""


def build_network() -> nn.Module:
    """Return the network of `tests.line`, which has running statistics and random dropout."""
    network = line.build_network()
    NETWORKS.add(network)
    return network


def capture_on_cpu(function):
    """Replace `cuda_graphs.capture` on a CPU, with the side effects of a recording.

    The warm-up changes running statistics and random generators. Each repetition writes into the tensors of the first
    results, which the next repetition overwrites, and changes nothing else.
    """
    for _ in range(3):
        function()
    losses, gradients = function()
    (network,) = {network for network in NETWORKS if next(network.parameters()).grad is gradients[0]}

    def repeat() -> None:
        before = [parameter.grad for parameter in network.parameters()]
        for place, value in zip(tree_leaves((losses, gradients)), tree_leaves(function()), strict=True):
            place.copy_(value)
        for parameter, gradient in zip(network.parameters(), before, strict=True):
            parameter.grad = gradient

    return repeat, (losses, gradients)


def train(folder, device=CPU):
    network = build_network().to(device)
    history = training.train(network, LineTask(device=device, count=18), CONFIG, folder, identity={})
    return network.state_dict(), without_seconds(history)


def replay_everything(monkeypatch, capture) -> None:
    """Make training replay the recordings of `capture`, on every device."""
    monkeypatch.setattr(cuda_graphs, "capture", capture)
    monkeypatch.setattr(
        training, "choose_step", lambda task, device: ReplayedStep(partial(training.compute_gradients, task.losses))
    )


def test_with_a_stand_in_for_the_recorder_a_replayed_training_equals_the_plain_one(tmp_path, monkeypatch):
    """The copies around a recording are proved here: batches, losses, running statistics and random generators."""
    recordings = []

    def capture(function):
        recordings.append(function)
        return capture_on_cpu(function)

    plain_weights, plain_history = train(tmp_path / "plain")
    replay_everything(monkeypatch, capture)
    weights, history = train(tmp_path / "replayed")
    assert history == plain_history
    assert all(torch.equal(weights[name], plain_weights[name]) for name in plain_weights)
    assert len(recordings) == 2  # a whole batch and the shorter last one, each recorded once in three epochs


def test_every_network_has_separate_recordings(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "capture", capture_on_cpu)
    task = LineTask(count=18)
    plain = partial(training.compute_gradients, task.losses)
    step, batch = ReplayedStep(plain), task.points
    networks = [build_network().eval() for _ in range(2)]
    with torch.no_grad():
        networks[1][-1].bias += 1
    expected = [plain(network, batch)["loss"] for network in networks]
    assert [step(network, batch)["loss"] for network in networks] == expected
    assert expected[0] != expected[1]


def test_a_step_that_cannot_be_recorded_is_computed_with_a_warning_that_has_the_reason(tmp_path, monkeypatch):
    def fail(function):
        function()  # as a warm-up does
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("capture failed due to a previous error")

    plain_weights, plain_history = train(tmp_path / "plain")
    replay_everything(monkeypatch, fail)
    with pytest.warns(UserWarning, match="cannot be recorded.*not permitted when stream is capturing"):
        weights, history = train(tmp_path / "replayed")
    assert history == plain_history
    assert all(torch.equal(weights[name], plain_weights[name]) for name in plain_weights)


def test_only_a_gpu_replays_and_only_a_replayable_task():
    assert not isinstance(training.choose_step(LineTask(count=18), CPU), ReplayedStep)
    assert isinstance(training.choose_step(LineTask(count=18), GPU), ReplayedStep)
    assert not isinstance(training.choose_step(object.__new__(DigitTask), GPU), ReplayedStep)


@pytest.fixture
def no_collection():
    """Switch the garbage collector off, so that only reference counts free memory."""
    gc.disable()
    yield
    gc.enable()


def test_the_memory_of_a_recording_is_freed_when_the_training_ends(tmp_path, monkeypatch, no_collection):
    """A graph that the garbage collector destroys could be destroyed in the middle of another recording."""
    gradients = []

    def capture(function):
        losses, recorded_gradients = function()
        gradients.extend(map(weakref.ref, recorded_gradients))
        return lambda: None, (losses, recorded_gradients)

    replay_everything(monkeypatch, capture)
    network = build_network()
    is_alive = []
    training.train(
        network,
        LineTask(count=18),
        CONFIG,
        tmp_path,
        identity={},
        on_epoch_end=lambda row, model: is_alive.append(all(gradient() is not None for gradient in gradients)),
    )
    assert is_alive == [True] * CONFIG.epochs
    assert len(gradients) == 2 * len(list(network.parameters()))
    assert all(gradient() is None for gradient in gradients)


def test_the_memory_of_a_failed_recording_is_freed_at_once(monkeypatch, no_collection):
    gradients = []

    def fail(function):
        _, computed_gradients = function()
        gradients.extend(map(weakref.ref, computed_gradients))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(cuda_graphs, "capture", fail)
    task, network = LineTask(count=18), build_network()
    step = ReplayedStep(partial(training.compute_gradients, task.losses))
    with pytest.warns(UserWarning, match="out of memory"):
        step(network, task.points)
    network.zero_grad(set_to_none=True)
    assert gradients
    assert all(gradient() is None for gradient in gradients)


SCENES, FIGURES = ShapeDetectionDataset.draw(4, seed=1), KeypointDataset.draw(4, seed=1)
DETECTORS = {
    **detection.ablation(width=4, epochs=1),
    "tuned without fresh scenes": detection.replace(detection.TUNED, width=4, fresh_scenes=None),
}
LOCALIZERS = {
    **keypoints.ablation(epochs=1),
    "tuned heatmap": keypoints.TUNED_HEATMAP,
    "tuned DSNT": keypoints.TUNED_DSNT,
    "tuned regression": keypoints.TUNED_REGRESSION,
}


class OnOneDevice(TorchDispatchMode):
    """Refuse operations with a tensor of another device, such as a list of indices."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        results = function(*arguments, **(keywords or {}))
        leaves = tree_leaves((arguments, keywords or {}, results))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        assert all(tensor.device.type == self.device.type for tensor in tensors), function
        return results


def build_detector(recipe):
    return MultiScaleDetector(width=recipe.width, dilations=recipe.dilations)


@pytest.mark.parametrize(
    ("task", "build"),
    [
        *(
            pytest.param(DetectorTask(recipe, SCENES, SCENES, CPU), build_detector, id=name)
            for name, recipe in DETECTORS.items()
        ),
        *(
            pytest.param(
                keypoint_training.Task(recipe, FIGURES, FIGURES, CPU), keypoint_training.build_network, id=name
            )
            for name, recipe in LOCALIZERS.items()
        ),
    ],
)
@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
def test_the_losses_of_every_recipe_can_be_replayed(task, build, device, monkeypatch):
    """Fake tensors have shapes and no values: reading a value, or a shape that depends on one, raises an error.

    They can be on a GPU that does not exist, and cannot be combined with those of a CPU. Only a backward pass needs the
    GPU.
    """
    (batch,) = task.batches(1, 4, torch.Generator().manual_seed(0))
    fakes = FakeTensorMode()
    with fakes, device:
        model = build(task.recipe)
        columns = [torch.empty(column.shape, dtype=column.dtype) for column in batch]
        if isinstance(task, DetectorTask):
            monkeypatch.setattr(task, "anchors", torch.empty(task.anchors.shape))
    monkeypatch.setattr(task, "device", device)
    with fakes, OnOneDevice(device):
        losses = task.losses(model, type(batch)(*columns))
        if device == CPU:
            losses["loss"].backward()
    assert {value.device.type for value in losses.values()} == {device.type}
    assert {value.shape for value in losses.values()} == {torch.Size([])}


def test_operations_that_a_graph_cannot_replay_are_refused():
    with FakeTensorMode():
        with pytest.raises(DynamicOutputShapeException):
            torch.ones(3, device=GPU).nonzero()
        with pytest.raises(DataDependentOutputException):
            torch.ones(3, device=GPU).max().item()
        with pytest.raises(AssertionError, match="aten"), OnOneDevice(GPU):
            torch.ones(3, device=GPU)[[2, 0]]
        with pytest.raises(AssertionError, match="aten"), OnOneDevice(GPU):
            torch.ones(3, device=GPU).sum().cpu()
        with pytest.raises(AssertionError, match="aten"), OnOneDevice(GPU):
            torch.tensor(3.0, device=GPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: there is none here")
def test_on_a_gpu_a_replayed_training_is_the_plain_one(tmp_path, monkeypatch, recwarn):
    weights, history = train(tmp_path / "replayed", GPU)
    assert not [warning for warning in recwarn if cuda_graphs.REFUSAL in str(warning.message)]
    monkeypatch.setattr(training, "choose_step", lambda task, device: partial(training.compute_gradients, task.losses))
    plain_weights, plain_history = train(tmp_path / "plain", GPU)
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in plain_history], rel=1e-3)
    for name, value in plain_weights.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-2, atol=1e-3)
