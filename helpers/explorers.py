"""Explorers: controls above a picture, which is drawn again at every change.

The picture is an image widget, because every program that displays notebooks can display one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

from ipywidgets import FloatSlider, Image, IntSlider, Layout, SelectionSlider, ToggleButtons, VBox
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Control = FloatSlider | IntSlider | SelectionSlider | ToggleButtons
"""Controls of the explorers. Menus are no controls, because JupyterLab takes the arrow keys for itself."""

LABEL_WIDTH = "8em"
"""Enough for a label of fourteen letters with its unit; Jupyter's default width cuts it off."""

SLIDER_WIDTH = "28em"
"""The width of a slider with its label and readout."""


def join(figure: Figure, controls: Mapping[str, Control], draw: Callable[..., None]) -> VBox:
    """Return the controls above a picture of `figure`; at every change, `draw` is called with all values.

    Args:
        controls: sliders and rows of buttons, by the names of the arguments of `draw`.
        draw: shows the values in the figure.
    """
    picture = Image(format="png", layout=Layout(align_self="flex-start"))  # unstretched, because stretching blurs it
    canvas = FigureCanvasAgg(figure)  # the same for all drawings: it caches the layout of texts

    def draw_values() -> None:
        draw(**{name: control.value for name, control in controls.items()})

    def show() -> None:
        buffer = io.BytesIO()
        canvas.print_png(buffer, pil_kwargs={"compress_level": 1})  # fast: it goes to the browser only
        picture.value = buffer.getvalue()

    def redraw(_change: object) -> None:
        draw_values()
        show()

    draw_values()
    for _ in range(2):  # one pass cuts the titles of square panels
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # fixed: a layout per drawing would move the panels
    show()
    for control in controls.values():
        control.style.description_width = LABEL_WIDTH
        if isinstance(control, ToggleButtons):
            control.add_class("widget-inline-hbox")  # the class of sliders: puts the label beside the buttons
            control.layout.width = control.style.button_width = "auto"
        else:
            control.layout.width = SLIDER_WIDTH
        control.observe(redraw, names="value")
    return VBox([*controls.values(), picture])
