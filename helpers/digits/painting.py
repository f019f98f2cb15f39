"""Painting of a sign on a wall: fonts, plates, bricks, light, and the defects of a photo from a moving camera."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONTS = (
    "DejaVuSans-Bold",
    "DejaVuSans-Bold",
    "DejaVuSans",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif-Bold",
    "DejaVuSerif",
    "STIXGeneralBol",
    "STIXGeneralBol",
    "STIXGeneral",
    "STIXGeneralBolIta",
    "cmb10",
    "cmss10",
    "cmss10",
    "cmtt10",
)
"""Fonts that come with Matplotlib. House numbers are mostly bold, so some fonts are listed twice."""
PLAIN_ONE = "plain 1"
"""Text of a 1 without a foot, as most house numbers have it; no font of Matplotlib has this glyph."""
GLYPH_HEIGHTS = (12, 16, 24, 32, 48, 64, 96, 128)
"""Heights of a drawn glyph, pixels: the smallest one that is at least its height in the image is used."""

Colour = tuple[int, int, int]

# Walls of plaster, stone, wood and brick are nearly grey in photos.
_WALLS: tuple[Colour, ...] = (
    (127, 124, 121),
    (91, 88, 87),
    (61, 58, 57),
    (40, 38, 40),
    (146, 139, 127),
    (183, 180, 174),
    (98, 84, 73),
    (69, 57, 50),
    (111, 78, 69),
    (66, 70, 67),
    (99, 104, 113),
    (132, 112, 92),
)
_BRICKS: tuple[Colour, ...] = ((122, 74, 62), (96, 64, 56), (150, 134, 116), (84, 72, 72))
_PLATES: tuple[tuple[Colour, Colour], ...] = (  # plate, digits
    ((222, 222, 220), (34, 36, 58)),
    ((214, 214, 210), (40, 40, 40)),
    ((200, 196, 184), (52, 60, 104)),
    ((206, 208, 214), (60, 74, 130)),
    ((36, 52, 120), (228, 230, 236)),
    ((40, 56, 104), (214, 218, 226)),
    ((34, 34, 40), (206, 204, 198)),
    ((54, 50, 48), (196, 186, 160)),
    ((52, 64, 108), (204, 208, 218)),
    ((196, 194, 190), (70, 66, 64)),
    ((112, 46, 48), (222, 214, 208)),
    ((66, 80, 72), (212, 210, 196)),
)
_INKS: tuple[Colour, ...] = (  # digits without a plate
    (34, 32, 34),
    (50, 40, 36),
    (30, 36, 62),
    (224, 222, 216),
    (200, 190, 166),
    (168, 140, 86),
    (120, 116, 112),
)


class Character(NamedTuple):
    """One character of a sign, in units of a digit's height."""

    text: str
    u: float  # left end of its ink
    v: float  # top of a digit there; letters have the digits' baseline
    width: float  # of its ink


class Sign(NamedTuple):
    """Text of a sign and its view by the camera."""

    font: str
    characters: Sequence[Character]
    num_on_plate: int  # number of first characters, which are on the plate; the others are beside it
    matrix: Float64[np.ndarray, "3 3"]  # from (u, v) to (x, y) pixels
    unit: float  # height of a digit, pixels


def measure_character(font: str, text: str) -> float:
    """Return the width of a character's ink, in digit heights."""
    mask, _ = _draw_glyph(font, text, GLYPH_HEIGHTS[-1], 0)
    return mask.width / GLYPH_HEIGHTS[-1]


