"""Execution of notebooks of a few cells, with real kernels."""

import json
import os

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers import files, paths
from helpers.course import cli, execution, lessons, publishing
from helpers.tasks.unsolved import NotSolved
from tests.course.tiny import make_parameters, read_notebook, write_notebook


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "07_tiny" / "quick"


SAVE = """\
import json, os, pathlib
results = {"profile": os.environ["WORKBOOK_PROFILE"], "seed": seed, "device": "CPU", "metrics": {"answer": 42}}
written = pathlib.Path(RESULTS).write_text(json.dumps(results))
print("saved")"""


def write_lesson(tmp_path, folder, *sources, save=SAVE):
    """Write a lesson with `sources` under a heading each and a last cell that saves results; return its path."""
    cells = [new_markdown_cell("# 07 · Is it tiny?"), make_parameters()]
    for number, source in enumerate(sources, start=1):
        cells += [new_markdown_cell(f"## Section {number}\nText."), new_code_cell(source)]
    if save:
        source = save.replace("RESULTS", repr(str(folder / "results.json")))
        cells += [new_markdown_cell("## Results"), new_code_cell(source)]
    return write_notebook(tmp_path / "07_tiny.ipynb", *cells)


def test_a_lesson_that_needs_an_open_task_stops_with_one_line_and_no_traceback(tmp_path, folder, capsys):
    source = (
        "from helpers.tasks.unsolved import NotSolved\nraise NotSolved('compute_iou is task 2.2, lesson 02: solve it')"
    )
    path = write_lesson(tmp_path, folder, source)
    with pytest.raises(lessons.LessonFailed) as failure:
        execution.run_lesson(path, folder, "quick")
    reason = "07_tiny stops at code cell 2 of 3 (Section 1): compute_iou is task 2.2, lesson 02: solve it"
    assert failure.value.reason == reason
    assert failure.value.trace == ""
    assert "07_tiny.unfinished.ipynb" in str(failure.value)


@pytest.mark.parametrize(
    ("kind", "message", "is_open"),
    [
        ("NotSolved", "any", True),
        ("NotImplementedError", lessons.NO_SOLUTION, True),
        ("NotImplementedError", "other", False),
        ("ValueError", lessons.NO_SOLUTION, False),
    ],
)
def test_an_open_task_and_an_open_exercise_are_told_from_other_errors(kind, message, is_open):
    assert execution.is_open(kind, message) == is_open


def test_the_error_that_execution_looks_for_exists():
    assert NotSolved.__name__ == execution.NOT_SOLVED


def test_a_lesson_runs_once_with_a_line_per_cell_and_is_then_up_to_date(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "for number in range(3):\n    print(number)")
    executed = execution.run_lesson(path, folder, "quick")

    assert executed == folder / "07_tiny.ipynb"
    loop, save = lessons.find_code_cells(read_notebook(executed))[1:]
    assert [output.text for output in loop.outputs] == ["0\n1\n2\n"]
    assert [output.text for output in save.outputs] == ["saved\n"]
    assert json.loads((folder / "results.json").read_text())["profile"] == "quick"
    assert not list(folder.glob("*unfinished*"))
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "07_tiny · quick"
    assert [line.split()[0] for line in lines] == ["1/3", "2/3", "3/3"]
    assert "Section 1" in lines[1]
    assert "for number in range(3):" in lines[1]
    assert all(line.endswith(" s") for line in lines)

    written = executed.stat().st_mtime_ns
    assert execution.run_lesson(path, folder, "quick") == executed
    assert executed.stat().st_mtime_ns == written
    assert capsys.readouterr().out == "07_tiny · quick · up to date\n"


def test_the_reason_why_a_run_is_out_of_date_is_printed_in_one_line(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "x = 1")
    execution.run_lesson(path, folder, "quick")
    cell = len(read_notebook(path).cells)
    for change, message in [
        (lambda: None, "parameters.seed is 0 there and 5 here"),
        (lambda: (folder / "results.json").unlink(), "results.json is missing, damaged or of another seed"),
        (lambda: (folder / "results.json").write_text('{"metrics": 5}'), "results.json is missing, damaged"),
        (lambda: (folder / "07_tiny.ipynb").write_text("{"), "07_tiny.ipynb has no record of what made it"),
        (lambda: edit_last_cell(path), f"cells.{cell} is '"),
    ]:
        change()
        capsys.readouterr()
        execution.run_lesson(path, folder, "quick", {"seed": 5})
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].startswith(f"  out of date: {message}")
        assert len(lines[1]) < 400
    capsys.readouterr()
    execution.run_lesson(path, folder, "quick", {"seed": 5}, force=True)
    assert "out of date" not in capsys.readouterr().out


