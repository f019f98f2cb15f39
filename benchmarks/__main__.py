"""Table of every measurement, with the value to reach (command: `workbook bench [NAME ...]`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import data_generation, digits, explorers, grading, grid, keypoints, memory, training_step
from helpers import runtime

TO_REACH = {
    "data.ratio": "at most 0.50: both datasets, the workbook's code against the handout's",
    "step.assignment_ratio": "at most 1.03 on a CPU, 1.15 on a GPU: full step against bare step",
    "step.tuned_ratio": "at most 1.03 on a CPU, 1.15 on a GPU",
    "step.share_of_peak": "at least 0.55: bare step against the machine's matrix product",
    "matching.share_of_a_step": "of a step: matching in every step instead of once per dataset",
    "memory.kept_ratio": "at most 0.90: a step with freed memory kept, against glibc's own settings (Linux, CPU)",
    "heatmaps.ratio": "at most 0.25: a batch of targets, `generate_heatmap` against a loop over images and points",
    **{f"keypoints.{name}_ratio": "at most 1.03 on a CPU, 1.15 on a GPU" for name in keypoints.RECIPES},
    "figures.share_of_a_step": "of a step: drawing fresh figures",
    **{f"decode.{name}_share": "of the network's forward pass" for name in keypoints.DECODERS},
    "digits.ratio": "at most 1.10: full step, images from disk, against bare step",
    "digits.decoding_share": "of a full step: decoding and augmenting its images alone",
    "digits.waiting_share": "of a full step: waiting for its images, decoded in the process or by a worker",
    "grading.seconds_per_submission": "at most 12.00: of lesson 2 on two cores; 200 submissions take 40 minutes",
    "grading.start_seconds": "the first submission, with the lesson's run in the process of the checks",
    "grading.sandbox_ratio": "at most 1.25: in the sandbox against a plain process",
    "grid.overhead_seconds": "at most 2.00: a run of a grid minus papermill by hand; both start a kernel",
    "grid.two_workers_ratio": "at least 1.70: throughput of two workers over one, runs of one thread",
    "explorers.largest_median_ms": "at most 150: from a press of a key to the changed picture in the browser",
    "explorers.largest_95_percent_ms": "at most 300: 95 of 100 presses, of the slowest explorer",
    "explorers.largest_without_kernel_ms": "at most 50: median of the slowest published explorer, without a kernel",
}


MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (data_generation, training_step, memory, keypoints, digits, grading, grid, explorers)
}


def main(names: Sequence[str]) -> int:
    """Print the table of the benchmarks `names`, or of all; return 1 if a name is unknown, else 0."""
    if unknown := [name for name in names if name not in MODULES]:
        print(f"no benchmark {', '.join(unknown)}; the benchmarks are: {', '.join(MODULES)}", file=sys.stderr)
        return 1
    device = runtime.choose_device()
    print(
        f"{runtime.describe_device(device)}, steps in {runtime.choose_precision(device)}; measure on an idle machine\n"
    )
    for module_name in names or MODULES:
        for name, value in MODULES[module_name].measure().items():
            print(f"{name:34} {value:9.3f}   {TO_REACH.get(name, '')}".rstrip(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
