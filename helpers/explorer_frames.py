"""Explorers without a kernel: pictures of many values, rendered beforehand, and one HTML fragment that shows them.

A fragment stands on its own: its pictures are data URIs, its script uses no library, and nothing is fetched. It is a
piece of a page, and a browser opens it from disk as well.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from helpers import files

LARGEST_FRAGMENT = 500_000  # bytes
MOST_FRAMES = 100  # about 0.07 s each to draw and to encode
RUN_IT = "Run the lesson to change these as well."

SCALES = (1.0, 0.85, 0.7, 0.5)  # of a picture
_READABLE: Sequence[dict[str, int]] = ({"colours": 64}, {"colours": 32}, {"quality": 70}, {"quality": 45})
"""Options of `_encode`, the best first: few colours without loss, for drawings; with loss, for photos and noise."""
_ROUGH: Sequence[dict[str, int]] = ({"quality": 20}, {"quality": 5})
"""Options of `_encode` with which small letters are hard to read: smaller pictures are better."""
LARGEST_ENLARGEMENT = 1.4  # of a picture on a page; it fills the page up to there
_BACKGROUND = re.compile(r"background-image: url\(data:image/webp;base64,([A-Za-z0-9+/=]+)\)")
_DATA = re.compile(r'<script type="application/json">(.*?)</script>', flags=re.DOTALL)

STYLE = """
.explorer { margin: 1em 0; font-family: inherit; }
.explorer label, .explorer fieldset { display: flex; flex-wrap: wrap; gap: 0.2em 0.8em; align-items: center;
  border: 0; margin: 0.2em 0; padding: 0; }
.explorer .name, .explorer legend { width: 9em; float: left; padding: 0; font-size: inherit; margin: 0; }
.explorer input[type=range] { width: 14em; max-width: 100%; }
.explorer .picture { overflow-x: auto; }
.explorer img { display: block; width: 100%; min-width: 32rem; height: auto; padding: 0; border: 0;
  background: content-box 0 0 / 100% 100%; }
.explorer .fixed { font-size: 0.9em; }
"""

SCRIPT = """
(() => {
  const box = document.currentScript.parentElement;
  const data = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const picture = box.querySelector("img");
  const rows = [...box.querySelectorAll("[data-control]")];
  box.addEventListener("input", () => {
    let position = 0;
    const texts = data.controls.map((control, number) => {
      const row = rows[number];
      const input = row.querySelector("input[type=range], input:checked");
      const text = control.values[input.value];
      position = position * control.values.length + Number(input.value);
      if (control.is_slider) {
        row.querySelector("output").textContent = text;
        input.setAttribute("aria-valuetext", text);
      }
      return `${control.label}: ${text}`;
    });
    picture.src = "data:image/webp;base64," + data.pictures[data.order[position]];
    picture.alt = `${data.text} ${texts.join(", ")}.`;
  });
})();
"""

SCRIPT_HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""For a page whose security policy allows this script and no other."""


class FragmentError(ValueError):
    """A fragment cannot be written or read; the message is the reason."""


@dataclass(frozen=True)
class FrameControl:
    """A control of a fragment: a slider, or a row of buttons of which one is chosen."""

    label: str  # with its unit
    values: Sequence[str]  # as the reader sees them
    start: int  # position of the first value shown
    is_slider: bool


@dataclass(frozen=True)
class Frames:
    """Pictures of an explorer for all combinations of its controls' values."""

    name: str  # letters, digits and underscores; unique in a page
    text: str  # alternative text: what the picture shows
    fixed: str  # the controls that do not move, with their values
    controls: Sequence[FrameControl]
    width: int  # pixels of each picture
    height: int
    background: str  # WebP in base64: the picture at the start values
    pictures: Sequence[str]  # WebP in base64, each different; transparent where it is like the background
    order: Sequence[int]  # picture of each combination; the last control varies fastest

    def check(self) -> None:
        """Raise an error if the parts do not fit each other.

        Raises:
            FragmentError: the name has other characters, a start is no value, or a picture is missing or no WebP.
        """
        if not re.fullmatch(r"\w+", self.name):
            raise FragmentError(f"the name {self.name!r} of an explorer has other characters than letters and digits")
        for control in self.controls:
            if not 0 <= control.start < len(control.values):
                raise FragmentError(f"{self.name}: {control.label!r} has no start value")
        num_combinations = math.prod(len(control.values) for control in self.controls)
        if len(self.order) != num_combinations:
            raise FragmentError(f"{self.name}: {len(self.order)} frames for {num_combinations} combinations")
        if not all(0 <= position < len(self.pictures) for position in self.order):
            raise FragmentError(f"{self.name}: a frame has no picture")
        for picture in (self.background, *self.pictures):
            try:
                data = base64.b64decode(picture, validate=True)
            except (binascii.Error, ValueError) as error:
                raise FragmentError(f"{self.name}: a picture is not base64 ({error})") from error
            if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
                raise FragmentError(f"{self.name}: a picture is not WebP")