def edit_last_cell(path):
    notebook = read_notebook(path)
    notebook.cells[-1].source += "\n"
    nbformat.write(notebook, path)


def test_a_seed_reaches_the_notebook_as_a_parameter(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "print(seed)")
    executed = read_notebook(execution.run_lesson(path, folder, "quick", parameters={"seed": 5}))
    assert any("injected-parameters" in cell.metadata.tags for cell in executed.cells)
    assert json.loads((folder / "results.json").read_text())["seed"] == 5
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")][:4] == ["1/3", "given", "2/3", "3/3"]
    with pytest.raises(lessons.LessonFailed, match="not a finished run at profile quick and seed 0"):
        publishing.publish(folder / "07_tiny.ipynb", path, tmp_path / "figures")


def test_a_lesson_renders_its_explorers_and_those_of_an_earlier_run_are_removed(tmp_path, folder, monkeypatch):
    monkeypatch.delenv(paths.FRAMES_VARIABLE, raising=False)
    (folder / "explorers").mkdir(parents=True)
    (folder / "explorers" / "07_old.html").write_text("old")
    source = f"import os\nprint('renders', os.environ.get({paths.FRAMES_VARIABLE!r}))"
    executed = read_notebook(execution.run_lesson(write_lesson(tmp_path, folder, source), folder, "quick"))
    assert "renders 1" in [output.text.strip() for cell in executed.cells[3:4] for output in cell.outputs]
    assert not (folder / "explorers").exists()
    assert paths.FRAMES_VARIABLE not in os.environ


def test_rendering_explorers_changes_no_result_and_no_identity(monkeypatch):
    before = lessons.read_settings()
    monkeypatch.setenv(paths.FRAMES_VARIABLE, "1")
    assert lessons.read_settings() == before


def test_a_failing_cell_is_named_and_its_notebook_kept_under_another_name(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "x = 1", "1 / 0", "print('never')")
    folder.mkdir(parents=True)
    (folder / "07_tiny.ipynb").write_text("{}")  # of an earlier run
    (folder / "results.json").write_text("{}")
    (folder / "best_model.pth").write_text("weights")
    with pytest.raises(lessons.LessonFailed) as failure:
        execution.run_lesson(path, folder, "quick", force=True)
    message = str(failure.value)
    assert "07_tiny failed in code cell 3 of 5 (Section 2): ZeroDivisionError: division by zero" in message
    assert "\x1b" not in message
    assert capsys.readouterr().out.rstrip().endswith("failed")
    assert sorted(file.name for file in folder.iterdir()) == ["07_tiny.unfinished.ipynb", "best_model.pth"]
    assert "07_tiny.unfinished.ipynb" in message
    problems = lessons.find_problems(read_notebook(folder / "07_tiny.unfinished.ipynb"))
    assert any("ZeroDivisionError" in problem for problem in problems)


