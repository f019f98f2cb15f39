"""Views: what the processes of a grading see of the workbook."""

import ast

import pytest

from helpers import paths
from helpers.course import views
from helpers.course.checks.catalogue import list_definitions
from helpers.course.views import Views

SOURCE = '''
def first(x):
    """Return x."""
    y = x
    return y


def second(x): return x


class Third:
    """A class."""

    def method(self):
        return "secret"

    @property
    def other(self):
        """Return a secret."""
        return "secret"


def fourth(x):
    return "kept"
'''


def test_bodies_are_removed_and_all_else_is_kept(tmp_path):
    (tmp_path / "detection").mkdir()
    path = tmp_path / "detection" / "boxes.py"
    path.write_text(SOURCE)
    names = [f"helpers.detection.boxes.{name}" for name in ("first", "second", "Third", "unknown")]
    views.strip_functions(tmp_path, [*names, "helpers.nowhere.first"])
    space = {}
    exec(path.read_text(), space)
    for call in (lambda: space["first"](1), lambda: space["second"](1), space["Third"]().method):
        with pytest.raises(NotImplementedError):
            call()
    assert space["first"].__doc__ == "Return x."
    assert space["fourth"](1) == "kept"
    assert 'secret"' not in path.read_text()


@pytest.fixture(scope="module")
def all_views(tmp_path_factory):
    return Views(tmp_path_factory.mktemp("views"), list_definitions(), compiles=False)


def test_only_the_view_of_checks_holds_the_definitions(all_views):
    assert not (all_views.folder / "functions" / "course").exists()
    assert not (all_views.folder / "answers" / "course").exists()
    assert (all_views.folder / "checks" / "course" / "checks").is_dir()


def test_functions_of_build_tasks_are_empty_in_the_view_of_build_tasks_only(all_views):
    replaced = views.find_replaced(list_definitions())
    assert replaced
    for full_name in replaced:
        module, _, name = full_name.removeprefix("helpers.").rpartition(".")
        place = f"{module.replace('.', '/')}.py"
        if not (paths.ROOT / "helpers" / place).is_file():
            continue
        for folder, is_empty in (("functions", True), ("answers", False)):
            text = (all_views.folder / folder / place).read_text()
            nodes = [node for node in ast.parse(text).body if getattr(node, "name", "") == name]
            assert all((views.REMOVED.partition("(")[0] in ast.unparse(node)) == is_empty for node in nodes)


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
