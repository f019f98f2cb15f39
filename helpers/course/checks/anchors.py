"""Build tasks of anchors: their boxes, and predictions in the same order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake

IMPORTS = "from collections.abc import Sequence\n\nimport torch\nfrom jaxtyping import Float\nfrom torch import Tensor"


def generate_anchors(
    feature_map_sizes: Sequence[Sequence[int]],
    anchor_scales: Sequence[Sequence[int | float]],
    image_size: int = 224,
) -> list[Float[Tensor, "_num_anchors 4"]]:
    """Return the anchors of each level as boxes (x1, y1, x2, y2) in pixels.

    The image is a square of `image_size` pixels. A feature map of h x w cells divides it into h rows and w columns; a
    cell is image_size / h pixels high and image_size / w pixels wide. Around the centre of every cell lies one square
    anchor of each size of the level. Anchors may reach beyond the image: they are neither clipped nor rounded.

    The order within a level is: row by row, in a row column by column, in a cell size by size. (All cells with the
    first size, then all cells with the second size, is accepted too. Task 2.5 must then use that order, and the lessons
    sort your anchors and predictions cell by cell.)

    Example: one level of 2 x 3 cells with the sizes 2 and 4, in an image of 12 pixels. A cell is 6 pixels high and 4
    wide, so the centre of the first cell is x = 2, y = 3. Its anchors are (1, 2, 3, 4) and (0, 1, 4, 5). The next cell
    has its centre at x = 6, y = 3, and its first anchor is (5, 2, 7, 4). The level has 2 · 3 · 2 = 12 anchors.

    Args:
        feature_map_sizes: (h, w) of each level: height first.
        anchor_scales: for each level the sides of its anchors in pixels.
        image_size: height and width of the image in pixels.

    Returns:
        A list with one float tensor [h * w * number of sizes, 4] per level.
    """
    anchors = []
    for (height, width), scales in zip(feature_map_sizes, anchor_scales, strict=True):
        y = (torch.arange(height) + 0.5) * (image_size / height)
        x = (torch.arange(width) + 0.5) * (image_size / width)
        half_sizes = torch.tensor(scales, dtype=torch.float32) / 2
        centre_y, centre_x, half = torch.meshgrid(y, x, half_sizes, indexing="ij")  # [h, w, sizes] each
        boxes = torch.stack([centre_x - half, centre_y - half, centre_x + half, centre_y + half], dim=-1)
        anchors.append(boxes.reshape(-1, 4))
    return anchors


def generate_size_by_size(
    feature_map_sizes: Sequence[Sequence[int]], anchor_scales: Sequence[Sequence[int | float]], image_size: int = 224
) -> list[Tensor]:
    """Return the anchors of each level, listed size by size: the other order that is accepted."""
    levels = generate_anchors(feature_map_sizes, anchor_scales, image_size)
    return [
        level.reshape(-1, len(scales), 4).transpose(0, 1).reshape(-1, 4)
        for level, scales in zip(levels, anchor_scales, strict=True)
    ]


def flatten_predictions(
    maps: Sequence[Float[Tensor, "B channels _h _w"]], num_anchors: int
) -> Float[Tensor, "B num_predictions K"]:
    """Return the predictions of all levels in one tensor, in the order of `generate_anchors`.

    Row i of the result holds the K numbers that the network predicts for row i of `torch.cat(generate_anchors(...))`.
    With anchors listed cell by cell, the order is: level by level, in a level row by row, in a row column by column, in
    a cell size by size. (If your anchors are listed size by size within a level, list the predictions so.)

    The channels of a map hold one block per anchor: channels 0 to K - 1 belong to the first size, K to 2K - 1 to the
    second, and so on. Use operations of torch only: the training needs the gradient.

    Example: one map of 1 x 2 cells with two anchors and K = 2, so it has four channels. At the first cell they hold
    0, 1, 10, 11, at the second cell 100, 101, 110, 111. The result has the rows (0, 1), (10, 11), (100, 101),
    (110, 111).

    Args:
        maps: one map [B, num_anchors * K, h, w] per level, for B images; h and w differ from level to level.
        num_anchors: anchors per cell.

    Returns:
        [B, N, K]: N is the number of anchors of all levels together.
    """
    levels = []
    for level in maps:
        batch_size, num_channels, height, width = level.shape
        blocks = level.reshape(batch_size, num_anchors, num_channels // num_anchors, height, width)
        cells = blocks.permute(0, 3, 4, 1, 2)  # [B, h, w, num_anchors, K]
        levels.append(cells.reshape(batch_size, height * width * num_anchors, -1))
    return torch.cat(levels, dim=1)


def flatten_size_by_size(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    """Return the predictions of all levels, listed size by size within a level."""
    levels = []
    for level in maps:
        batch_size, num_channels, height, width = level.shape
        blocks = level.reshape(batch_size, num_anchors, num_channels // num_anchors, height, width)
        rows = blocks.permute(0, 1, 3, 4, 2)  # [B, num_anchors, h, w, K]
        levels.append(rows.reshape(batch_size, num_anchors * height * width, -1))
    return torch.cat(levels, dim=1)


HANDOUT = ([(56, 56), (28, 28), (14, 14)], [[16, 24, 32], [48, 64, 96], [96, 128, 192]])
"""Feature maps and sizes of the handout."""


def draw_anchor_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `generate_anchors`."""
    heights, widths = torch.randint(2, 4, (2,), generator=generator), torch.randint(4, 6, (2,), generator=generator)
    map_sizes = [(int(height), int(width)) for height, width in zip(heights, widths, strict=True)]
    scales = (torch.randint(2, 60, (2, 2), generator=generator) / 2).tolist()
    image_size = int(torch.randint(20, 60, (1,), generator=generator))
    borders = "borders and empty input"
    return [
        Case("by hand", "2 x 3 cells and one size", ([(2, 3)], [[4]], 12)),
        Case("by hand", "2 x 3 cells and two sizes", ([(2, 3)], [[2, 4]], 12)),
        Case("by hand", "sizes of half pixels, and an odd size", ([(1, 2)], [[3]], 10)),
        Case(borders, "one cell: every anchor reaches beyond the image", ([(1, 1)], [[16, 24, 32]], 8)),
        Case(borders, "many narrow cells", ([(1, 5)], [[6]], 12)),
        Case("shapes and batches", "two levels", ([(2, 4), (1, 2)], [[3], [6]], 12)),
        Case("shapes and batches", "levels with different numbers of sizes", ([(3, 1), (1, 2)], [[3], [5, 6, 8]], 12)),
        Case("shapes and batches", "the handout's three levels", HANDOUT, driver="anchors.describe_levels"),
        Case("laws", "one size, in an image and with an anchor twice as large", ([(2, 3)], [[8]], 24)),
        Case("data", "random maps with one size", (map_sizes, [scales[0][:1], scales[1][:1]], image_size)),
        Case("data", "random maps with two sizes", (map_sizes, scales, image_size)),
    ]


