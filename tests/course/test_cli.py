"""Command line: every mistake of a user is one line that names the file, and help appears at once."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers import handout, paths
from helpers.course import cli, grading, lessons, report, student
from tests.course.tiny import find_messages, make_parameters, write_notebook

HELPERS = paths.ROOT / "helpers"
BROKEN = "01_dataset_generation.ipynb"
ENSURE_HANDOUT = handout.ensure_handout


def change(**fields):
    """Return a function that changes fields of the code cell of a notebook."""

    def damage(path):
        document = json.loads(path.read_text())
        document["cells"][1] |= fields
        path.write_text(json.dumps(document))

    return damage


def set_top(**fields):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


BREAKS = {
    "empty": lambda path: path.write_bytes(b""),
    "only spaces": lambda path: path.write_text(" \n"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "truncated in a text": lambda path: path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"lesson")]),
    "binary": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\x00"),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    "not JSON": lambda path: path.write_text("# 01 · A lesson\n\nText."),
    "JSON of another kind": lambda path: path.write_text('{"images": [], "annotations": []}'),
    "a list": lambda path: path.write_text("[1, 2]"),
    "brackets without end": lambda path: path.write_text("[" * 100_000),
    "a number of 9000 digits": lambda path: path.write_text('{"nbformat": ' + "9" * 9000 + "}"),
    "older format": set_top(nbformat=3, worksheets=[]),
    "newer format": set_top(nbformat=5),
    "format in words": set_top(nbformat="x" * 5000),
    "no cells": set_top(cells=[]),
    "cells that are no list": set_top(cells={"a": 1}),
    "a cell that is a number": set_top(cells=[7]),
    "a cell of an unknown kind": change(cell_type="x" * 5000),
    "a source that is a number": change(source=5),
    "tags that are a number": change(metadata={"tags": 5}),
    "a task that is a number": change(metadata={"nbgrader": 5}),
    "a lone surrogate": change(source="x = '\ud800'"),
    "a folder": replace_by_folder,
    "a pipe": replace_by_pipe,
}
COMMANDS = {
    "run": ["run", "01", "--jobs", "1", "--profile", "smoke"],
    "student": ["student"],
    "grade": ["grade", "."],
    "report": ["report"],
    "grid": ["grid", "{notebook}"],
}


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Replace the lessons by ones of two cells, and every folder that commands write to by a temporary one."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for path in sorted((paths.ROOT / "notebooks").glob("*.ipynb")):
        write_notebook(folder / path.name, new_markdown_cell("# 01 · A lesson"), make_parameters())
    monkeypatch.setattr(lessons, "NOTEBOOKS", folder)
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(student, "COPIES", tmp_path / "copies")
    monkeypatch.setattr(grading, "GRADES", tmp_path / "grades")
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(handout, "ensure_handout", lambda: paths.HANDOUT)
    return folder


def assert_one_line(status, captured, name):
    assert status == 1
    assert "Traceback" not in captured.err
    assert len(find_messages(captured.err)) == 1
    assert captured.err.endswith("\n")
    assert name in captured.err
    assert len(captured.err) < 500
    assert not {"delete", "remove", "regenerate"} & set(captured.err.lower().split())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_notebook_ends_every_command_with_one_line_that_names_it(notebooks, capfd, command, kind):
    BREAKS[kind](notebooks / BROKEN)
    arguments = [text.format(notebook=notebooks / BROKEN) for text in COMMANDS[command]]
    assert_one_line(cli.main(arguments), capfd.readouterr(), BROKEN)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_notebook_without_the_right_to_read_it_is_named(notebooks, capfd, command, monkeypatch):
    read = type(notebooks).read_bytes

    def refuse(path):
        if path.name == BROKEN:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(type(notebooks), "read_bytes", refuse)
    arguments = [text.format(notebook=notebooks / BROKEN) for text in COMMANDS[command]]
    assert_one_line(cli.main(arguments), capfd.readouterr(), BROKEN)


def test_a_byte_order_mark_is_no_error(notebooks, capsys):
    path = notebooks / BROKEN
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert lessons.read_notebook(path).cells[1].source.startswith("profile")
    assert cli.main(["student", "01"]) == 0


def test_a_code_cell_that_never_ran_may_lack_outputs_and_count(notebooks):
    document = json.loads((notebooks / BROKEN).read_text())
    del document["cells"][1]["outputs"], document["cells"][1]["execution_count"]
    (notebooks / BROKEN).write_text(json.dumps(document))
    cell = lessons.read_notebook(notebooks / BROKEN).cells[1]
    assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize(
    "source", ["seed = ", "seed = 0\0", "seed = " + "9" * 9000], ids=["cut", "null byte", "digits"]
)
def test_parameters_that_are_no_python_end_a_run_with_one_line_that_names_the_notebook(notebooks, capfd, source):
    change(source=source, metadata={"tags": ["parameters"]})(notebooks / BROKEN)
    for command in ("run", "grid"):
        arguments = [text.format(notebook=notebooks / BROKEN) for text in COMMANDS[command]]
        assert_one_line(cli.main(arguments), capfd.readouterr(), BROKEN)


def test_what_an_earlier_execution_left_in_the_metadata_has_no_effect(notebooks, capfd):
    error = {"output_type": "error", "ename": "OldError", "evalue": "", "traceback": []}
    old = {"state": {"1": {"state": {"outputs": [error]}}}}
    for widgets in (5, {"application/vnd.jupyter.widget-state+json": old}):
        write_notebook(notebooks / BROKEN, new_code_cell("1"))
        document = json.loads((notebooks / BROKEN).read_text())
        document["metadata"] |= {"widgets": widgets, "papermill": 5}
        (notebooks / BROKEN).write_text(json.dumps(document))
        assert cli.main(COMMANDS["run"]) == 1
        assert "did not finish: it wrote no results.json" in capfd.readouterr().err


def test_outputs_are_checked_only_where_they_are_kept(notebooks):
    change(outputs=[{"output_type": "stream"}])(notebooks / BROKEN)
    assert lessons.read_notebook(notebooks / BROKEN, keep_outputs=False).cells[1].outputs == []
    with pytest.raises(lessons.LessonFailed, match="cell 2 is not valid"):
        lessons.read_notebook(notebooks / BROKEN)


MISSING = {
    "no notebook": (["grid", "{folder}/none.ipynb"], "none.ipynb"),
    "no lesson of that number": (["run", "99"], "99"),
    "no lesson to copy": (["student", "99"], "99"),
    "no lesson to grade": (["grade", ".", "99"], "99"),
    "no submissions": (["grade", "{folder}/nowhere"], "nowhere"),
    "no digitStruct.mat": (["svhn", "{folder}/digitStruct.mat", "{folder}", "{folder}/out"], "digitStruct.mat"),
    "no photos": (["photos", "{folder}/nowhere", "--profile", "smoke"], "nowhere"),
    "no test split": (["submission", "{folder}/nowhere", "--profile", "smoke"], "nowhere"),
    "a parameter that the notebook lacks": (["grid", "{folder}/notebooks/" + BROKEN, "-p", "sigma=1"], "sigma"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_what_is_missing_is_named_in_one_line(notebooks, capfd, kind):
    arguments, name = MISSING[kind]
    status = cli.main([text.format(folder=notebooks.parent) for text in arguments])
    assert_one_line(status, capfd.readouterr(), name)


def test_a_folder_that_cannot_be_written_is_named_in_one_line(notebooks, capfd, monkeypatch):
    (notebooks.parent / "file").write_text("")
    monkeypatch.setattr(student, "COPIES", notebooks.parent / "file" / "copies")
    assert_one_line(cli.main(["student", "01"]), capfd.readouterr(), "file")
    monkeypatch.setattr(paths, "RUNS", notebooks.parent / "file" / "runs")
    assert_one_line(cli.main(COMMANDS["run"]), capfd.readouterr(), "file")


@pytest.mark.parametrize("command", ["run", "student", "grid", "data"])
def test_a_data_folder_that_is_a_file_ends_a_command_with_one_line_that_names_it(
    command, notebooks, capfd, monkeypatch
):
    data = notebooks.parent / "data"
    data.write_text("")
    monkeypatch.setattr(paths, "RUNS", data / "runs")
    monkeypatch.setattr(paths, "HANDOUT", data / "handout")
    monkeypatch.setattr(student, "COPIES", data / "student")
    if command == "data":
        monkeypatch.setattr(handout, "ensure_handout", ENSURE_HANDOUT)
    arguments = [text.format(notebook=notebooks / BROKEN) for text in COMMANDS.get(command, [command])]
    assert_one_line(cli.main(arguments), capfd.readouterr(), "data")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_broken_notebook_among_the_lessons_stops_no_other_lesson(jobs, notebooks, capsys, monkeypatch):
    """The lessons write no results, so each run fails; the message names all of them.

    A kernel that ends right after its start may write to standard error, which `capsys` leaves out.
    """
    monkeypatch.setenv(paths.RUNS_VARIABLE, str(paths.RUNS))
    (notebooks / BROKEN).write_text("{")
    chosen = ["01", "02"]
    status = cli.main(["run", *chosen, "--profile", "smoke", "--jobs", jobs])
    captured = capsys.readouterr()
    assert_one_line(status, captured, BROKEN)
    assert "2 of 2 lessons did not finish" in captured.err
    assert "02_anchor_visualization did not finish: it wrote no results.json" in captured.err


def test_a_long_message_is_cut_in_its_middle_and_put_on_one_line():
    short = cli.shorten("a.png\nis " + "x" * 2000 + " wrong: do this")
    assert len(short) <= cli.LONGEST_MESSAGE
    assert short.startswith("a.png is xxx")
    assert short.endswith("xxx wrong: do this")
    assert cli.shorten("a  b\n") == "a b"


def test_debug_shows_where_an_error_comes_from(notebooks):
    (notebooks / BROKEN).write_text("")
    with pytest.raises(lessons.LessonFailed, match="empty"):
        cli.main(["--debug", "student"])


def test_a_defect_of_the_workbook_is_not_taken_for_a_mistake_of_the_user(notebooks, monkeypatch):
    monkeypatch.setattr(lessons, "find_lessons", lambda numbers: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["student"])


def test_the_progress_is_a_table_of_all_tasks(capsys):
    assert cli.main(["progress"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("2.2 ") and "compute_iou" in line for line in lines)
    assert lines[-1].startswith("all")


def test_an_unknown_option_command_or_choice_ends_with_status_2(capsys):
    for arguments in (["run", "--bogus"], ["walk"], ["run", "--profile", "fast"], ["run", "--seed", "-1"], ["grade"]):
        assert cli.main(arguments) == 2
        assert "Error: " in capsys.readouterr().err


def test_ctrl_c_ends_a_command_with_one_line_and_status_130(notebooks, monkeypatch, capfd):
    def interrupt(numbers):
        raise KeyboardInterrupt

    monkeypatch.setattr(lessons, "find_lessons", interrupt)
    assert cli.main(["student"]) == 130
    assert capfd.readouterr().err.strip() == "interrupted"


def test_the_profile_comes_from_the_option_or_else_the_environment(notebooks, monkeypatch):
    profiles = []
    monkeypatch.setattr(report, "write_reports", profiles.append)
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "full")
    assert cli.main(["report"]) == 0
    assert cli.main(["report", "--profile", "smoke"]) == 0
    monkeypatch.delenv(paths.PROFILE_VARIABLE)
    assert cli.main(["report"]) == 0
    assert profiles == ["full", "smoke", "quick"]


def test_every_error_whose_message_is_printed_exists():
    classes = set()
    for path in HELPERS.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    assert classes >= cli.ERRORS


@pytest.mark.parametrize("name", [None, *cli.workbook.commands])
def test_every_command_has_a_help_text_with_an_example(name):
    result = CliRunner().invoke(cli.workbook, [*([name] if name else []), "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    command = cli.workbook.commands[name] if name else cli.workbook
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))
    assert not name or len(command.short_help) < 60  # one line of the list of commands


def test_help_imports_nothing_that_takes_long():
    program = "import sys; from helpers.course import cli; cli.main(['run', '--help']); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    imported = set(printed.stdout.splitlines()[-1].split())
    assert "click" in imported
    assert not imported & {"torch", "numpy", "nbformat", "papermill", "psutil", "h5py", "distributed", "PIL"}


def find_imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_only_the_command_line_imports_click():
    importers = [path for path in HELPERS.rglob("*.py") if "click" in find_imports(path)]
    assert importers == [HELPERS / "course" / "cli.py"]


def test_no_module_needs_what_windows_lacks():
    """The program inside the grader's sandbox, which Windows does not have, sets its limits by `resource`."""
    unix_only = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
    users = {
        path.relative_to(HELPERS).as_posix() for path in HELPERS.rglob("*.py") if unix_only & {*find_imports(path)}
    }
    assert users == {"tasks/attempt.py"}


