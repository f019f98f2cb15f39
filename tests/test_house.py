"""The house's rules, proved on the source: who may import whom, and what no room may do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from helpers.plotting import plot_image
from helpers.runtime import ROOT

HELPERS = ROOT / "helpers"
CORRIDOR = {"settings", "runtime", "coco", "training", "replay", "plotting", "evaluation", "generated", "explorer"}
WINGS = {"detection", "keypoints", "digits"}
DOORS = {"handout", "lessons", "student", "grading", "report", "runner", "worker", "batch"}

MODULES = sorted(HELPERS.rglob("*.py"))
ROOMS = [path for path in MODULES if path.name != "__init__.py"]
FIGURE_ROOMS = [path for path in ROOMS if path.stem in {"figures", "plotting"}]

PROVED_ELSEWHERE: dict[str, str] = {}
"""Rooms whose proof does not lie in the test file of the same name: room -> test file, with the reason beside it."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=name_of)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def find_imports(path: Path) -> Iterator[str]:
    """Yields the full dotted name of everything `path` imports; `from a import b` yields `a` and `a.b`."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            module = origin if node.level else node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def find_imported_rooms(path: Path) -> set[str]:
    """Returns the parts of `helpers` that `path` imports: names of the corridor, of doors and of wings."""
    return {name.split(".")[1] for name in find_imports(path) if name.startswith("helpers.")}


def find_calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yields every call with the text of what is called: `torch.load`, `figure.savefig`."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def find_attributes(path: Path) -> set[str]:
    """Returns the names of all attributes that `path` reads, writes or calls."""
    return {node.attr for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}


def test_every_part_of_the_house_is_corridor_wing_or_door():
    parts = {path.relative_to(HELPERS).parts[0].removesuffix(".py") for path in ROOMS}
    assert parts <= CORRIDOR | WINGS | DOORS
    assert {"runtime", "plotting", "lessons", "detection"} <= parts


@each([path for path in ROOMS if path.parent != HELPERS])
def test_a_wing_imports_itself_and_the_corridor_only(path):
    assert find_imported_rooms(path) <= CORRIDOR | {path.parent.name}


@each([path for path in ROOMS if path.stem in CORRIDOR and path.parent == HELPERS])
def test_the_corridor_imports_no_wing_and_no_door(path):
    assert find_imported_rooms(path) <= CORRIDOR


@each([path for path in MODULES if path.name == "__init__.py"])
def test_importing_a_package_imports_no_room(path):
    assert not find_imported_rooms(path)


@each(MODULES)
def test_no_room_imports_a_notebook_a_test_or_a_benchmark(path):
    roots = {name.split(".")[0] for name in find_imports(path)}
    assert not roots & {"notebooks", "tests", "benchmarks", "conftest", "nbimporter", "import_ipynb"}


def test_no_room_is_a_bin_for_leftovers():
    assert not {path.stem for path in MODULES} & {
        "utils",
        "util",
        "common",
        "misc",
        "tools",
        "helper",
        "helpers",
        "core",
    }


@each(MODULES)
def test_every_module_says_in_one_sentence_what_it_is(path):
    docstring = ast.get_docstring(parse(path))
    assert docstring, f"{name_of(path)} has no docstring"
    assert docstring.splitlines()[0].endswith((".", ":", "`"))


@each(ROOMS)
def test_every_public_function_and_class_says_what_it_is(path):
    public = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for node in parse(path).body if isinstance(node, public) and not node.name.startswith("_")]
    assert [node.name for node in nodes if not ast.get_docstring(node)] == []


@each(ROOMS)
def test_every_room_has_a_test_file_of_its_name(path):
    mirror = f"tests/{path.relative_to(HELPERS).with_name(f'test_{path.name}').as_posix()}"
    assert (ROOT / PROVED_ELSEWHERE.get(name_of(path), mirror)).is_file(), f"{name_of(path)} has no {mirror}"


def test_the_table_of_exceptions_names_existing_rooms_without_a_mirror():
    for room in PROVED_ELSEWHERE:
        assert (ROOT / room).is_file()
        assert not (ROOT / "tests" / Path(room).relative_to("helpers").with_name(f"test_{Path(room).name}")).exists()


@each(FIGURE_ROOMS)
def test_a_drawing_neither_shows_nor_saves_nor_changes_the_style(path):
    assert not find_attributes(path) & {"show", "savefig", "rcParams", "rc", "rc_context"}


@each(MODULES)
def test_devices_are_arguments(path):
    assert [text for text, _ in find_calls(path) if text.endswith(".cuda") or text == "torch.set_default_device"] == []


@each(MODULES)
def test_no_path_starts_at_the_current_folder(path):
    for text, call in find_calls(path):
        assert text not in {"os.getcwd", "Path.cwd", "os.chdir", "os.path.abspath"}, f"line {call.lineno}: {text}"
        if text in {"Path", "pathlib.Path", "open", "io.open"}:
            relative = not call.args or isinstance(call.args[0], ast.Constant)
            assert not relative, f"line {call.lineno}: {ast.unparse(call)} is relative; start at runtime.ROOT"


@each(MODULES)
def test_torch_load_reads_weights_only(path):
    for text, call in find_calls(path):
        if text == "torch.load":
            values = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert values.get("weights_only") == "True", f"line {call.lineno}: a pickle can run anything"


@each(MODULES)
def test_nothing_reads_pickles(path):
    assert not {name.split(".")[0] for name in find_imports(path)} & {"pickle", "dill", "cloudpickle", "joblib"}


def test_shapes_in_signatures_are_checked_while_the_tests_run():
    with pytest.raises(TypeCheckError):
        plot_image(torch.zeros(4, 4), None)  # a tensor where an array is asked for
