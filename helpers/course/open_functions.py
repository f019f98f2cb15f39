"""Open functions: the workbook's functions that a student writes, and their removal from a student's copy.

A task's functions are those that its adapter replaces, and those in `Definition.removed`. In the copy they keep
signature and docstring; their bodies raise `NotSolved`, which names the task. If an adapter replaces a table of
functions by name, the entries that it changes become functions that raise this error.
"""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.course.checks.definition import Definition
from helpers.course.lessons import LessonFailed
from helpers.tasks.solutions import find_adapter, get_original
from helpers.tasks.unsolved import describe_task

IMPORT = "from helpers.tasks.unsolved import NotSolved, make_open_function"


@dataclass(frozen=True)
class OpenFunction:
    """A function or class of the workbook whose body a student's copy lacks."""

    module: Path  # file, relative to the workbook's folder
    name: str  # in its module: "compute_iou", "HeatmapCodec", "HeatmapCodec.encode"; of an entry, that of its table
    message: str  # of the error that takes the place of its body
    entry: str = ""  # key of a function in a table


def find_open_functions(definitions: Sequence[Definition]) -> list[OpenFunction]:
    """Return the functions of the workbook that belong to these tasks, each once.

    Raises:
        LessonFailed: an adapter or `Definition.removed` names something that is no function or class of `helpers`.
    """
    functions: dict[tuple[Path, str, str], OpenFunction] = {}
    for definition in definitions:
        adapter = find_adapter(definition.name)
        replacements: dict[str, Any] = dict(adapter(definition.reference)) if adapter else {}
        message = f"{describe_task(definition.name, definition.number, definition.lesson)}: solve it first, until its "
        message += "check passes"
        for full_name in [*replacements, *definition.removed]:
            for module, name, entry in _locate(full_name, replacements.get(full_name), definition.name):
                functions.setdefault((module, name, entry), OpenFunction(module, name, message, entry))
    return list(functions.values())


def _locate(full_name: str, replacement: Any, task: str) -> list[tuple[Path, str, str]]:
    """Return where something is defined: file, relative to the workbook's folder, name there, and key in a table."""
    value = _find_value(full_name)
    if isinstance(value, dict) and isinstance(replacement, dict):
        module, _, table = full_name.rpartition(".")
        path = Path(*module.split(".")).with_suffix(".py")
        return [(path, table, key) for key in value if replacement.get(key) is not value[key]]
    module_name, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    if not str(module_name).startswith("helpers.") or not name or "<locals>" in name:
        raise LessonFailed(f"task {task} replaces {full_name}, which is no function or class of helpers")
    return [(Path(*module_name.split(".")).with_suffix(".py"), name, "")]


def _find_value(full_name: str) -> Any:
    """Return the workbook's own function, class or method of this full name."""
    parts = full_name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        value = get_original(".".join(parts[: length + 1]))
        for attribute in parts[length + 1 :]:
            value = getattr(value, attribute)
        return value
    raise LessonFailed(f"there is no {full_name}")


def remove_open_functions(root: Path, functions: Sequence[OpenFunction]) -> None:
    """Remove the bodies of the functions from the files of the workbook in `root`."""
    by_module: dict[Path, list[OpenFunction]] = defaultdict(list)
    for function in functions:
        by_module[function.module].append(function)
    for module, in_module in by_module.items():
        path = root / module
        source = path.read_text(encoding="utf-8")
        for function in in_module:
            if function.entry:
                source = remove_entry(source, function)
        messages = {function.name: function.message for function in in_module if not function.entry}
        path.write_text(add_import(remove_bodies(source, messages)), encoding="utf-8")


def remove_entry(source: str, function: OpenFunction) -> str:
    """Return the source of a module in which an entry of a table of functions raises `NotSolved`.

    Raises:
        LessonFailed: the module has no such table with the entry written out.
    """
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        table = getattr(node, "value", None)
        if function.name not in names or not isinstance(table, ast.Dict):
            continue
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == function.entry:
                segment = ast.get_source_segment(source, value)
                lines = source.splitlines()
                assert segment is not None
                row = value.lineno - 1
                before = lines[row].encode()[: value.col_offset].decode()
                after = lines[row][len(before) + len(segment) :]
                lines[row] = f'{before}make_open_function("{function.message}"){after}'
                return "\n".join(lines) + "\n"
    raise LessonFailed(f"{function.module} writes no entry {function.entry!r} of {function.name}")


