"""Structure of the source: which module may import which, and what no module may do."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError
from nbformat.v4 import new_notebook

from helpers.course import lessons
from helpers.paths import ROOT
from helpers.plotting import plot_image

HELPERS = ROOT / "helpers"
SHARED = {"paths", "files", "runtime", "coco", "training", "cuda_graphs", "plotting", "average_precision", "generated"}
SHARED |= {
    "explorers",
    "explorer_frames",
    "records",
    "images",
    "checkpoints",
    "identity",
    "predictions",
    "intervals",
    "diagrams",
    "published",
}
PACKAGES = {"detection", "keypoints", "digits"}  # they import shared modules, and not each other
WITHOUT_TORCH = {
    "explorer_frames",
    "paths",
    "files",
    "records",
    "identity",
    "images",
    "coco",
    "generated",
    "predictions",
    "intervals",
    "diagrams",
}
DATA_SETS = {"handout"}  # imports several packages; lessons import it
TASKS = {"tasks"}  # build tasks: a lesson imports them, and they import what lessons import
COURSE = "course"  # runs the course: imports everything, and is imported by nothing that a lesson imports
ONLY_UNIX = {
    "crypt",
    "curses",
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "readline",
    "resource",
    "syslog",
    "termios",
    "tty",
}
FORKING = {"helpers/tasks/attempt.py", "helpers/tasks/forks.py"}  # the process of a grading
LAYERS = (SHARED, PACKAGES, DATA_SETS, TASKS, {COURSE})  # from the lowest to the highest

MODULES = sorted(HELPERS.rglob("*.py"))
SOURCES = [path for path in MODULES if path.name != "__init__.py"]
FIGURE_MODULES = [path for path in SOURCES if path.stem.endswith(("figures", "plotting"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=name_of)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def find_imports(path: Path) -> Iterator[str]:
    """Yield the full dotted name of everything `path` imports; `from a import b` yields `a` and `a.b`."""
    yield from find_imported_names(parse(path), path.relative_to(ROOT).parent.parts)


def find_imported_names(tree: ast.Module, package: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the full dotted name of everything that a module of `package` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            module = origin if node.level else node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def find_imported_parts(path: Path) -> set[str]:
    """Return the parts of `helpers` that `path` imports: names of shared modules and of packages."""
    return {name.split(".")[1] for name in find_imports(path) if name.startswith("helpers.")}


def find_calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call with the text of what is called: `torch.load`, `figure.savefig`."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def find_attributes(path: Path) -> set[str]:
    """Return the names of all attributes that `path` reads, writes or calls."""
    return {node.attr for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}


def test_every_part_of_helpers_is_shared_a_package_or_the_course():
    parts = {path.relative_to(HELPERS).parts[0].removesuffix(".py") for path in SOURCES}
    assert parts == SHARED | PACKAGES | DATA_SETS | TASKS | {COURSE}


@each([path for path in SOURCES if path.relative_to(HELPERS).parts[0] in PACKAGES])
def test_a_package_imports_itself_and_shared_modules_only(path):
    assert find_imported_parts(path) <= SHARED | {path.parent.name}


@each([path for path in SOURCES if path.stem in SHARED and path.parent == HELPERS])
def test_a_shared_module_imports_shared_modules_only(path):
    assert find_imported_parts(path) <= SHARED


@each([path for path in SOURCES if path.stem in DATA_SETS and path.parent == HELPERS])
def test_a_module_that_a_lesson_imports_does_not_import_the_course(path):
    assert COURSE not in find_imported_parts(path)


def test_no_lesson_imports_the_course():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        sources = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        assert not [
            source for source in sources if f"helpers.{COURSE}" in source or f"helpers import {COURSE}" in source
        ]


def find_module(name: str) -> Path | None:
    """Return the file of the module or package `name`, or `None` if it is not one of `helpers`."""
    path = ROOT.joinpath(*name.split("."))
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    return next((candidate for candidate in candidates if candidate in MODULES), None)


@cache
def find_imported_modules(path: Path) -> set[Path]:
    """Return the files of `helpers` that `path` imports directly."""
    files = {find_module(name) for name in find_imports(path)}
    return {file for file in files if file is not None and file != path}


def find_needed_modules(paths: set[Path]) -> set[Path]:
    """Return the files `paths` and all that they import, directly or not."""
    needed, waiting = set(), set(paths)
    while waiting:
        path = waiting.pop()
        needed.add(path)
        waiting |= find_imported_modules(path) - needed
    return needed


@each(SOURCES)
def test_no_module_imports_itself_through_others(path):
    assert path not in find_needed_modules(find_imported_modules(path))


@each(SOURCES)
def test_imports_between_layers_go_down_so_the_packages_are_on_one_level(path):
    part = path.relative_to(HELPERS).parts[0].removesuffix(".py")
    (layer,) = [number for number, parts in enumerate(LAYERS) if part in parts]
    lower = set().union(*LAYERS[:layer])
    assert find_imported_parts(path) <= lower | {part} | (SHARED if part in SHARED else set())


@each([path for path in SOURCES if path.parent == HELPERS and path.stem in WITHOUT_TORCH])
def test_a_module_of_files_needs_no_torch(path):
    imports = {name.split(".")[0] for module in find_needed_modules({path}) for name in find_imports(module)}
    assert not imports & {"torch", "torchvision"}


def find_lesson_imports() -> set[Path]:
    """Return the files of `helpers` that the lessons import directly."""
    files = set()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            lines = "".join(cell["source"]).splitlines() if cell["cell_type"] == "code" else []
            tree = ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))
            files |= {find_module(name) for name in find_imported_names(tree)} - {None}
    return files


def test_the_digest_of_a_lesson_covers_what_a_lesson_can_import_and_nothing_else():
    covered = set(lessons.identify_run(new_notebook(), "quick")["code"])
    importable = {name_of(path) for path in MODULES if path.relative_to(HELPERS).parts[0] != COURSE}
    assert covered == importable | {"helpers/workbook.mplstyle", "requirements.lock"}
    imported = find_needed_modules(find_lesson_imports())
    assert len(imported) > len(SHARED)
    assert {name_of(path) for path in imported} <= covered


@each(SOURCES)
def test_only_the_command_line_and_the_processes_that_it_starts_are_programs(path):
    functions = [node.name for node in parse(path).body if isinstance(node, ast.FunctionDef)]
    is_program = "main" in functions or '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    programs = {"helpers/course/cli.py", "helpers/course/grid/run.py", "helpers/tasks/attempt.py"}
    assert is_program == (name_of(path) in programs)


@each([path for path in MODULES if path.name == "__init__.py"])
def test_importing_a_package_imports_no_module(path):
    assert not find_imported_parts(path)


@each(MODULES)
def test_no_module_imports_a_notebook_a_test_or_a_benchmark(path):
    roots = {name.split(".")[0] for name in find_imports(path)}
    assert not roots & {"notebooks", "tests", "benchmarks", "conftest", "nbimporter", "import_ipynb"}


def test_no_module_is_a_bin_for_leftovers():
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
def test_every_module_has_a_docstring_of_whole_sentences(path):
    docstring = ast.get_docstring(parse(path))
    assert docstring, f"{name_of(path)} has no docstring"
    assert docstring.splitlines()[0].endswith((".", ":", "`"))


@each(SOURCES)
def test_every_public_function_and_class_has_a_docstring(path):
    public = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for node in parse(path).body if isinstance(node, public) and not node.name.startswith("_")]
    assert [node.name for node in nodes if not ast.get_docstring(node)] == []


@each(SOURCES)
def test_every_module_has_a_test_file_of_its_name(path):
    mirror = f"tests/{path.relative_to(HELPERS).with_name(f'test_{path.name}').as_posix()}"
    assert (ROOT / mirror).is_file(), f"{name_of(path)} has no {mirror}"


@each(FIGURE_MODULES)
def test_a_drawing_neither_shows_nor_saves_nor_changes_the_style(path):
    assert not find_attributes(path) & {"show", "savefig", "rcParams", "rc", "rc_context"}


def find_fixed_devices(tree: ast.Module) -> list[str]:
    """Return the calls that choose a GPU themselves: `x.cuda()`, `x.to("cuda")`, `zeros(3, device="cuda:0")`."""
    calls = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            literals = [value.value for value in values if isinstance(value, ast.Constant)]
            names_gpu = any(isinstance(value, str) and value.partition(":")[0] == "cuda" for value in literals)
            if names_gpu or text.endswith(".cuda") or text == "torch.set_default_device":
                calls.append(ast.unparse(node))
    return calls


@pytest.mark.parametrize(
    ("source", "is_fixed"),
    [
        ("x.cuda()", True),
        ("x.to('cuda')", True),
        ("torch.zeros(3, device='cuda:1')", True),
        ("torch.set_default_device(device)", True),
        ("x.to(device)", False),
        ("device.type == 'cuda' and torch.cuda.synchronize()", False),
    ],
)
def test_a_fixed_device_is_recognised(source, is_fixed):
    assert bool(find_fixed_devices(ast.parse(source))) == is_fixed


@each(MODULES)
def test_devices_are_arguments(path):
    assert find_fixed_devices(parse(path)) == []


@each(MODULES)
def test_no_path_starts_at_the_current_folder(path):
    for text, call in find_calls(path):
        assert text not in {"os.getcwd", "Path.cwd", "os.chdir", "os.path.abspath"}, f"line {call.lineno}: {text}"
        if text in {"Path", "pathlib.Path", "open", "io.open"}:
            relative = not call.args or isinstance(call.args[0], ast.Constant)
            assert not relative, f"line {call.lineno}: {ast.unparse(call)} is relative; start at paths.ROOT"


@each(MODULES)
def test_torch_load_reads_weights_only(path):
    for text, call in find_calls(path):
        if text == "torch.load":
            values = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert values.get("weights_only") == "True", f"line {call.lineno}: a pickle can run anything"


@each(MODULES)
def test_nothing_reads_pickles(path):
    assert not {name.split(".")[0] for name in find_imports(path)} & {"pickle", "dill", "cloudpickle", "joblib"}


def find_imports_at_import(tree: ast.Module) -> set[str]:
    """Return the first parts of the modules that are imported as soon as a module is: outside of functions."""
    names, waiting = set(), list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
        waiting += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("import resource", True),
        ("from fcntl import flock", True),
        ("try:\n    import pwd\nexcept ImportError:\n    pass", True),
        ("class A:\n    import termios", True),
        ("def limit():\n    import resource", False),
        ("import resources", False),
    ],
)
def test_an_import_of_a_module_that_windows_lacks_is_recognised(source, is_found):
    assert bool(find_imports_at_import(ast.parse(source)) & ONLY_UNIX) == is_found


@each(MODULES)
def test_no_module_needs_one_that_windows_lacks_to_be_imported(path):
    assert not find_imports_at_import(parse(path)) & ONLY_UNIX


@each(MODULES)
def test_only_the_process_of_a_grading_forks(path):
    """Other processes must work with any start method: Windows and macOS cannot, or should not, fork."""
    calls = {text for text, _ in find_calls(path)}
    assert ("os.fork" in calls) == (name_of(path) in FORKING)
    assert not [text for text in calls if text.endswith(("forkpty", "set_start_method"))]
    assert "multiprocessing" not in {name.partition(".")[0] for name in find_imports(path)}


def test_shapes_in_signatures_are_checked_while_the_tests_run():
    with pytest.raises(TypeCheckError):
        plot_image(torch.zeros(4, 4), None)  # a tensor in place of an array