def paint(
    sign: Sign, size: tuple[int, int], clear_span: tuple[float, float], rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Return the photo of `sign`.

    Args:
        size: (height, width) of the image, pixels.
        clear_span: first and last x, pixels, between which nothing but the sign is in front of the wall.
    """
    canvas, wall = _paint_wall(size, sign.unit, clear_span, rng)
    plate, rim, ink = _draw_masks(sign, size, rng)
    on_plate = rng.random() < 0.6
    ground, colour = _PLATES[rng.integers(len(_PLATES))] if on_plate else (wall, _choose_ink(wall, rng))
    ground, colour = _vary(ground, rng, 14) if on_plate else wall, _vary(colour, rng, 14)
    contrast = float(np.clip(1.0 - rng.gamma(1.6, 0.15), 0.4, 1))
    colour = _mix(ground, colour, contrast)
    if on_plate:
        canvas.paste(_mix(wall, ground, 0.3), (round(sign.unit * 0.04), round(sign.unit * 0.06)), plate)
        canvas.paste(ground, (0, 0), plate)
        if rng.random() < 0.35:
            canvas.paste(colour, (0, 0), rim)
    elif rng.random() < 0.45:  # metal digits at a distance from the wall cast a shadow
        x, y = (round(sign.unit * rng.uniform(-0.12, 0.12)) for _ in range(2))
        canvas.paste(_mix(wall, (0, 0, 0), rng.uniform(0.3, 0.6)), (x, y), ink)
    canvas.paste(colour, (0, 0), ink)
    return _photograph(canvas, sign.unit, rng)


def _choose_ink(wall: Colour, rng: np.random.Generator) -> Colour:
    """Return a colour of digits that differs enough from `wall`."""
    distinct = [ink for ink in _INKS if abs(sum(ink) - sum(wall)) > 150]
    return distinct[rng.integers(len(distinct))]


def _vary(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    """Return a similar colour, changed in brightness mostly and in hue a little."""
    values = np.array(colour) + rng.normal(0, amount) + rng.normal(0, amount / 7, 3)
    red, green, blue = np.clip(np.rint(values), 0, 255).astype(int).tolist()
    return red, green, blue


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the mixture (1 - `share`) · `first` + `share` · `second`."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


# The sign


@functools.cache
def _load_font(name: str, glyph_height: int) -> tuple[ImageFont.FreeTypeFont, int]:
    """Return the font in the size in which an 8 is `glyph_height` pixels high, and the top of the 8, pixels."""
    path = str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"))
    _, top, _, bottom = ImageFont.truetype(path, 200).getbbox("8")
    font = ImageFont.truetype(path, round(200 * glyph_height / (bottom - top)), layout_engine=ImageFont.Layout.BASIC)
    return font, int(font.getbbox("8")[1])


@functools.cache
def _draw_glyph(name: str, text: str, glyph_height: int, stroke: int) -> tuple[Image.Image, int]:
    """Return the mask of a character's ink, and its top below the top of an 8, pixels; `stroke` makes it bolder."""
    if text == PLAIN_ONE:
        mask, below = _draw_glyph(name, "1", glyph_height, stroke)
        return _remove_foot(mask), below
    font, top_of_8 = _load_font(name, glyph_height)
    sheet = Image.new("L", (4 * glyph_height, 4 * glyph_height))
    ImageDraw.Draw(sheet).text((glyph_height, glyph_height), text, fill=255, font=font, stroke_width=stroke)
    ink = sheet.getbbox()  # the font's box of a character is wider: it includes the space after the ink
    if ink is None:
        raise ValueError(f"the font {name} has no character {text!r}")
    return sheet.crop(ink), ink[1] - glyph_height - top_of_8


def _remove_foot(mask: Image.Image) -> Image.Image:
    """Return the mask of a 1 without its foot: the stem is extended to the baseline, upright or leaning."""
    ink = np.array(mask)
    upper, lower = int(0.5 * len(ink)), int(0.7 * len(ink))
    lean = (ink[upper].argmax() - ink[lower].argmax()) / (lower - upper)  # columns to the left per row down
    for row in range(lower, len(ink)):
        ink[row] = np.roll(ink[lower], -round(lean * (row - lower)) if lean > 0.1 else 0)
    columns = np.flatnonzero(ink.any(axis=0))
    return Image.fromarray(ink[:, columns[0] : columns[-1] + 1])


def _draw_masks(sign: Sign, size: tuple[int, int], rng: np.random.Generator) -> list[Image.Image]:
    """Return three masks in the image: the plate, its rim and the ink.

    They are the channels of one picture of the sign, which is resampled once. Its columns are about as wide as those of
    the image, because a finer picture of a foreshortened sign would lose thin lines between the samples.
    """
    glyph_height = next((height for height in GLYPH_HEIGHTS if height >= sign.unit), GLYPH_HEIGHTS[-1])
    across = float(np.hypot(*sign.matrix[:2, 0])) / sign.unit
    scale = np.array([glyph_height * min(1.0, 1.1 * across), glyph_height])
    stroke = round(glyph_height * max(0.0, rng.normal(0.01, 0.025)))
    ink_boxes = np.array([(char.u, char.v, char.u + char.width, char.v + 1) for char in sign.characters])
    number, pad = ink_boxes[: sign.num_on_plate], rng.uniform(0.12, 0.6, 2)
    plate = np.stack([number[:, :2].min(axis=0) - pad, number[:, 2:].max(axis=0) + pad])
    margin = 0.8  # room for strokes, descenders of letters and an oval that is wider than its plate
    origin = np.minimum(plate[0], ink_boxes[:, :2].min(axis=0)) - margin
    end = np.maximum(plate[1], ink_boxes[:, 2:].max(axis=0)) + margin
    width, height = np.ceil((end - origin) * scale).astype(int).tolist()
    plate_mask, rim_mask, ink_mask = masks = [Image.new("L", (width, height)) for _ in range(3)]
    _draw_plate(plate_mask, rim_mask, (plate - origin) * scale, scale, rng)
    for char in sign.characters:
        glyph, top = _draw_glyph(sign.font, char.text, glyph_height, stroke)
        narrow = scale[0] / glyph_height
        glyph = glyph.resize((max(1, round(glyph.width * narrow)), glyph.height), Image.Resampling.BILINEAR)
        x, y = ((char.u, char.v) - origin) * scale
        ink_mask.paste(255, (round(x - stroke * narrow), round(y) + top), glyph)
    to_masks = np.array([[scale[0], 0, -origin[0] * scale[0]], [0, scale[1], -origin[1] * scale[1]], [0, 0, 1]])
    from_image = to_masks @ np.linalg.inv(sign.matrix)
    coefficients = (from_image / from_image[2, 2]).ravel()[:8].tolist()
    projected = Image.merge("RGB", masks).transform(
        (size[1], size[0]), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR
    )
    return list(projected.split())


def _draw_plate(
    plate: Image.Image, rim: Image.Image, box: Float64[np.ndarray, "2 2"], scale: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw a plate and its rim, with sharp or round corners or as an oval."""
    line = max(1, round(scale.min() * rng.uniform(0.05, 0.1)))
    kind = rng.random()
    if kind < 0.08:  # an oval around the corners of the plate that it replaces
        middle, half = box.mean(axis=0), (box[1] - box[0]) / 2
        outline = np.stack([middle - 1.3 * half, middle + 1.3 * half])
        ImageDraw.Draw(plate).ellipse(outline.ravel().tolist(), fill=255)
        ImageDraw.Draw(rim).ellipse(box.ravel().tolist(), outline=255, width=line)
        return
    radius = 0.0 if kind < 0.5 else scale.min() * rng.uniform(0.05, 0.3)
    inset = scale * rng.uniform(0.03, 0.1)
    inner = np.stack([box[0] + inset, box[1] - inset])
    ImageDraw.Draw(plate).rounded_rectangle(box.ravel().tolist(), radius, fill=255)
    ImageDraw.Draw(rim).rounded_rectangle(inner.ravel().tolist(), radius, outline=255, width=line)


# The wall


def _paint_wall(
    size: tuple[int, int], unit: float, clear_span: tuple[float, float], rng: np.random.Generator
) -> tuple[Image.Image, Colour]:
    """Return a wall with frames, ledges and cables, and its colour behind the number."""
    height, width = size
    left, right = clear_span
    bricks = rng.random() < 0.15
    palette = _BRICKS if bricks else _WALLS
    wall = _vary(palette[rng.integers(len(palette))], rng, 18)
    canvas = Image.new("RGB", (width, height), wall)
    draw = ImageDraw.Draw(canvas)
    if bricks:
        _draw_bricks(draw, size, unit, wall, rng)
    if rng.random() < 0.65:  # vertical edges beside the number: a frame, a window, a gutter
        for _ in range(rng.integers(1, 4)):
            colour = _vary(_WALLS[rng.integers(len(_WALLS))], rng, 25)
            lean = rng.normal(0, 0.04) * height
            inner = left * rng.random() if rng.random() < 0.5 else right + (width - right) * rng.random()
            thickness = width * (1.0 if rng.random() < 0.4 else rng.uniform(0.02, 0.12))
            outer = inner + (thickness if inner > left else -thickness)
            draw.polygon([(inner, -1), (outer, -1), (outer + lean, height), (inner + lean, height)], fill=colour)
    if rng.random() < 0.2:  # a ledge above or below
        y = height * (rng.uniform(0.0, 0.12) if rng.random() < 0.5 else rng.uniform(0.88, 1.0))
        drop = rng.normal(0, 0.08) * height
        rest = -height if y < height / 2 else 2 * height
        colour = _vary(_WALLS[rng.integers(len(_WALLS))], rng, 25)
        draw.polygon([(0, y), (width, y + drop), (width, rest), (0, rest)], fill=colour)
    if rng.random() < 0.08:  # a cable
        y = rng.uniform(0, height, 2)
        draw.line([(0, y[0]), (width, y[1])], fill=_mix(wall, (20, 20, 20), 0.8), width=max(1, round(unit * 0.06)))
    return canvas, wall


def _draw_bricks(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], unit: float, wall: Colour, rng: np.random.Generator
) -> None:
    height, width = size
    course = max(3.0, unit * rng.uniform(0.3, 0.9))
    length = course * rng.uniform(2.2, 3.2)
    mortar = _mix(wall, (190, 186, 180), rng.uniform(-0.3, 0.7))
    slope = rng.normal(0, 0.06)
    line = max(1, round(course * 0.12))
    y = -course * rng.random() - abs(slope) * width
    row = 0
    while y < height + abs(slope) * width:
        draw.line([(0, y), (width, y + slope * width)], fill=mortar, width=line)
        x = -length * (0.5 * (row % 2) + 0.2)
        while x < width:
            draw.line([(x, y + slope * x), (x, y + slope * x + course)], fill=mortar, width=line)
            x += length
        y += course
        row += 1


# The camera


def _photograph(canvas: Image.Image, unit: float, rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """Return the photo of `canvas`: uneven light, stains, blur, noise and JPEG compression."""
    width, height = canvas.size
    photo = np.asarray(canvas) * _draw_light((height, width), rng)[..., None]
    photo += _draw_texture((height, width), unit, rng)[..., None]
    # Blur by wrong focus or by enlargement is proportional to the size of the digits.
    sigma = float(0.25 + unit * min(0.065, 0.028 * np.exp(rng.normal(0, 0.5))))
    blurred = Image.fromarray(_to_bytes(photo)).filter(ImageFilter.GaussianBlur(sigma))
    noise = rng.standard_normal((height, width, 1), np.float32) * np.float32(0.3 + rng.gamma(3.0, 0.7))
    jpeg = io.BytesIO()
    Image.fromarray(_to_bytes(np.asarray(blurred) + noise)).save(jpeg, "JPEG", quality=int(rng.integers(55, 93)))
    return np.asarray(Image.open(jpeg))


def _to_bytes(values: Float32[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def _draw_light(size: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """Return a factor per pixel: exposure, a gradient and, in one image of ten, the edge of a shadow."""
    height, width = size
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    across, down = rng.normal(0, 0.09, 2).astype(np.float32)
    light = np.float32(np.clip(np.exp(rng.normal(0.1, 0.27)), 0.55, 1.8)) * (1 + across * x + down * y)
    if rng.random() < 0.1:
        angle = rng.uniform(0, 2 * np.pi)
        side = np.cos(angle) * x + np.sin(angle) * y - rng.normal(0, 0.4)
        light *= 1 - np.float32(rng.uniform(0.2, 0.5)) * np.clip(side * 6, 0, 1).astype(np.float32)
    return light


def _draw_texture(size: tuple[int, int], unit: float, rng: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """Return stains of the size of the digits and grain of a few pixels, in grey levels around 0."""
    height, width = size
    total = np.zeros(size, np.float32)
    for cell, strength in ((unit, 7.0), (max(2.0, unit / 6), 3.2)):
        shape = (max(2, round(height / cell) + 1), max(2, round(width / cell) + 1))
        coarse = rng.standard_normal(shape, np.float32) * np.float32(rng.gamma(1.5, strength / 1.5))
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return total
