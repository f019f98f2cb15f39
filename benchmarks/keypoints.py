"""Heatmaps made against a plain loop, every decoder against the network it reads, and full training steps against bare.

python -m benchmarks.keypoints
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import torch

from benchmarks.timing import NUM_TURNS, time_call, time_steps
from helpers import runtime
from helpers.keypoints import recipes
from helpers.keypoints.codecs import HeatmapCodec, generate_heatmap
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.recipes import KeypointTask, build_network, compute_outputs
from helpers.keypoints.scenes import IMAGE_SIZE

NUM_STEPS = 6  # per epoch of assignment batches
NUM_DECODED = 200  # images, as many as the val split has

_EVERY_WORK = {"fresh_figures": False, "mirrored": True}  # that a step can have; drawing is measured by itself
RECIPES = {
    "heatmap": recipes.ASSIGNMENT_HEATMAP,
    "regression": recipes.ASSIGNMENT_REGRESSION,
    "tuned_heatmap": replace(recipes.TUNED_HEATMAP, **_EVERY_WORK),
    "tuned_dsnt": replace(recipes.TUNED_DSNT, **_EVERY_WORK),
    "tuned_regression": replace(recipes.TUNED_REGRESSION, **_EVERY_WORK),
}
DECODERS = {
    "argmax": HeatmapCodec(decoder="argmax"),
    "quarter": HeatmapCodec(decoder="quarter"),
    "dark": HeatmapCodec(decoder="dark"),
    "local": HeatmapCodec(decoder="local"),
    "joint": HeatmapCodec(decoder="dark", exchangeable=True),
}


def generate_heatmaps_in_a_loop(points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Returns the maps [B, K, size, size] of `points` [B, K, 2], one image and one point at a time.

    This is how the assignment's formula is written down at first. It is the yardstick, not a way to be taken.
    """
    maps = np.zeros((*points.shape[:2], size, size), np.float32)
    centres = (np.arange(size) + 0.5) * (IMAGE_SIZE / size)
    columns, rows = np.meshgrid(centres, centres)
    spread = sigma * IMAGE_SIZE / size
    for image, figure in enumerate(points):
        for point, (x, y) in enumerate(figure):
            maps[image, point] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    return maps


def measure() -> dict[str, float]:
    """Returns seconds and ratios of targets, decoders and training steps."""
    device = runtime.choose_device()
    figures = KeypointDataset.draw(NUM_STEPS * recipes.ASSIGNMENT_HEATMAP.training.batch_size, seed=641)
    return _measure_targets(figures, device) | _measure_decoders(device) | _measure_steps(figures, device)


def _measure_targets(figures: KeypointDataset, device: torch.device) -> dict[str, float]:
    """Returns the milliseconds that a batch's heatmaps take, on the device, and their ratio to the loop's."""
    codec = recipes.ASSIGNMENT_HEATMAP.codec
    points = figures.points[: recipes.ASSIGNMENT_HEATMAP.training.batch_size]
    on_device = points.to(device)

    def ours() -> torch.Tensor:
        return generate_heatmap(on_device, codec.size, codec.sigma)

    def loop() -> torch.Tensor:
        return torch.from_numpy(generate_heatmaps_in_a_loop(points.numpy(), codec.size, codec.sigma)).to(device)

    torch.testing.assert_close(ours(), loop(), atol=1e-5, rtol=0)  # the same work, and warm
    turns = [(time_call(ours, device), time_call(loop, device)) for _ in range(5 * NUM_TURNS)]
    return {
        "heatmaps.loop_ms": 1000 * statistics.median(theirs for _, theirs in turns),
        "heatmaps.ms": 1000 * statistics.median(ours for ours, _ in turns),
        "heatmaps.ratio": statistics.median(ours / theirs for ours, theirs in turns),
    }


def _measure_decoders(device: torch.device) -> dict[str, float]:
    """Returns the images per second that each decoder reads, and its time as a share of the network's for the maps."""
    figures = KeypointDataset.draw(NUM_DECODED, seed=642).to(device)
    model = build_network(recipes.ASSIGNMENT_HEATMAP).to(device, memory_format=torch.channels_last).eval()
    codec = recipes.ASSIGNMENT_HEATMAP.codec
    maps = codec.encode(figures.points) + 0.02 * torch.randn(codec.encode(figures.points).shape, device=device)

    def decode(codec: HeatmapCodec) -> float:
        return time_call(lambda: codec.decode(maps), device)

    def forward() -> float:
        return time_call(lambda: compute_outputs(model, figures.images), device)

    forward()
    results = {}
    for name, reader in DECODERS.items():
        decode(reader)
        turns = [(decode(reader), forward()) for _ in range(NUM_TURNS)]
        results[f"decode.{name}_per_second"] = NUM_DECODED / statistics.median(seconds for seconds, _ in turns)
        results[f"decode.{name}_share"] = statistics.median(seconds / network for seconds, network in turns)
    return results


def _measure_steps(figures: KeypointDataset, device: torch.device) -> dict[str, float]:
    """Returns the bare step's seconds and the full step's ratio to it for each recipe, and what drawing adds."""
    results = {}
    for name, recipe in RECIPES.items():
        task = KeypointTask(recipe, figures, figures.select(slice(1)), device)
        times = time_steps(build_network(recipe), task, recipe.training, device)
        results[f"keypoints.{name}_seconds"], results[f"keypoints.{name}_ratio"] = times
    seconds = time_call(lambda: KeypointDataset.draw(len(figures), seed=643).to(device), device)
    num_steps = len(figures) / recipes.TUNED_DSNT.training.batch_size
    results["figures.share_of_a_step"] = seconds / num_steps / results["keypoints.tuned_dsnt_seconds"]
    return results


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:34} {value:.3f}")
