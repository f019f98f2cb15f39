"""Cells in a shell without Jupyter; each test runs them in another process, because a process has one shell."""

import json
import subprocess
import sys

CODE = """
import json, sys
from helpers.tasks.cells import run_cell, start_shell
shell = start_shell()
print(json.dumps([run_cell(shell, cell) for cell in json.loads(sys.argv[1])]))
"""


def run(*cells):
    """Return the error of each cell."""
    command = [sys.executable, "-c", CODE, json.dumps(cells)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    return json.loads(result.stdout.splitlines()[-1])


def test_cells_share_their_variables_and_errors_are_returned():
    errors = run(
        "a = 1",
        "assert a == 1, 'lost'",
        "%time b = a",
        "assert b == 2, f'b is {b}'",
        "1 / 0",
        "a = (",
        "exit()",
        "raise KeyboardInterrupt",
        "raise SystemExit(3)",
        "import __main__\nassert __main__.b == 1",
        "class Bad(Exception):\n    def __str__(self):\n        raise ValueError\nraise Bad",
    )
    assert errors[:5] == ["", "", "", "AssertionError: b is 1", "ZeroDivisionError: division by zero"]
    assert errors[5].startswith("SyntaxError")
    assert errors[6:9] == ["", "KeyboardInterrupt", "SystemExit: 3"]
    assert errors[9] == ""
    assert errors[10] == "Bad: its message cannot be shown (ValueError)"


def test_figures_are_neither_written_nor_kept(tmp_path):
    path = tmp_path / "figure.png"
    errors = run(
        "from matplotlib import pyplot",
        f"pyplot.figure().savefig({str(path)!r})",
        "assert pyplot.get_fignums() == []",
    )
    assert errors == ["", "", ""]
    assert not path.exists()
