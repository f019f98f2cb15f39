"""Pages of the site about the modules: signatures, shapes and docstrings as Markdown.

The source is parsed and never imported, so that no page waits for PyTorch and each annotation is shown as it is
written: `boxes: Float[Tensor, "N 4"]`.
"""

from __future__ import annotations

import ast
import copy
import io
import re
import textwrap
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Source|Law|Example|Examples):\s*(.*)")
TITLES = {"Args": "Arguments"}  # in place of a section's own name
ENTRY = re.compile(r"(`?\*{0,2}[\w.]+`?(?:, `?\*{0,2}[\w.]+`?)*): (.*)")  # `name: text` or `name, name: text`
RECORD_BASES = frozenset({"NamedTuple", "TypedDict"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
_ADDRESS = re.compile(r"(?<![<(\[\w])https?://[^\s<>)]*[^\s<>).,;:]")
_ARXIV = re.compile(r"(?<![/\w])arXiv:(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Argument:
    """An argument of a function, or a field of a record."""

    name: str
    kind: str  # its annotation as written, or ""
    comment: str = ""


def find_classes(source: str, module: str) -> set[str]:
    """Return the dotted names of the public classes that the module `module` defines."""
    classes = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return {f"{module}.{name}" for name in classes if not name.startswith("_")}


def read_summary(source: str) -> str:
    """Return the first line of a module's docstring, as Markdown."""
    return _to_line((ast.get_docstring(ast.parse(source)) or "").partition("\n")[0])


class _Qualifier(ast.NodeTransformer):
    """Replaces names in signatures by dotted ones, which lead to the page of the class."""

    def __init__(self, full_names: Mapping[str, str]) -> None:
        self.full_names = full_names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        full_name = self.full_names.get(node.id)
        return ast.parse(full_name, mode="eval").body if full_name else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        full_name = self.full_names.get(ast.unparse(node))
        return ast.parse(full_name, mode="eval").body if full_name else node


def _name_classes(tree: ast.Module, module: str, classes: Collection[str]) -> dict[str, str]:
    """Return the dotted name of each class in `classes` by the name under which a module knows it."""
    names = {name.rpartition(".")[2]: name for name in classes if name.rpartition(".")[0] == module}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full_name, known_as = f"{node.module}.{alias.name}", alias.asname or alias.name
                if full_name in classes:
                    names[known_as] = full_name
                members = [name for name in classes if name.rpartition(".")[0] == full_name]
                names |= {f"{known_as}.{name.rpartition('.')[2]}": name for name in members}
    return names


def write_page(source: str, module: str, classes: Collection[str] = ()) -> str:
    """Return the page about a module: its docstring, then its documented constants, classes and functions.

    Args:
        source: text of the module.
        module: dotted name, as in `helpers.detection.boxes`.
        classes: dotted names of the classes that have a place on some page; signatures lead to them.
    """
    tree = ast.parse(source)
    qualifier = _Qualifier(_name_classes(tree, module, classes))
    comments = read_comments(source)
    parts = [f"# {module}", f"```{{py:module}} {module}\n```", format_docstring(ast.get_docstring(tree) or "")]
    constants = [_format_constant(node, text) for node, text in find_constants(tree.body, comments)]
    if constants:
        parts.append("\n".join(["**Constants**", "", *constants]))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            parts.append(format_class(node, comments, qualifier))
        elif isinstance(node, Function) and not node.name.startswith("_"):
            parts.append(format_function(node, qualifier))
    return "\n\n".join(part for part in parts if part) + "\n"


def _unparse(annotation: ast.expr) -> str:
    """Return an annotation as text, with shapes between double quotes as in the source."""
    return re.sub(r"'([^'\"]*)'", r'"\1"', ast.unparse(annotation))


def read_comments(source: str) -> dict[int, str]:
    """Return the comments of a source by line number, without `#`."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def find_constants(body: Sequence[ast.stmt], comments: dict[int, str]) -> Iterator[tuple[ast.stmt, str]]:
    """Yield the public assignments in `body` that a docstring or a comment explains, each with its explanation."""
    for number, node in enumerate(body):
        name = _read_target(node)
        if not name or name.startswith("_") or isinstance(node, ast.AugAssign):
            continue
        following = body[number + 1] if number + 1 < len(body) else None
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield node, str(following.value.value)
        elif text := comments.get(node.end_lineno or node.lineno):
            yield node, text


def _read_target(node: ast.stmt) -> str:
    """Return the name that a statement assigns, or "" if it assigns no single name."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    else:
        return ""
    return target.id if isinstance(target, ast.Name) else ""


def _format_constant(node: ast.stmt, text: str) -> str:
    """Return a constant as an item of a list; its value is shown if it is short."""
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    code = f"{_read_target(node)} = {ast.unparse(value)}" if value is not None else _read_target(node)
    shown = code if len(code) <= 60 else _read_target(node)
    return f"- `{shown}`: {_to_line(text)}"


def format_function(node: Function, qualifier: ast.NodeTransformer, kind: str = "function") -> str:
    """Return a function's signature and docstring as a directive of Sphinx.

    Args:
        node: the function.
        qualifier: changes the annotations of the signature.
        kind: of the directive: "function", or "method" for a function of a class.
    """
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    options = [f":{name}:" for name in ("classmethod", "staticmethod") if name in decorators]
    text = format_docstring(ast.get_docstring(node) or "", find_arguments(node))
    if decorators & {"property", "cached_property", "functools.cached_property"}:
        returned = [f":type: {_qualify(node.returns, qualifier)}"] if node.returns else []
        return _direct("py:property", node.name, returned, text, fence=6)
    is_bound = kind == "method" and "staticmethod" not in decorators
    signature = f"{node.name}({_format_arguments(node, qualifier, skip_first=is_bound)})"
    if node.returns is not None:
        signature += f" -> {_qualify(node.returns, qualifier)}"
    return _direct(f"py:{kind}", signature, options, text, fence=6)


def find_arguments(node: Function) -> list[Argument]:
    """Return the arguments of a function that have an annotation."""
    nodes = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    nodes += [argument for argument in (node.args.vararg, node.args.kwarg) if argument is not None]
    return [Argument(each.arg, _unparse(each.annotation)) for each in nodes if each.annotation is not None]


def _qualify(node: ast.expr, qualifier: ast.NodeTransformer) -> str:
    """Return an annotation with the names that `qualifier` replaces; the node is left as it is."""
    return ast.unparse(qualifier.visit(copy.deepcopy(node)))


def _format_arguments(node: Function, qualifier: ast.NodeTransformer, skip_first: bool) -> str:
    """Return the arguments as in the signature, without `self` or `cls` if `skip_first`."""
    arguments = copy.deepcopy(node.args)
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            argument.annotation = qualifier.visit(argument.annotation)
    text = ast.unparse(arguments)
    return re.sub(r"^(?:self|cls)(?:, )?", "", text) if skip_first else text


def format_class(node: ast.ClassDef, comments: dict[int, str], qualifier: ast.NodeTransformer) -> str:
    """Return a class's signature, docstring, fields and public methods as a directive of Sphinx."""
    fields = [
        Argument(_read_target(child), _unparse(child.annotation), comments.get(child.end_lineno or child.lineno, ""))
        for child in node.body
        if isinstance(child, ast.AnnAssign) and not _read_target(child).startswith("_")
    ]
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    is_record = any("dataclass" in text for text in decorators)
    is_record |= any(ast.unparse(base).rpartition(".")[2] in RECORD_BASES for base in node.bases)
    methods = [child for child in node.body if isinstance(child, Function) and not child.name.startswith("_")]
    constructors = [child for child in node.body if isinstance(child, Function) and child.name == "__init__"]
    signature, arguments = node.name, []
    if constructors:
        signature += f"({_format_arguments(constructors[0], qualifier, skip_first=True)})"
        arguments = find_arguments(constructors[0])
    parts = [format_docstring(ast.get_docstring(node) or "", [*arguments, *fields])]
    if constructors and (text := ast.get_docstring(constructors[0])):
        parts.append(format_docstring(text, arguments))
    if fields:
        title = "Fields" if is_record else "Attributes"
        rows = [f"- **{each.name}**: {_quote(each.kind)}{_to_tail(each.comment)}" for each in fields]
        parts.append("\n".join([f"**{title}**", "", *rows]))
    parts += [format_function(method, qualifier, "method") for method in methods]
    bases = ", ".join(_quote(ast.unparse(base)) for base in node.bases)
    parts.insert(0, f"Bases: {bases}" if bases and not is_record else "")
    return _direct("py:class", signature, [], "\n\n".join(part for part in parts if part), fence=8)


def _direct(name: str, argument: str, options: Sequence[str], text: str, fence: int) -> str:
    """Return a directive in a fence of `fence` backticks; a directive inside another has fewer."""
    ticks = "`" * fence
    head = "\n".join([f"{ticks}{{{name}}} {argument}", *options])
    return f"{head}\n\n{text}\n{ticks}" if text else f"{head}\n{ticks}"


def format_docstring(docstring: str, arguments: Sequence[Argument] = ()) -> str:
    """Return a docstring in Google style as Markdown.

    Args:
        docstring: without its indentation, as `ast.get_docstring` returns it.
        arguments: their annotations are shown beside the names in the section "Args".
    """
    kinds = {argument.name: argument.kind for argument in arguments}
    blocks: list[str] = []
    lines = docstring.splitlines()
    text: list[str] = []
    while lines:
        section = SECTION.fullmatch(lines[0])
        if section is None:
            text.append(lines.pop(0))
            continue
        blocks.append(_format_text(text))
        text, body = [], [section[2]]
        del lines[0]
        while lines and (lines[0].strip() if section[2] else not lines[0][:1].strip()):
            body.append(lines.pop(0))
        blocks.append(_format_section(section[1], body, kinds))
    blocks.append(_format_text(text))
    return "\n\n".join(block for block in blocks if block)


def _format_section(name: str, body: Sequence[str], kinds: dict[str, str]) -> str:
    """Return a section of a docstring: a list of its entries, or its text."""
    title = TITLES.get(name, name)
    body = textwrap.dedent("\n".join(body)).strip("\n").splitlines()
    if name in ("Args", "Attributes", "Raises"):
        items: list[list[str]] = []
        for line in body:
            if line[:1].strip() or not items:
                items.append([])
            items[-1].append(line)
        if all(ENTRY.fullmatch(item[0]) for item in items):
            return "\n".join([f"**{title}**", "", *(_format_entry(item, kinds) for item in items)])
    return f"**{title}:** {_format_text(body)}"


def _format_entry(lines: Sequence[str], kinds: dict[str, str]) -> str:
    """Return an entry `name: text` of a section as an item of a list, with the name's annotation."""
    entry = ENTRY.fullmatch(lines[0])
    assert entry is not None  # the caller has checked it
    names = entry[1].replace("`", "")
    kind = kinds.get(names.lstrip("*"), "")
    text = _to_line("\n".join([entry[2], *lines[1:]]))
    return f"- **{_escape(names)}**{f' ({_quote(kind)})' if kind else ''}: {text}"


def _format_text(lines: Sequence[str]) -> str:
    """Return text of a docstring as Markdown: code and indented blocks as they are, the rest with links and escapes."""
    return "\n".join(line if line.startswith("    ") else _escape(line) for line in lines).strip("\n")


def _to_line(text: str) -> str:
    """Return text on one line as Markdown."""
    return _escape(" ".join(text.split()))


def _to_tail(comment: str) -> str:
    """Return a comment as the tail of a line, or "" if there is none."""
    return f", {_to_line(comment)}" if comment else ""


def _quote(code: str) -> str:
    """Return code between backticks."""
    return f"`{code}`"


def _escape(text: str) -> str:
    """Return text with Markdown's special characters escaped outside of code, and with links of bare addresses."""
    parts = re.split(r"(`+[^`]*`+)", text)
    for number, part in enumerate(parts):
        if number % 2 == 0:
            part = re.sub(r"([$*\\|])(?!\w*\*\*:)", r"\\\1", part)
            part = re.sub(r"<(?=[\w/!?])", r"\\<", part)
            part = _ADDRESS.sub(lambda address: f"<{address[0]}>", part)
            parts[number] = _ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", part)
    return re.sub(r"^(\s*)%", r"\1\\%", "".join(parts))
