"""Keypoint benchmarks: heatmaps against a plain loop, decoders against the network, training steps against bare ones.

python -m benchmarks.keypoints
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import torch

from benchmarks.timing import NUM_TURNS, print_measurements, time_call, time_steps
from helpers import runtime
from helpers.keypoints import recipes
from helpers.keypoints.codecs import HeatmapCodec
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.heatmaps import generate_heatmap
from helpers.keypoints.scenes import IMAGE_SIZE
from helpers.keypoints.training import Task, build_network, compute_outputs

NUM_STEPS = 6  # per epoch of 32 images, the assignment's batch size
NUM_DECODED = 200  # images, as in the val split

_ALL_OPTIONS = {"fresh_figures": False, "mirrored": True}  # the most expensive step; drawing is measured separately
RECIPES = {
    "heatmap": recipes.ASSIGNMENT_HEATMAP,
    "regression": recipes.ASSIGNMENT_REGRESSION,
    "tuned_heatmap": replace(recipes.TUNED_HEATMAP, **_ALL_OPTIONS),
    "tuned_dsnt": replace(recipes.TUNED_DSNT, **_ALL_OPTIONS),
    "tuned_regression": replace(recipes.TUNED_REGRESSION, **_ALL_OPTIONS),
}
HEATMAP_CODEC = HeatmapCodec(decoder="argmax")  # the assignment's
DECODERS = {
    "argmax": HEATMAP_CODEC,
    "quarter": HeatmapCodec(decoder="quarter"),
    "dark": HeatmapCodec(decoder="dark"),
    "local": HeatmapCodec(decoder="local"),
    "joint": HeatmapCodec(decoder="dark", joint_hands=True),
}


def generate_heatmaps_in_a_loop(points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Return the maps [B, K, size, size] of `points` [B, K, 2], one image and one point at a time.

    A direct transcription of the assignment's formula, for comparison only.
    """
    maps = np.zeros((*points.shape[:2], size, size), np.float32)
    centres = (np.arange(size) + 0.5) * (IMAGE_SIZE / size)
    columns, rows = np.meshgrid(centres, centres)
    sigma_in_pixels = sigma * IMAGE_SIZE / size
    for image, figure in enumerate(points):
        for point, (x, y) in enumerate(figure):
            maps[image, point] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma_in_pixels**2))
    return maps


def measure() -> dict[str, float]:
    """Return times and ratios of targets, decoders and training steps."""
    device = runtime.choose_device()
    figures = KeypointDataset.draw(NUM_STEPS * recipes.ASSIGNMENT_HEATMAP.training.batch_size, seed=641)
    return _measure_targets(figures, device) | _measure_decoders(device) | _measure_steps(figures, device)


def _measure_targets(figures: KeypointDataset, device: torch.device) -> dict[str, float]:
    """Return the milliseconds for the heatmaps of a batch, by `generate_heatmap` and by the loop, and their ratio."""
    codec = HEATMAP_CODEC
    points = figures.points[: recipes.ASSIGNMENT_HEATMAP.training.batch_size]
    on_device = points.to(device)

    def generate() -> torch.Tensor:
        return generate_heatmap(on_device, codec.size, codec.sigma)

    def loop() -> torch.Tensor:
        return torch.from_numpy(generate_heatmaps_in_a_loop(points.numpy(), codec.size, codec.sigma)).to(device)

    torch.testing.assert_close(generate(), loop(), atol=1e-5, rtol=0)  # equal results; also warms both up
    turns = [(time_call(generate, device), time_call(loop, device)) for _ in range(5 * NUM_TURNS)]
    return {
        "heatmaps.loop_ms": 1000 * statistics.median(loop_seconds for _, loop_seconds in turns),
        "heatmaps.ms": 1000 * statistics.median(seconds for seconds, _ in turns),
        "heatmaps.ratio": statistics.median(seconds / loop_seconds for seconds, loop_seconds in turns),
    }


def _measure_decoders(device: torch.device) -> dict[str, float]:
    """Return the images per second of each decoder, and its time as a share of the network's forward pass."""
    figures = KeypointDataset.draw(NUM_DECODED, seed=642).to(device)
    model = build_network(recipes.ASSIGNMENT_HEATMAP).to(device).to(memory_format=torch.channels_last).eval()
    codec = HEATMAP_CODEC
    maps = codec.encode(figures.points) + 0.02 * torch.randn(codec.encode(figures.points).shape, device=device)

    def decode(codec: HeatmapCodec) -> float:
        return time_call(lambda: codec.decode(maps), device)

    def forward() -> float:
        return time_call(lambda: compute_outputs(model, figures.images), device)

    forward()
    results = {}
    for name, decoding_codec in DECODERS.items():
        decode(decoding_codec)
        turns = [(decode(decoding_codec), forward()) for _ in range(NUM_TURNS)]
        results[f"decode.{name}_per_second"] = NUM_DECODED / statistics.median(seconds for seconds, _ in turns)
        results[f"decode.{name}_share"] = statistics.median(seconds / network for seconds, network in turns)
    return results


def _measure_steps(figures: KeypointDataset, device: torch.device) -> dict[str, float]:
    """Return the seconds of a bare step and the ratio of the full step for each recipe, and the share of drawing."""
    results = {}
    for name, recipe in RECIPES.items():
        task = Task(recipe, figures, figures.select(slice(1)), device)
        times = time_steps(build_network(recipe), task, recipe.training, device)
        results[f"keypoints.{name}_seconds"], results[f"keypoints.{name}_ratio"] = times
    seconds = time_call(lambda: KeypointDataset.draw(len(figures), seed=643).to(device), device)
    num_steps = len(figures) / recipes.TUNED_DSNT.training.batch_size
    results["figures.share_of_a_step"] = seconds / num_steps / results["keypoints.tuned_dsnt_seconds"]
    return results


if __name__ == "__main__":
    print_measurements(measure())