def record_programs(monkeypatch, statuses=None):
    """Return the programs that are called instead of running them; each ends with its status, or 0."""
    programs = []

    def call(program, **variables):
        programs.append((program[2:], variables))
        return (statuses or {}).get(program[2], 0)

    monkeypatch.setattr(cli, "call", call)
    return programs


def test_the_tests_run_style_first_and_the_browser_last_on_two_cores(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    (tmp_path / "03_lesson" / "smoke").mkdir(parents=True)
    (tmp_path / "03_lesson" / "quick").mkdir()
    programs = record_programs(monkeypatch)
    assert cli.main(["test"]) == 0
    lines = [" ".join(program) for program, _ in programs]
    assert lines[:2] == ["ruff check .", "ruff format --check ."]
    assert lines[2:] == [
        "basedpyright",
        "pytest tests --ignore tests/test_browser.py -n 2 --dist loadgroup --no-loadscope-reorder",
        "pytest --nbval notebooks -n 2 --dist loadfile",
        "pytest -rs tests/test_browser.py -n 2 --dist loadgroup",
    ]
    assert all(variables == {"OMP_NUM_THREADS": "1"} for _, variables in programs)
    assert [path.name for path in (tmp_path / "03_lesson").iterdir()] == ["quick"]  # lessons train anew


def test_the_tests_name_the_parts_that_failed_and_run_the_others(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    programs = record_programs(monkeypatch, {"ruff": 1})
    assert cli.main(["test", "unit", "style"]) == 1
    assert [program[0] for program, _ in programs] == ["ruff", "ruff", "pytest"]
    assert capsys.readouterr().err.splitlines() == [
        "failed: style, ruff check . (workbook test style)",
        "failed: style, ruff format --check . (workbook test style)",
    ]


def test_failed_types_are_named_after_all_parts_have_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    record_programs(monkeypatch, {"basedpyright": 1})
    assert cli.main(["test"]) == 1
    assert capsys.readouterr().err == "failed: types, basedpyright (workbook test types)\n"


@pytest.mark.parametrize("command", ["lab", "kernel", "bench"])
def test_a_command_that_starts_a_program_ends_with_its_status(command, notebooks, monkeypatch):
    programs = record_programs(monkeypatch, {"jupyterlab": 3, "ipykernel": 3, "benchmarks": 3})
    assert cli.main([command]) == 3
    ((program, _),) = programs
    assert ("--allow-root" in program) == (command == "lab" and hasattr(os, "geteuid") and os.geteuid() == 0)


def test_a_program_runs_in_the_workbooks_folder_with_its_variables(capfd):
    source = "import os, sys; print(os.getcwd(), os.environ['OMP_NUM_THREADS']); sys.exit(4)"
    assert cli.call([sys.executable, "-c", source], OMP_NUM_THREADS="1") == 4
    assert capfd.readouterr().out == f"{paths.ROOT} 1\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C otherwise")
def test_ctrl_c_waits_for_the_program_that_a_command_has_started():
    inner = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: print('ready', flush=True); time.sleep(100)\n"
        "except KeyboardInterrupt: time.sleep(0.3); print('tidy', flush=True); sys.exit(2)"
    )
    outer = (
        "import sys\nfrom helpers.course import cli\n"
        f"cli.remove_smoke_runs = lambda: cli.call([sys.executable, '-c', {inner!r}])\n"
        "sys.exit(cli.main(['test', 'lessons']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", outer],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "tidy\n"
    assert err.strip() == "interrupted"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_every_target_of_make_is_a_command_or_belongs_to_the_set_up():
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    aliases = [line.split()[1] for line in makefile.splitlines() if line.startswith("\t@$(WORKBOOK)")]
    assert set(aliases) <= set(cli.workbook.commands)
    assert set(aliases) >= {"run", "test", "lab", "data", "progress", "student", "grade", "report", "kernel", "bench"}


def test_a_command_works_in_a_folder_with_blanks_and_writes_into_it(tmp_path):
    root = tmp_path / "a folder with blanks"
    shutil.copytree(paths.ROOT / "helpers", root / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.ROOT / "pyproject.toml", root)
    program = "import sys; from helpers.course import cli; sys.exit(cli.main(['data']))"
    environment = os.environ | {"PYTHONPATH": str(root)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert f"{root / 'data' / 'handout'}: drawn and written" in result.stdout
    assert handout.is_complete(root / "data" / "handout")