def remove_bodies(source: str, messages: Mapping[str, str]) -> str:
    """Return the source of a module without the bodies of some functions.

    Of a class, all methods lose their bodies.

    Args:
        messages: for the name of a function or class in the module, the message of the error in place of its body.

    Raises:
        LessonFailed: the module has no such function.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    replaced: list[tuple[int, int, list[str]]] = []  # first line, line after the last, new lines; counted from 0
    found = set()
    for qualified_name, node in _list_functions(tree.body):
        for name, message in messages.items():
            if qualified_name == name or qualified_name.startswith(f"{name}."):
                found.add(name)
                if (body := _replace_body(node, lines, message)) is not None:
                    replaced.append(body)
    if missing := messages.keys() - found:
        raise LessonFailed(f"the module has no function {', '.join(sorted(missing))}")
    for first, end, new_lines in sorted(replaced, reverse=True):
        lines[first:end] = new_lines
    return "\n".join(lines) + "\n"


def add_import(source: str) -> str:
    """Return the source of a module with the import of what takes the place of bodies."""
    lines = source.splitlines()
    row = _find_import_row(ast.parse(source))
    lines[row:row] = [IMPORT]
    return "\n".join(lines) + "\n"


def _list_functions(statements: Sequence[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield functions and methods with their qualified names; functions inside functions are part of those."""
    for node in statements:
        if isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _list_functions(node.body, f"{prefix}{node.name}.")


def _replace_body(node: ast.FunctionDef, lines: Sequence[str], message: str) -> tuple[int, int, list[str]] | None:
    """Return where the body of a function stands below its docstring, and the line for its place; None without code."""
    has_docstring = ast.get_docstring(node, clean=False) is not None
    code = node.body[1:] if has_docstring else node.body
    if not code:
        return None
    if has_docstring:
        first = node.body[0].end_lineno or 0
    else:
        first = min([code[0].lineno, *(item.lineno for item in getattr(code[0], "decorator_list", []))]) - 1
        while lines[first - 1].strip().startswith("#"):
            first -= 1
    indent = " " * node.body[0].col_offset
    end = node.end_lineno or 0
    while end < len(lines) and lines[end].startswith(f"{indent}#"):
        end += 1
    return first, end, [f'{indent}raise NotSolved("{message}")']


def _find_import_row(tree: ast.Module) -> int:
    """Return the number of lines up to the end of the module's docstring and first block of imports."""
    row = 0
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not is_docstring and not isinstance(node, ast.Import | ast.ImportFrom):
            break
        row = node.end_lineno or row
    return row


def write_down_value(root: Path, failed: Mapping[str, Any]) -> None:
    """Replace an expression that calls an open function while its module is imported by its value.

    The module of a copy has to be imported before the task is solved. The value is the workbook's own.

    Args:
        root: folder of the copy.
        failed: what `unsolved.find_import_failure` reports.

    Raises:
        LessonFailed: the value has no text of which Python makes it again.
    """
    path = root / failed["file"]
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    first = starts[failed["line"] - 1] + failed["column"]
    end = starts[failed["end_line"] - 1] + failed["end_column"]
    expression = source[first:end].decode()
    module = importlib.import_module(".".join(Path(failed["file"]).with_suffix("").parts))
    value = eval(f"({expression})", dict(vars(module)))
    text = repr(value)
    try:
        is_same = bool(eval(text, dict(vars(module))) == value)
    except Exception:
        is_same = False
    if not is_same:
        raise LessonFailed(
            f"{failed['file']}, line {failed['line']}: {expression} calls an open task while the module is imported, "
            f"and its value cannot be written down ({failed['message']}); compute it inside a function"
        )
    path.write_bytes(source[:first] + text.encode() + source[end:])
