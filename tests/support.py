"""Functions that the tests of explorers share."""

import io

import numpy as np
from ipywidgets import ValueWidget, VBox
from matplotlib.pyplot import imread


def find_control(box: VBox, description: str) -> ValueWidget:
    """Return the control with the label `description` of an explorer."""
    return next(control for control in box.children[:-1] if control.description == description)


def read_picture(box: VBox) -> np.ndarray:
    """Return the pixels of the picture below an explorer's controls."""
    return imread(io.BytesIO(box.children[-1].value))
