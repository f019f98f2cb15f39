"""Lessons: their notebooks, parameters, and the identity and results of a run."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers import paths
from helpers.course import cli, lessons
from helpers.digits.splits import REAL_VARIABLE
from tests.course.tiny import make_parameters, read_notebook, write_notebook


def test_another_profile_seed_source_or_a_lost_result_makes_a_run_out_of_date(tmp_path):
    path = write_notebook(tmp_path / "07_tiny.ipynb", make_parameters(), new_code_cell("x = 1"))
    notebook = read_notebook(path)
    folder = tmp_path / "runs"
    executed = folder / "07_tiny.ipynb"
    folder.mkdir()
    finished = read_notebook(path)
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
    assert lessons.is_up_to_date(notebook, executed, "quick")  # an output is not part of the identity
    notebook.cells[-1].source += " "
    assert not lessons.is_up_to_date(notebook, executed, "quick")


def test_the_digest_covers_every_helper_and_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(lessons, "HELPERS", tmp_path / "helpers")
    (tmp_path / "helpers" / "package").mkdir(parents=True)
    files = [
        tmp_path / "helpers/package/module.py",
        tmp_path / "helpers/style.mplstyle",
        tmp_path / "requirements.lock",
    ]
    for file in files:
        file.write_text("old")
    digests = {lessons.compute_digest(new_notebook(), "quick")}
    for file in files:
        file.write_text("new")
        digests.add(lessons.compute_digest(new_notebook(), "quick"))
    assert len(digests) == 4


def test_parameters_are_the_plain_values_of_their_cell():
    cell = make_parameters()
    assert lessons.read_parameters(new_notebook(cells=[new_code_cell("x = 1"), cell])) == {"profile": None, "seed": 0}
    assert lessons.read_parameters(new_notebook(cells=[new_code_cell("x = 1")])) == {}
    second = make_parameters("x = 1")
    assert "x" not in lessons.read_parameters(new_notebook(cells=[cell, second]))  # papermill reads the first cell
    cell.source = "seed ="
    with pytest.raises(lessons.LessonFailed, match=r"^the parameters cell is not valid Python: .*write lines like"):
        lessons.read_parameters(new_notebook(cells=[cell]))
    with pytest.raises(lessons.LessonFailed, match=r"^/somewhere/tiny\.ipynb: the parameters cell is not valid Python"):
        lessons.read_parameters(new_notebook(cells=[cell]), Path("/somewhere/tiny.ipynb"))


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
    """Oracle: papermill's inference of the names."""
    write_notebook(tmp_path / "tiny.ipynb", make_parameters(CELL))
    notebook = read_notebook(tmp_path / "tiny.ipynb")
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


def test_lessons_are_found_in_order_by_number_or_by_name(tmp_path):
    for name in ("02_b", "01_a", "notes", "10_c"):
        nbformat.write(new_notebook(), tmp_path / f"{name}.ipynb")
    chosen = lessons.find_lessons(folder=tmp_path)
    assert [path.stem for path in chosen] == ["01_a", "02_b", "10_c"]
    assert [path.stem for path in lessons.find_lessons(["10", "01_a"], tmp_path)] == ["01_a", "10_c"]
    with pytest.raises(lessons.LessonFailed, match=r"no lesson 09 .*it holds 01_a, 02_b, 10_c"):
        lessons.find_lessons(["09"], tmp_path)


def test_a_run_with_photos_is_not_published_and_has_another_digest_than_one_without(tmp_path, monkeypatch, capsys):
    without = lessons.compute_digest(new_notebook(), "quick")
    monkeypatch.setenv(REAL_VARIABLE, str(tmp_path))
    assert lessons.compute_digest(new_notebook(), "quick") != without
    assert cli.main(["run", "--publish", "--profile", "quick"]) == 2
    assert f"unset {REAL_VARIABLE}" in capsys.readouterr().err


def test_results_are_read_with_defaults_for_the_fields_that_are_absent(tmp_path):
    (tmp_path / "results.json").write_text('{"seed": 3, "versions": {}}')
    assert lessons.read_results(tmp_path / "results.json") == lessons.Results("", 3, "", {})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"metadata": 5}', "\0", "[" * 10**5, '{"metadata": {"workbook": 3}}']
)
def test_a_damaged_notebook_has_no_metadata_and_is_no_run(text, tmp_path):
    path = tmp_path / "07_tiny.ipynb"
    path.write_text(text)
    (tmp_path / "results.json").write_text("{}")
    assert not lessons.is_run(path, "0" * 64, 0)
    assert lessons.describe_changes(path, {}) == "07_tiny.ipynb has no record of what made it"


def test_a_run_depends_on_the_saved_solutions_of_earlier_lessons_and_on_no_others(tmp_path, monkeypatch):
    solutions, checks = tmp_path / "solutions", tmp_path / "checks"
    for folder in (solutions, checks):
        folder.mkdir()
    for name, number in (("first", "1.2"), ("second", "2.1"), ("third", "3.1"), ("open", "1.1")):
        (checks / f"{name}.json").write_text(json.dumps({"number": number}))
        if name != "open":
            (solutions / f"{name}.py").write_text(name)
    (solutions / "other.py").write_text("other")
    monkeypatch.setattr(lessons.paths, "DATA", tmp_path)
    user = new_notebook(cells=[new_code_cell('tasks.use_saved("03")')])
    assert lessons.find_solutions(user) == []  # the instructor's workbook
    monkeypatch.setattr(lessons, "COMPILED_CHECKS", checks)
    assert lessons.find_solutions(user) == [solutions / "first.py", solutions / "second.py"]
    assert lessons.find_solutions(new_notebook(cells=[new_code_cell("1")])) == []


def test_a_changed_solution_of_an_earlier_lesson_makes_a_run_out_of_date(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(lessons, "HELPERS", tmp_path / "helpers")
    monkeypatch.setattr(lessons, "COMPILED_CHECKS", tmp_path / "checks")
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "first.json").write_text('{"number": "1.2"}')
    (tmp_path / "requirements.lock").write_text("")
    user = new_notebook(cells=[new_code_cell('tasks.use_saved("03")')])
    digests = {lessons.compute_digest(user, "quick")}
    (tmp_path / "data" / "solutions").mkdir(parents=True)
    for source in ("1", "2"):
        (tmp_path / "data" / "solutions" / "first.py").write_text(source)
        digests.add(lessons.compute_digest(user, "quick"))
    assert len(digests) == 3


def test_a_run_depends_on_the_published_results_that_it_names(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(lessons, "HELPERS", tmp_path / "helpers")
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "results").mkdir()
    for name in ("03_ablation", "07_anchors"):
        (tmp_path / "results" / f"{name}.json").write_text("{}")
    user = new_notebook(cells=[new_code_cell('published.read_runs("03_ablation")')])
    assert lessons.find_published(user) == [tmp_path / "results" / "03_ablation.json"]
    digest = lessons.compute_digest(user, "quick")
    (tmp_path / "results" / "07_anchors.json").write_text("[]")
    assert lessons.compute_digest(user, "quick") == digest
    (tmp_path / "results" / "03_ablation.json").write_text("[]")
    assert lessons.compute_digest(user, "quick") != digest
