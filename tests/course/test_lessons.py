"""The runner, on notebooks of a few cells and real kernels."""

import json
import os

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import files, paths
from helpers.course import cli, lessons
from helpers.digits.drawn import REAL_VARIABLE

PARAMETERS = new_code_cell("profile = None\nseed = 0", metadata={"tags": ["parameters"]})
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture(autouse=True)
def keep_the_profile(monkeypatch):
    """The runner sets the variable for its kernels; the tests after these must not see that."""
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "smoke")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "07_tiny" / "quick"


def write_lesson(tmp_path, folder, *sources, results=True):
    """Returns a notebook with a parameters cell, `sources` under a heading each, and a last cell that saves results."""
    cells = [new_markdown_cell("# 07 · Is it tiny?"), PARAMETERS.copy()]
    for number, source in enumerate(sources, start=1):
        cells += [new_markdown_cell(f"## Section {number}\nText."), new_code_cell(source)]
    if results:
        save = f"""\
import json, os, pathlib
results = {{"profile": os.environ["WORKBOOK_PROFILE"], "seed": seed, "device": "CPU", "metrics": {{"answer": 42}}}}
pathlib.Path({str(folder / "results.json")!r}).write_text(json.dumps(results))
print("saved")"""
        cells += [new_markdown_cell("## Results"), new_code_cell(save)]
    path = tmp_path / "07_tiny.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def read(path):
    return nbformat.read(path, as_version=4)


def test_a_lesson_runs_once_with_a_line_per_cell_and_is_then_up_to_date(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "for number in range(3):\n    print(number)")
    executed = lessons.run_lesson(path, folder, "quick")

    assert executed == folder / "07_tiny.ipynb"
    loop, save = lessons.find_code_cells(read(executed))[1:]
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
    assert lessons.run_lesson(path, folder, "quick") == executed
    assert executed.stat().st_mtime_ns == written
    assert capsys.readouterr().out == "07_tiny · quick · up to date\n"


def test_another_profile_seed_source_or_a_lost_result_makes_a_run_out_of_date(tmp_path, folder):
    path = write_lesson(tmp_path, folder, "x = 1")
    notebook = read(path)
    executed = folder / "07_tiny.ipynb"
    folder.mkdir(parents=True)
    finished = read(path)
    finished.metadata["workbook"] = {"digest": lessons.compute_digest(notebook, "quick")}
    nbformat.write(finished, executed)
    assert not lessons.is_up_to_date(notebook, executed, "quick")
    (folder / "results.json").write_text('{"seed": 0}')
    assert lessons.is_up_to_date(notebook, executed, "quick")

    for damaged in ("", "{", '{"seed": 1}'):
        (folder / "results.json").write_text(damaged)
        assert not lessons.is_up_to_date(notebook, executed, "quick")
    (folder / "results.json").write_text('{"seed": 0}')
    assert not lessons.is_up_to_date(notebook, executed, "full")
    assert not lessons.is_up_to_date(notebook, executed, "quick", {"seed": 1})
    notebook.cells[-1].outputs = [new_output("stream", text="42")]
    assert lessons.is_up_to_date(notebook, executed, "quick")  # an output is no source
    notebook.cells[-1].source += " "
    assert not lessons.is_up_to_date(notebook, executed, "quick")


def test_the_digest_covers_every_helper_and_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(lessons, "HELPERS", tmp_path / "helpers")
    (tmp_path / "helpers" / "wing").mkdir(parents=True)
    files = [tmp_path / "helpers/wing/room.py", tmp_path / "helpers/style.mplstyle", tmp_path / "requirements.lock"]
    for file in files:
        file.write_text("old")
    digests = {lessons.compute_digest(new_notebook(), "quick")}
    for file in files:
        file.write_text("new")
        digests.add(lessons.compute_digest(new_notebook(), "quick"))
    assert len(digests) == 4


def test_a_run_that_is_out_of_date_says_what_differs_in_one_line(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "x = 1")
    lessons.run_lesson(path, folder, "quick")
    cell = len(read(path).cells)
    for change, parameters, message in [
        (lambda: None, {"seed": 5}, "parameters.seed is 0 there and 5 here"),
        (
            lambda: (folder / "results.json").unlink(),
            {"seed": 5},
            "results.json is missing, damaged or of another seed",
        ),
        (lambda: (folder / "07_tiny.ipynb").write_text("{"), {"seed": 5}, "07_tiny.ipynb does not say what made it"),
        (lambda: edit_last_cell(path), {"seed": 5}, f"cells.{cell} is '"),
    ]:
        change()
        capsys.readouterr()
        lessons.run_lesson(path, folder, "quick", parameters)
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].startswith(f"  out of date: {message}")
        assert len(lines[1]) < 400
    capsys.readouterr()
    lessons.run_lesson(path, folder, "quick", {"seed": 5}, force=True)
    assert "out of date" not in capsys.readouterr().out


