"""Long comparisons of recipes with several seeds, and the command that runs them: `workbook study`.

A study trains each of its variants from each seed, all with the same data and budget, and writes one record per
training into `results/<name>.json`. Seeds come first: all variants are trained from seed 0 before any is trained from
seed 1, so that an unfinished study can be read. A stopped study goes on where it was: a record is kept while its recipe
is the same, and a training resumes from its checkpoint in `data/runs/studies/`.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from helpers import files, handout, identity, intervals, paths, records, runtime, training
from helpers.training import variant_folder

FOLDER = paths.RUNS / "studies"
DECIMALS = 5  # of the numbers in a file of results


class Measured(NamedTuple):
    """What a finished training gives."""

    history: list[training.Row]
    num_images: int  # trained on in each epoch
    metrics: dict[str, float]  # on the reported split, which selected nothing


Measure = Callable[[Any, Path], Measured]
"""Trains a recipe in a folder and measures it."""


@dataclass(frozen=True)
class Study:
    """A question, the recipes that are compared to answer it, and how many seeds each is trained from."""

    question: str
    num_seeds: int
    variants: Callable[[], Mapping[str, Any]]  # the recipes by name
    prepare: Callable[[torch.device], Measure]  # reads the data


# Detection


def _ablation_variants() -> dict[str, Any]:
    from helpers.detection import recipes

    steps = recipes.ablation(width=8, epochs=12)
    return steps | recipes.ablation_controls(steps) | recipes.leave_one_out(width=8, epochs=12)


def _curve_variants() -> dict[str, Any]:
    from helpers.detection import recipes

    return {"assignment": recipes.ASSIGNMENT, "tuned": recipes.TUNED}


def _prepare_detection(device: torch.device) -> Measure:
    from helpers.detection import metrics, recipes
    from helpers.detection.dataset import ShapeDetectionDataset
    from helpers.detection.training import train

    folder = handout.ensure_handout() / "detection"
    train_set, reported = (ShapeDetectionDataset.read(folder, split) for split in ("train", "val"))
    selection_set = ShapeDetectionDataset.draw(100, recipes.SELECTION_SEED)

    def measure(recipe: Any, run_folder: Path) -> Measured:
        detector = train(recipe, run_folder, train_set=train_set, selection_set=selection_set, device=device)
        detections = detector.detect(reported.images)
        values = metrics.evaluate_detections(reported, detections)
        resampled = metrics.resample_ap(reported, detections)
        return Measured(detector.history, len(train_set), values | _borders(values, resampled))

    return measure


# Keypoints


def _representation_variants() -> dict[str, Any]:
    from helpers.keypoints import recipes

    return {name: replace(recipe, width=16) for name, recipe in recipes.ablation(epochs=30).items()}


def _sigma_variants() -> dict[str, Any]:
    from helpers.keypoints import recipes

    base = replace(
        recipes.ASSIGNMENT_HEATMAP,
        width=16,
        training=replace(recipes.TUNED_HEATMAP.training, epochs=10),
        empty_start=True,
    )
    return recipes.vary_targets(base, sigmas=(0.5, 0.75, 1.0, 2.0, 3.0, 4.0))


def _prepare_keypoints(device: torch.device) -> Measure:
    from helpers.keypoints import metrics, recipes
    from helpers.keypoints.codecs import HeatmapCodec
    from helpers.keypoints.dataset import KeypointDataset
    from helpers.keypoints.training import train

    folder = handout.ensure_handout() / "keypoints"
    train_set, reported = (KeypointDataset.read(folder, split) for split in ("train", "val"))
    selection_set = KeypointDataset.draw(100, recipes.SELECTION_SEED)

    def measure(recipe: Any, run_folder: Path) -> Measured:
        trained = train(recipe, run_folder, train_set=train_set, selection_set=selection_set, device=device)
        codec = recipe.codec
        if isinstance(codec, HeatmapCodec):
            codec = replace(codec, decoder="dark")
        points = trained.predict(reported.images, codec).points.cpu()
        values = metrics.evaluate_points(points, reported.points)
        head_and_feet = metrics.compute_pck_per_point(points, reported.points)[:, [0, 3, 4]].mean(1)
        for threshold, value in zip(metrics.THRESHOLDS, head_and_feet.tolist(), strict=True):
            values[f"pck_head_feet@{threshold}"] = value
        return Measured(trained.history, len(train_set), values)

    return measure


# Digits


def _anchor_variants() -> dict[str, Any]:
    from helpers.digits import recipes

    base = replace(recipes.QUICK, augmentation=replace(recipes.QUICK.augmentation, zoom_out=0.0))
    return recipes.vary_anchors(base)


def _loss_variants() -> dict[str, Any]:
    from helpers.digits import recipes
    from helpers.digits.loss import BoxLossConfig, Schedule

    variants = recipes.vary_box_losses(recipes.QUICK, gain=10.0)
    del variants["constant CIoU"]  # alone, with λ = 1, it would train no boxes at all
    half = Schedule(start=0.5, limit=0.5)
    variants["half CIoU"] = replace(recipes.QUICK, box_loss=BoxLossConfig("ciou", half))
    variants["half constant CIoU"] = replace(recipes.QUICK, box_loss=BoxLossConfig("ciou", half, constant=True))
    return variants


def _schedule_variants() -> dict[str, Any]:
    from helpers.digits import recipes
    from helpers.digits.loss import REPORT_SCHEDULE, BoxLossConfig

    base = replace(recipes.QUICK, training=replace(recipes.QUICK.training, epochs=15))
    variants = {"smooth-L1": base}
    for name in ("DIoU", "CIoU"):
        term = recipes.TERM_NAMES[name]
        variants[f"{name} from epoch 6"] = replace(base, box_loss=BoxLossConfig(term, REPORT_SCHEDULE))
        constant = BoxLossConfig(term, REPORT_SCHEDULE, constant=True)
        variants[f"{name} from epoch 6, as a constant"] = replace(base, box_loss=constant)
    return variants


def _prepare_digits(device: torch.device) -> Measure:
    from helpers.digits import metrics
    from helpers.digits.drawn import ensure_drawn
    from helpers.digits.splits import read_splits
    from helpers.digits.training import train

    train_set, valid_set, reported = read_splits(ensure_drawn())
    selection_set = valid_set.select(slice(100))

    def measure(recipe: Any, run_folder: Path) -> Measured:
        detector = train(recipe, run_folder, train_set=train_set, selection_set=selection_set, device=device)
        detections = detector.detect(reported)
        values = metrics.evaluate_digits(reported.file, detections)
        resampled = metrics.resample_ap(reported.file, detections)
        return Measured(detector.history, len(train_set), values | _borders(values, resampled))

    return measure


def _borders(values: Mapping[str, float], resampled: Mapping[str, Any]) -> dict[str, float]:
    """Return `ap_low`, `ap_high`, `ap50_low` and `ap50_high`: the intervals over the reported images."""
    borders = {}
    for name, draws in resampled.items():
        interval = intervals.make_interval(values[name], draws)
        borders |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return borders


STUDIES = {
    "03_ablation": Study(
        "What is each change from `assignment` to `tuned` worth: added to the changes before it, and left out of all?",
        5,
        _ablation_variants,
        _prepare_detection,
    ),
    "03_curves": Study(
        "How do the losses develop until the end of the training, each recipe with its own number of epochs?",
        1,
        _curve_variants,
        _prepare_detection,
    ),
    "05_representations": Study(
        "Which change makes coordinate regression as precise as a heatmap, at the assignment's 30 epochs?",
        3,
        _representation_variants,
        _prepare_keypoints,
    ),
    "06_sigma": Study(
        "Which sigma and which resolution of a heatmap are best, below sigma 1, too?",
        3,
        _sigma_variants,
        _prepare_keypoints,
    ),
    "07_anchors": Study(
        "How far does a detector come with the report's, torchvision's and fitted anchors in the whole budget?",
        3,
        _anchor_variants,
        _prepare_digits,
    ),
    "08_losses": Study(
        "Does another box loss give a better detector, if the network is trained with it from scratch?",
        3,
        _loss_variants,
        _prepare_digits,
    ),
    "08_schedule": Study(
        "What does the report's schedule change, with the gradient of DIoU and CIoU and, as published, without it?",
        3,
        _schedule_variants,
        _prepare_digits,
    ),
}
"""All studies by name; the first two digits are those of the lesson that shows the results."""


# Running


def describe(name: str) -> str:
    """Return one line about study `name`: its question, and how many of its trainings have a record."""
    study = STUDIES[name]
    num_runs = len(_read_runs(paths.RESULTS / f"{name}.json"))
    return f"{name}: {num_runs} of {len(study.variants()) * study.num_seeds} trainings. {study.question}"


def run_study(name: str, num_seeds: int | None = None) -> Path:
    """Run what is missing of study `name`, and return the path of its results, which are written after each training.

    Args:
        num_seeds: how many seeds to run now (default: all of the study's). Records of further seeds are kept.

    Raises:
        DatasetError: the existing file of results cannot be read, or its trainings used another number format.
    """
    study, path = STUDIES[name], paths.RESULTS / f"{name}.json"
    device = runtime.choose_device()
    runtime.reuse_memory()
    variants = study.variants()
    _check_precision(path, device)
    with files.hold_lock(FOLDER / f"{name}.lock", f"another process runs study {name}: waiting for it"):
        measure = study.prepare(device)
        for seed in range(num_seeds or study.num_seeds):
            for variant, base in variants.items():
                recipe = replace(base, training=replace(base.training, seed=seed))
                runs = _read_runs(path)
                key = identity.digest(asdict(recipe))
                if any(run["recipe"] == key for run in runs):
                    continue
                print(f"{name}: {variant}, seed {seed}", flush=True)
                record = _run(measure, variant, recipe, FOLDER / name / variant_folder(variant, seed), device)
                others = [run for run in runs if (run["variant"], run["seed"]) != (variant, seed)]
                _write(path, name, study, variants, [*others, record | {"recipe": key}])
    return path


def _check_precision(path: Path, device: torch.device) -> None:
    """Raise DatasetError if the results in `path` were computed in another number format than this machine's."""
    precision = _name_precision(device)
    for run in _read_runs(path):
        if run["precision"] != precision:
            raise records.DatasetError(
                f"{path}: {run['variant']}, seed {run['seed']} was trained in {run['precision']}, this machine trains "
                f"in {precision}: a comparison needs one of them; go on where {run['precision']} is used"
            )


def _run(measure: Measure, variant: str, recipe: Any, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train and measure one recipe, and return its record."""
    started = time.perf_counter()
    measured = measure(recipe, folder)
    updates = len(measured.history) * math.ceil(measured.num_images / recipe.training.batch_size)
    return {
        "variant": variant,
        "seed": recipe.training.seed,
        "epochs": len(measured.history),
        "updates": updates,
        "images": measured.num_images,
        "seconds": round(time.perf_counter() - started),
        "device": runtime.describe_device(device),
        "precision": _name_precision(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        "metrics": _round(measured.metrics),
        "history": [_round(row) for row in measured.history],
    }


def _name_precision(device: torch.device) -> str:
    """Return the number format of the multiplications in a training, such as "bfloat16"."""
    return str(runtime.choose_precision(device)).removeprefix("torch.")


def _round(row: Mapping[str, float]) -> dict[str, float]:
    """Return the row with few decimals, which keep the file small and show every difference that counts."""
    return {name: value if isinstance(value, int) else round(float(value), DECIMALS) for name, value in row.items()}


def _commit() -> str:
    """Return the commit of the code, with "+" if files differ from it, or "unknown" outside a repository."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _read_runs(path: Path) -> list[dict[str, Any]]:
    return records.read_json(path, "file of results")["runs"] if path.exists() else []


def _write(path: Path, name: str, study: Study, variants: Mapping[str, Any], runs: Sequence[dict[str, Any]]) -> None:
    """Write all records: variants that the study no longer has are left out, the others stand in its order."""
    order = list(variants)
    kept = sorted(
        (run for run in runs if run["variant"] in variants), key=lambda run: (order.index(run["variant"]), run["seed"])
    )
    document = {"study": name, "question": study.question, "command": f"workbook study {name}", "runs": kept}
    files.write_text(path, json.dumps(document, indent=1) + "\n")
