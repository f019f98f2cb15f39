"""Submissions as they are read from a folder: every entry gets a row, and what cannot be used gets a remark."""

import io
import json
import os
import sys
import zipfile
from copy import deepcopy

import nbformat
import pytest

from helpers.course import grades, lessons, student, submissions
from helpers.course.submissions import NotANotebook, collect_submissions, make_visible, read_cells

SOLVED = {"09-1-solution": "first = 1", "09-2-solution": "second = 4"}


def test_a_notebook_is_found_by_its_cells_under_any_name_at_any_depth(plan, tmp_path, hand_in, solve):
    hand_in(tmp_path / "ann" / "assignment 1" / "final", solve(), "My solution (2).ipynb")
    hand_in(tmp_path / "ann" / ".ipynb_checkpoints", solve("first = 0"), "09_tiny-checkpoint.ipynb")
    hand_in(tmp_path, solve(), "bob_09.ipynb")
    ann, bob = collect_submissions(tmp_path, [plan])
    assert (ann.name, bob.name) == ("ann", "bob_09.ipynb")
    assert ann.solutions == bob.solutions == {"09_tiny": SOLVED}
    assert ann.remarks == bob.remarks == {}


@pytest.mark.parametrize("name", ["09_tiny.ipynb.json", "09_tiny.ipynb.txt", "09_tiny.IPYNB", "nine.json", "nine.txt"])
@pytest.mark.parametrize("is_flat", [True, False])
def test_a_notebook_is_recognised_by_its_content_whatever_its_ending(name, is_flat, plan, tmp_path, hand_in, solve):
    hand_in(tmp_path if is_flat else tmp_path / "ann", solve(), name)
    (submission,) = collect_submissions(tmp_path, [plan])
    assert submission.solutions == {"09_tiny": SOLVED}
    assert submission.remarks == {}


