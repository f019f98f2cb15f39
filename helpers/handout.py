"""Handout data: the two datasets of the assignment, drawn from one random stream (command: `workbook data`)."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import get_args

import numpy as np

from helpers import coco, generated, paths
from helpers.detection import scenes as detection
from helpers.images import write_image
from helpers.keypoints import scenes as keypoints

_FORMAT = 1  # raise it whenever the same configuration would give other files
_FOLDERS = ("detection", "keypoints")


@dataclasses.dataclass(frozen=True)
class HandoutConfig:
    """Configuration of the handout's data; the defaults are the handout's."""

    seed: int = 641  # of the random stream that decides the layout of both sets
    num_train: int = 1000  # images per set
    num_val: int = 200  # images per set
    scene: detection.SceneConfig = detection.HANDOUT_LOOK
    figure: keypoints.FigureConfig = keypoints.HANDOUT_FIGURE

    def __post_init__(self):
        if self.num_train < 1 or self.num_val < 1:
            raise ValueError(f"{self.num_train} + {self.num_val} images: each split holds at least one")

    def splits(self) -> tuple[tuple[str, range], ...]:
        """Return the name and the image ids of each split; the ids of val continue those of train."""
        end = self.num_train + self.num_val
        return ("train", range(self.num_train)), ("val", range(self.num_train, end))


HANDOUT_CONFIG = HandoutConfig()


def ensure_handout(folder: Path = paths.HANDOUT, config: HandoutConfig = HANDOUT_CONFIG) -> Path:
    """Return `folder` with both datasets of `config`, which are made unless they are complete and unchanged.

    Raises:
        DatasetError: `folder` holds something that is no part of the handout's data.
    """
    return generated.ensure_folder(folder, _describe(config), _FOLDERS, lambda partial: _write_sets(partial, config))


def is_complete(folder: Path, config: HandoutConfig = HANDOUT_CONFIG) -> bool:
    """Return whether `folder` holds every file of `config` at the length it was written with; no image is read."""
    return generated.is_complete(folder, _describe(config))


def _describe(config: HandoutConfig) -> generated.Description:
    return {"format": _FORMAT, **dataclasses.asdict(config)}


def _write_sets(folder: Path, config: HandoutConfig) -> None:
    """Write both sets in the order of the random stream: detection train and val, keypoints train and val."""
    rng = random.Random(config.seed)
    look = np.random.default_rng(config.seed)
    first_id = 0
    for split, image_ids in config.splits():
        first_id += _write_detection(folder / "detection", split, image_ids, rng, look, config.scene, first_id)
    for split, image_ids in config.splits():
        _write_keypoints(folder / "keypoints", split, image_ids, rng, config.figure)


def _write_detection(
    folder: Path,
    split: str,
    image_ids: range,
    rng: random.Random,
    look: np.random.Generator,
    config: detection.SceneConfig,
    first_id: int,
) -> int:
    """Write the images and both annotation files of a split; return its number of objects."""
    (folder / split).mkdir(parents=True)
    file_names = tuple(f"{image_id:06d}.png" for image_id in image_ids)
    truths = []
    for file_name in file_names:
        image, *truth = detection.draw_scene(rng, config, look)
        write_image(folder / split / file_name, image)
        truths.append(truth)
    boxes, labels, visibility, ignored, sizes = (np.concatenate(column) for column in zip(*truths, strict=True))
    file = coco.BoxFile(
        image_ids=np.array(image_ids),
        file_names=file_names,
        image_sizes=np.full((len(image_ids), 2), detection.IMAGE_SIZE),
        owners=np.repeat(np.arange(len(truths)), [len(truth[0]) for truth in truths]),
        boxes=boxes.astype(float),
        labels=labels,
        areas=(sizes**2).astype(float),
        visibility=visibility,
        ignored=ignored,
    )
    for dialect in get_args(coco.Dialect):
        path = coco.annotation_path(folder, split, dialect)
        coco.write_boxes(path, file, dialect, detection.CLASS_NAMES, first_id)
    return len(boxes)


def _write_keypoints(
    folder: Path, split: str, image_ids: range, rng: random.Random, config: keypoints.FigureConfig
) -> None:
    """Write the images and both annotation files of a split."""
    (folder / split).mkdir(parents=True)
    file_names = tuple(f"{image_id:06d}.png" for image_id in image_ids)
    points = []
    for file_name in file_names:
        scene = keypoints.draw_scene(rng, config)
        write_image(folder / split / file_name, scene.image)
        points.append(scene.points)
    size = np.full((len(image_ids), 2), keypoints.IMAGE_SIZE)
    file = coco.PointFile(np.array(image_ids), file_names, size, np.stack(points))
    for dialect in get_args(coco.Dialect):
        path = coco.annotation_path(folder, split, dialect)
        coco.write_points(path, file, dialect, keypoints.POINT_NAMES, keypoints.SKELETON, first_id=image_ids.start)
