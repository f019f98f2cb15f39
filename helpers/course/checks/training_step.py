"""Build task of a training epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.course.checks.definition import Case, Definition, Mistake


def train_epoch(
    model: nn.Module,
    dataloader: Iterable[Any],
    criterion: Callable[..., dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    anchors: list[Tensor],
) -> float:
    """Train the model for one epoch and return the mean loss.

    Put the model into training mode. For each batch move the images and the tensors of all targets to the device,
    compute the loss, and let the optimizer take one step along the gradient of this batch alone. The gradients that
    the model holds at the start belong to an earlier batch.

    Example: two batches have the losses 3 and 1 when they are used. The optimizer has taken two steps, and the function
    returns 2.0.

    Args:
        model: on the device already.
        dataloader: batches (images [B, 3, H, W], list of B targets), on the CPU; a target is {"boxes": [N, 4],
            "labels": [N]}.
        criterion: `criterion(predictions, targets, anchors)` returns a dict; "loss_total" is minimised.
        optimizer: of the model's parameters.
        device: where the model is.
        anchors: of each level, on the device already.

    Returns:
        Mean of "loss_total", over the batches or over the images, as a number without a gradient.
    """
    model.train()
    losses = []
    for images, targets in dataloader:
        images = images.to(device)
        targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        loss = criterion(model(images), targets, anchors)["loss_total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def train_and_average_over_images(model, dataloader, criterion, optimizer, device, anchors):
    """Train like `train_epoch` and return the mean over the images."""
    return _run(model, dataloader, criterion, optimizer, device, anchors, over_images=True)


def draw_epoch_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `train_epoch`.

    The model is linear with 2 weights (`helpers.tasks.drivers.training`), so an epoch can be followed on paper.
    """

    def case(group: str, title: str, images: list[Tensor], values: list[Tensor], driver: str = "run_epoch") -> Case:
        return Case(group, title, (images, values), driver=f"training.{driver}", tolerance=1e-4)

    def draw(*sizes: int) -> list[Tensor]:
        return [torch.randn(size, 2, generator=generator) for size in sizes]

    images = [torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 1], [2, 0]])]
    values = [torch.tensor([1.0, -1]), torch.tensor([0.5, 2])]
    random_images = draw(2, 3, 1)
    random_values = [batch.sum(dim=1) + 1 for batch in random_images]
    return [
        case("by hand", "one batch: weights, and the returned loss", images[:1], values[:1]),
        case("by hand", "two batches", images, values),
        case(
            "borders and empty input",
            "the last batch is smaller",
            [images[0], images[1][:1]],
            [values[0], values[1][:1]],
        ),
        case("shapes and batches", "batches of 2, 3 and 1 images", random_images, random_values),
        case("laws", "modes, steps and types", random_images, random_values, "watch_epoch"),
        case(
            "laws",
            "the model is in evaluation mode and holds a gradient at the start",
            images,
            values,
            "run_late_epoch",
        ),
        case("laws", "two epochs one after the other", images, values, "run_two_epochs"),
        case("data", "random batches", draw(2, 2, 2, 2), [torch.randn(2, generator=generator) for _ in range(4)]),
    ]


# Wrong epochs: the loop below with one step changed.


def _run(
    model: nn.Module,
    dataloader: Any,
    criterion: Any,
    optimizer: Any,
    device: Any,
    anchors: Any,
    *,
    mode: bool | None = True,
    moves_images: bool = True,
    moves_targets: bool = True,
    order: str = "zero backward step",
    term: str = "loss_total",
    over_images: bool = False,
    stops_after: int | None = None,
    returned: Callable[[list[Tensor], list[int]], Any] | None = None,
) -> Any:
    if mode is not None:
        model.train(mode)
    losses, counts = [], []
    for images, targets in dataloader:
        if moves_images:
            images = images.to(device)
        if moves_targets:
            targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        loss = criterion(model(images), targets, anchors)[term]
        for action in order.split():
            if action == "zero":
                optimizer.zero_grad()
            elif action == "backward":
                loss.backward()
            else:
                optimizer.step()
        losses.append(loss)
        counts.append(len(targets))
        if len(losses) == stops_after:
            break
    if returned is not None:
        return returned(losses, counts)
    weights = counts if over_images else [1] * len(counts)
    total = sum(loss.item() * weight for loss, weight in zip(losses, weights, strict=True))
    return total / sum(weights)


