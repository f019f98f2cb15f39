"""Drivers for detection losses and for the training of an epoch.

Losses may differ by constant divisors, so the drivers return what does not depend on them: quotients, gradients that
are not 0, and values that are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.tasks.drivers.boxes import draw_boxes

Loss = Callable[..., Any]
Target = dict[str, Tensor]

TERMS = ("loss_obj", "loss_cls", "loss_loc")


def _compute(loss: Loss, maps: list[Tensor], targets: list[Target], anchors: list[Tensor], num_classes: int) -> Any:
    return loss(num_classes)(maps, targets, anchors)


def compute_terms(
    loss: Loss, maps: list[Tensor], targets: list[Target], anchors: list[Tensor], num_classes: int
) -> dict[str, Any]:
    """Return the four terms."""
    terms = _compute(loss, maps, targets, anchors, num_classes)
    return {name: terms[name] for name in (*TERMS, "loss_total")}


def measure_empty(
    loss: Loss, maps: list[Tensor], targets: list[Target], anchors: list[Tensor], num_classes: int
) -> dict[str, Any]:
    """Return the class and box terms of an image without objects, and whether its objectness term is small.

    All its logits are 0, so an anchor that is used has the objectness loss log 2.
    """
    terms = compute_terms(loss, maps, targets, anchors, num_classes)
    return {
        "loss_cls": terms["loss_cls"],
        "loss_loc": terms["loss_loc"],
        "loss_obj is at most that of five anchors": float(terms["loss_obj"]) <= 5 * math.log(2) + 0.01,
        "loss_total is finite": math.isfinite(float(terms["loss_total"])),
    }


def measure_weights(
    loss: Loss, maps: list[Tensor], targets: list[Target], anchors: list[Tensor], num_classes: int
) -> dict[str, Any]:
    """Return the weight of the box term in the sum, if the others have the weight 1, and whether it has a gradient."""
    terms = compute_terms(loss, [level.requires_grad_() for level in maps], targets, anchors, num_classes)
    rest = terms["loss_total"] - terms["loss_obj"] - terms["loss_cls"]
    return {
        "(loss_total - loss_obj - loss_cls) / loss_loc": float(rest) / float(terms["loss_loc"]),
        "loss_total has a gradient": bool(terms["loss_total"].requires_grad),
    }


def compare_terms(
    loss: Loss,
    maps: list[Tensor],
    other_maps: list[Tensor],
    targets: list[Target],
    anchors: list[Tensor],
    num_classes: int,
) -> dict[str, float]:
    """Return each term for `maps`, divided by the same term for `other_maps`."""
    terms = compute_terms(loss, maps, targets, anchors, num_classes)
    others = compute_terms(loss, other_maps, targets, anchors, num_classes)
    return {name: _divide(terms[name], others[name]) for name in TERMS}


def compare_doubled(
    loss: Loss, maps: list[Tensor], targets: list[Target], anchors: list[Tensor], num_classes: int
) -> dict[str, float]:
    """Return each term of a batch that holds the same image twice, divided by the term of the image alone."""
    terms = compute_terms(loss, maps, targets, anchors, num_classes)
    doubled = compute_terms(loss, [torch.cat([level, level]) for level in maps], targets * 2, anchors, num_classes)
    return {name: _divide(doubled[name], terms[name]) for name in (*TERMS, "loss_total")}


def _divide(value: Any, other: Any) -> float:
    return float(value) / float(other) if float(other) else math.nan


def list_learning_levels(
    loss: Loss, maps: list[Tensor], targets: list[Target], anchors: list[Tensor], num_classes: int
) -> dict[str, Any]:
    """Return where the class and box terms of the first image have a gradient.

    How hard negatives are shared between several levels is left free.
    """
    learning = list_learning(loss, maps, targets, anchors, num_classes)
    return {name: places for name, places in learning.items() if not name.startswith("logit lowered")}


def list_learning(
    loss: Loss, maps: list[Tensor], targets: list[Target], anchors: list[Tensor], num_classes: int
) -> dict[str, Any]:
    """Return where each term of the first image has a gradient, as [level, row, column, anchor of the cell]."""
    variables = [level.clone().requires_grad_() for level in maps]
    terms = _compute(loss, variables, targets, anchors, num_classes)
    objectness = _differentiate(terms["loss_obj"], variables, num_classes)
    classes = _differentiate(terms["loss_cls"], variables, num_classes)
    boxes = _differentiate(terms["loss_loc"], variables, num_classes)
    return {
        "logit raised at [level, row, column, anchor]": _list_places([level[:, 4] < 0 for level in objectness]),
        "logit lowered at": _list_places([level[:, 4] > 0 for level in objectness]),
        "class learned at": _list_places([(level[:, 5:] != 0).any(dim=1) for level in classes]),
        "box learned at": _list_places([(level[:, :4] != 0).any(dim=1) for level in boxes]),
    }


def _differentiate(term: Tensor, variables: list[Tensor], num_classes: int) -> list[Tensor]:
    """Return the gradient of a term by the first image of each map, [A, 5 + C, h, w]; tiny numbers become 0."""
    gradients = torch.autograd.grad(term, variables, retain_graph=True, allow_unused=True)
    places = []
    for gradient, variable in zip(gradients, variables, strict=True):
        known = torch.zeros_like(variable) if gradient is None else gradient
        groups = known[0].unflatten(0, (-1, 5 + num_classes))
        places.append(torch.where(groups.abs() > 1e-7, groups, 0.0))
    return places


def _list_places(levels: list[Tensor]) -> list[list[int]]:
    """Return [level, row, column, anchor] wherever the masks [A, h, w] are true."""
    places = []
    for number, mask in enumerate(levels):
        for anchor, row, column in mask.nonzero().tolist():
            places.append([number, row, column, anchor])
    return sorted(places)


def call_with_anchors(
    loss: Loss,
    generate_anchors: Callable[..., Any],
    driver: str,
    sizes: list[list[int]],
    scales: list[list[int]],
    image_size: int,
    maps: list[Tensor],
    targets: list[Target],
    num_classes: int,
) -> dict[str, Any]:
    """Return what the driver named `driver` returns for the anchors of the student's `generate_anchors`."""
    anchors = generate_anchors([tuple(size) for size in sizes], scales, image_size)
    drivers = {"compute_terms": compute_terms, "list_learning": list_learning}
    return drivers[driver](loss, maps, targets, list(anchors), num_classes)