class Encoded(NamedTuple):
    """Pictures of an explorer as WebP in base64."""

    width: int  # pixels of each picture
    height: int
    background: str  # the whole picture at the start values
    pictures: list[str]  # each different, transparent where it is like the background
    order: list[int]  # picture of each frame


def encode_frames(frames: Sequence[Image.Image], start: int, most_bytes: int = LARGEST_FRAGMENT) -> Encoded:
    """Return frames as one background and pictures of what differs from it, at the best quality that is small enough.

    Drawn pictures are best without loss and with few colours. If they become too large, as photos and noise do, they
    are encoded with loss, or made smaller, as long as letters can be read. All pictures have the same quality.

    Args:
        frames: RGB, all of one size.
        start: position of the frame at the start values.
        most_bytes: of the whole fragment.

    Raises:
        FragmentError: the pictures are too large at the lowest quality.
    """
    places: dict[bytes, int] = {}
    order = [places.setdefault(frame.tobytes(), len(places)) for frame in frames]
    unique = [frames[order.index(position)] for position in range(len(places))]
    limit = 0.95 * most_bytes  # the rest is for labels, style and script
    for encodings, scale in itertools.product((_READABLE, _ROUGH), SCALES):
        width, height = (round(scale * side) for side in frames[0].size)
        scaled = [frame.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else frame for frame in unique]
        background = scaled[order[start]]
        overlays = [cut_changes(frame, background) for frame in scaled]
        sample = overlays[::7]  # by its size, most encodings are ruled out
        for options in encodings:
            background_size = len(_encode(background, **options))
            estimate = background_size + sum(len(_encode(frame, **options)) for frame in sample) * len(unique) / len(
                sample
            )
            if estimate > 0.75 * limit:  # base64 makes 4 characters of 3 bytes
                continue
            pictures = [base64.b64encode(_encode(frame, **options)).decode() for frame in overlays]
            if sum(map(len, pictures)) + background_size * 4 / 3 < limit:
                coded = base64.b64encode(_encode(background, **options)).decode()
                return Encoded(width, height, coded, pictures, order)
    raise FragmentError(f"{len(unique)} pictures have more than {most_bytes:,} bytes: render fewer values")


def cut_changes(frame: Image.Image, background: Image.Image) -> Image.Image:
    """Return an RGBA picture of the pixels that differ from the background; the others are transparent."""
    pixels = np.asarray(frame)
    is_changed = (pixels != np.asarray(background)).any(axis=2, keepdims=True)
    opacity = np.where(is_changed, 255, 0)
    return Image.fromarray(np.concatenate([np.where(is_changed, pixels, 255), opacity], axis=2).astype(np.uint8))


def _encode(frame: Image.Image, colours: int = 0, quality: int = 0) -> bytes:
    """Return a picture as WebP: without loss and with few colours, or with loss."""
    buffer = io.BytesIO()
    if not colours:
        frame.save(buffer, format="WEBP", quality=quality, method=4)
        return buffer.getvalue()
    picture = frame.convert("RGB").quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture = picture.convert("RGB")
    if frame.mode == "RGBA":
        opacity = frame.getchannel("A")
        picture = Image.composite(picture, Image.new("RGB", picture.size, "white"), opacity)
        picture.putalpha(opacity)
    picture.save(buffer, format="WEBP", lossless=True, quality=50, method=3)
    return buffer.getvalue()


