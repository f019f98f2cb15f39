"""Adapters of the keypoint tasks: from the contract for one image to the workbook's batches.

Any number of maps or points is one call of the student's function, because its first axis may have any length. Nothing
here calls the workbook's own function: a student's copy lacks its body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from helpers.keypoints import metrics
from helpers.keypoints.scenes import IMAGE_SIZE, POINT_NAMES

Replacements = Mapping[str, Callable[..., Any]]

HEATMAPS = "helpers.keypoints.heatmaps"
METRICS = "helpers.keypoints.metrics"
MODEL = "helpers.keypoints.model"


def generate_heatmap(student: Callable[..., Any]) -> Replacements:
    """Return the replacement of the heatmap encoder."""

    def replacement(points: Tensor, size: int, sigma: float) -> Tensor:
        flat = points.reshape(-1, 2)
        with points.device:  # new tensors of the student's code are made here
            maps = student(flat, size, size, sigma)
        return _to_tensor(maps, points).view(*points.shape[:-1], size, size)

    return {f"{HEATMAPS}.generate_heatmap": replacement}


def extract_keypoints_from_heatmaps(student: Callable[..., Any]) -> Replacements:
    """Return the replacement of the decoder "argmax"."""
    return {f"{HEATMAPS}.peak_centres": _decode_from_peaks(student)}


def dark(student: Callable[..., Any]) -> Replacements:
    """Return the replacement of the decoder "dark"."""
    return {f"{HEATMAPS}.dark": _decode_from_peaks(student)}


def _decode_from_peaks(student: Callable[..., Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a decoder in cells that calls the student's, which finds the peaks by itself and returns pixels."""

    def replacement(maps: Tensor, peaks: Tensor) -> Tensor:
        with maps.device:
            points = student(maps.flatten(0, 1))
        height, width = maps.shape[-2:]
        pixels_per_cell = maps.new_tensor([IMAGE_SIZE / width, IMAGE_SIZE / height])
        return _to_tensor(points, maps).view(*maps.shape[:2], 2) / pixels_per_cell

    return replacement


def soft_argmax(student: Callable[..., Any]) -> Replacements:
    """Return the replacement of the soft-argmax."""

    def replacement(maps: Tensor, temperature: float = 1.0) -> Tensor:
        maps = maps.float()
        with maps.device:
            points = student(maps.flatten(0, 1), temperature)
        return _to_tensor(points, maps).view(*maps.shape[:2], 2)

    return {f"{HEATMAPS}.soft_argmax": replacement}


def HeatmapNet(student: Callable[..., nn.Module]) -> Replacements:
    """Return the replacement of the heatmap network."""

    def build(
        num_points: int = len(POINT_NAMES),
        output_size: int = 64,
        skips: bool = True,
        width: int = 32,
        empty_start: bool = False,
    ) -> nn.Module:
        network = student(num_points, output_size=output_size, skips=skips, width=width)
        last_layer = _find_last_layer(network, num_points)
        if empty_start and last_layer is not None:
            for parameter in last_layer.parameters():
                nn.init.zeros_(parameter)
        return _end_in_float32(network, last_layer, ())

    return {f"{MODEL}.HeatmapNet": build}


def RegressionNet(student: Callable[..., nn.Module]) -> Replacements:
    """Return the replacement of the regression network."""

    def build(num_points: int = len(POINT_NAMES), width: int = 32, dropout: float = 0.5) -> nn.Module:
        network = student(num_points, width=width, dropout=dropout)
        return _end_in_float32(network, _find_last_layer(network, 2 * num_points), (num_points, 2))

    return {f"{MODEL}.RegressionNet": build}


def _find_last_layer(network: nn.Module, num_outputs: int) -> Any:
    """Return the last one of a network's layers with so many outputs, or None if there is none."""
    last_layer = None
    for module in network.modules():
        is_linear = isinstance(module, nn.Linear) and module.out_features == num_outputs
        if is_linear or (isinstance(module, nn.Conv2d) and module.out_channels == num_outputs):
            last_layer = module
    return last_layer


def _end_in_float32(network: nn.Module, last_layer: Any, output_shape: tuple[int, ...]) -> nn.Module:
    """Return a student's network whose last layer and outputs are in float32, as the workbook's networks' are.

    The names of its weights do not change.

    Args:
        network: the student's.
        last_layer: of the network; None if it is not known.
        output_shape: of the outputs of one image; () leaves them as they are.
    """
    if last_layer is not None:
        last_layer.forward = _in_float32(last_layer.forward)

    def reshape(module: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
        outputs = outputs.float()
        return outputs.reshape(len(outputs), *output_shape) if output_shape else outputs

    network.register_forward_hook(reshape)
    return network


def _in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return forward(features.float())

    return run


def compute_pck(student: Callable[..., Any]) -> Replacements:
    """Return the replacement of the PCK; the better assignment of the hands is chosen before, where it is allowed."""

    def replacement(
        predicted: Tensor,
        true: Tensor,
        thresholds: Any = metrics.THRESHOLDS,
        normalize_by: str = "bbox",
        permutation_invariant: bool = False,
    ) -> Tensor:
        predicted, true = predicted.cpu().double(), true.cpu().double()
        if permutation_invariant:
            exchanged = metrics.exchange_hands(predicted)
            is_better = _measure(exchanged, true).sum(1) < _measure(predicted, true).sum(1)
            predicted = torch.where(is_better[:, None, None], exchanged, predicted)
        values = [float(threshold) for threshold in thresholds]
        shares = student(predicted, true, values, normalize_by)
        return torch.tensor([float(shares[value]) for value in values], dtype=torch.float64)

    return {f"{METRICS}.compute_pck": replacement}


def compute_swap_invariant_errors(student: Callable[..., Any]) -> Replacements:
    """Return the replacement of the errors under the better assignment; plain errors are computed here."""

    def replacement(predicted: Tensor, true: Tensor, permutation_invariant: bool = False) -> Tensor:
        predicted, true = predicted.cpu().double(), true.cpu().double()
        if not permutation_invariant:
            return _measure(predicted, true)
        return _to_tensor(student(predicted, true), predicted)

    return {f"{METRICS}.compute_errors": replacement}


def _measure(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the distances between points of the same name."""
    return (predicted - true).norm(dim=-1)


def mse_of_empty_map(student: Callable[..., Any]) -> Replacements:
    """Return no replacement: lesson 6 calls the function that its cell defines."""
    return {}


def mirror_figure(student: Callable[..., Any]) -> Replacements:
    """Return the replacement of the mirroring of batches."""

    def replacement(images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        flat_images = images.reshape(-1, *images.shape[-2:])
        flat_points = points.reshape(-1, *points.shape[-2:])
        mirrored_images = torch.empty_like(flat_images)
        mirrored_points = torch.empty_like(flat_points)
        for number in range(len(flat_images)):
            image, figure_points = student(flat_images[number], flat_points[number])
            mirrored_images[number] = _to_tensor(image, flat_images)
            mirrored_points[number] = _to_tensor(figure_points, flat_points)
        return mirrored_images.view(images.shape), mirrored_points.view(points.shape)

    return {"helpers.keypoints.dataset.mirror": replacement}


def _to_tensor(values: Any, like: Tensor) -> Tensor:
    """Return what a student's function has returned, an array for instance, in the type and on the device of `like`."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)