def draw_flatten_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `flatten_predictions`."""
    maps = [torch.randn(2, 8, 2, 3, generator=generator), torch.randn(2, 8, 1, 2, generator=generator)]
    row, column, size = (int(torch.randint(0, length, (1,), generator=generator)) for length in (2, 3, 2))
    pair = {"driver": "anchors.find_painted_anchor", "partners": ("generate_anchors",)}
    two_levels = ([(2, 3), (1, 2)], [[2, 4], [6, 8]], 12)
    return [
        Case("by hand", "1 x 2 cells, two anchors, K = 2", ([_paint(2, 2, 1, 2)], 2)),
        Case("by hand", "2 x 3 cells, one anchor, K = 3", ([_paint(1, 3, 2, 3)], 1)),
        Case("by hand", "2 x 1 cells, three anchors, K = 2", ([_paint(3, 2, 2, 1)], 3)),
        Case("borders and empty input", "one cell", ([_paint(2, 3, 1, 1)], 2)),
        Case("shapes and batches", "two images", ([torch.cat([_paint(1, 2, 2, 2), _paint(1, 2, 2, 2) + 5000])], 1)),
        Case("shapes and batches", "two levels", ([_paint(1, 2, 2, 2), _paint(1, 2, 1, 1) + 5000], 1)),
        Case("shapes and batches", "eight numbers per anchor", ([_paint(2, 8, 1, 2)], 2)),
        Case("laws", "the gradient of each map", ([_paint(2, 2, 1, 2)], 2), driver="anchors.compute_map_gradients"),
        Case("pairs", "a painted cell is the anchor's own", (*two_levels, (0, 1, 2, 0)), **pair),
        Case("pairs", "a painted cell of the second level", (*two_levels, (1, 0, 0, 1)), **pair),
        Case("pairs", "a cell at random", (*two_levels, (0, row, column, size)), **pair),
        Case("data", "two levels of two images", (maps, 2)),
    ]


def _paint(num_anchors: int, num_outputs: int, height: int, width: int) -> Tensor:
    """Return a map [1, A * K, h, w] whose values are 1000 · row + 100 · column + 10 · anchor + number."""
    row = torch.arange(height).reshape(1, 1, -1, 1) * 1000
    column = torch.arange(width).reshape(1, 1, 1, -1) * 100
    anchor = torch.arange(num_anchors).reshape(-1, 1, 1, 1) * 10
    values = row + column + anchor + torch.arange(num_outputs).reshape(1, -1, 1, 1)
    return values.reshape(1, num_anchors * num_outputs, height, width).float()


# Wrong implementations of `generate_anchors`

Box = tuple[float, float, float, float]


def _list_anchors(
    map_sizes: Sequence, scales: Sequence, image_size: int, make_box: Callable[[int, int, float, float, float], Box]
) -> list[Tensor]:
    """Return levels of boxes; `make_box` receives row, column, size, and height and width of a cell."""
    levels = []
    for (height, width), sizes in zip(map_sizes, scales, strict=True):
        rows = []
        for row in range(height):
            for column in range(width):
                for size in sizes:
                    rows.append(make_box(row, column, size, image_size / height, image_size / width))
        levels.append(torch.tensor(rows, dtype=torch.float32))
    return levels


def _around(x: float, y: float, half: float) -> Box:
    return (x - half, y - half, x + half, y + half)


def _without_half_cell(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    def make_box(row: int, column: int, size: float, high: float, wide: float) -> Box:
        return _around(column * wide, row * high, size / 2)

    return _list_anchors(map_sizes, scales, image_size, make_box)


def _axes_exchanged(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    return [level[:, [1, 0, 3, 2]] for level in generate_anchors(map_sizes, scales, image_size)]


def _columns_outside(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    levels = []
    for (height, width), level in zip(map_sizes, generate_anchors(map_sizes, scales, image_size), strict=True):
        levels.append(level.reshape(height, width, -1, 4).transpose(0, 1).reshape(-1, 4))
    return levels


def _size_in_strides(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    def make_box(row: int, column: int, size: float, high: float, wide: float) -> Box:
        x, y = (column + 0.5) * wide, (row + 0.5) * high
        return (x - size * wide / 2, y - size * high / 2, x + size * wide / 2, y + size * high / 2)

    return _list_anchors(map_sizes, scales, image_size, make_box)


def _one_stride(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    def make_box(row: int, column: int, size: float, high: float, wide: float) -> Box:
        return _around((column + 0.5) * high, (row + 0.5) * high, size / 2)

    return _list_anchors(map_sizes, scales, image_size, make_box)


def _whole_size_each_side(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    return generate_anchors(map_sizes, [[2 * size for size in sizes] for sizes in scales], image_size)


def _half_pixel(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    def make_box(row: int, column: int, size: float, high: float, wide: float) -> Box:
        return _around(column * wide + 0.5, row * high + 0.5, size / 2)

    return _list_anchors(map_sizes, scales, image_size, make_box)


def _clipped(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    return [level.clamp(0, image_size) for level in generate_anchors(map_sizes, scales, image_size)]


def _clipped_to_last_pixel(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    return [level.clamp(0, image_size - 1) for level in generate_anchors(map_sizes, scales, image_size)]


def _one_tensor(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> Tensor:
    return torch.cat(generate_anchors(map_sizes, scales, image_size))


def _fixed_image_size(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    return generate_anchors(map_sizes, scales, 224)


def _shares_of_image(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    return [level / image_size for level in generate_anchors(map_sizes, scales, image_size)]


def _centres_and_sizes(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    def make_box(row: int, column: int, size: float, high: float, wide: float) -> Box:
        return ((column + 0.5) * wide, (row + 0.5) * high, size, size)

    return _list_anchors(map_sizes, scales, image_size, make_box)


def _width_first(map_sizes: Sequence, scales: Sequence, image_size: int = 224) -> list[Tensor]:
    return generate_anchors([(second, first) for first, second in map_sizes], scales, image_size)


# Wrong implementations of `flatten_predictions`


def _without_permute(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    levels = [level.reshape(len(level), -1, level.shape[1] // num_anchors) for level in maps]
    return torch.cat(levels, dim=1)


def _numbers_before_anchors(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    levels = []
    for level in maps:
        batch_size, num_channels, height, width = level.shape
        blocks = level.reshape(batch_size, num_channels // num_anchors, num_anchors, height, width)
        levels.append(blocks.permute(0, 3, 4, 2, 1).reshape(batch_size, height * width * num_anchors, -1))
    return torch.cat(levels, dim=1)


def _columns_before_rows(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return flatten_predictions([level.transpose(2, 3) for level in maps], num_anchors)


def _levels_reversed(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return flatten_predictions(list(maps)[::-1], num_anchors)


def _list_of_levels(maps: Sequence[Tensor], num_anchors: int) -> list[Tensor]:
    return [flatten_predictions([level], num_anchors) for level in maps]


def _batch_lost(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return torch.cat([flatten_predictions([level], num_anchors).flatten(0, 1) for level in maps])


def _levels_beside_images(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return torch.cat([flatten_predictions([level], num_anchors) for level in maps])


def _one_row_per_cell(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in maps], dim=1)


def _three_anchors(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return flatten_predictions(maps, 3)


def _eight_numbers(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return torch.cat([level.permute(0, 2, 3, 1).reshape(len(level), -1, 8) for level in maps], dim=1)


def _with_sigmoid(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return flatten_predictions(maps, num_anchors).sigmoid()


def _without_gradient(maps: Sequence[Tensor], num_anchors: int) -> Tensor:
    return torch.tensor(flatten_predictions(maps, num_anchors).tolist())


ANCHORS = Definition(
    name="generate_anchors",
    number="2.1",
    title="Anchors of all levels",
    purpose="Every prediction of the detector is a correction of one of these boxes.",
    points=3,
    difficulty=2,
    minutes=(15, 30),
    reference=generate_anchors,
    imports=IMPORTS,
    draw_cases=draw_anchor_cases,
    convention="cell by cell",
    conventions={"size by size; flatten_predictions must use this order, too": generate_size_by_size},
    workload=Case("data", "the handout's three levels", HANDOUT, driver="anchors.describe_levels"),
    calls=10,
    hints=(
        "Take the example of the docstring to paper (2 x 3 cells): where are the six centres? Write x and y of each.",
        "The centre of column j is (j + 0.5) cells from the left border, and a cell is image_size / w pixels wide. "
        "Rows have a height of their own: image_size / h.",
        "Loops are enough: for each row, for each column, for each size append [x - size / 2, y - size / 2, "
        "x + size / 2, y + size / 2].",
    ),
    mistakes=(
        Mistake(
            "GA1",
            "the centre of a cell is its upper left corner (index x stride)",
            "The middle of column j is (j + 0.5) strides from the border.",
            _without_half_cell,
        ),
        Mistake(
            "GA2",
            "x and y are exchanged in the boxes",
            "x comes from the column, y from the row.",
            _axes_exchanged,
        ),
        Mistake(
            "GA3",
            "the cells are listed column by column",
            "A map [h, w] is flattened row by row. List the cells in that order: the loop over rows is the outer one.",
            _columns_outside,
        ),
        Mistake(
            "GA4",
            "the sizes are multiplied by the stride",
            "The sizes are pixels already.",
            _size_in_strides,
        ),
        Mistake(
            "GA5",
            "one stride, image_size / h, is used for both axes",
            "Height and width have a stride each. Square maps hide this.",
            _one_stride,
        ),
        Mistake(
            "GA6",
            "the whole size lies on each side of the centre",
            "Half of the size goes to each side.",
            _whole_size_each_side,
        ),
        Mistake(
            "GA8a",
            "anchors are clipped to the image",
            "Clipping moves the centres and shrinks the sizes at the border. Clip predictions, not anchors.",
            _clipped,
        ),
        Mistake(
            "GA8b",
            "anchors are clipped to image_size - 1",
            "Anchors are not clipped here. And a right edge may lie at image_size: clipping to one less loses a pixel.",
            _clipped_to_last_pixel,
        ),
        Mistake(
            "GA9",
            "half a pixel is added to the corner of a cell, in place of half a cell",
            "0.5 belongs inside the bracket, before the stride: (j + 0.5) · stride.",
            _half_pixel,
        ),
        Mistake(
            "GA10",
            "the levels are one tensor in place of a list",
            "Return a list with one tensor per level.",
            _one_tensor,
        ),
        Mistake(
            "GA11",
            "the image has 224 pixels, whatever image_size is",
            "Use the argument image_size.",
            _fixed_image_size,
        ),
        Mistake(
            "GA12",
            "coordinates are shares of the image, not pixels",
            "Do not divide by image_size.",
            _shares_of_image,
        ),
        Mistake(
            "GA13",
            "(centre x, centre y, width, height) is returned",
            "An anchor is (x1, y1, x2, y2).",
            _centres_and_sizes,
        ),
        Mistake(
            "GA14",
            "the size of a map is read as (width, height)",
            "Height comes first, as in the shape [B, C, h, w].",
            _width_first,
        ),
    ),
)

FLATTEN = Definition(
    name="flatten_predictions",
    number="2.5",
    title="Predictions in the order of the anchors",
    purpose=(
        "The network returns three maps, but the anchors are one list. Row 1036 of the predictions has to belong to "
        "anchor 1036."
    ),
    points=3,
    difficulty=3,
    minutes=(15, 30),
    reference=flatten_predictions,
    imports=IMPORTS,
    draw_cases=draw_flatten_cases,
    convention="cell by cell",
    conventions={"size by size, as your anchors": flatten_size_by_size},
    partners={"generate_anchors": generate_anchors},
    convention_partners={"size by size, as your anchors": {"generate_anchors": generate_size_by_size}},
    hints=(
        "Follow one anchor by hand: level 0, row 1, column 2, second size. In which row of `generate_anchors` is it? "
        "In which channels, and at which cell, are its K numbers?",
        "`reshape` keeps the order of the numbers in memory. Which axis must be the last one, and which the last but "
        "one, before K numbers can become a row?",
        "Split the channels into [num_anchors, K] first. Then `permute` the five axes to the order of the anchors.",
        "Cell by cell: [B, num_anchors, K, h, w] becomes [B, h, w, num_anchors, K].",
    ),
    mistakes=(
        Mistake(
            "MD6",
            "the map is cut into rows without `permute`",
            "In memory the columns of the map are neighbours, not the channels. Bring the channels to the end first.",
            _without_permute,
        ),
        Mistake(
            "MD7",
            "channels are read as [K, num_anchors]",
            "The K numbers of one anchor are neighbours on the channel axis: [num_anchors, K].",
            _numbers_before_anchors,
        ),
        Mistake(
            "MD10",
            "columns come before rows",
            "The anchors are listed row by row. Keep h before w when you permute.",
            _columns_before_rows,
        ),
        Mistake(
            "DL1a",
            "predictions are listed size by size, and the anchors cell by cell",
            "Each list is right, and they do not fit together: a prediction meets the wrong anchor. Follow row 1, "
            "column 2, second size: it must be the same row of both.",
            flatten_size_by_size,
        ),
        Mistake(
            "DL1b",
            "predictions are listed cell by cell, and the anchors size by size",
            "Each list is right, and they do not fit together: a prediction meets the wrong anchor. Follow row 1, "
            "column 2, second size: it must be the same row of both.",
            flatten_predictions,
            partners={"generate_anchors": generate_size_by_size},
        ),
        Mistake(
            "MD9a",
            "the levels come in reverse order",
            "Keep the order of `maps`: it is that of the anchors.",
            _levels_reversed,
        ),
        Mistake(
            "MD9b",
            "a sigmoid is applied",
            "Only the order changes here. The losses take raw values.",
            _with_sigmoid,
        ),
        Mistake(
            "MD11",
            "the levels are a list in place of one tensor",
            "Put the levels together: `torch.cat(levels, dim=1)`.",
            _list_of_levels,
        ),
        Mistake(
            "MD12",
            "the images of the batch are put together",
            "Keep the batch axis: the result is [B, N, K].",
            _batch_lost,
        ),
        Mistake(
            "MD15",
            "the levels are put together along the axis of the images",
            "Each image has the rows of all levels: `torch.cat(levels, dim=1)`. Without `dim`, `cat` takes axis 0.",
            _levels_beside_images,
        ),
        Mistake(
            "MD13",
            "a row holds all anchors of its cell",
            "Each anchor has a row of its own with K numbers.",
            _one_row_per_cell,
        ),
        Mistake(
            "MD5a",
            "three anchors per cell are fixed",
            "Use the argument num_anchors.",
            _three_anchors,
        ),
        Mistake(
            "MD5b",
            "eight numbers per anchor are fixed",
            "K is the number of channels over num_anchors. With other classes it is not 8.",
            _eight_numbers,
        ),
        Mistake(
            "MD14",
            "the gradient is lost",
            "Numbers that were taken out of a tensor (`tolist`, `item`, `numpy`) have no gradient, and nothing is "
            "learned. Use reshape, permute and cat.",
            _without_gradient,
        ),
    ),
)

DEFINITIONS = (ANCHORS, FLATTEN)