def write_archive(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_zip_is_read_in_memory_and_may_not_name_paths_outside(plan, tmp_path, solve):
    notebook = nbformat.writes(solve())
    folder = tmp_path / "submissions"
    write_archive(folder / "ann.zip", {"homework/09_tiny.ipynb": notebook, "__MACOSX/._09_tiny.ipynb": b"\0"})
    write_archive(folder / "bob" / "hw.zip", {"../../outside.ipynb": notebook, "/etc/stain.ipynb": notebook})
    write_archive(folder / "cem.zip", {})
    (folder / "dia.zip").write_bytes(b"PK no archive")
    write_archive(folder / "eva.zip", {"inner.zip": b"PK", "work.tar.gz": b""})
    found = {submission.name: submission for submission in collect_submissions(folder, [plan])}
    assert found["ann.zip"].solutions == found["bob"].solutions == {"09_tiny": SOLVED}
    assert not (tmp_path / "outside.ipynb").exists()
    assert found["cem.zip"].remarks == {"": ["cem.zip is an empty archive"]}
    assert "archive that cannot be read" in found["dia.zip"].remarks[""][0]
    assert len(found["eva.zip"].remarks[""]) == 2


def test_an_archive_that_grows_is_not_unpacked(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST_SUBMISSION", 100_000)
    write_archive(tmp_path / "ann.zip", {"09_tiny.ipynb": b" " * 10_000_000})
    (submission,) = collect_submissions(tmp_path, [plan])
    assert "too large when it is unpacked" in str(submission.remarks)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
def test_every_entry_gets_a_row_and_a_remark(plan, tmp_path, hand_in, solve):
    (tmp_path / "ann.pdf").write_bytes(b"%PDF")
    (tmp_path / "bob").mkdir()
    (tmp_path / "cem").mkdir()
    (tmp_path / "cem" / "report.docx").write_bytes(b"PK")
    (tmp_path / "dia").symlink_to(tmp_path / "bob")
    os.mkfifo(tmp_path / "eva.ipynb")
    (tmp_path / "fin.tar.gz").write_bytes(b"")
    hand_in(tmp_path / "gil", solve())
    (tmp_path / "gil" / "notes.pdf").write_bytes(b"%PDF")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    found = {submission.name: submission for submission in collect_submissions(tmp_path, [plan])}
    remarks = {
        name: " ".join(text for texts in submission.remarks.values() for text in texts)
        for name, submission in found.items()
    }
    assert remarks == {
        "ann.pdf": "ann.pdf is no notebook (the file is not JSON: Expecting value: line 1 column 1 (char 0))",
        "bob": "no notebook was handed in",
        "cem": "no notebook was handed in, only report.docx",
        "dia": "dia is a link, which is not followed",
        "eva.ipynb": "eva.ipynb is not a regular file",
        "fin.tar.gz": "fin.tar.gz is an archive that is not opened: unpack it, or hand in a .zip",
        "gil": "",
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names")
def test_names_in_any_bytes_get_a_row_that_can_be_printed_and_written(plan, tmp_path, hand_in, solve):
    folder = os.fsencode(tmp_path / "submissions")
    names = ["J\xfcrgen".encode("latin-1"), b"a\rb", b"red\x1b[31m", b"=1+1", "Zo\xeb \u202eleft".encode(), b"a\nb"]
    for name in names:
        os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, name, b"09_tiny.ipynb"), "w") as file:
            file.write(nbformat.writes(solve()))
    found = collect_submissions(tmp_path / "submissions", [plan])
    assert {submission.name for submission in found} == {
        "J\\xfcrgen",
        "a\\rb",
        "a\\nb",
        "red\\x1b[31m",
        "=1+1",
        "Zo\xeb \\u202eleft",
    }
    assert all(submission.solutions == {"09_tiny": SOLVED} for submission in found)
    rows = grades.tabulate(found, [plan], [], "bubblewrap")
    grades.write_table(tmp_path / "points.csv", rows)
    assert len((tmp_path / "points.csv").read_bytes().splitlines()) == len(names) + 1


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses such names")
def test_two_names_that_look_alike_are_two_rows(plan, tmp_path):
    for name in ("a\x1b", "a\\x1b"):
        (tmp_path / name).mkdir()
    assert sorted(submission.name for submission in collect_submissions(tmp_path, [plan])) == ["a\\x1b", "a\\x1b'"]


def test_a_text_is_made_visible():
    assert make_visible("plain ü 漢") == "plain ü 漢"
    assert make_visible("\x1b\r\n\t\x00\u202e\u2028\udce9\ud800") == "\\x1b\\r\\n\\t\\x00\\u202e\\u2028\\xe9\\ud800"


def test_two_notebooks_of_one_lesson_count_if_they_agree_and_not_if_they_differ(plan, tmp_path, hand_in, solve):
    for name, first in (("ann", "first = 1"), ("bob", "first = 2")):
        hand_in(tmp_path / name, solve(), "a.ipynb")
        hand_in(tmp_path / name, solve(first), "b.ipynb")
    ann, bob = collect_submissions(tmp_path, [plan])
    assert len(ann.solutions["09_tiny"]) == 2
    assert bob.solutions == {"09_tiny": {}}
    assert bob.remarks == {"09_tiny": ["b.ipynb is a second, different notebook: none is graded"]}


def copy_first(notebook, *sources):
    """Return the notebook with its first solution cell in several cells, which all carry its identifier."""
    number = next(n for n, cell in enumerate(notebook.cells) if student.find_id(cell) == "09-1-solution")
    copies = [
        nbformat.from_dict(notebook.cells[number] | {"source": source, "id": f"x{n}"})
        for n, source in enumerate(sources)
    ]
    notebook.cells[number : number + 1] = copies
    return notebook


@pytest.mark.parametrize(
    ("sources", "solution", "is_told"),
    [
        pytest.param(["half = 0.5", "first = 2 * half"], "half = 0.5\n\nfirst = 2 * half", True, id="split"),
        pytest.param(
            ["first = 0", "first = 1"], "first = 0\n\nfirst = 1", True, id="copied: the last assignment counts"
        ),
        pytest.param([student.STUB, "first = 1"], "first = 1", False, id="the stub was kept above"),
        pytest.param(["first = 1", student.STUB], "first = 1", False, id="the stub was kept below"),
        pytest.param(["first = 1", "  \n"], "first = 1", False, id="an empty half"),
        pytest.param([student.STUB, student.STUB], student.STUB, False, id="two stubs"),
    ],
)
def test_cells_of_one_identifier_are_joined(sources, solution, is_told, plan, tmp_path, hand_in, solve):
    hand_in(tmp_path / "ann", copy_first(solve(), *sources))
    (submission,) = collect_submissions(tmp_path, [plan])
    assert submission.solutions["09_tiny"]["09-1-solution"] == solution
    assert ("stands in 2 cells: joined" in str(submission.remarks)) == is_told


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_solution_cell_that_is_text_now_is_named(kind, plan, tmp_path, hand_in, solve):
    notebook = solve()
    cell = next(cell for cell in notebook.cells if student.find_id(cell) == "09-1-solution")
    cell.cell_type = kind
    del cell["outputs"], cell["execution_count"]
    hand_in(tmp_path / "ann", notebook)
    (submission,) = collect_submissions(tmp_path, [plan])
    assert submission.remarks == {
        "09_tiny": ["the solution cell of task 1 is a text cell now: its code does not count"]
    }
    assert submission.solutions["09_tiny"] == {"09-2-solution": "second = 4"}


def test_a_check_cell_with_other_line_breaks_counts_as_unchanged(plan, tmp_path, hand_in, solve):
    notebook = solve()
    for cell in notebook.cells:
        if student.find_id(cell) == "09-1-check":
            cell.source = "\n" + cell.source.replace("\n", "  \r\n") + "\n\n"
    hand_in(tmp_path / "ann", notebook)
    assert collect_submissions(tmp_path, [plan])[0].remarks == {}


@pytest.mark.parametrize("value", [["09-1-solution"], {"a": 1}, 5, None, True, "", "\ud800"], ids=repr)
@pytest.mark.parametrize("place", ["grade_id", "nbgrader", "metadata", "source", "cell_type"])
def test_a_value_of_a_wrong_type_costs_its_cell_at_most(value, place, plan, tmp_path, solve):
    content = deepcopy(json.loads(nbformat.writes(solve())))
    cell = next(
        cell for cell in content["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") == "09-1-solution"
    )
    holder = {"grade_id": cell["metadata"]["nbgrader"], "nbgrader": cell["metadata"]}.get(place, cell)
    holder[place] = value
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "09_tiny.ipynb").write_text(json.dumps(content))
    (submission,) = collect_submissions(tmp_path, [plan])
    assert submission.solutions["09_tiny"]["09-2-solution"] == "second = 4"
    if place != "source":
        assert "09-1-solution" not in submission.solutions["09_tiny"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'{"cells": 5, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        b'{"nbformat": 99}',
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
        b'{"nbformat": 3, "worksheets": []}',
        bytes(range(256)),
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
        b'{"cells": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"cells": [' + b"{}," * 1_500_000 + b"{}]}",
        b'{"cells": [' + b"1" * 5000 + b"]}",
    ],
    ids=lambda content: ascii(content[:30]),
)
def test_what_is_no_notebook_is_a_remark(content, plan, tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "09_tiny.ipynb").write_bytes(content)
    (submission,) = collect_submissions(tmp_path, [plan])
    assert submission.solutions.get("09_tiny", {}) == {}
    assert len([text for texts in submission.remarks.values() for text in texts]) >= 1


