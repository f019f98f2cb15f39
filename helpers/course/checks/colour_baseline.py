"""Build task of the colour baseline: a detector of a threshold and connected components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import ndimage
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake

IMPORTS = """import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import ndimage
from torch import Tensor"""


def detect_regions(
    image: UInt8[np.ndarray, "H W 3"],
) -> tuple[Float[Tensor, "N 4"], Float[Tensor, " N"], Int[Tensor, " N"]]:
    """Return one detection per connected region of red (circle), green (square) or blue (triangle) pixels.

    A channel of a pixel is bright if its value is above 127. A pixel is red if its red channel is bright and the two
    others are not; green and blue likewise. White, black and yellow pixels belong to no class. On the validation split
    this detector reaches AP@0.5 0.755.

    Two pixels of one class are connected if they share a side. `scipy.ndimage.label` numbers the regions of a boolean
    image. Every region is a detection, however small. Its box is the extent of its pixels, without the outline: pixel i
    covers [i, i + 1), so x2 is the last column plus 1. The score of each detection is 1. The order is free.

    Example: in a white image the pixels of the columns 2, 3, 4 and the rows 1, 2 are green. The result is one box
    (2, 1, 5, 3) with the score 1 and the label 1.

    Args:
        image: bytes (red, green, blue); it must not be changed.

    Returns:
        Boxes (x1, y1, x2, y2) in pixels, scores, and labels: 0 for red, 1 for green, 2 for blue. Without a region, the
        shapes are [0, 4], [0] and [0].
    """
    boxes, labels = [], []
    is_bright = image > 127
    for label in range(3):
        is_class = is_bright[..., label] & (is_bright.sum(axis=-1) == 1)
        regions: Any = ndimage.label(is_class)
        for rows, columns in ndimage.find_objects(regions[0]):
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            labels.append(label)
    scores = torch.ones(len(boxes))
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), scores, torch.tensor(labels, dtype=torch.int64)


def draw_colour_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `detect_regions`."""
    seeds = torch.randint(10_000, (3,), generator=generator).tolist()
    one = [("green", 2, 1, 5, 3)]
    three = [("red", 1, 2, 8, 7), ("green", 10, 3, 18, 15), ("blue", 20, 5, 29, 9)]
    two_red = [("red", 2, 3, 9, 8), ("red", 15, 1, 24, 9)]
    outlined = [("black", 4, 3, 20, 16), ("red", 6, 5, 18, 14)]
    dull = [("dull red", 2, 3, 10, 9), ("dull blue", 13, 2, 22, 12)]
    of_no_class = [("grey", 2, 2, 9, 9), ("yellow", 12, 1, 20, 9), ("blue", 22, 3, 28, 10)]
    touching = [("red", 2, 2, 10, 8), ("blue", 10, 4, 21, 12)]
    cut_in_two = [("green", 2, 4, 28, 10), ("black", 12, 1, 17, 14)]
    detect, shapes = "colour_baseline.detect_in_drawing", "colour_baseline.describe_shapes"
    empty = "borders and empty input"
    cases = [
        Case("by hand", "one green rectangle", ((6, 9), one), driver=detect),
        Case("by hand", "one rectangle of each colour", ((20, 30), three), driver=detect),
        Case("by hand", "two red rectangles apart", ((12, 30), two_red), driver=detect),
        Case("by hand", "a red rectangle in a black outline", ((20, 30), outlined), driver=detect),
        Case("by hand", "dull colours", ((14, 30), dull), driver=detect),
        Case("by hand", "grey and yellow belong to no class", ((12, 30), of_no_class), driver=detect),
        Case(empty, "a white image", ((6, 9), []), driver=detect),
        Case(empty, "a white image: the shapes", ((6, 9), []), driver=shapes),
        Case(empty, "a rectangle at the right and lower border", ((12, 18), [("blue", 10, 5, 18, 12)]), driver=detect),
        Case(empty, "a region of one pixel", ((12, 18), [("green", 7, 4, 8, 5)]), driver=detect),
        Case("shapes and batches", "two boxes: the shapes", ((12, 30), two_red), driver=shapes),
        Case("laws", "two colours that touch stay apart", ((14, 24), touching), driver=detect),
        Case("laws", "a rectangle that another one cuts in two", ((16, 30), cut_in_two), driver=detect),
    ]
    for number, seed in enumerate(seeds, start=1):
        title = f"scene {number} of the handout's generator"
        cases.append(Case("data", title, (seed,), driver="colour_baseline.detect_in_scene"))
    return cases


