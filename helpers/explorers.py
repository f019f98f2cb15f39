"""Controls above a picture: what every explorer is, whatever it shows.

The picture is an image widget, because that is shown wherever a notebook is.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

from ipywidgets import Image, Layout, ToggleButtons, ValueWidget, VBox
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LABEL_WIDTH = "8em"
"""Holds a label of fourteen letters, its unit among them; Jupyter's own width cuts it."""

SLIDER_WIDTH = "28em"
"""With label and readout."""


def join(figure: Figure, controls: Mapping[str, ValueWidget], draw: Callable[..., None]) -> VBox:
    """Returns the controls above a picture of the figure; every change of a value draws it anew with all values.

    Args:
        controls: by the names under which `draw` takes their values; sliders and rows of buttons, for JupyterLab takes
            the arrow keys that would move a menu for its own.
        draw: shows these values in the figure.
    """
    picture = Image(format="png", layout=Layout(align_self="flex-start"))  # at its own size: a stretched one is blurred
    canvas = FigureCanvasAgg(figure)  # kept, as `savefig` would make one per drawing, which forgets how texts are set

    def draw_values() -> None:
        draw(**{name: control.value for name, control in controls.items()})

    def show() -> None:
        buffer = io.BytesIO()
        canvas.print_png(buffer, pil_kwargs={"compress_level": 1})  # it travels no further than to the browser
        picture.value = buffer.getvalue()

    def follow(_change: object) -> None:
        draw_values()
        show()

    draw_values()
    for _ in range(2):  # one pass leaves the titles of square panels half outside
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # each drawing would lay out anew, and the panels would jump
    show()
    for control in controls.values():
        control.style.description_width = LABEL_WIDTH
        if isinstance(control, ToggleButtons):
            control.add_class("widget-inline-hbox")  # as sliders have: the label stands beside the buttons, not above
            control.layout.width = control.style.button_width = "auto"
        else:
            control.layout.width = SLIDER_WIDTH
        control.observe(follow, names="value")
    return VBox([*controls.values(), picture])
