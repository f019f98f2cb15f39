"""Cleaning: executed notebooks without the metadata of their run."""

from __future__ import annotations

import base64
import io
import re

from nbformat import NotebookNode
from PIL import Image

from helpers import plotting

WIDGET = "application/vnd.jupyter.widget-view+json"
COLOURS = 256  # of a saved figure: a third of the bytes of millions of colours, and no difference that an eye sees
_TQDM_CLOCK = re.compile(r"\[\d\d:\d\d[<,]")


def clean(notebook: NotebookNode) -> NotebookNode:
    """Return an executed notebook as it is committed: sources, outputs, counts and ids, without metadata of the run.

    Progress bars of measurement cells are removed: without the state of its widget a bar shows 0 %. nbval does not
    compare these cells. An explorer is saved as its picture: without the state of its widget, JupyterLab shows an error
    in its place, and no picture. Figures are saved with few colours; `figures/` holds them with all.
    """
    from nbstripout import strip_output

    keys = ("papermill", "widgets", "workbook")
    cell_keys = ("papermill", "execution")
    extra_keys = [f"metadata.{key}" for key in keys] + [f"cell.metadata.{key}" for key in cell_keys]
    notebook = strip_output(notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=extra_keys)
    for cell in notebook.cells:
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill gives every cell an empty list
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            is_bar = [
                WIDGET in output.get("data", {}) and _TQDM_CLOCK.search(output.data.get("text/plain", ""))
                for output in cell.outputs
            ]
            cell.outputs = [output for output, bar in zip(cell.outputs, is_bar, strict=True) if not bar]
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"].pop(WIDGET, None)
                output["data"]["image/png"] = _reduce_colours(output["data"]["image/png"])
    return notebook


def _reduce_colours(picture: str) -> str:
    """Return a PNG picture, in base64 as notebooks hold it, with at most `COLOURS` colours; never a larger one."""
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    reduced = base64.b64encode(plotting.encode_png(image, COLOURS)).decode()
    return min(picture, reduced, key=len)
