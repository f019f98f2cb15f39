"""Generator of detection scenes: the handout's to the last byte, and other looks of the same objects.

The layout of a scene uses one random stream and its look another. The same layout seed therefore gives the same objects
under every look, and looks can be compared in pairs. The handout's look draws no random number.
"""

from __future__ import annotations

import functools
import random
import statistics
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image, ImageChops, ImageDraw

IMAGE_SIZE = 224
CLASS_NAMES = ("circle", "square", "triangle")
SIZE_RANGES = ((16, 32), (48, 96), (96, 192))
"""Smallest and largest size of each class, pixels, both inclusive."""
MAX_IOU = 0.3
NUM_TRIES = 50

Palette = Literal["class", "shared"]
CLASS_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
SHARED_COLOURS = (*CLASS_COLOURS, (255, 220, 0), (0, 200, 255), (255, 0, 220), (255, 130, 0), (130, 60, 180))
"""Eight distinct colours. They include the class colours, which then carry no information about the class."""
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

BACKGROUND_CELLS = 8
NO_NOISE = 128
MAX_NOISE = 40.0  # 2.9 of these above and below `NO_NOISE` still fit a byte
BACKGROUND_LUT = [255] + [0] * 255  # look-up table from owners to the mask of the background


@dataclass(frozen=True)
class SceneConfig:
    """The look of scenes, and which of their objects are ignored; the defaults are the handout's."""

    palette: Palette = "class"  # "class": the class determines the colour; "shared": any colour for any class
    texture: int = 0  # largest distance of the background's patches from white, grey levels
    noise: float = 0.0  # standard deviation of the noise on every pixel and channel, grey levels
    minimum_visibility: float = 0.0  # objects with a lower visibility are marked `ignored`; 0 ignores none
    num_objects: tuple[int, int] = (2, 5)  # fewest and most of a scene

    def __post_init__(self):
        if self.palette not in get_args(Palette):
            raise ValueError(f"palette is {self.palette!r}; choose one of {', '.join(get_args(Palette))}")
        if not 0 <= self.texture <= 255:
            raise ValueError(f"texture is {self.texture}; it is a number of grey levels from 0 to 255")
        if not 0 <= self.noise <= MAX_NOISE:
            raise ValueError(f"noise is {self.noise}; it is a number of grey levels from 0 to {MAX_NOISE:g}")
        if not 0 <= self.minimum_visibility <= 1:
            raise ValueError(f"minimum_visibility is {self.minimum_visibility}; it is a share from 0 to 1")
        if not 1 <= self.num_objects[0] <= self.num_objects[1]:
            raise ValueError(f"num_objects is {self.num_objects}; it is the fewest (at least 1) and the most per scene")
        if self.palette == "shared" and self.num_objects[1] > len(SHARED_COLOURS):
            raise ValueError(f"num_objects is {self.num_objects}: the shared palette has {len(SHARED_COLOURS)} colours")

    @property
    def draws_look(self) -> bool:
        """Whether painting needs random numbers."""
        return self.palette == "shared" or self.texture > 0 or self.noise > 0


HANDOUT_LOOK = SceneConfig()


class Shape(NamedTuple):
    """One object of a layout, in whole pixels as the handout draws it."""

    label: int
    size: int  # as drawn at random; the box of an odd size is one pixel smaller
    box: tuple[int, int, int, int]


class Scene(NamedTuple):
    """An image and its N objects, back to front."""

    image: UInt8[np.ndarray, "224 224 3"]
    boxes: Float32[np.ndarray, "N 4"]
    labels: Int64[np.ndarray, " N"]
    visibility: Float64[np.ndarray, " N"]  # share of the object's pixels that no later object covers
    ignored: Bool[np.ndarray, " N"]
    sizes: Int64[np.ndarray, " N"]


def draw_scene(
    rng: random.Random, config: SceneConfig = HANDOUT_LOOK, look: np.random.Generator | None = None
) -> Scene:
    """Return the next scene of the layout stream `rng`.

    Law: equal states of `rng` and equal `num_objects` give equal boxes, labels and visibility, whatever `look` and the
    other fields of `config` are.

    Args:
        rng: the stream of the layout.
        config: of the look.
        look: the stream of colours, texture and noise; the handout's look needs none.

    Raises:
        ValueError: `config` has a random look and `look` is missing.

    Source: the assignment's data generator (handout, section 1).
    """
    if look is None:
        if config.draws_look:
            raise ValueError(f"{config} draws colours, texture or noise at random: pass a generator as `look`")
        look = np.random.default_rng(0)  # draws nothing
    shapes = lay_out(rng, config.num_objects)
    canvas = _draw_canvas(shapes)
    owners = np.asarray(canvas)
    labels, sizes, boxes = zip(*shapes, strict=True)
    visibility = np.array([_measure_visibility(owners, index, shape) for index, shape in enumerate(shapes)])
    return Scene(
        _paint(canvas, labels, config, look),
        np.array(boxes, np.float32),
        np.array(labels, np.int64),
        visibility,
        visibility < config.minimum_visibility,
        np.array(sizes, np.int64),
    )