def edit_last_cell(path):
    notebook = read(path)
    notebook.cells[-1].source += "\n"
    nbformat.write(notebook, path)


def test_a_seed_reaches_the_notebook_as_a_parameter(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "print(seed)")
    executed = read(lessons.run_lesson(path, folder, "quick", parameters={"seed": 5}))
    assert any("injected-parameters" in cell.metadata.tags for cell in executed.cells)
    assert json.loads((folder / "results.json").read_text())["seed"] == 5
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")][:4] == ["1/3", "given", "2/3", "3/3"]
    with pytest.raises(lessons.LessonFailed, match="not a finished run at profile quick and seed 0"):
        lessons.publish(folder / "07_tiny.ipynb", path, tmp_path / "figures")


def test_a_failing_cell_is_named_and_its_notebook_kept_under_another_name(tmp_path, folder, capsys):
    path = write_lesson(tmp_path, folder, "x = 1", "1 / 0", "print('never')")
    folder.mkdir(parents=True)
    (folder / "07_tiny.ipynb").write_text("{}")  # of an earlier run
    (folder / "results.json").write_text("{}")
    (folder / "best_model.pth").write_text("weights")
    with pytest.raises(lessons.LessonFailed) as failure:
        lessons.run_lesson(path, folder, "quick", force=True)
    message = str(failure.value)
    assert "07_tiny failed in code cell 3 of 5 (Section 2): ZeroDivisionError: division by zero" in message
    assert "\x1b" not in message
    assert capsys.readouterr().out.rstrip().endswith("failed")
    assert sorted(file.name for file in folder.iterdir()) == ["07_tiny.unfinished.ipynb", "best_model.pth"]
    assert "07_tiny.unfinished.ipynb" in message
    assert any(
        "ZeroDivisionError" in problem for problem in lessons.find_problems(read(folder / "07_tiny.unfinished.ipynb"))
    )


