"""Time of drawing and writing the handout's data: the workbook's code against the handout's.

    python -m benchmarks.data_generation

Both write the same PNG pixels and, to the byte, the same annotations in the handout's dialect; the workbook's code also
writes COCO files and a manifest. The two take turns, so that a busy machine slows both alike. They write to memory
where the system has a folder for that, because making 2400 files costs both the same, and on a busy disk more than
everything else.
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


def write_as_the_handout(folder: Path, config: HandoutConfig = HANDOUT_CONFIG) -> None:
    """Write both datasets as the assignment's text describes: one image and one object at a time.

    PIL draws every object twice, once in colour and once as a mask; the visible share is computed from masks of the
    size of the image; `image.save` and `json.dump` keep their defaults. This is the reference of the comparison only.
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
                if all(_overlap(box, earlier_box) <= 0.3 for _, _, earlier_box in objects):
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
            mask = masks[index][y1:y2, x1:x2]
            visible = mask & ~covered[y1:y2, x1:x2]
            annotations.append(
                {
                    "id": first_id,
                    "image_id": image_id,
                    "category_id": label,
                    "bbox": box,
                    "area": size * size,
                    "visibility": float(visible.sum() / mask.sum()),
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


def require_same_data(expected: Path, actual: Path) -> None:
    """Raise AssertionError unless `actual` has every file of `expected`: annotations by bytes, images by pixels."""
    for path in sorted(expected.rglob("*.*")):
        copy = actual / path.relative_to(expected)
        if path.suffix == ".json":
            same = path.read_bytes() == copy.read_bytes()
        else:
            with Image.open(path) as image, Image.open(copy) as image_copy:
                same = image.mode == image_copy.mode and np.array_equal(np.asarray(image), np.asarray(image_copy))
        if not same:
            raise AssertionError(f"{copy} differs from {path}: the two programs do not do the same work")


def measure(config: HandoutConfig = HANDOUT_CONFIG, num_turns: int = NUM_TURNS) -> dict[str, float]:
    """Return the median seconds of both programs and their ratio, after comparing their data once."""
    seconds: dict[str, list[float]] = {"handout": [], "workbook": []}
    programs = {"handout": write_as_the_handout, "workbook": ensure_handout}
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        for turn in range(num_turns):
            for program, write in programs.items():
                folder = Path(name, program)
                shutil.rmtree(folder, ignore_errors=True)
                start = time.perf_counter()
                write(folder, config)
                seconds[program].append(time.perf_counter() - start)
            if turn == 0:
                require_same_data(Path(name, "handout"), Path(name, "workbook"))
    medians = {program: statistics.median(values) for program, values in seconds.items()}
    turns = zip(seconds["workbook"], seconds["handout"], strict=True)
    return {
        "data.handout_seconds": medians["handout"],
        "data.seconds": medians["workbook"],
        "data.ratio": statistics.median(workbook / handout for workbook, handout in turns),
    }


if __name__ == "__main__":
    result = measure()
    print(
        f"both datasets, median of {NUM_TURNS} turns: the handout's code {result['data.handout_seconds']:.2f} s, "
        f"the workbook's {result['data.seconds']:.2f} s, ratio {result['data.ratio']:.2f} (to reach: at most 0.50)"
    )
