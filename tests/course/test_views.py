"""Views: what the processes of a grading see of the workbook."""

import importlib.util
import marshal
from pathlib import Path

import pytest

from helpers import paths
from helpers.course.checks.catalogue import list_definitions
from helpers.course.open_functions import find_open_functions
from helpers.course.views import Views


@pytest.fixture(scope="module")
def all_views(tmp_path_factory):
    return Views(tmp_path_factory.mktemp("views"), list_definitions(), compiles=False)


def test_only_the_view_of_checks_holds_the_definitions(all_views):
    assert not (all_views.folder / "functions" / "helpers" / "course").exists()
    assert not (all_views.folder / "answers" / "course").exists()
    assert (all_views.folder / "checks" / "course" / "checks").is_dir()


def test_functions_of_build_tasks_are_empty_in_the_view_of_build_tasks_only(all_views):
    functions = [function for function in find_open_functions(list_definitions()) if not function.entry]
    assert functions
    for function in functions:
        place = function.module.relative_to("helpers")
        assert function.message in (all_views.folder / "functions" / "helpers" / place).read_text()
        assert function.message not in (all_views.folder / "answers" / place).read_text()


def test_no_compiled_module_holds_what_its_source_lacks(tmp_path):
    Views(tmp_path, list_definitions())
    compiled_modules = list((tmp_path / "functions").rglob("*.pyc"))
    assert len(compiled_modules) > 50
    for path in compiled_modules:
        source = Path(importlib.util.source_from_cache(str(path)))
        header, code = path.read_bytes()[:16], marshal.loads(path.read_bytes()[16:])  # PEP 552: a header of 16 bytes
        assert int.from_bytes(header[12:16], "little") == source.stat().st_size
        assert code == compile(source.read_bytes(), code.co_filename, "exec", dont_inherit=True)


def test_a_run_is_seen_without_its_notebook(tmp_path, monkeypatch, views):
    folder = tmp_path / "02_anchor_visualization" / "smoke"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "last.pth").write_text("weights")
    for name in ("02_anchor_visualization.ipynb", "02_anchor_visualization.unfinished.ipynb", "results.json"):
        (folder / name).write_text("hidden tests")
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    view = views.of_answers("02_anchor_visualization")
    copies = [source for source, place in view.copied.items() if place.startswith("data/runs")]
    files = [path.name for copy in copies for path in copy.rglob("*") if path.is_file()]
    assert files == ["last.pth"]
