"""Controls above a picture: what every explorer is, whatever it shows.

The picture is an image widget, because that is shown wherever a notebook is.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

from ipywidgets import Image, ValueWidget, VBox
from matplotlib.figure import Figure


def join(figure: Figure, controls: Mapping[str, ValueWidget], draw: Callable[..., None]) -> VBox:
    """Returns the controls above a picture of the figure; every change of a value draws it anew with all values.

    Args:
        controls: by the names under which `draw` takes their values.
        draw: shows these values in the figure.
    """
    picture = Image(format="png")

    def show(_change: object = None) -> None:
        draw(**{name: control.value for name, control in controls.items()})
        if figure.get_layout_engine():
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # each drawing would lay out anew, and the panels would jump
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        picture.value = buffer.getvalue()

    for control in controls.values():
        control.observe(show, names="value")
    show()
    return VBox([*controls.values(), picture])