def test_a_killed_kernel_is_noticed_and_its_cell_named(tmp_path, folder):
    path = write_lesson(tmp_path, folder, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(lessons.LessonFailed, match=r"the kernel died in code cell 2 of 3 \(Section 1\)"):
        lessons.run_lesson(path, folder, "quick")
    assert [file.name for file in folder.iterdir()] == ["07_tiny.unfinished.ipynb"]


def test_an_error_swallowed_by_a_widget_fails_the_lesson(tmp_path, folder):
    source = "import ipywidgets\nwidget = ipywidgets.interact(lambda number: 1 / 0, number=(0, 1))"
    path = write_lesson(tmp_path, folder, source)
    with pytest.raises(lessons.LessonFailed, match="inside a widget: ZeroDivisionError"):
        lessons.run_lesson(path, folder, "quick")
    assert not (folder / "07_tiny.ipynb").exists()


def test_a_lesson_that_writes_no_results_is_not_finished(tmp_path, folder):
    path = write_lesson(tmp_path, folder, results=False)
    with pytest.raises(lessons.LessonFailed, match=r"it wrote no results\.json"):
        lessons.run_lesson(path, folder, "quick")
    assert not (folder / "07_tiny.ipynb").exists()


def test_a_disk_that_becomes_full_leaves_the_last_notebook_that_found_room(tmp_path, folder, monkeypatch):
    path = write_lesson(tmp_path, folder, "print('small')", "print('x' * 20_000)")
    write = files.write_text

    def write_while_there_is_room(path, text):
        if len(text) > 20_000:
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(files, "write_text", write_while_there_is_room)
    with pytest.raises(
        lessons.LessonFailed, match=r"stopped in code cell 3 of 4 \(Section 2\): .*No space left"
    ) as failure:
        lessons.run_lesson(path, folder, "quick")
    assert "07_tiny.unfinished.ipynb" in str(failure.value)
    kept = lessons.find_code_cells(read(folder / "07_tiny.unfinished.ipynb"))
    assert kept[1].outputs[0].text == "small\n"


def test_a_kernel_that_dies_before_it_answers_is_started_again(tmp_path, folder, monkeypatch, capsys):
    path = write_lesson(tmp_path, folder)
    execute, tries = papermill.execute_notebook, []

    def lose_the_first_races(*arguments, **options):
        tries.append(options)
        if len(tries) < lessons.KERNEL_STARTS:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return execute(*arguments, **options)

    monkeypatch.setattr(lessons.papermill, "execute_notebook", lose_the_first_races)
    monkeypatch.setattr(lessons.time, "sleep", lambda seconds: None)
    assert lessons.run_lesson(path, folder, "quick").exists()
    assert capsys.readouterr().out.count("next try") == lessons.KERNEL_STARTS - 1
    tries.clear()
    monkeypatch.setattr(lessons, "KERNEL_STARTS", 1)
    monkeypatch.setattr(lessons.papermill, "execute_notebook", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # no other error is tried again
        lessons.run_lesson(path, folder, "quick", force=True)


def test_parameters_are_the_plain_values_of_their_cell():
    cell = new_code_cell(PARAMETERS.source, metadata={"tags": ["parameters"]})
    assert lessons.read_parameters(new_notebook(cells=[new_code_cell("x = 1"), cell])) == {"profile": None, "seed": 0}
    assert lessons.read_parameters(new_notebook(cells=[new_code_cell("x = 1")])) == {}
    second = new_code_cell("x = 1", metadata={"tags": ["parameters"]})
    assert "x" not in lessons.read_parameters(new_notebook(cells=[cell, second]))  # papermill reads the first cell
    cell.source = "seed ="
    with pytest.raises(lessons.LessonFailed, match="not valid Python"):
        lessons.read_parameters(new_notebook(cells=[cell]))


CELL = """\
%matplotlib inline
import math
'''A docstring.'''
# a comment
profile = None  # the budget
seed: int = 0  # typed
rate = 1 / 128
sizes: "list[int]" = [
    1,  # small
    -2,
]
pair = (1, (2, -3))
options = {"a": None, "b": {"c": 1.5}}
text = "naïve, 数字 # not a comment"
ids = {1: 2}
a, b = 1, 2
unset: int
"""


def test_a_parameters_cell_may_contain_all_that_papermill_accepts(tmp_path):
    """Oracle: papermill's own inference of the names."""
    notebook = new_notebook(cells=[new_code_cell(CELL, metadata={"tags": ["parameters"]})], metadata=KERNEL)
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    parameters = lessons.read_parameters(notebook)
    assert list(parameters) == list(papermill.inspect_notebook(tmp_path / "tiny.ipynb"))
    assert parameters == {
        "profile": None,
        "seed": 0,
        "rate": "<1 / 128>",
        "sizes": [1, -2],
        "pair": [1, [2, -3]],
        "options": {"a": None, "b": {"c": 1.5}},
        "text": "naïve, 数字 # not a comment",
        "ids": "<{1: 2}>",
    }
    json.dumps(parameters)  # a digest is made of it


def test_a_run_leaves_the_environment_as_it_was(tmp_path, folder, monkeypatch):
    monkeypatch.delenv(paths.PROFILE_VARIABLE)
    lessons.run_lesson(write_lesson(tmp_path, folder, "1 + 1"), folder, "smoke")
    assert paths.PROFILE_VARIABLE not in os.environ
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "full")
    with lessons.set_variable(paths.PROFILE_VARIABLE, "quick"):
        assert os.environ[paths.PROFILE_VARIABLE] == "quick"
    assert os.environ[paths.PROFILE_VARIABLE] == "full"


def make_finished_run(folder, *outputs, tags=()):
    """Writes the files of a finished quick run whose one code cell has `outputs`; returns its notebook's path."""
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


def test_a_published_notebook_keeps_outputs_and_ids_and_loses_the_machinery(tmp_path, folder):
    executed = make_finished_run(folder, new_output("stream", text="42\n"))
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "07_old.png").write_bytes(b"old")
    (figures / "01_other.png").write_bytes(b"other")
    lessons.publish(executed, tmp_path / "07_tiny.ipynb", figures)
    published = read(tmp_path / "07_tiny.ipynb")
    assert set(published.metadata) == {"kernelspec"}
    (cell,) = published.cells
    assert cell.metadata == {}
    assert cell.id == read(executed).cells[0].id
    assert cell.execution_count == 1
    assert cell.outputs[0].text == "42\n"
    assert sorted(file.name for file in figures.iterdir()) == ["01_other.png", "07_new.png"]