def write_fragment(frames: Frames) -> str:
    """Return the HTML fragment of an explorer: controls with labels, the picture at the start values, and a script.

    Raises:
        FragmentError: the parts do not fit each other, see `Frames.check`.
    """
    frames.check()
    position = 0
    rows, texts = [], []
    for control in frames.controls:
        position = position * len(control.values) + control.start
        texts.append(f"{control.label}: {control.values[control.start]}")
        rows.append(_write_slider(control) if control.is_slider else _write_buttons(control, frames.name))
    alt = escape(f"{frames.text} {', '.join(texts)}.")
    source = f"data:image/webp;base64,{frames.pictures[frames.order[position]]}"
    background = f"data:image/webp;base64,{frames.background}"
    largest = round(LARGEST_ENLARGEMENT * frames.width)
    fields = asdict(frames)
    del fields["background"]  # read from the picture's style
    data = json.dumps(fields, ensure_ascii=False).replace("<", "\\u003c")
    lines = [
        f'<div class="explorer" id="explorer-{frames.name}" role="group" aria-label="Explorer">',
        f"<style>{STYLE}</style>",
        *rows,
        f'<div class="picture"><img class="dark-light" style="max-width: {largest}px; '
        f'background-image: url({background})" src="{source}" '
        f'alt="{alt}" width="{frames.width}" height="{frames.height}"></div>',
        f'<p class="fixed">Fixed here: {escape(frames.fixed)}. {RUN_IT}</p>' if frames.fixed else "",
        f'<script type="application/json">{data}</script>',
        f"<script>{SCRIPT}</script>",
        "</div>",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _write_slider(control: FrameControl) -> str:
    """Return the HTML of a slider with its label and its value."""
    text = escape(control.values[control.start])
    slider = (
        f'<input type="range" min="0" max="{len(control.values) - 1}" step="1" value="{control.start}" '
        f'aria-valuetext="{text}" autocomplete="off">'
    )
    return (
        f'<label data-control><span class="name">{escape(control.label)}</span>{slider}<output>{text}</output></label>'
    )


def _write_buttons(control: FrameControl, name: str) -> str:
    """Return the HTML of a row of radio buttons with its label."""
    group = escape(f"{name}-{control.label}")
    buttons = []
    for position, text in enumerate(control.values):
        checked = " checked" if position == control.start else ""
        button = f'<input type="radio" name="{group}" value="{position}"{checked} autocomplete="off">'
        buttons.append(f"<label>{button} {escape(text)}</label>")
    return f"<fieldset data-control><legend>{escape(control.label)}</legend>{''.join(buttons)}</fieldset>"


def read_fragment(text: str) -> Frames:
    """Return the pictures and controls of a fragment; nothing else of its HTML is used.

    Raises:
        FragmentError: it is no fragment of `write_fragment`.
    """
    data, background = _DATA.search(text), _BACKGROUND.search(text)
    if data is None or background is None:
        raise FragmentError("it is no fragment of an explorer")
    try:
        fields = json.loads(data[1])
        controls = []
        for control in fields.pop("controls"):
            values = [str(value) for value in control["values"]]
            controls.append(
                FrameControl(str(control["label"]), values, int(control["start"]), bool(control["is_slider"]))
            )
        for name in ("name", "text", "fixed"):
            fields[name] = str(fields[name])
        for name in ("width", "height"):
            fields[name] = int(fields[name])
        fields["order"] = [int(position) for position in fields["order"]]
        frames = Frames(controls=controls, background=background[1], **fields)
        frames.check()
        write_fragment(frames).encode()  # half a character in a text cannot be written
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise FragmentError(f"its data cannot be read ({type(error).__name__}: {error})") from error
    return frames


def save_fragment(frames: Frames, path: Path) -> None:
    """Write the fragment of an explorer into a file.

    Raises:
        FragmentError: it has more than `LARGEST_FRAGMENT` bytes, or its parts do not fit each other.
    """
    text = write_fragment(frames)
    if (size := len(text.encode())) > LARGEST_FRAGMENT:
        raise FragmentError(f"{path.name} has {size:,} bytes, over {LARGEST_FRAGMENT:,}: render fewer values")
    files.write_text(path, text)


def read_fragments(folder: Path, lesson: str) -> dict[str, str]:
    """Return the fragments of a lesson by the explorers' names, written anew from the files' data.

    Args:
        folder: holds `NN_name.html` for each explorer; it may be missing.
        lesson: two-digit number.

    Raises:
        FragmentError: a file is no fragment; the message names it.
    """
    fragments = {}
    for path in sorted(folder.glob(f"{lesson}_*.html")):
        try:
            fragments[path.stem[3:]] = write_fragment(read_fragment(path.read_text(encoding="utf-8")))
        except (FragmentError, UnicodeDecodeError) as error:
            raise FragmentError(f"{path.name}: {error}") from error
    return fragments
