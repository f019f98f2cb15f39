"""Build tasks of scales: receptive fields, and what each level detects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake
from helpers.detection.boxes import compute_iou


def receptive_fields(layers: list[tuple[int, int, int, int]]) -> list[tuple[int, int, float]]:
    """Return for each layer of a chain of convolutions the receptive field of its cells, along one axis.

    Pixel i covers [i, i + 1), so its centre is at i + 0.5. Before the first layer a cell is a pixel: its field is 1
    pixel wide, neighbouring cells are 1 pixel apart, and the field of the first cell has its centre at 0.5. Padding is
    part of the field: the field of the first cell may begin before pixel 0.

    Example: two layers (3, 2, 1, 1), kernel 3, stride 2, padding 1. After the first, cell 0 depends on the pixels -1, 0
    and 1, and cell 1 on 1, 2 and 3: the field is 3 wide, the step is 2, the first centre is 0.5. After the second, cell
    0 depends on three of these cells, which are 2 pixels apart, thus on the pixels -3 to 3: 7 wide, step 4, centre 0.5.

    Args:
        layers: for each layer (kernel, stride, padding, dilation), in cells of its input. A kernel with dilation d
            reads cells that are d apart.

    Returns:
        For each layer (width of the field in pixels, distance of neighbouring cells in pixels, centre of the first
        cell's field in pixels).
    """
    width, step, centre = 1, 1, 0.5
    fields = []
    for kernel, stride, padding, dilation in layers:
        reach = (kernel - 1) * dilation  # from the first tap to the last one, in cells of the input
        width += reach * step
        centre += (reach / 2 - padding) * step
        step *= stride
        fields.append((width, step, centre))
    return fields


BACKBONE = [(3, 1, 1, 1), (3, 2, 1, 1), (3, 2, 1, 1), (3, 2, 1, 1), (3, 2, 1, 1), (3, 1, 1, 1)]


def draw_field_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `receptive_fields`."""

    def draw(most: int) -> list[int]:
        return torch.randint(1, most + 1, (4,), generator=generator).tolist()

    kernels = [2 * half + 1 for half in draw(3)]
    random_layers = list(zip(kernels, [2, *draw(3)[1:]], [0, *draw(2)[1:]], [*draw(3)[:3], 2], strict=True))
    layers = [
        ("by hand", "one layer: kernel 3", [(3, 1, 1, 1)]),
        ("by hand", "two layers of stride 2", [(3, 2, 1, 1), (3, 2, 1, 1)]),
        ("by hand", "kernel 3, dilation 2", [(3, 1, 2, 2)]),
        ("borders and empty input", "no layer", []),
        ("borders and empty input", "kernel 1: nothing changes", [(1, 1, 0, 1)]),
        ("borders and empty input", "without padding", [(3, 2, 0, 1), (5, 1, 0, 1)]),
        ("borders and empty input", "a pooling of 2 cells: the centre lies between two pixels", [(2, 2, 0, 1)]),
        ("shapes and batches", "the backbone and the coarsest head of the assignment", BACKBONE),
        ("shapes and batches", "dilations behind strides", [(3, 2, 1, 1), (3, 2, 2, 2), (3, 1, 4, 4)]),
        ("laws", "the stride of the last layer does not change its width", [(3, 2, 1, 1), (3, 4, 1, 1)]),
        ("laws", "three kernels of 3 reach as far as one of 7", [(3, 1, 1, 1)] * 3),
        ("data", "random layers", random_layers),
    ]
    return [
        Case(group, title, ([list(layer) for layer in chain],), driver="scales.list_fields")
        for group, title, chain in layers
    ]


Fields = list[tuple[int, int, float]]


def _chain(
    layers: Any,
    *,
    reach: Callable[[int, int], int] = lambda kernel, dilation: (kernel - 1) * dilation,
    width: int = 1,
    centre: float = 0.5,
    stride_first: bool = False,
    uses_step: bool = True,
    adds_strides: bool = False,
    padding_factor: float = 1,
    dilates_step: bool = False,
    padding_step: str = "input",
) -> Fields:
    """Return receptive fields by a recursion in which single steps can be changed."""
    step = 1
    fields = []
    for kernel, stride, padding, dilation in layers:
        next_step = step * stride * (dilation if dilates_step else 1)
        if adds_strides and fields:
            next_step = step + stride
        used_step = (next_step if stride_first else step) if uses_step else 1
        offset_step = {"input": used_step, "none": 1, "output": next_step}[padding_step]
        width += reach(kernel, dilation) * used_step
        centre += (reach(kernel, dilation) / 2 - padding * padding_factor) * offset_step
        step = next_step
        fields.append((width, step, centre))
    return fields


def _vary(**changes: Any) -> Callable[..., Fields]:
    """Return the recursion with some settings of `_chain` changed."""

    def compute(layers: Any) -> Fields:
        return _chain(layers, **changes)

    return compute


def _last_layer_only(layers: Any) -> Any:
    fields = receptive_fields(layers)
    return fields[-1] if fields else (1, 1, 0.5)


def _each_layer_alone(layers: Any) -> Fields:
    return [receptive_fields([layer])[0] for layer in layers]


def _step_of_the_last_layer(layers: Any) -> Fields:
    fields = receptive_fields(layers)
    return [(width, layer[1], centre) for (width, _, centre), layer in zip(fields, layers, strict=True)]


FIELDS = Definition(
    name="receptive_fields",
    number="4.1",
    title="Receptive fields of a chain of convolutions",
    purpose="The function computes the width of a receptive field: edges outside the field cannot change the cell.",
    points=2,
    difficulty=3,
    minutes=(15, 30),
    reference=receptive_fields,
    imports="import math",
    draw_cases=draw_field_cases,
    hints=(
        "Draw 9 pixels, and below them the cells of two layers with kernel 3 and stride 2. Which pixels does cell 1 "
        "of the second layer depend on?",
        "From the first tap of a kernel to the last one are (kernel - 1) * dilation cells of its input. How many "
        "pixels is that?",
        "Keep three numbers from layer to layer: width, step, centre. The width grows by (kernel - 1) * dilation * "
        "step; after that the step is multiplied by the stride.",
    ),
    mistakes=(
        Mistake(
            "RF1",
            "the step is multiplied by the stride before the width grows",
            "The taps of a kernel lie on cells of its input. Use the step before this layer's stride.",
            _vary(stride_first=True),
        ),
        Mistake(
            "RF2",
            "the dilation is left out",
            "The taps are `dilation` cells apart: the reach is (kernel - 1) * dilation.",
            _vary(reach=lambda kernel, dilation: kernel - 1),
        ),
        Mistake(
            "RF3",
            "the strides of earlier layers are left out of the widths",
            "Behind a stride of 2 neighbouring cells are 2 pixels apart: multiply the reach by the step.",
            _vary(uses_step=False),
        ),
        Mistake(
            "RF4",
            "the width grows by the kernel's size, not by the size minus 1",
            "A kernel of 1 reads the cell itself and widens nothing.",
            _vary(reach=lambda kernel, dilation: kernel * dilation),
        ),
        Mistake(
            "RF5",
            "the width starts at 0",
            "Before the first layer a cell is a pixel, 1 pixel wide.",
            _vary(width=0),
        ),
        Mistake(
            "RF6",
            "a dilated kernel counts as kernel * dilation cells wide",
            "Between 3 taps are 2 gaps: 3 taps with dilation 2 are 5 cells wide, not 6.",
            _vary(reach=lambda kernel, dilation: kernel * dilation - 1),
        ),
        Mistake(
            "RF7",
            "the dilation multiplies the step of the next layers",
            "A dilation moves the taps apart, not the cells of the output. Only the stride changes the step.",
            _vary(dilates_step=True),
        ),
        Mistake(
            "RF8",
            "the padding is left out of the centre",
            "Padding moves the first cell towards the border: subtract padding * step.",
            _vary(padding_factor=0),
        ),
        Mistake(
            "RF9",
            "the padding is counted in pixels, not in cells",
            "Padding is counted in cells of the layer's input: multiply it by the step.",
            _vary(padding_step="none"),
        ),
        Mistake(
            "RF10",
            "the centre moves by the step after the stride",
            "Taps and padding lie on the cells of the input: use the step before this layer's stride.",
            _vary(padding_step="output"),
        ),
        Mistake(
            "RF11",
            "the centre of pixel 0 is taken for 0",
            "Pixel 0 covers [0, 1): its centre is at 0.5.",
            _vary(centre=0.0),
        ),
        Mistake(
            "RF12",
            "the strides are added",
            "Strides of 2 and 2 make cells 4 pixels apart: multiply.",
            _vary(adds_strides=True),
        ),
        Mistake(
            "RF13",
            "only the last layer is returned",
            "Return three numbers for each layer.",
            _last_layer_only,
        ),
        Mistake(
            "RF14",
            "each layer is treated as if it were the first",
            "Carry width, step and centre on from layer to layer.",
            _each_layer_alone,
        ),
        Mistake(
            "RF15",
            "the step is the stride of the layer alone",
            "The step is the product of all strides so far.",
            _step_of_the_last_layer,
        ),
    ),
)


def analyze_scale_performance(
    detections: list[dict[str, Tensor]],
    targets: list[dict[str, Tensor]],
    size_limits: tuple[float, float],
    num_levels: int = 3,
    iou_threshold: float = 0.5,
) -> Float[Tensor, "L 3"]:
    """Return for each level the share of the small, medium and large objects that it detects.

    A level detects an object if one of its boxes in the same image has the object's class and an IoU of at least
    `iou_threshold` with it. An object may be detected by several levels, or by none. The size of an object is the
    square root of its true box's area. It is small below the first limit and large from the second one on.

    `compute_iou(boxes, others)` is imported for you: after task 2.2 it is your own.

    Example: an image has two small objects. Level 0 has a box of the right class on one of them, level 1 on both, level
    2 on none. With no other object the result is [[0.5, 0, 0], [1, 0, 0], [0, 0, 0]].

    Args:
        detections: for each image {"boxes": [D, 4] in pixels, "labels": [D], "levels": [D]}; "levels" tells which level
            each box comes from.
        targets: for each image {"boxes": [N, 4] in pixels, "labels": [N]}; D and N may be 0.
        size_limits: in pixels.
        num_levels: L.
        iou_threshold: smallest IoU of a detection.

    Returns:
        Row: level. Column: small, medium, large. A size without objects has the share 0.
    """
    detected = torch.zeros(num_levels, 3)
    counts = torch.zeros(3)
    for image, target in zip(detections, targets, strict=True):
        iou = compute_iou(target["boxes"], image["boxes"])  # [N, D]
        is_hit = (iou >= iou_threshold) & (target["labels"][:, None] == image["labels"][None, :])
        for row, box in enumerate(target["boxes"]):
            size = float((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
            column = sum(size >= limit for limit in size_limits)
            counts[column] += 1
            for level in range(num_levels):
                detected[level, column] += (is_hit[row] & (image["levels"] == level)).any()
    return detected / counts.clamp(min=1)


Image = dict[str, Tensor]
LIMITS = (32.0, 96.0)


def _make_image(boxes: list[list[float]], labels: list[int], levels: list[int] | None = None) -> Image:
    image = {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}
    if levels is not None:
        image["levels"] = torch.tensor(levels, dtype=torch.int64)
    return image


SMALL, SMALL_TOO = [10.0, 10, 30, 30], [60.0, 60, 80, 84]
MEDIUM, LARGE = [100.0, 20, 160, 70], [20.0, 90, 140, 210]


def draw_scale_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `analyze_scale_performance`."""
    example_target = _make_image([SMALL, SMALL_TOO], [0, 0])
    example = _make_image([SMALL, SMALL, SMALL_TOO], [0, 0, 0], [0, 1, 1])
    scene_target = _make_image([SMALL, MEDIUM, LARGE], [0, 1, 2])
    scene = _make_image(
        [SMALL, MEDIUM, [101.0, 21, 161, 71], LARGE, LARGE, SMALL], [0, 1, 1, 2, 1, 2], [0, 1, 1, 2, 0, 2]
    )
    shifted = _make_image([[18.0, 10, 38, 30], [20.0, 90, 140, 155]], [0, 2], [0, 2])  # IoU 0.4286 and 0.5417
    long_box = [0.0, 0, 40, 20]  # 28.3 pixels: one side is above the limit, the size is below
    empty_target, empty = _make_image([], []), _make_image([], [], [])
    apart_target, apart = _make_image([MEDIUM], [1]), _make_image([SMALL], [0], [0])
    corners = 5 + 55 * torch.arange(4)[:, None] + torch.zeros(4, 2)
    sides = torch.tensor([[20.0, 24], [40, 36], [50, 20], [24, 18]])[torch.randperm(4, generator=generator)]
    random_boxes = torch.cat([corners, corners + sides], dim=1)
    random_targets = [
        _make_image(random_boxes.tolist(), torch.randint(3, (4,), generator=generator).tolist()) for _ in range(3)
    ]
    random_images = [
        _make_image(
            (target["boxes"] + 1).repeat(2, 1).tolist(),
            torch.where(torch.rand(8, generator=generator) < 0.7, target["labels"].repeat(2), 0).tolist(),
            torch.randint(3, (8,), generator=generator).tolist(),
        )
        for target in random_targets
    ]

    def case(group: str, title: str, images: list[Image], targets: list[Image], *rest: Any, **keywords: Any) -> Case:
        limits = rest or (list(LIMITS),)
        return Case(group, title, (images, targets, *limits), keywords, driver="scales.analyze")

    return [
        case("by hand", "two small objects, three boxes", [example], [example_target]),
        case("by hand", "an object of each size, boxes of right and wrong classes", [scene], [scene_target]),
        case(
            "borders and empty input",
            "boxes with an IoU of 0.43 and 0.54, where 0.4 is enough",
            [shifted],
            [scene_target],
            iou_threshold=0.4,
        ),
        case("borders and empty input", "an image without detections", [empty], [scene_target]),
        case("borders and empty input", "an image without objects", [scene], [empty_target]),
        case(
            "borders and empty input",
            "a box of 40 x 20 pixels: its size is 28.3",
            [_make_image([long_box], [1], [1])],
            [_make_image([long_box], [1])],
        ),
        case(
            "shapes and batches",
            "two images: a box belongs to its own image",
            [apart, _make_image([MEDIUM], [1], [2])],
            [_make_image([SMALL], [0]), _make_image([SMALL], [0])],
        ),
        case(
            "shapes and batches", "three images", [example, empty, scene], [example_target, apart_target, scene_target]
        ),
        case("shapes and batches", "four levels", [example], [example_target], num_levels=4),
        case("laws", "other limits: 21 and 56", [scene, example], [scene_target, example_target], [21.0, 56.0]),
        case("laws", "an IoU of 0.97 is needed", [scene], [scene_target], iou_threshold=0.97),
        case("data", "random boxes", random_images, random_targets, [27.0, 35.0]),
    ]


def _analyze(
    detections: Any,
    targets: Any,
    size_limits: Any,
    num_levels: int = 3,
    iou_threshold: float = 0.5,
    *,
    checks_class: bool = True,
    counts_boxes: bool = False,
    measure: Callable[[Tensor], float] = lambda box: float((box[2] - box[0]) * (box[3] - box[1])) ** 0.5,
    divides_by: str = "objects of the size",
    first_level_only: bool = False,
) -> Tensor:
    """Return shares by a loop in which single steps can be changed."""
    detected, counts, num_boxes = torch.zeros(num_levels, 3), torch.zeros(3), torch.zeros(num_levels, 1)
    for image, target in zip(detections, targets, strict=True):
        is_hit = compute_iou(target["boxes"], image["boxes"]) >= iou_threshold
        if checks_class:
            is_hit = is_hit & (target["labels"][:, None] == image["labels"])
        for level in range(num_levels):
            num_boxes[level] += (image["levels"] == level).sum()
        for row, box in enumerate(target["boxes"]):
            column = sum(measure(box) >= limit for limit in size_limits)
            counts[column] += 1
            for level in range(num_levels):
                hits = is_hit[row] & (image["levels"] == level)
                detected[level, column] += hits.sum() if counts_boxes else hits.any()
                if first_level_only and hits.any():
                    break
    divisors = {
        "objects of the size": counts.clamp(min=1),
        "all objects": counts.sum().clamp(min=1),
        "boxes of the level": num_boxes.clamp(min=1),
        "nothing": torch.ones(3),
        "objects of the size, or NaN": counts,
        "detections of the size": detected.sum(dim=0).clamp(min=1),
    }
    return detected / divisors[divides_by]


def _vary_analysis(**changes: Any) -> Callable[..., Tensor]:
    """Return the loop with some settings of `_analyze` changed."""

    def analyze(*inputs: Any, **keywords: Any) -> Tensor:
        return _analyze(*inputs, **keywords, **changes)

    return analyze


def _pool_images(detections: Any, targets: Any, *rest: Any, **keywords: Any) -> Tensor:
    def join(images: Any) -> list[Image]:
        return [{name: torch.cat([image[name] for image in images]) for name in images[0]}]

    return _analyze(join(detections), join(targets), *rest, **keywords)


def _transpose(*inputs: Any, **keywords: Any) -> Tensor:
    return _analyze(*inputs, **keywords).T


def _ignore_levels(detections: Any, *inputs: Any, **keywords: Any) -> Tensor:
    shares = [
        _analyze([image | {"levels": image["levels"] * 0 + level} for image in detections], *inputs, **keywords)[level]
        for level in range(keywords.get("num_levels", 3))
    ]
    return torch.stack(shares)


def _size_of_the_detection(
    detections: Any, targets: Any, size_limits: Any, num_levels: int = 3, iou_threshold: float = 0.5
) -> Tensor:
    detected, counts = torch.zeros(num_levels, 3), torch.zeros(3)
    for image, target in zip(detections, targets, strict=True):
        iou = compute_iou(target["boxes"], image["boxes"])
        is_hit = (iou >= iou_threshold) & (target["labels"][:, None] == image["labels"])
        for box, level, hits in zip(image["boxes"], image["levels"].tolist(), is_hit.T, strict=True):
            column = sum(_root_of_area(box) >= limit for limit in size_limits)
            counts[column] += 1
            detected[level, column] += hits.any()
    return detected / counts.clamp(min=1)


def _root_of_area(box: Tensor) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1])) ** 0.5


def _fail_on_empty(detections: Any, *inputs: Any, **keywords: Any) -> Tensor:
    for image, target in zip(detections, inputs[0], strict=True):
        compute_iou(target["boxes"], image["boxes"]).max(dim=1)
    return _analyze(detections, *inputs, **keywords)


def _fixed_threshold(
    detections: Any, targets: Any, size_limits: Any, num_levels: int = 3, iou_threshold: float = 0.5
) -> Tensor:
    return _analyze(detections, targets, size_limits, num_levels)


def _best_box_only(
    detections: Any, targets: Any, size_limits: Any, num_levels: int = 3, iou_threshold: float = 0.5
) -> Tensor:
    best_images = []
    for image, target in zip(detections, targets, strict=True):
        best = torch.zeros(0, dtype=torch.int64)
        if len(image["boxes"]):
            best = compute_iou(target["boxes"], image["boxes"]).argmax(dim=1).unique()
        best_images.append({name: values[best] for name, values in image.items()})
    return _analyze(best_images, targets, size_limits, num_levels, iou_threshold)


SCALES = Definition(
    name="analyze_scale_performance",
    number="4.2",
    title="What each level detects",
    purpose="The function counts which level detects objects of which size.",
    points=2,
    difficulty=2,
    minutes=(20, 35),
    reference=analyze_scale_performance,
    imports=(
        "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor\n\n"
        "from helpers.detection.boxes import compute_iou"
    ),
    draw_cases=draw_scale_cases,
    hints=(
        "Which objects does one cell of the result count, and by what is their number divided?",
        "For each image make the table of IoU, objects by boxes, and a second table that is true where the classes "
        "agree. An object is detected by a level if its row has a true entry in a column of this level.",
        '`is_hit = (iou >= iou_threshold) & (target["labels"][:, None] == image["labels"][None, :])`, then '
        '`(is_hit[row] & (image["levels"] == level)).any()` for each object and level.',
    ),
    mistakes=(
        Mistake(
            "SP1",
            "boxes are counted in place of objects: two boxes on one object count twice",
            "An object is detected once or not: use `any`, not `sum`.",
            _vary_analysis(counts_boxes=True),
        ),
        Mistake(
            "SP2",
            "the class of a detection is left out",
            "A box of another class does not detect the object.",
            _vary_analysis(checks_class=False),
        ),
        Mistake(
            "SP3",
            "shares are of all objects, not of the objects of the size",
            "Divide each column by the number of objects of its size.",
            _vary_analysis(divides_by="all objects"),
        ),
        Mistake(
            "SP4",
            "the area is compared with the limits, not its square root",
            "The limits are in pixels; an area is in square pixels.",
            _vary_analysis(measure=lambda box: _root_of_area(box) ** 2),
        ),
        Mistake(
            "SP5",
            "the size of an object is its longer side",
            "The size is the square root of width times height.",
            _vary_analysis(measure=lambda box: float(max(box[2] - box[0], box[3] - box[1]))),
        ),
        Mistake(
            "SP6",
            "detections are counted by their own size, and divided by the number of detections",
            "Walk over the objects: which of them are detected? What you compute is nearer to precision.",
            _size_of_the_detection,
        ),
        Mistake(
            "SP7",
            "boxes of one image may detect objects of another",
            "Compare boxes and objects image by image.",
            _pool_images,
        ),
        Mistake("SP8", "rows and columns are exchanged", "A row belongs to a level, a column to a size.", _transpose),
        Mistake(
            "SP9",
            "an object is counted for the first level that detects it only",
            "An object may be detected by several levels; each of them counts.",
            _vary_analysis(first_level_only=True),
        ),
        Mistake(
            "SP10",
            "only the box with the highest IoU can detect an object",
            "Each level is judged by itself: look at all of its boxes.",
            _best_box_only,
        ),
        Mistake(
            "SP11",
            "hits are divided by the number of the level's boxes",
            "That is a precision. Divide by the number of objects of the size.",
            _vary_analysis(divides_by="boxes of the level"),
        ),
        Mistake(
            "SP12",
            "the numbers of objects are returned, not shares",
            "Divide by the number of objects of the size.",
            _vary_analysis(divides_by="nothing"),
        ),
        Mistake(
            "SP13",
            "a size without objects gives NaN",
            "0 / 0 is NaN. Here the share of no object is 0: divide by `counts.clamp(min=1)`.",
            _vary_analysis(divides_by="objects of the size, or NaN"),
        ),
        Mistake(
            "SP14",
            "shares are of the detections of the size, so each column adds up to 1",
            "Divide by the number of objects of the size, detected or not.",
            _vary_analysis(divides_by="detections of the size"),
        ),
        Mistake(
            "SP15",
            "an image without detections or without objects raises an exception",
            "The maximum over an empty axis does not exist; `any` of nothing is false.",
            _fail_on_empty,
        ),
        Mistake("SP16", "the IoU 0.5 is fixed inside", "Use the argument `iou_threshold`.", _fixed_threshold),
        Mistake(
            "SP17",
            "every box counts for every level",
            '"levels" tells which level a box comes from.',
            _ignore_levels,
        ),
    ),
)

DEFINITIONS = (FIELDS, SCALES)