def test_a_structure_that_would_grow_in_memory_is_refused_before_it_is_read():
    with pytest.raises(NotANotebook, match="brackets and commas"):
        read_cells(b"[" + b"[]," * 2_000_000 + b"[]]")


def test_a_byte_order_mark_does_not_matter(plan, solve):
    text = nbformat.writes(solve()).encode("utf-8-sig")
    assert len(read_cells(text)) == len(read_cells(text[3:]))


def test_a_notebook_that_is_too_large_is_a_remark(plan, tmp_path, monkeypatch, hand_in, solve):
    monkeypatch.setattr(submissions, "LARGEST_SUBMISSION", 1000)
    hand_in(tmp_path / "bob", solve())
    (bob,) = collect_submissions(tmp_path, [plan])
    assert "over 0 MB" in bob.remarks["09_tiny"][0]


def test_a_submission_of_many_files_is_not_read_to_its_end(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_FILES", 10)
    (tmp_path / "ann").mkdir()
    for number in range(20):
        (tmp_path / "ann" / f"{number}.py").write_text("")
    assert "more than 10 files" in str(collect_submissions(tmp_path, [plan])[0].remarks)


def test_an_empty_folder_and_a_missing_one_are_refused(plan, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(lessons.LessonFailed, match="holds no submission"):
            collect_submissions(folder, [plan])


def test_a_damaged_archive_is_a_remark(plan, tmp_path, solve):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("09_tiny.ipynb", nbformat.writes(solve()))
    content = bytearray(buffer.getvalue())
    content[60:90] = bytes(30)
    (tmp_path / "ann.zip").write_bytes(content)
    (submission,) = collect_submissions(tmp_path, [plan])
    assert "archive that cannot be read" in str(submission.remarks)
