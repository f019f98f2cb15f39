"""Build tasks of the box dialects: reading and writing boxes of a COCO file."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake

IMPORTS = "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor"


def to_corners(boxes: list[list[float]]) -> Float[Tensor, "N 4"]:
    """Return the boxes of a COCO file as corners (x1, y1, x2, y2), as the handout's files hold them.

    A COCO file holds a box as [x, y, width, height] in pixels, where (x, y) is its upper left corner. Coordinates are
    places, not numbers of pixels: pixel i covers [i, i + 1), and a box that ends at the right border of an image of
    224 pixels has x2 = 224. Nothing is rounded and nothing is clipped.

    Example: [10, 20, 15, 40] is a box of 15 x 40 pixels whose upper left corner is (10, 20). Its lower right corner is
    (10 + 15, 20 + 40), so the result is [[10, 20, 25, 60]].

    Args:
        boxes: the values of `bbox` of one image, as `json.load` returns them: N lists of four numbers. An image without
            objects has the empty list.

    Returns:
        A float tensor with a row per box, in the order of `boxes`; of shape [0, 4] for the empty list.
    """
    values = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    upper_left, size = values[:, :2], values[:, 2:]
    return torch.cat([upper_left, upper_left + size], dim=1)


def to_coco(boxes: Float[Tensor, "N 4"]) -> list[list[float]]:
    """Return boxes (x1, y1, x2, y2) as a COCO file holds them: [x, y, width, height].

    This is the inverse of `to_corners`. Coordinates are places, so the width is the distance from the left to the right
    edge. Nothing is rounded: a predicted box may end between two pixels. The tensor `boxes` keeps its values, because
    the caller needs them afterwards.

    Example: the box (10, 20, 25, 60) is 15 pixels wide and 40 high, so the result is [[10.0, 20.0, 15.0, 40.0]].

    Args:
        boxes: corners in pixels.

    Returns:
        N lists of four plain numbers, which `json.dumps` can write; the empty list for no box.
    """
    upper_left, lower_right = boxes[:, :2], boxes[:, 2:]
    return torch.cat([upper_left, lower_right - upper_left], dim=1).tolist()


def _draw_corners(generator: torch.Generator) -> Tensor:
    """Return five boxes inside an image of 224 pixels, with corners between pixels."""
    start = torch.rand(5, 2, generator=generator) * 120
    return torch.cat([start, start + 4 + torch.rand(5, 2, generator=generator) * 90], dim=1)


def draw_to_corners_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `to_corners`."""
    boxes = to_coco(_draw_corners(generator))
    both = "dialects.read_then_write"
    moved = [[x + 7, y + 3, width, height] for x, y, width, height in boxes]
    return [
        Case("by hand", "one box", ([[10, 20, 15, 40]],)),
        Case("by hand", "a box of one pixel", ([[3, 7, 1, 1]],)),
        Case("by hand", "a box that ends between two pixels", ([[10.5, 20.25, 15.25, 40]],)),
        Case("borders and empty input", "a box that ends at the right border, x = 224", ([[176, 10, 48, 60]],)),
        Case("borders and empty input", "a box of the whole image", ([[0, 0, 224, 224]],)),
        Case("borders and empty input", "an image without objects", ([],)),
        Case("shapes and batches", "three boxes, in their order", ([[50, 60, 7, 9], [1, 2, 3, 4], [100, 0, 30, 5]],)),
        Case("laws", "all boxes moved by (7, 3)", (moved,)),
        Case("pairs", "to_coco returns the boxes", (boxes,), driver=both, partners=("to_coco",)),
        Case("data", "random boxes", (boxes,)),
    ]


