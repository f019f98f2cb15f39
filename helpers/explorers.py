"""Explorers: controls above a picture, which is drawn again at every change.

The picture is an image widget, because every program that displays notebooks can display one. A saved notebook holds
the picture at the start values. For pages without a kernel, an explorer renders frames; see `explorer_frames`.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
from ipywidgets import FloatSlider, Image, IntSlider, Layout, SelectionSlider, ToggleButtons, VBox
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helpers import plotting
from helpers.explorer_frames import (
    MOST_FRAMES,
    FrameControl,
    Frames,
    encode_frames,
    save_fragment,
)

Control = FloatSlider | IntSlider | SelectionSlider | ToggleButtons
"""Controls of the explorers. Menus are no controls, because JupyterLab takes the arrow keys for itself."""

LABEL_WIDTH = "8em"
"""Enough for a label of fourteen letters with its unit; Jupyter's default width cuts it off."""

SLIDER_WIDTH = "28em"
"""The width of a slider with its label and readout."""

FRAME_WIDTH = 720
"""Pixels of a rendered picture: the width of a page's text, so that letters are not smaller than they need be."""

LARGEST_DPI = 112
"""Of a rendered picture; a narrow figure does not get larger letters than this."""

SAVED_COLOURS = 64  # of the picture in a saved notebook


class Explorer(VBox):
    """Controls above a picture; `join` makes it."""

    def __init__(
        self,
        figure: Figure,
        controls: Mapping[str, Control],
        draw: Callable[..., None],
        frame_values: Mapping[str, Sequence[Any]],
        text: str,
    ) -> None:
        """Keep what draws the picture; for the arguments see `join`."""
        self._picture = Image(format="png", layout=Layout(align_self="flex-start"))  # stretching would blur it
        self._canvas = FigureCanvasAgg(figure)  # the same for all drawings: it caches the layout of texts
        self._controls, self._draw = dict(controls), draw
        self._frame_values, self._text = dict(frame_values), text
        self._name = ""
        super().__init__([*controls.values(), self._picture])

    def redraw(self, _change: object = None) -> None:
        """Draw and show the picture at the values of the controls."""
        self._draw(**self._read_values())
        self.show()

    def show(self) -> None:
        """Send the figure as it is to the picture."""
        buffer = io.BytesIO()
        self._canvas.print_png(buffer, pil_kwargs={"compress_level": 1})  # fast: it goes to the browser only
        self._picture.value = buffer.getvalue()

    def _read_values(self) -> dict[str, Any]:
        return {name: control.value for name, control in self._controls.items()}

    def _repr_mimebundle_(self, **options: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget, and for a saved notebook its picture, and the name of its fragment as metadata."""
        data = dict(super()._repr_mimebundle_(**options) or {})
        picture = PIL.Image.open(io.BytesIO(self._picture.value))
        data["image/png"] = base64.b64encode(plotting.encode_png(picture, SAVED_COLOURS)).decode()
        data["text/plain"] = f"Explorer: {', '.join(control.description for control in self._controls.values())}"
        return data, {"explorer": self._name} if self._name else {}

    def set_name(self, name: str) -> None:
        """Set the name under which pages without a kernel find the explorer's frames."""
        self._name = name

    def render(self, name: str, most_values: int = MOST_FRAMES) -> Frames:
        """Return frames for all combinations of the values in `frame_values`; other controls keep their values.

        Args:
            name: of the explorer; letters, digits and underscores.
            most_values: of each control; more are left out from the end, except for the present one.
        """
        start = self._read_values()
        values: dict[str, list[Any]] = {}
        for control_name, all_values in self._frame_values.items():
            if len(all_values) == 1:  # nothing to move
                continue
            values[control_name] = list(all_values)
            while len(values[control_name]) > most_values:
                is_last_start = values[control_name][-1] == start[control_name]
                del values[control_name][-2 if is_last_start else -1]
        images = []
        figure = self._canvas.figure
        dpi = figure.dpi
        figure.set_dpi(max(dpi, min(LARGEST_DPI, FRAME_WIDTH / figure.get_figwidth())))
        for combination in itertools.product(*values.values()):
            self._draw(**start | dict(zip(values, combination, strict=True)))
            self._canvas.draw()
            size = self._canvas.get_width_height()
            images.append(PIL.Image.frombytes("RGBA", size, bytes(self._canvas.buffer_rgba())).convert("RGB"))
        figure.set_dpi(dpi)
        self._draw(**start)
        controls = []
        first = 0
        for control_name, chosen in values.items():
            control = self._controls[control_name]
            texts = [describe_value(control, value) for value in chosen]
            is_slider = not isinstance(control, ToggleButtons)
            position = chosen.index(start[control_name])
            first = first * len(chosen) + position
            controls.append(FrameControl(control.description, texts, position, is_slider))
        encoded = encode_frames(images, first)
        fixed = [
            f"{control.description} {describe_value(control, control.value)}"
            for control_name, control in self._controls.items()
            if control_name not in values
        ]
        return Frames(name, self._text, ", ".join(fixed), controls, *encoded)

    def save_frames(self, path: Path, most_values: int = MOST_FRAMES) -> None:
        """Write the fragment for pages without a kernel into the file `path`; its name becomes the explorer's."""
        save_fragment(self.render(path.stem, most_values), path)


def describe_value(control: Control, value: object) -> str:
    """Return a value of a control as the reader sees it."""
    if isinstance(control, (SelectionSlider, ToggleButtons)):
        for option in control.options:
            label, option_value = option if isinstance(option, tuple) else (str(option), option)
            if option_value == value:
                return label
    return f"{value:g}"


def join(
    figure: Figure,
    controls: Mapping[str, Control],
    draw: Callable[..., None],
    frame_values: Mapping[str, Sequence[Any]],
    text: str,
) -> Explorer:
    """Return the controls above a picture of `figure`; at every change, `draw` is called with all values.

    Args:
        controls: sliders and rows of buttons, by the names of the arguments of `draw`.
        draw: shows the values in the figure.
        frame_values: values of the controls that can be moved on a page without a kernel, the most important first.
        text: alternative text on such a page: what the picture shows.

    Raises:
        ValueError: `frame_values` has too many combinations, a single value, or lacks the start value of a control.
    """
    num_frames = math.prod(len(values) for values in frame_values.values())
    if num_frames > MOST_FRAMES:
        raise ValueError(f"an explorer has {num_frames} frames, more than {MOST_FRAMES}: choose fewer values")
    for name, values in frame_values.items():
        if controls[name].value not in values:
            raise ValueError(f"the frames of an explorer lack the start value {controls[name].value!r} of {name!r}")
    explorer = Explorer(figure, controls, draw, frame_values, text)
    explorer.redraw()
    for _ in range(2):  # one pass cuts the titles of square panels
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # fixed: a layout per drawing would move the panels
    explorer.show()
    for control in controls.values():
        control.style.description_width = LABEL_WIDTH
        if isinstance(control, ToggleButtons):
            control.add_class("widget-inline-hbox")  # the class of sliders: puts the label beside the buttons
            control.layout.width = control.style.button_width = "auto"
        else:
            control.layout.width = SLIDER_WIDTH
        control.observe(explorer.redraw, names="value")
    return explorer