# Wrong implementations


def _find_pure(image: np.ndarray) -> list[np.ndarray]:
    """Return the right mask of each class."""
    is_bright = image > 127
    return [is_bright[..., label] & (is_bright.sum(axis=-1) == 1) for label in range(3)]


def _detect(masks: list[np.ndarray], smallest: int = 1) -> list[tuple[int, int, int, int, int]]:
    """Return (label, x1, y1, x2, y2) of every region of at least `smallest` pixels."""
    rows = []
    for label, mask in enumerate(masks):
        regions: Any = ndimage.label(mask)
        for number, (vertical, horizontal) in enumerate(ndimage.find_objects(regions[0]), start=1):
            if (regions[0] == number).sum() >= smallest:
                rows.append((label, horizontal.start, vertical.start, horizontal.stop, vertical.stop))
    return rows


def _to_columns(rows: list) -> tuple[Tensor, Tensor, Tensor]:
    boxes = torch.tensor([row[1:] for row in rows], dtype=torch.float32).reshape(-1, 4)
    return boxes, torch.ones(len(rows)), torch.tensor([row[0] for row in rows], dtype=torch.int64)


def _change_boxes(image: np.ndarray, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    boxes, scores, labels = detect_regions(image)
    return change(boxes), scores, labels


def _row_first(image: np.ndarray) -> tuple:
    return _change_boxes(image, lambda boxes: boxes[:, [1, 0, 3, 2]])


def _last_pixel_lost(image: np.ndarray) -> tuple:
    return _change_boxes(image, lambda boxes: boxes - torch.tensor([0.0, 0, 1, 1]))


def _width_and_height(image: np.ndarray) -> tuple:
    return _change_boxes(image, lambda boxes: torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1))


def _one_box_per_class(image: np.ndarray) -> tuple:
    rows = []
    for label, mask in enumerate(_find_pure(image)):
        vertical, horizontal = mask.nonzero()
        if len(vertical):
            rows.append((label, horizontal.min(), vertical.min(), horizontal.max() + 1, vertical.max() + 1))
    return _to_columns(rows)


def _own_channel_only(image: np.ndarray) -> tuple:
    return _to_columns(_detect([image[..., label] > 127 for label in range(3)]))


def _strongest_channel(image: np.ndarray) -> tuple:
    strongest = image.argmax(axis=-1)
    return _to_columns(_detect([strongest == label for label in range(3)]))


def _pure_colours_only(image: np.ndarray) -> tuple:
    is_full, is_empty = image == 255, image == 0
    return _to_columns(_detect([is_full[..., label] & (is_empty.sum(axis=-1) == 2) for label in range(3)]))


def _labels_from_1(image: np.ndarray) -> tuple:
    boxes, scores, labels = detect_regions(image)
    return boxes, scores, labels + 1


def _blue_first(image: np.ndarray) -> tuple:
    return detect_regions(image[..., ::-1])


def _colours_together(image: np.ndarray) -> tuple:
    masks = _find_pure(image)
    rows = []
    for _, x1, y1, x2, y2 in _detect([masks[0] | masks[1] | masks[2]]):
        counts = [mask[y1:y2, x1:x2].sum() for mask in masks]
        rows.append((int(np.argmax(counts)), x1, y1, x2, y2))
    return _to_columns(rows)


def _background_too(image: np.ndarray) -> tuple:
    rows = []
    for label, mask in enumerate(_find_pure(image)):
        labelled: Any = ndimage.label(mask)
        for number in np.unique(labelled[0]):  # 0 is the background
            vertical, horizontal = (labelled[0] == number).nonzero()
            rows.append((label, horizontal.min(), vertical.min(), horizontal.max() + 1, vertical.max() + 1))
    return _to_columns(rows)


def _small_regions_dropped(image: np.ndarray) -> tuple:
    return _to_columns(_detect(_find_pure(image), smallest=20))


def _scored_by_area(image: np.ndarray) -> tuple:
    boxes, _, labels = detect_regions(image)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return boxes, areas / (image.shape[0] * image.shape[1]), labels


