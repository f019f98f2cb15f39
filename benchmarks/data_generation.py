"""Measures how fast the handout's data is drawn and written, against the handout's own way, doing the same work.

    python -m benchmarks.data_generation

Both ways write the same PNG pixels and, to the byte, the same annotations in the handout's dialect; ours writes the
standard COCO files and a manifest besides. The two take turns, so that a busy machine slows both alike, and write to
memory where the system has a folder for that: making 2400 files costs both the same, and on a busy disk more than all
the rest.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from helpers.detection.scenes import CLASS_COLOURS, CLASS_NAMES, IMAGE_SIZE, SIZE_RANGES
from helpers.handout import HANDOUT_CONFIG, HandoutConfig, ensure_handout
from helpers.keypoints.scenes import IMAGE_SIZE as FIGURE_SIZE
from helpers.keypoints.scenes import POINT_NAMES

NUM_TURNS = 3
MEMORY = Path("/dev/shm")  # Linux keeps this folder in memory


def write_the_handouts_way(folder: Path, config: HandoutConfig = HANDOUT_CONFIG) -> None:
    """Writes both datasets as the assignment's text tells: one image and one object at a time.

    PIL draws every object twice, once in colour and once as its own mask; masks the size of the image say what is
    visible; `image.save` and `json.dump` do as they do by default. This is the yardstick, not a way to be taken.
    """
    rng = random.Random(config.seed)
    first_id = 0
    for split, image_ids in config.splits():
        first_id = _write_detection_split(folder / "detection", split, image_ids, rng, first_id)
    for split, image_ids in config.splits():
        _write_keypoint_split(folder / "keypoints", split, image_ids, rng)


def _write_detection_split(folder: Path, split: str, image_ids: range, rng: random.Random, first_id: int) -> int:
    (folder / split).mkdir(parents=True)
    images, annotations = [], []
    for image_id in image_ids:
        image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (255, 255, 255))
        draw = ImageDraw.Draw(image)
        objects, masks = [], []
        for _ in range(rng.randint(2, 5)):
            name = rng.choice(CLASS_NAMES)
            label = CLASS_NAMES.index(name)
            size = rng.randint(*SIZE_RANGES[label])
            for _ in range(50):
                x = rng.randint(size // 2, IMAGE_SIZE - size // 2)
                y = rng.randint(size // 2, IMAGE_SIZE - size // 2)
                box = [x - size // 2, y - size // 2, x + size // 2, y + size // 2]
                if all(_overlap(box, other) <= 0.3 for _, _, other in objects):
                    break
            _draw_shape(draw, name, box, fill=CLASS_COLOURS[label], outline=(0, 0, 0), width=2)
            mask = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE), 0)
            _draw_shape(ImageDraw.Draw(mask), name, box, fill=255)
            objects.append((label, size, box))
            masks.append(np.array(mask) > 0)
        for index, (label, size, box) in enumerate(objects):
            covered = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
            for later in masks[index + 1 :]:
                covered |= later
            x1, y1, x2, y2 = box
            own = masks[index][y1:y2, x1:x2]
            visible = own & ~covered[y1:y2, x1:x2]
            annotations.append(
                {
                    "id": first_id,
                    "image_id": image_id,
                    "category_id": label,
                    "bbox": box,
                    "area": size * size,
                    "visibility": float(visible.sum() / own.sum()),
                }
            )
            first_id += 1
        file_name = f"{image_id:06d}.png"
        image.save(folder / split / file_name)
        images.append({"id": image_id, "file_name": file_name, "width": IMAGE_SIZE, "height": IMAGE_SIZE})
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASS_NAMES)]
    with open(folder / f"{split}_annotations.json", "w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file, indent=2)
    return first_id


def _overlap(a: list[int], b: list[int]) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _draw_shape(draw: ImageDraw.ImageDraw, name: str, box: list[int], **style) -> None:
    x1, y1, x2, y2 = box
    if name == "circle":
        draw.ellipse(box, **style)
    elif name == "square":
        draw.rectangle(box, **style)
    else:
        draw.polygon([((x1 + x2) // 2, y1), (x1, y2), (x2, y2)], **style)


def _write_keypoint_split(folder: Path, split: str, image_ids: range, rng: random.Random) -> None:
    (folder / split).mkdir(parents=True)
    images = []
    for image_id in image_ids:
        image = Image.new("L", (FIGURE_SIZE, FIGURE_SIZE), 255)
        draw = ImageDraw.Draw(image)
        x, y = rng.randint(40, 88), rng.randint(40, 88)
        left, right = math.radians(90 - rng.uniform(-60, 60)), math.radians(90 - rng.uniform(-60, 60))
        spread = int(rng.uniform(10, 30))
        head = [x, y - 20]
        hands = [
            [x - int(20 * math.cos(left)), y - 6 + int(20 * math.sin(left))],
            [x + int(20 * math.cos(right)), y - 6 + int(20 * math.sin(right))],
        ]
        feet = [[x - spread, y + 37], [x + spread, y + 37]]
        draw.ellipse([x - 8, y - 28, x + 8, y - 12], outline=0, width=3)
        draw.line([x, y - 12, x, y + 12], fill=0, width=3)
        for hand in hands:
            draw.line([x, y - 6, *hand], fill=0, width=3)
        for foot in feet:
            draw.line([x, y + 12, *foot], fill=0, width=3)
        file_name = f"{image_id:06d}.png"
        image.save(folder / split / file_name)
        images.append({"id": image_id, "file_name": file_name, "keypoints": [head, *hands, *feet]})
    document = {"images": images, "keypoint_names": list(POINT_NAMES), "num_keypoints": len(POINT_NAMES)}
    with open(folder / f"{split}_annotations.json", "w") as file:
        json.dump(document, file, indent=2)


def require_same_data(theirs: Path, ours: Path) -> None:
    """Raises AssertionError unless `ours` has every file of `theirs`: annotations to the byte, images to the pixel."""
    for path in sorted(theirs.rglob("*.*")):
        twin = ours / path.relative_to(theirs)
        if path.suffix == ".json":
            same = path.read_bytes() == twin.read_bytes()
        else:
            with Image.open(path) as image, Image.open(twin) as other:
                same = image.mode == other.mode and np.array_equal(np.asarray(image), np.asarray(other))
        if not same:
            raise AssertionError(f"{twin} differs from {path}: the two ways do not do the same work")


def measure(config: HandoutConfig = HANDOUT_CONFIG, num_turns: int = NUM_TURNS) -> dict[str, float]:
    """Returns the median seconds of both ways and the ratio of ours to the handout's; their data is compared first."""
    seconds: dict[str, list[float]] = {"handout": [], "ours": []}
    ways = {"handout": write_the_handouts_way, "ours": ensure_handout}
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        for turn in range(num_turns):
            for way, write in ways.items():
                folder = Path(name, way)
                shutil.rmtree(folder, ignore_errors=True)
                start = time.perf_counter()
                write(folder, config)
                seconds[way].append(time.perf_counter() - start)
            if turn == 0:
                require_same_data(Path(name, "handout"), Path(name, "ours"))
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "data.handout_seconds": medians["handout"],
        "data.seconds": medians["ours"],
        "data.ratio": statistics.median(ours / theirs for theirs, ours in zip(*seconds.values(), strict=True)),
    }


if __name__ == "__main__":
    result = measure()
    print(
        f"both datasets, median of {NUM_TURNS} turns: handout's way {result['data.handout_seconds']:.2f} s, "
        f"ours {result['data.seconds']:.2f} s, ratio {result['data.ratio']:.2f} (to reach: at most 0.50)"
    )
