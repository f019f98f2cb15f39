"""Tiny notebooks for the tests of the course, and functions that wait for processes."""

import contextlib
import json
import time
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PATIENCE = 300.0  # seconds: a busy machine needs far longer than an idle one


def make_parameters(source="profile = None\nseed = 0"):
    """Return a parameters cell."""
    return new_code_cell(source, metadata={"tags": ["parameters"]})


def make_notebook(*cells):
    """Return a notebook of these cells for the kernel of this Python."""
    return new_notebook(cells=list(cells), metadata=dict(KERNEL))


def write_notebook(path, *cells):
    """Write a notebook of these cells and return its path."""
    nbformat.write(make_notebook(*cells), path)
    return Path(path)


def read_notebook(path):
    """Return a notebook as it is in its file."""
    return nbformat.read(path, as_version=4)


def wait_until(condition, what="the condition", seconds=PATIENCE):
    """Wait until `condition` returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} within {seconds:g} s"
        time.sleep(0.05)
    return value


def is_running(process):
    """Return whether a process, given as such or by its id, has not ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = process if isinstance(process, psutil.Process) else psutil.Process(process)
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def find_messages(errors):
    """Return the lines of standard error without those of ipykernel, which may be interrupted while it starts."""
    return [line for line in errors.splitlines() if not line.startswith("[IPKernelApp]")]


def make_finished_run(folder, *outputs, tags=()):
    """Write the files of a finished quick run whose only code cell has `outputs`; return the path of its notebook."""
    cell = new_code_cell("1 + 1", execution_count=1, outputs=list(outputs))
    cell.metadata = {"tags": list(tags), "papermill": {"status": "completed"}, "execution": {"shell.execute_reply": ""}}
    metadata = KERNEL | {"papermill": {"output_path": str(folder)}, "widgets": {}}
    metadata["workbook"] = {"profile": "quick", "seed": 0, "digest": ""}
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "07_new.png").write_bytes(b"new")
    nbformat.write(new_notebook(cells=[cell], metadata=metadata), folder / "07_tiny.ipynb")
    results = {"profile": "quick", "seed": 0, "device": "CPU", "metrics": {f"m{n}": n / 3 for n in range(20)}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder / "07_tiny.ipynb"