def _labels_before_scores(image: np.ndarray) -> tuple:
    boxes, scores, labels = detect_regions(image)
    return boxes, labels, scores


def _flat_nothing(image: np.ndarray) -> tuple:
    boxes, scores, labels = detect_regions(image)
    return boxes if len(boxes) else torch.tensor([]), scores, labels


def _crash_on_nothing(image: np.ndarray) -> tuple:
    boxes, scores, labels = detect_regions(image)
    return torch.stack(list(boxes)), scores, labels


COLOUR = Definition(
    name="detect_regions",
    number="1.3",
    title="A detector of colour alone",
    purpose=(
        "A detector without any training shows how much of the task colour alone can solve. It is the first row of "
        "the table in the next section."
    ),
    points=3,
    difficulty=2,
    minutes=(20, 30),
    reference=detect_regions,
    imports=IMPORTS,
    draw_cases=draw_colour_cases,
    workload=Case("data", "one scene", (641,), driver="colour_baseline.detect_in_scene"),
    calls=200,
    hints=(
        "Begin with one class. Which pixels are green, and not white? Make a boolean image [H, W] and look at it.",
        "`regions, count = ndimage.label(mask)` gives each region a number from 1; 0 is everything else. Do this for "
        "each colour apart.",
        "`ndimage.find_objects(regions)` returns a (rows, columns) pair of slices per region. Which of the two gives "
        "x? And is `stop` the last pixel or the one after it?",
    ),
    mistakes=(
        Mistake(
            "CB1",
            "x and y are exchanged",
            "The first axis of an image is the row, so its slice gives y; columns give x.",
            _row_first,
        ),
        Mistake(
            "CB2",
            "the box ends at the start of the last pixel",
            "Pixel i covers [i, i + 1): the right edge is the last column plus 1.",
            _last_pixel_lost,
        ),
        Mistake(
            "CB3",
            "width and height are returned in place of the lower right corner",
            "A box is (x1, y1, x2, y2).",
            _width_and_height,
        ),
        Mistake(
            "CB4",
            "all pixels of a class share one box",
            "Two circles are two detections: find the connected regions first.",
            _one_box_per_class,
        ),
        Mistake(
            "CB5",
            "a class is judged by its own channel alone, so white counts as every colour",
            "White is bright in all three channels. Ask that the two other channels are dark.",
            _own_channel_only,
        ),
        Mistake(
            "CB6",
            "each pixel belongs to its strongest channel, so white and black are red",
            "`argmax` of three equal numbers is 0. A pixel may belong to no class.",
            _strongest_channel,
        ),
        Mistake(
            "CB7",
            "only the pure colours 255 and 0 count",
            "Compare with a threshold: bright is above 127.",
            _pure_colours_only,
        ),
        Mistake(
            "CB8",
            "labels start at 1",
            "Circles have the label 0. Only the targets of matching keep 0 for the background.",
            _labels_from_1,
        ),
        Mistake(
            "CB9",
            "red and blue are exchanged",
            "The channels are (red, green, blue). OpenCV reads images in the reverse order; this image is not from it.",
            _blue_first,
        ),
        Mistake(
            "CB10",
            "regions of different colours that touch are joined",
            "Find the regions of each colour apart.",
            _colours_together,
        ),
        Mistake(
            "CB11",
            "the background is a region, too",
            "`ndimage.label` numbers the regions from 1; the number 0 is everything else.",
            _background_too,
        ),
        Mistake(
            "CB12",
            "small regions are dropped",
            "Every region is a detection here. A cut by size can only lower the recall.",
            _small_regions_dropped,
        ),
        Mistake(
            "CB13",
            "the score is the area of the box",
            "The score of each detection is 1.",
            _scored_by_area,
        ),
        Mistake(
            "CB14",
            "an image without a region gives boxes of shape [0] in place of [0, 4]",
            "No boxes still have four columns: `.reshape(-1, 4)`.",
            _flat_nothing,
        ),
        Mistake(
            "CB15",
            "an image without a region raises RuntimeError",
            "An empty list cannot be stacked. An image without objects is an ordinary input.",
            _crash_on_nothing,
        ),
        Mistake(
            "CB16",
            "labels are returned before scores",
            "The order is boxes, scores, labels.",
            _labels_before_scores,
        ),
    ),
)

DEFINITIONS = (COLOUR,)