def time_loss(loss: Loss, num_images: int) -> bool:
    """Compute the loss of random outputs for three maps as large as the handout's and its gradient.

    Returns whether the loss is finite.
    """
    maps, anchors = [], []
    for side in (56, 28, 14):
        maps.append(torch.randn(num_images, 24, side, side).requires_grad_())
        anchors.append(draw_boxes(3 * side * side))
    targets = [{"boxes": draw_boxes(4), "labels": torch.tensor([0, 1, 2, 0])} for _ in range(num_images)]
    total = _compute(loss, maps, targets, anchors, 3)["loss_total"]
    total.backward()
    return math.isfinite(float(total))


LEARNING_RATE = 0.1


class LinearModel(nn.Module):
    """Model with two weights and no constant: the prediction of an image (a, b) is w1 a + w2 b.

    It notes its mode at each call, and counts how often its gradient is computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2))
        self.modes: list[bool] = []
        self.num_gradients = 0
        self.weights.register_hook(self._count)

    def _count(self, _: Tensor) -> None:
        self.num_gradients += 1

    def forward(self, images: Any) -> list[Tensor]:
        """Return the predictions of a batch, as a list of one map.

        Raises:
            ImagesNotOnDevice: they have not been moved.
        """
        self.modes.append(self.training)
        if isinstance(images, Waiting):
            raise ImagesNotOnDevice("the images are not on the device of the model")
        return [images @ self.weights]


class ImagesNotOnDevice(RuntimeError):
    """The images have not been moved to the device."""


class TargetsNotOnDevice(RuntimeError):
    """The targets have not been moved to the device."""


class Waiting:
    """A tensor that is not on the device yet: `to` returns it, and nothing can be computed with it before."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self.shape = values.shape

    def __len__(self) -> int:
        return len(self._values)

    def size(self, *axes: int) -> Any:
        """Return the shape, or the length of an axis."""
        return self._values.size(*axes)

    def to(self, *_: Any, **__: Any) -> Tensor:
        """Return the tensor on the device."""
        return self._values.clone()