def test_a_stuck_progress_bar_is_published_only_where_nbval_compares_it(folder, tmp_path):
    data = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "a"},
        "text/plain": "  0%|  | 0/3 [00:00<?, ?step/s]",
    }
    bar = new_output("display_data", data=data)
    measurement = lessons.clean(read(make_finished_run(folder, bar, tags=["nbval-ignore-output"])))
    fact = lessons.clean(read(make_finished_run(tmp_path / "fact", bar)))
    assert measurement.cells[0].outputs == []
    assert len(fact.cells[0].outputs) == 1


def test_a_notebook_that_shows_this_machines_paths_is_not_published(tmp_path, folder):
    executed = make_finished_run(folder, new_output("stream", text=f"saved to {paths.RUNS}/x.json"))
    with pytest.raises(lessons.LessonFailed, match=r"code cell 1: /"):
        lessons.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")
    assert not (tmp_path / "07_tiny.ipynb").exists()


def test_a_notebook_that_is_too_large_is_not_published(tmp_path, folder):
    executed = make_finished_run(folder, new_output("stream", text="x" * lessons.LARGEST_NOTEBOOK))
    with pytest.raises(lessons.LessonFailed, match="make its figures smaller"):
        lessons.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")


def test_a_failed_run_is_not_published(tmp_path, folder):
    error = new_output("error", ename="ValueError", evalue="no", traceback=[])
    executed = make_finished_run(folder, error)
    with pytest.raises(lessons.LessonFailed, match="not a finished run"):
        lessons.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")


@pytest.mark.parametrize("folder", ["home", "root", "Users", "tmp", "var", "opt", "usr", "mnt", "C:"])
@pytest.mark.parametrize("text", ["{}/x.py", "see {}/ipykernel_1/2.py:3", "'{}/a'"])
def test_a_path_of_a_machine_is_found(text, folder):
    start = rf"{folder}\Users" if folder.endswith(":") else f"/{folder}"
    cell = new_code_cell("x", outputs=[new_output("stream", text=text.format(start))])
    assert len(lessons.find_machine_paths(new_notebook(cells=[cell]))) == 1


@pytest.mark.parametrize("text", ["data/runs/x", "a/home/b", "https://arxiv.org/home/x", "1/2", "x / root"])
def test_what_is_no_path_of_a_machine_is_left_alone(text):
    cell = new_code_cell("x", outputs=[new_output("stream", text=text)])
    assert lessons.find_machine_paths(new_notebook(cells=[cell])) == []


def test_the_summary_says_where_everything_lies_and_the_first_numbers(folder):
    summary = lessons.summarise([make_finished_run(folder)])
    assert "07_tiny · quick · seed 0 · CPU" in summary
    for name in ("07_tiny.ipynb", "results.json", "figures/ (1)"):
        assert str(folder / name) in summary
    assert "m1                                       0.3333" in summary
    assert f"… and {20 - lessons.HEADLINES} more in results.json" in summary


def test_lessons_are_found_in_order_by_number_or_by_name(tmp_path):
    for name in ("02_b", "01_a", "notes", "10_c"):
        nbformat.write(new_notebook(), tmp_path / f"{name}.ipynb")
    found = lessons.find_lessons(folder=tmp_path)
    assert [path.stem for path in found] == ["01_a", "02_b", "10_c"]
    assert [path.stem for path in lessons.find_lessons(["10", "01_a"], tmp_path)] == ["01_a", "10_c"]
    with pytest.raises(lessons.LessonFailed, match=r"no lesson 09 .*there are: 01_a, 02_b, 10_c"):
        lessons.find_lessons(["09"], tmp_path)


@pytest.mark.parametrize("arguments", [["--publish", "--profile", "full"], ["--publish", "--seed", "1"]])
def test_only_quick_runs_of_seed_zero_can_be_asked_to_be_published(arguments, capsys):
    assert cli.main(["run", *arguments]) == 2
    assert "only runs at profile quick and seed 0 are published" in capsys.readouterr().err


def test_what_shows_photos_of_others_is_neither_published_nor_taken_for_a_run_without(tmp_path, monkeypatch, capsys):
    without = lessons.compute_digest(new_notebook(), "quick")
    monkeypatch.setenv(REAL_VARIABLE, str(tmp_path))
    assert lessons.compute_digest(new_notebook(), "quick") != without
    assert cli.main(["run", "--publish", "--profile", "quick"]) == 2
    assert f"unset {REAL_VARIABLE}" in capsys.readouterr().err


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
    outputs = [output.text for cell in lessons.find_code_cells(read(folder / "out.ipynb")) for output in cell.outputs]
    assert "full 7\n" in outputs