def draw_to_coco_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `to_coco`."""
    boxes = _draw_corners(generator)
    one, fraction = torch.tensor([[10.0, 20, 25, 60]]), torch.tensor([[10.6, 20.3, 30.4, 60.6]])
    whole = torch.tensor([[0.0, 0, 224, 224]])
    three = torch.tensor([[50.0, 60, 57, 69], [1, 2, 4, 6], [100, 0, 130, 5]])
    moved = boxes + torch.tensor([7.0, 3, 7, 3])
    write, both = "dialects.write_json", "dialects.write_then_read"
    return [
        Case("by hand", "one box", (one,), driver=write),
        Case("by hand", "a box that ends between two pixels", (fraction,), driver=write),
        Case("borders and empty input", "a box of the whole image", (whole,), driver=write),
        Case("borders and empty input", "no box", (torch.zeros(0, 4),), driver=write),
        Case("shapes and batches", "three boxes, in their order", (three,), driver=write),
        Case("laws", "all boxes moved by (7, 3)", (moved,), driver=write),
        Case("pairs", "to_corners returns the boxes", (boxes,), driver=both, partners=("to_corners",)),
        Case("data", "random boxes", (boxes,), driver=write),
    ]


# Wrong implementations of `to_corners`


def _read(boxes: list) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _read_unchanged(boxes: list) -> Tensor:
    return _read(boxes)


def _read_inclusive(boxes: list) -> Tensor:
    return to_corners(boxes) - torch.tensor([0.0, 0, 1, 1])


def _read_clipped(boxes: list) -> Tensor:
    return to_corners(boxes).clamp(0, 223)


def _read_centres(boxes: list) -> Tensor:
    centre, size = _read(boxes).split(2, dim=1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def _read_sides_exchanged(boxes: list) -> Tensor:
    return to_corners([[x, y, height, width] for x, y, width, height in boxes])


def _read_from_x(boxes: list) -> Tensor:
    x, y, width, height = _read(boxes).unbind(1)
    return torch.stack([x, y, x + width, x + height], dim=1)


def _read_whole(boxes: list) -> Tensor:
    return to_corners(boxes).trunc()


def _read_shares(boxes: list) -> Tensor:
    return to_corners(boxes) / 224


def _read_columns_of_nothing(boxes: list) -> Tensor:
    values = torch.tensor(boxes, dtype=torch.float32)
    return torch.cat([values[:, :2], values[:, :2] + values[:, 2:]], dim=1)


def _read_stacked(boxes: list) -> Tensor:
    return torch.stack([to_corners([box])[0] for box in boxes])


def _read_flat_nothing(boxes: list) -> Tensor:
    return torch.tensor([[x, y, x + width, y + height] for x, y, width, height in boxes])


def _read_in_place(boxes: list) -> Tensor:
    for box in boxes:
        box[2] += box[0]
        box[3] += box[1]
    return _read(boxes)


# Wrong implementations of `to_coco`


def _write_corners(boxes: Tensor) -> list:
    return boxes.tolist()


def _write_inclusive(boxes: Tensor) -> list:
    return [[x, y, width + 1, height + 1] for x, y, width, height in to_coco(boxes)]


def _write_centres(boxes: Tensor) -> list:
    return [[x + width / 2, y + height / 2, width, height] for x, y, width, height in to_coco(boxes)]


def _write_sums(boxes: Tensor) -> list:
    return [[x1, y1, x1 + x2, y1 + y2] for x1, y1, x2, y2 in boxes.tolist()]


def _write_sides_exchanged(boxes: Tensor) -> list:
    return [[x, y, height, width] for x, y, width, height in to_coco(boxes)]


def _write_rounded(boxes: Tensor) -> list:
    return to_coco(boxes.round())


def _write_tensors(boxes: Tensor) -> list:
    return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes]


def _write_in_place(boxes: Tensor) -> list:
    boxes[:, 2:] -= boxes[:, :2]
    return boxes.tolist()


def _write_shares(boxes: Tensor) -> list:
    return to_coco(boxes / 224)


TO_CORNERS = Definition(
    name="to_corners",
    number="1.1",
    title="From [x, y, width, height] to corners",
    purpose=(
        "COCO's files hold a corner and a size, and the lessons compute with two corners.\n\n"
        'In the first line of the function, `Float[Tensor, "N 4"]` means: a tensor of floats with N rows and 4 '
        "columns. The check below has groups of cases: examples computed *by hand*, *borders* and empty input, "
        "*shapes* of tensors, *laws* (properties that hold for every input), *pairs* (`to_coco` of task 1.2, applied "
        "to the result of this function, must return the input), and random *data*."
    ),
    points=1,
    difficulty=1,
    minutes=(5, 10),
    reference=to_corners,
    imports=IMPORTS,
    draw_cases=draw_to_corners_cases,
    partners={"to_coco": to_coco},
    hints=(
        "Draw the box [10, 20, 15, 40] on paper. Which of its four numbers are a place, and which are a length?",
        "Make one tensor of all boxes first. What is its shape for an empty list, and which shape do you need?",
        "The lower right corner is the upper left corner plus the size: `values[:, :2] + values[:, 2:]`.",
    ),
    mistakes=(
        Mistake(
            "DS1",
            "width and height are taken for the lower right corner",
            "The last two numbers of a COCO box are lengths. Draw one box: does it lie on its object?",
            _read_unchanged,
        ),
        Mistake(
            "DS2",
            "coordinates are clipped to 223",
            "A right edge may lie at 224: the last pixel covers [223, 224). Do not clip.",
            _read_clipped,
        ),
        Mistake(
            "DS4a",
            "an image without objects raises IndexError, because the empty tensor has no columns",
            "`torch.tensor([])` has the shape [0]. Give it four columns before you take them apart.",
            _read_columns_of_nothing,
        ),
        Mistake(
            "DS4b",
            "an image without objects raises RuntimeError, because an empty list cannot be stacked",
            "Handle the empty list: the result has the shape [0, 4].",
            _read_stacked,
        ),
        Mistake(
            "DS5",
            "an image without objects gives the shape [0] in place of [0, 4]",
            "Later code takes `boxes[:, 2]`, so no boxes still have four columns: `.reshape(-1, 4)`.",
            _read_flat_nothing,
        ),
        Mistake(
            "DS8",
            "one pixel is subtracted from the lower right corner (x + width - 1)",
            "Coordinates are places: the right edge is x + width.",
            _read_inclusive,
        ),
        Mistake(
            "DS9",
            "(x, y) is taken for the centre of the box",
            "In a COCO file (x, y) is the upper left corner.",
            _read_centres,
        ),
        Mistake(
            "DS10",
            "width and height are exchanged",
            "The order is [x, y, width, height]: the width belongs to x, the height to y.",
            _read_sides_exchanged,
        ),
        Mistake(
            "DS11",
            "x is added to the width and to the height",
            "y2 is y + height.",
            _read_from_x,
        ),
        Mistake(
            "DS12",
            "coordinates are cut to whole pixels",
            "Keep the decimals: use a float tensor and do not round.",
            _read_whole,
        ),
        Mistake(
            "DS13",
            "coordinates are divided by the size of the image",
            "The result is in pixels.",
            _read_shares,
        ),
        Mistake(
            "DS14",
            "the lists of the caller are changed",
            "`box[2] += box[0]` writes into the annotations, and the next reader adds x again. Make new values.",
            _read_in_place,
        ),
    ),
)

TO_COCO = Definition(
    name="to_coco",
    number="1.2",
    title="From corners to [x, y, width, height]",
    purpose="COCO's metrics read files with a corner and a size. This is the way back.",
    points=1,
    difficulty=1,
    minutes=(5, 10),
    reference=to_coco,
    imports=IMPORTS,
    draw_cases=draw_to_coco_cases,
    partners={"to_corners": to_corners},
    hints=(
        "`to_corners` adds the size to the upper left corner. What is the way back?",
        "Compute all boxes at once as a tensor [N, 4]. Which method of a tensor returns plain numbers?",
        "`(boxes[:, 2:] - boxes[:, :2])` are the widths and heights; `.tolist()` makes lists of a tensor.",
    ),
    mistakes=(
        Mistake(
            "TC1",
            "the corners are written as they are",
            "A COCO file holds [x, y, width, height].",
            _write_corners,
        ),
        Mistake(
            "TC2",
            "one pixel is added to width and height (x2 - x1 + 1)",
            "Coordinates are places: the width is x2 - x1.",
            _write_inclusive,
        ),
        Mistake(
            "TC3",
            "the centre is written in place of the upper left corner",
            "In a COCO file (x, y) is the upper left corner.",
            _write_centres,
        ),
        Mistake(
            "TC4",
            "the corners are added where they must be subtracted",
            "This direction undoes `to_corners`: the width is x2 - x1.",
            _write_sums,
        ),
        Mistake(
            "TC5",
            "width and height are exchanged",
            "The order is [x, y, width, height].",
            _write_sides_exchanged,
        ),
        Mistake(
            "TC6",
            "the corners are rounded to whole pixels",
            "AP at high IoU thresholds falls by half a pixel. JSON can hold decimals.",
            _write_rounded,
        ),
        Mistake(
            "TC7",
            "the lists hold tensors, which JSON cannot write",
            "Make plain numbers of the tensor: `.tolist()`.",
            _write_tensors,
        ),
        Mistake(
            "TC8",
            "the tensor of the caller is changed",
            "`boxes[:, 2:] -= ...` writes into the caller's corners. Make a new tensor.",
            _write_in_place,
        ),
        Mistake(
            "TC9",
            "coordinates are divided by the size of the image",
            "COCO files hold pixels.",
            _write_shares,
        ),
    ),
)

DEFINITIONS = (TO_CORNERS, TO_COCO)