def compute_squared_error(predictions: list[Tensor], targets: list[dict[str, Any]], *_: Any) -> dict[str, Tensor]:
    """Return the mean squared error of a batch, as a criterion returns it: "loss_obj" is a part of it.

    Raises:
        TargetsNotOnDevice: they have not been moved.
    """
    if any(isinstance(target["boxes"], Waiting) for target in targets):
        raise TargetsNotOnDevice("the targets are not on the device of the model")
    values = torch.stack([target["boxes"].sum() for target in targets])
    error = ((predictions[0] - values) ** 2).mean()
    part = predictions[0].mean() ** 2
    return {"loss_obj": part, "loss_cls": error - part, "loss_loc": error * 0, "loss_total": error}


class WatchedSGD(torch.optim.SGD):
    """Gradient descent that counts its steps."""

    num_steps = 0

    def step(self, *arguments: Any, **keywords: Any) -> Any:
        """Take a step and count it."""
        self.num_steps += 1
        return super().step(*arguments, **keywords)


class Batches(list[Any]):
    """Batches with the attributes of a `DataLoader` that a mean may use."""

    dataset: list[Tensor]


def _make_batches(images: list[Tensor], values: list[Tensor]) -> Batches:
    batches = Batches()
    batches.dataset = list(torch.cat(images))
    for batch, batch_values in zip(images, values, strict=True):
        targets = []
        for value in batch_values:
            boxes = torch.stack([value, value * 0, value * 0, value * 0])[None]
            targets.append({"boxes": Waiting(boxes), "labels": Waiting(torch.zeros(1, dtype=torch.int64))})
        batches.append((Waiting(batch), targets))
    return batches


def _train(train: Callable[..., Any], model: LinearModel, images: list[Tensor], values: list[Tensor]) -> Any:
    """Call the student's function with a new optimizer, and return its result and the optimizer."""
    optimizer = WatchedSGD(model.parameters(), lr=LEARNING_RATE)
    anchors = [torch.zeros(1, 4)]
    batches = _make_batches(images, values)
    return train(model, batches, compute_squared_error, optimizer, torch.device("cpu"), anchors), optimizer


def run_epoch(train: Callable[..., Any], images: list[Tensor], values: list[Tensor]) -> dict[str, Any]:
    """Return the weights after an epoch that starts at weights 0, and the returned loss.

    The learning rate is 0.1. The loss is the mean squared error of the prediction w1 a + w2 b for each image (a, b).
    """
    model = LinearModel()
    returned, _ = _train(train, model, images, values)
    return {"weights": model.weights, "returned": returned}


def watch_epoch(train: Callable[..., Any], images: list[Tensor], values: list[Tensor]) -> dict[str, Any]:
    """Return in which mode the model was, how many steps were taken, and whether the result is a mere number."""
    model = LinearModel()
    returned, optimizer = _train(train, model, images, values)
    return {
        "in training mode, for each batch": model.modes,
        "gradients": model.num_gradients,
        "steps": optimizer.num_steps,
        "the result has a gradient": isinstance(returned, Tensor) and returned.requires_grad,
        "the result is one number": isinstance(returned, int | float)
        or getattr(returned, "size", None) == 1
        or (isinstance(returned, Tensor) and returned.numel() == 1),
    }


def run_late_epoch(train: Callable[..., Any], images: list[Tensor], values: list[Tensor]) -> dict[str, Any]:
    """Return modes and weights for a model that was validated, and that holds the gradient of an earlier batch."""
    model = LinearModel().eval()
    model.weights.grad = torch.tensor([1.0, -2.0])
    _train(train, model, images, values)
    return {"in training mode, for each batch": model.modes, "weights": model.weights}


def run_two_epochs(train: Callable[..., Any], images: list[Tensor], values: list[Tensor]) -> dict[str, Any]:
    """Return the weights after two epochs, and both losses."""
    model = LinearModel()
    first, _ = _train(train, model, images, values)
    second, _ = _train(train, model, images, values)
    return {"weights": model.weights, "returned": [first, second]}
