"""Right implementations of a training epoch, and its contract."""

import numpy as np
import pytest
import torch

from helpers.course.checks import training_step
from helpers.tasks.drivers import training


def _train_with_autograd(model, dataloader, criterion, optimizer, device, anchors):
    """Set the gradients directly, without `backward`."""
    model.train()
    losses = np.array([])
    for images, targets in dataloader:
        on_device = [{name: target[name].to(device) for name in target} for target in targets]
        loss = criterion(model(images.to(device)), on_device, anchors)["loss_total"]
        parameters = list(model.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
        losses = np.append(losses, loss.detach().numpy())
    return losses.mean()


def _zero_at_the_end(model, dataloader, criterion, optimizer, device, anchors=None):
    model.train(True)
    model.zero_grad()
    total = torch.zeros(())
    for images, targets in dataloader:
        images = images.to(device, non_blocking=True)
        targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
        loss = criterion(model(images), targets, anchors)["loss_total"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        total += loss.detach()
    return total / len(dataloader)


def _clip_nothing(model, dataloader, criterion, optimizer, device, anchors):
    model.train()
    total, count = 0.0, 0
    for images, targets in dataloader:
        targets = [{"boxes": target["boxes"].to(device), "labels": target["labels"].to(device)} for target in targets]
        optimizer.zero_grad()
        losses = criterion(model(images.to(device)), targets, anchors)
        losses["loss_total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        optimizer.step()
        total += losses["loss_total"].item() * images.size(0)
        count += images.shape[0]
    return total / count


ORACLES = {"train_epoch": _train_with_autograd}
"""An independent right implementation of each task."""

VARIATIONS = {
    "train_epoch": {
        "gradients are cleared at the end, the mean is a tensor": _zero_at_the_end,
        "the mean is over the images": _clip_nothing,
    }
}
"""Legitimate variations of each task."""


def test_an_epoch_of_one_batch_by_hand():
    images, values = [torch.tensor([[1.0, 0], [0, 1]])], [torch.tensor([1.0, -1])]
    result = training.run_epoch(training_step.train_epoch, images, values)
    # Loss ((0 - 1)^2 + (0 + 1)^2) / 2 = 1, gradient (-1, 1), step -0.1 times the gradient.
    assert result["returned"] == pytest.approx(1.0)
    torch.testing.assert_close(result["weights"].detach(), torch.tensor([0.1, -0.1]))