def test_a_killed_kernel_fails_the_lesson_with_the_name_of_its_cell(tmp_path, folder):
    path = write_lesson(tmp_path, folder, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(lessons.LessonFailed, match=r"the kernel died in code cell 2 of 3 \(Section 1\)"):
        execution.run_lesson(path, folder, "quick")
    assert [file.name for file in folder.iterdir()] == ["07_tiny.unfinished.ipynb"]


def test_an_error_in_a_callback_of_a_widget_fails_the_lesson(tmp_path, folder):
    source = "import ipywidgets\nwidget = ipywidgets.interact(lambda number: 1 / 0, number=(0, 1))"
    path = write_lesson(tmp_path, folder, source)
    with pytest.raises(lessons.LessonFailed, match="inside a widget: ZeroDivisionError"):
        execution.run_lesson(path, folder, "quick")
    assert not (folder / "07_tiny.ipynb").exists()


def test_a_lesson_that_writes_no_results_is_not_finished(tmp_path, folder):
    path = write_lesson(tmp_path, folder, save="")
    with pytest.raises(lessons.LessonFailed, match=r"it wrote no results\.json"):
        execution.run_lesson(path, folder, "quick")
    assert not (folder / "07_tiny.ipynb").exists()


def test_a_disk_that_becomes_full_leaves_the_last_notebook_that_fitted(tmp_path, folder, monkeypatch):
    path = write_lesson(tmp_path, folder, "print('small')", "print('x' * 20_000)")
    write = files.write_text

    def write_small_files(path, text):
        if len(text) > 20_000:
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(files, "write_text", write_small_files)
    with pytest.raises(
        lessons.LessonFailed, match=r"stopped in code cell 3 of 4 \(Section 2\): .*No space left"
    ) as failure:
        execution.run_lesson(path, folder, "quick")
    assert "07_tiny.unfinished.ipynb" in str(failure.value)
    cells = lessons.find_code_cells(read_notebook(folder / "07_tiny.unfinished.ipynb"))
    assert cells[1].outputs[0].text == "small\n"


def test_a_kernel_that_dies_while_it_starts_is_started_again(tmp_path, folder, monkeypatch, capsys):
    path = write_lesson(tmp_path, folder)
    execute = papermill.execute_notebook
    attempts = []

    def fail_except_at_the_last_attempt(*arguments, **options):
        attempts.append(options)
        if len(attempts) < execution.KERNEL_STARTS:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return execute(*arguments, **options)

    monkeypatch.setattr(execution.papermill, "execute_notebook", fail_except_at_the_last_attempt)
    monkeypatch.setattr(execution.time, "sleep", lambda seconds: None)
    assert execution.run_lesson(path, folder, "quick").exists()
    assert capsys.readouterr().out.count("next attempt") == execution.KERNEL_STARTS - 1
    attempts.clear()
    monkeypatch.setattr(execution, "KERNEL_STARTS", 1)
    monkeypatch.setattr(execution.papermill, "execute_notebook", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # after any other error there is no second attempt
        execution.run_lesson(path, folder, "quick", force=True)


def test_a_run_leaves_the_environment_as_it_was(tmp_path, folder, monkeypatch):
    monkeypatch.delenv(paths.PROFILE_VARIABLE)
    execution.run_lesson(write_lesson(tmp_path, folder, "1 + 1"), folder, "smoke")
    assert paths.PROFILE_VARIABLE not in os.environ
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "full")
    with execution.set_variable(paths.PROFILE_VARIABLE, "quick"):
        assert os.environ[paths.PROFILE_VARIABLE] == "quick"
    assert os.environ[paths.PROFILE_VARIABLE] == "full"


def test_a_failure_ends_the_command_with_one_message_and_status_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)
    assert cli.main(["run", "99"]) == 1
    assert "no lesson 99" in capsys.readouterr().err


def test_plain_papermill_runs_a_lesson_with_parameters_from_any_folder(tmp_path, folder, monkeypatch):
    folder.mkdir(parents=True)
    path = write_lesson(tmp_path, folder, "print(profile, seed)")
    monkeypatch.chdir(folder)
    papermill.execute_notebook(
        path, "out.ipynb", {"profile": "full", "seed": 7}, kernel_name="python3", progress_bar=False
    )
    cell = lessons.find_code_cells(read_notebook(folder / "out.ipynb"))[2]  # after both cells of parameters
    assert cell.outputs[0].text == "full 7\n"


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"seed": "x"}', '{"metrics": [1]}', '{"metrics": {}, "device": 5}', "[" * 10**5]
)
def test_a_lesson_that_writes_damaged_results_is_not_finished(text, tmp_path, folder):
    save = f"import pathlib\nwritten = pathlib.Path(RESULTS).write_text({text!r})"
    with pytest.raises(lessons.LessonFailed, match=r"07_tiny did not finish: .*results\.json") as failure:
        execution.run_lesson(write_lesson(tmp_path, folder, save=save), folder, "quick")
    assert len(str(failure.value)) < 500 + 2 * len(str(folder))
    assert not (folder / "07_tiny.ipynb").exists()


def test_a_folder_that_cannot_be_written_is_named_before_a_cell_runs(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "quick"
    with pytest.raises(lessons.LessonFailed, match=r"07_tiny: its folder .*file/quick cannot be written: .*Not a dir"):
        execution.run_lesson(write_lesson(tmp_path, folder), folder, "quick")
    assert capsys.readouterr().out == "07_tiny · quick\n"