def _vary(**changes: Any) -> Callable[..., Any]:
    """Return the loop with some settings of `_run` changed."""

    def train(model: Any, dataloader: Any, criterion: Any, optimizer: Any, device: Any, anchors: Any) -> Any:
        return _run(model, dataloader, criterion, optimizer, device, anchors, **changes)

    return train


def _return_sum(losses: list[Tensor], counts: list[int]) -> float:
    return sum(loss.item() for loss in losses)


def _return_sum_over_images(losses: list[Tensor], counts: list[int]) -> float:
    return sum(loss.item() for loss in losses) / sum(counts)


def _return_last(losses: list[Tensor], counts: list[int]) -> float:
    return losses[-1].item()


def _return_nothing(losses: list[Tensor], counts: list[int]) -> None:
    return None


def _return_graph(losses: list[Tensor], counts: list[int]) -> Tensor:
    return torch.stack(losses).mean()


def _return_list(losses: list[Tensor], counts: list[int]) -> list[float]:
    return [loss.item() for loss in losses]


def _one_step_after_all(model, dataloader, criterion, optimizer, device, anchors):
    model.train()
    optimizer.zero_grad()
    losses = []
    for images, targets in dataloader:
        targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        losses.append(criterion(model(images.to(device)), targets, anchors)["loss_total"])
        losses[-1].backward()
    optimizer.step()
    return sum(loss.item() for loss in losses) / len(losses)


def _zero_once(model, dataloader, criterion, optimizer, device, anchors):
    optimizer.zero_grad()
    return _run(model, dataloader, criterion, optimizer, device, anchors, order="backward step")


def _without_gradient(model, dataloader, criterion, optimizer, device, anchors):
    with torch.no_grad():
        return train_epoch(model, dataloader, criterion, optimizer, device, anchors)


def _number_without_backward(model, dataloader, criterion, optimizer, device, anchors):
    model.train()
    for images, targets in dataloader:
        targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        loss = criterion(model(images.to(device)), targets, anchors)["loss_total"].item()
        optimizer.zero_grad()
        loss.backward()
    return 0.0


def _whole_dict(model, dataloader, criterion, optimizer, device, anchors):
    model.train()
    for images, targets in dataloader:
        targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        losses = criterion(model(images.to(device)), targets, anchors)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    return 0.0


