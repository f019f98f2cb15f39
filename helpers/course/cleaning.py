"""Cleaning: executed notebooks without the metadata of their run."""

from __future__ import annotations

import re

from nbformat import NotebookNode

WIDGET = "application/vnd.jupyter.widget-view+json"
_TQDM_CLOCK = re.compile(r"\[\d\d:\d\d[<,]")


def clean(notebook: NotebookNode) -> NotebookNode:
    """Return an executed notebook as it is committed: sources, outputs, counts and ids, without metadata of the run.

    Progress bars of measurement cells are removed: without the state of its widget a bar shows 0 %. nbval does not
    compare these cells. An explorer is saved as its picture: without the state of its widget, JupyterLab shows an error
    in its place, and no picture.
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
            if {WIDGET, "image/png"} <= set(output.get("data", {})):
                del output["data"][WIDGET]
    return notebook