def lay_out(rng: random.Random, num_objects: tuple[int, int] = HANDOUT_LOOK.num_objects) -> list[Shape]:
    """Return the objects of a scene, back to front, drawn in the handout's order.

    A circle has a size of 16 to 32 px, a square of 48 to 96 px and a triangle of 96 to 192 px. A position is used if
    its box has an IoU of at most 0.3 with every earlier box; after 50 tries the last position is used in any case.
    """
    shapes: list[Shape] = []
    for _ in range(rng.randint(*num_objects)):
        label = rng.choice(range(len(CLASS_NAMES)))
        size = rng.randint(*SIZE_RANGES[label])
        half = size // 2
        for _ in range(NUM_TRIES):
            x = rng.randint(half, IMAGE_SIZE - half)
            y = rng.randint(half, IMAGE_SIZE - half)
            box = (x - half, y - half, x + half, y + half)
            if all(_overlap(box, shape.box) <= MAX_IOU for shape in shapes):
                break
        shapes.append(Shape(label, size, box))
    return shapes


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Return the IoU of two boxes, in plain numbers: for one pair a tensor operation takes a hundred times as long."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _draw_canvas(shapes: list[Shape]) -> Image.Image:
    """Return an image of owners: 0 is background, 2k + 1 the fill and 2k + 2 the outline of object k.

    The same drawing gives the colours (by a palette) and the visibility (by counting).
    """
    canvas = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE))
    draw = ImageDraw.Draw(canvas)
    for index, shape in enumerate(shapes):
        _draw_shape(draw, shape.label, shape.box, 2 * index + 1, 2 * index + 2)
    return canvas


def _draw_shape(draw: ImageDraw.ImageDraw, label: int, box: tuple[int, int, int, int], fill: int, outline: int) -> None:
    """Draw one shape as the handout does: filled, with an outline of two pixels inside its edge."""
    x1, y1, x2, y2 = box
    if CLASS_NAMES[label] == "circle":
        draw.ellipse(box, fill, outline, width=2)
    elif CLASS_NAMES[label] == "square":
        draw.rectangle(box, fill, outline, width=2)
    else:
        draw.polygon(((x1 + x2) // 2, y1, x1, y2, x2, y2), fill, outline, width=2)


def _measure_visibility(owners: UInt8[np.ndarray, "224 224"], index: int, shape: Shape) -> float:
    """Return the share of a shape's pixels inside `[x1, x2) × [y1, y2)` that no later shape covers."""
    x1, y1, x2, y2 = shape.box
    # Unsigned bytes wrap: values below the object's two become large, so one comparison tests both bounds.
    visible = np.count_nonzero(owners[y1:y2, x1:x2] - np.uint8(2 * index + 1) < 2)
    return visible / _count_shape_pixels(shape.label, shape.size // 2)


@functools.cache
def _count_shape_pixels(label: int, half: int) -> int:
    """Return the number of pixels of an uncovered shape inside `[x1, x2) × [y1, y2)`, equal at every position."""
    canvas = Image.new("L", (2 * half, 2 * half))
    _draw_shape(ImageDraw.Draw(canvas), label, (0, 0, 2 * half, 2 * half), 1, 1)
    return int(np.count_nonzero(np.asarray(canvas)))


def _paint(
    canvas: Image.Image, labels: tuple[int, ...], config: SceneConfig, look: np.random.Generator
) -> UInt8[np.ndarray, "224 224 3"]:
    """Return the canvas in colours: fills, black outlines, background, noise."""
    if config.palette == "class":
        colours = [CLASS_COLOURS[label] for label in labels]
    else:  # without replacement: no two objects of a scene have the same colour
        colours = [SHARED_COLOURS[choice] for choice in look.permutation(len(SHARED_COLOURS))[: len(labels)]]
    palette = [*WHITE]
    for colour in colours:
        palette += [*colour, *BLACK]
    coloured = canvas.copy()
    coloured.putpalette(palette)
    image = coloured.convert("RGB")
    if config.texture:
        image.paste(_draw_background(config.texture, look), mask=canvas.point(BACKGROUND_LUT))
    if config.noise:
        grain = look.bytes(3 * IMAGE_SIZE * IMAGE_SIZE).translate(_noise_table(config.noise))
        image = ImageChops.add(image, Image.frombytes("RGB", image.size, grain), offset=-NO_NOISE)
    return np.array(image)


def _draw_background(texture: int, look: np.random.Generator) -> Image.Image:
    """Return soft patches of light colours, no channel more than `texture` below white."""
    cells = look.integers(255 - texture, 256, (BACKGROUND_CELLS, BACKGROUND_CELLS, 3), np.uint8)
    return Image.fromarray(cells).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)


@functools.cache
def _noise_table(standard_deviation: float) -> bytes:
    """Return 256 equally likely values of Gaussian noise around `NO_NOISE`, as a table for random bytes.

    Looking up a random byte takes a tenth of the time of drawing from a normal distribution. Noise beyond 2.9 standard
    deviations does not occur.
    """
    quantiles = [
        statistics.NormalDist(NO_NOISE, standard_deviation).inv_cdf((index + 0.5) / 256) for index in range(256)
    ]
    return bytes(round(quantile) for quantile in quantiles)