EPOCH = Definition(
    name="train_epoch",
    number="3.6",
    title="Train for one epoch",
    purpose=(
        "This is the core of every training. The lessons train by a function that can also be interrupted and resumed."
    ),
    points=2,
    difficulty=2,
    minutes=(15, 25),
    reference=train_epoch,
    imports=(
        "from collections.abc import Callable, Iterable\nfrom typing import Any\n\n"
        "import torch\nfrom torch import Tensor, nn"
    ),
    convention="mean over the batches",
    conventions={"mean over the images": train_and_average_over_images},
    draw_cases=draw_epoch_cases,
    hints=(
        "Which four things happen to each batch, and in which order? What would happen without each of them?",
        "PyTorch adds every new gradient to the old one. When has the old one to go?",
        'After `loss = criterion(...)["loss_total"]`: `optimizer.zero_grad()`, `loss.backward()`, '
        "`optimizer.step()`, and `loss.item()` for the mean.",
    ),
    mistakes=(
        Mistake(
            "TE1a",
            "gradients are never set to zero",
            "`backward` adds to the gradients of the batches before. Call `optimizer.zero_grad()` for each batch.",
            _vary(order="backward step"),
        ),
        Mistake(
            "TE1b",
            "gradients are set to zero once, before the first batch",
            "`backward` adds to the gradients of the batches before. Call `optimizer.zero_grad()` for each batch.",
            _zero_once,
        ),
        Mistake(
            "TE2",
            "no gradient is computed: `backward` is missing",
            "Call `loss.backward()` before the step.",
            _vary(order="zero step"),
        ),
        Mistake(
            "TE3",
            "the weights are never changed: `step` is missing",
            "Call `optimizer.step()` after `loss.backward()`.",
            _vary(order="zero backward"),
        ),
        Mistake(
            "TE4a",
            "the mode of the model is not set",
            "Call `model.train()`: after a validation the model is in evaluation mode.",
            _vary(mode=None),
        ),
        Mistake(
            "TE4b",
            "the model is trained in evaluation mode",
            "Call `model.train()`, not `model.eval()`: dropout and batch normalisation depend on it.",
            _vary(mode=False),
        ),
        Mistake(
            "TE5a",
            "the sum of the losses is returned",
            "Divide by the number of batches.",
            _vary(returned=_return_sum),
        ),
        Mistake(
            "TE5b",
            "the sum of the batches' means is divided by the number of images",
            "The loss of a batch is a mean already: divide the sum by the number of batches, or weight it.",
            _vary(returned=_return_sum_over_images),
        ),
        Mistake(
            "TE6",
            "the loss of the last batch is returned",
            "Return the mean over the epoch.",
            _vary(returned=_return_last),
        ),
        Mistake("TE7a", "nothing is returned", "Return the mean loss.", _vary(returned=_return_nothing)),
        Mistake("TE7b", "a list of losses is returned", "Return one number, the mean.", _vary(returned=_return_list)),
        Mistake(
            "TE8a",
            "each step uses gradients of 0: `zero_grad` stands between `backward` and the next `step`",
            "The order is `zero_grad`, `backward`, `step`.",
            _vary(order="zero step backward"),
        ),
        Mistake(
            "TE8b",
            "the optimizer takes its step before `backward`, along the gradient of the batch before",
            "The order is `zero_grad`, `backward`, `step`.",
            _vary(order="step zero backward"),
        ),
        Mistake(
            "TE9",
            "the returned loss holds the graphs of all batches",
            "Add `loss.item()`, a number. The tensor keeps every activation of its batch in memory.",
            _vary(returned=_return_graph),
        ),
        Mistake(
            "TE11",
            "the optimizer takes one step for the whole epoch",
            "Take a step for each batch, inside the loop.",
            _one_step_after_all,
        ),
        Mistake(
            "TE12",
            "only one term of the loss is minimised",
            'The criterion returns its terms, too. Minimise "loss_total".',
            _vary(term="loss_obj"),
        ),
        Mistake(
            "TE13",
            "gradients are switched off by `no_grad`",
            "Training needs gradients; `no_grad` is for validation.",
            _without_gradient,
        ),
        Mistake(
            "TE14",
            "`backward` is called on a number",
            "`item()` returns a number without a gradient. Call `backward` on the tensor.",
            _number_without_backward,
        ),
        Mistake(
            "TE15",
            "only the first batch is used",
            "The loop ends too early: look at the place of `return`.",
            _vary(stops_after=1),
        ),
        Mistake(
            "TE16a",
            "the images are not moved to the device",
            "The model is on the device: `images = images.to(device)`.",
            _vary(moves_images=False),
        ),
        Mistake(
            "TE16b",
            "the targets are not moved to the device",
            "Move every tensor of every target: `{name: value.to(device) for name, value in target.items()}`.",
            _vary(moves_targets=False),
        ),
        Mistake(
            "TE17",
            "all values of the criterion's dict are added up",
            '"loss_total" is their weighted sum already.',
            _whole_dict,
        ),
    ),
)

DEFINITIONS = (EPOCH,)
