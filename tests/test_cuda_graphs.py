"""Recorded steps against plain ones: on a GPU where there is one, and elsewhere with a stand-in for the recorder."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import NamedTuple

import pytest
import torch
from jaxtyping import Float
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

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CONFIG = TrainingConfig(epochs=3, batch_size=4, optimizer="sgd", learning_rate=0.02, seed=7)


class Points(NamedTuple):
    inputs: Float[Tensor, "B 1"]
    targets: Float[Tensor, "B 1"]


class LineTask:
    """Points on a line in batches of two shapes: the last of an epoch is shorter."""

    monitor = "agreement"
    replayable = True

    def __init__(self, device: torch.device) -> None:
        inputs = torch.linspace(-1, 1, 18, device=device).unsqueeze(1)
        self.points = Points(inputs, 3 * inputs)

    def batches(self, epoch, batch_size, generator):
        order = torch.randperm(18, generator=generator).to(self.points.inputs.device)
        return [Points(*(column[rows] for column in self.points)) for rows in order.split(batch_size)]

    def losses(self, model, batch):
        error = (model(batch.inputs).float() - batch.targets).square().mean()
        return {"loss": error, "twice": 2 * error}

    def validate(self, model):
        return {"agreement": -self.losses(model, self.points)["loss"].item()}


NETWORKS: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""All that `build_network` has built: a stand-in for a graph has to know whose gradients it must not touch."""


def build_network() -> nn.Module:
    """Returns a small network with all that a recording could disturb: running statistics and random dropout."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
    NETWORKS.add(network)
    return network


def capture_on_cpu(function):
    """Stands for `cuda_graphs.capture`, with its traps.

    It warms up, which moves running statistics and random generators. Repeated, it fills the places of its first
    results, which the next repetition overwrites, and leaves all else as it is.
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
    history = training.train(network, LineTask(device), CONFIG, folder, identity={})
    return network.state_dict(), [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def replay_everything(monkeypatch, capture) -> list[ReplayedStep]:
    """Makes training replay on every device what `capture` records, and returns the steps that it will have used."""
    used = []

    def choose(task, device):
        used.append(ReplayedStep(partial(training.compute_gradients, task.losses)))
        return used[-1]

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    monkeypatch.setattr(training, "choose_step", choose)
    return used


def test_a_replayed_training_is_the_plain_one_bit_for_bit(tmp_path, monkeypatch):
    plain_weights, plain_history = train(tmp_path / "plain")
    used = replay_everything(monkeypatch, capture_on_cpu)
    weights, history = train(tmp_path / "replayed")
    assert history == plain_history
    assert all(torch.equal(weights[name], plain_weights[name]) for name in plain_weights)
    assert len(used[0]._recordings) == 2  # a whole batch and the last one: each recorded once in three epochs


def test_every_network_has_recordings_of_its_own(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "capture", capture_on_cpu)
    task = LineTask(CPU)
    plain = partial(training.compute_gradients, task.losses)
    step, batch = ReplayedStep(plain), task.points
    networks = [build_network().eval() for _ in range(2)]
    with torch.no_grad():
        networks[1][-1].bias += 1
    expected = [plain(network, batch)["loss"] for network in networks]
    assert [step(network, batch)["loss"] for network in networks] == expected
    assert expected[0] != expected[1]


def test_a_step_that_cannot_be_recorded_is_computed_and_a_warning_says_why(tmp_path, monkeypatch):
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


def test_only_a_gpu_replays_and_only_what_it_can():
    assert not isinstance(training.choose_step(LineTask(CPU), CPU), ReplayedStep)
    assert isinstance(training.choose_step(LineTask(CPU), GPU), ReplayedStep)
    assert not isinstance(training.choose_step(object.__new__(DigitTask), GPU), ReplayedStep)


@pytest.fixture
def no_collection():
    """Leaves only what counts references to free memory."""
    gc.disable()
    yield
    gc.enable()


def test_what_is_recorded_is_given_back_when_the_training_ends(tmp_path, monkeypatch, no_collection):
    """A graph that waits for the garbage collector could be destroyed in the middle of another's recording."""
    used = replay_everything(monkeypatch, lambda function: (lambda: None, function()))
    network = build_network()
    training.train(network, LineTask(CPU), CONFIG, tmp_path, identity={})
    kept = [weakref.ref(gradient) for one in used[0]._recordings.values() for gradient in one.gradients]
    assert all(gradient() is not None for gradient in kept)
    used.clear()
    assert all(gradient() is None for gradient in kept)


def test_what_could_not_be_recorded_is_given_back_at_once(monkeypatch, no_collection):
    made = []

    def fail(function):
        _, gradients = function()
        made.extend(map(weakref.ref, gradients))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(cuda_graphs, "capture", fail)
    task, network = LineTask(CPU), build_network()
    step = ReplayedStep(partial(training.compute_gradients, task.losses))
    with pytest.warns(UserWarning, match="out of memory"):
        step(network, task.points)
    network.zero_grad(set_to_none=True)
    assert made
    assert all(gradient() is None for gradient in made)


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
    """Refuses operations on anything that lies elsewhere or goes there, such as a list of indices."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        results = function(*arguments, **(keywords or {}))
        tensors = [one for one in tree_leaves((arguments, keywords or {}, results)) if isinstance(one, Tensor)]
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
    """Fake tensors have shapes, but no values: whoever asks for one, or for a shape that depends on one, is refused.

    They can be on a GPU that is not there, and refuse to meet those of a CPU. Only a backward pass needs the GPU.
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


def test_what_a_graph_could_not_replay_is_refused():
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
