"""HTML of a notebook's cells for a report: what Jupyter displays, without what could run or be fetched.

nbconvert renders Markdown as Jupyter does, nh3 removes what is not on the lists below, and pictures become files beside
the report's source. Formulas become `<span class="math …">`, which the report's filter reads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, unquote_to_bytes

import nh3
import typst
from mistune import BlockParser
from nbconvert.filters.markdown_mistune import (
    IPythonRenderer,
    MarkdownWithMath,
    MathBlockParser,
    MathInlineParser,
)
from nbformat import NotebookNode
from PIL import Image, ImageColor

from helpers.course import lessons

FULL_WIDTH = 730  # pixels of a picture that fills the width of a page; a smaller one is smaller in proportion
LARGEST_PICTURE = 50_000_000  # pixels; a larger picture is left out before it is decoded
DEEPEST_NESTING = 24  # elements inside each other; typst refuses deep nesting
LARGEST_SPAN = 100  # rows or columns of a table's cell; pandoc reserves memory for each
LONGEST_LINK = 4000  # characters; typst refuses 8000
LONGEST_NAME = 70  # characters of a link, a formula or a tag in a line about what was left out

shorten = partial(lessons.shorten, length=LONGEST_NAME)

TAGS = set(
    "a abbr b blockquote br caption center cite code col colgroup dd del details dfn div dl dt em figcaption figure "  # noqa: SIM905
    "font h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp section small span strike strong sub summary "
    "sup table tbody td tfoot th thead tr tt u ul var wbr".split()
)
ATTRIBUTES = {
    "*": {"align", "class", "dir", "id", "lang", "style", "title"},
    "a": {"href", "name"},
    "font": {"color"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
EMPTIED_TAGS = {"script", "style", "template", "iframe", "object", "noscript", "textarea", "select", "title"}
SEEN_SCHEMES = {"http", "https", "mailto", "data", "attachment", "file", "ftp", "javascript", "vbscript", "blob"}
STYLES = {"color", "background-color", "text-align", "width", "font-weight", "font-style", "text-decoration"}
PICTURE_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
DISPLAYED = (  # kinds of output, the one that Jupyter prefers first
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "text/latex",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "text/plain",
)
WIDGET = "application/vnd.jupyter.widget-view+json"

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff]")
_SVG = re.compile(r"<svg\b.*?</svg\s*>", re.DOTALL | re.IGNORECASE)
_CHECKBOX = re.compile(r'<input class="task-list-item-checkbox"[^>]*?(?P<checked> checked)?\s*/?>')
_ATTRIBUTES = r"((?:\s[\w-]+=\"[^\"]*\")*)"  # as nh3 writes them
_IMAGE = re.compile(rf"<img{_ATTRIBUTES}>")
_REWRITES = (  # pandoc reads the right-hand forms only; each pattern is of HTML as nh3 writes it
    (re.compile(r"<details\b[^>]*>"), '<div class="details">'),
    (re.compile(r"<summary\b[^>]*>"), '<div class="summary">'),
    (re.compile(r"</(?:details|summary|center)>"), "</div>"),
    (re.compile(r"<center\b[^>]*>"), '<div align="center">'),
    (re.compile(r'<font color="(#\w+)"[^>]*>'), r'<span style="color: \1">'),
    (re.compile(rf"<font{_ATTRIBUTES}>"), "<span>"),
    (re.compile(r"</font>"), "</span>"),
    (re.compile(r'<a name="'), '<a id="'),
    (re.compile(r"<p((?:\s[\w-]+=\"[^\"]*\")+)>(.*?)</p>", re.DOTALL), r"<div\1><p>\2</p></div>"),
)
_DISPLAY = r"(?=(?:[^\]\\]|\\(?!\]))*?(?:[\^_=<>+{]|\\[a-zA-Z]))"  # before the closing bracket: a sign of TeX
_INLINE = r"(?=(?:[^\\]|\\(?!\)))*?(?:[\^_=<>+{]|\\[a-zA-Z])|\s*\w\s*\\\))"  # the same, or a single letter
_UNTOUCHED = re.compile(r"(<(pre|code|script|style)\b.*?</\2\s*>|<[^>]*>)", re.DOTALL | re.IGNORECASE)
_ENVIRONMENT = r"\\begin\{(?P<name>[a-zA-Z]+\*?)\}.*?\\end\{(?P=name)\}"
_HTML_FORMULA = re.compile(
    rf"\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|(?P<c>{_ENVIRONMENT})|(?<!\\)\$(?P<d>[^$]+?)\$|\\\((?P<e>.+?)\\\)",
    re.DOTALL,
)


class LeftOut(Exception):
    """A picture cannot be shown; the message is the reason."""


def escape_formula(tex: str, kind: str) -> str:
    """Return the HTML of a formula, `kind` inline or display, as the report's filter reads it."""
    return f'<span class="math {kind}">{escape(tex.strip(), quote=False)}</span>'


class _Blocks(MathBlockParser):
    """Markdown blocks as Jupyter reads them; display formulas also between single backslashes and brackets."""

    MULTILINE_MATH = str(MathBlockParser.MULTILINE_MATH) + r"|(?s:^ {0,3}\\\[(?=[^\]]*[\\^_=<>+{]).*?\\\][ \t]*$)"
    SPECIFICATION: ClassVar = {
        **MathBlockParser.SPECIFICATION,
        "atx_heading": BlockParser.SPECIFICATION["atx_heading"],  # `#word` is text
        "multiline_math": MULTILINE_MATH,
    }


class _Inlines(MathInlineParser):
    r"""Markdown inlines as Jupyter reads them; formulas also between single backslashes, as MathJax reads them.

    `\[1\]` and `\(see below\)` stay text: a formula has a TeX character or is one letter.
    """

    SPECIFICATION: ClassVar = {
        **MathInlineParser.SPECIFICATION,
        "block_math_latex": rf"(?s:(?<!\\)(?:\\\\\[|\\\[{_DISPLAY})(?P<math_block_latex>.*?)(?<!\\)\\\\?\])",
        "inline_math_latex": rf"(?s:(?<!\\)(?:\\\\\(|\\\({_INLINE})(?P<math_inline_latex>.*?)(?<!\\)\\\\?\))",
    }


class _Renderer(IPythonRenderer):
    """HTML of Markdown, with formulas as spans, code without colours and pictures that keep their addresses."""

    def block_code(self, code: str, info: str | None = None) -> str:
        language = re.match(r"\s*([\w+#-]+)(?=\s|$)", info or "")
        return f'<pre class="{language[1] if language else ""}"><code>{escape(code, quote=False)}</code></pre>\n'

    def block_html(self, html: str) -> str:
        return find_formulas(html)

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        identifier = unescape(re.sub(r"<[^>]*>", "", text)).strip().replace(" ", "-")
        return f'<h{level} id="{escape(identifier)}">{text}</h{level}>\n'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f'<img src="{escape(url)}" alt="{escape(unescape(re.sub(r"<[^>]*>", "", text)))}">'

    def block_math(self, body: str) -> str:
        return escape_formula(body, "display")

    def inline_math(self, body: str) -> str:
        return escape_formula(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return escape_formula(rf"\begin{{{name}}}{body}\end{{{name}}}", "display")


def find_formulas(html: str) -> str:
    """Return HTML with the formulas in its text as spans; MathJax finds them in Jupyter, except in code."""
    parts = []
    end = 0
    for markup in _UNTOUCHED.finditer(html):
        parts += [_mark_formulas(html[end : markup.start()]), markup[0]]
        end = markup.end()
    return "".join([*parts, _mark_formulas(html[end:])])


def _mark_formulas(text: str) -> str:
    """Return text of HTML with its formulas as spans."""

    def mark(found: re.Match[str]) -> str:
        display = found["a"] or found["b"] or found["c"]
        return escape_formula(unescape(display or found["d"] or found["e"]), "display" if display else "inline")

    return _HTML_FORMULA.sub(mark, text)


def render_markdown(source: str) -> str:
    """Return the HTML of a Markdown text, not yet sanitised."""
    markdown = MarkdownWithMath(_Renderer(escape=False), _Blocks(), _Inlines(hard_wrap=False))
    return markdown.render(source)


def make_identifier(prefix: str, name: str) -> str:
    """Return an identifier that HTML and typst accept, with the lesson's number as prefix."""
    letters = [letter if f"a{letter}".isidentifier() else "-" for letter in unquote(name).lower()]
    return f"{prefix}-{''.join(letters)}"


def read_text(value: object) -> str:
    """Return a text of a notebook: lists joined, escape sequences and characters that no font has left out."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    return _CONTROL.sub("", _ANSI.sub("", text))


class _DroppedTags(HTMLParser):
    """Names of the tags and event handlers that sanitising removes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        scoped = tag == "style" and "scoped" in dict(attrs)  # pandas writes one above each table
        if tag not in TAGS and not scoped and tag not in ("html", "body", "head"):
            self.names[f"<{shorten(tag)}>"] = None
        handlers = [f"{name}=…" for name, _ in attrs if name.startswith("on")]
        self.names |= dict.fromkeys(shorten(name) for name in handlers)


def find_dropped_tags(html: str) -> list[str]:
    """Return what sanitising removes from HTML: tags and event handlers, each once."""
    parser = _DroppedTags()
    parser.feed(html)
    parser.close()
    return list(parser.names)


def measure_depth(html: str) -> int:
    """Return how many elements lie inside each other at most, of HTML as nh3 writes it."""
    depth = deepest = 0
    for closing, tag in re.findall(r"<(/?)([a-z][a-z0-9]*)", html):
        if tag not in ("img", "br", "hr", "col", "wbr"):
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest


def filter_style(style: str) -> str | None:
    """Return the declarations of a style attribute that neither fetch nor move anything, colours as #rrggbb."""
    declarations = []
    for declaration in style.split(";"):
        name, _, value = (part.strip().lower() for part in declaration.partition(":"))
        if name == "background":
            name = "background-color"
        if name in ("color", "background-color"):
            value = read_colour(value)
        elif not re.fullmatch(r"[a-z-]+|[\d.]+(?:px|em|%|rem)?", value):
            value = None
        if name in STYLES and value:
            declarations.append(f"{name}: {value}")
    return "; ".join(declarations) or None


def read_colour(value: str) -> str | None:
    """Return a CSS colour as #rrggbb, or None if it is none."""
    try:
        return "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(value.strip())[:3])
    except ValueError:
        return None


class LessonCells:
    """The cells of one lesson as HTML, the pictures they show as files, and what had to be left out.

    Attributes:
        left_out: a line each: lesson, cell and what was left out.
    """

    def __init__(self, path: Path, folder: Path):
        """Keep the lesson's path and the folder that pictures are written into."""
        self.lesson = path.stem
        self.prefix = path.stem[:2]
        self.lesson_folder = path.parent.resolve()
        self.folder = folder
        self.left_out: list[str] = []
        self._place = ""
        self._attachments: Mapping[str, Any] = {}
        self._identifiers: set[str] = set()
        self._shares: dict[str, float] = {}
        self.explorers: dict[str, str] = {}  # names of explorers by the files of their saved pictures

    def render(self, number: int, cell: NotebookNode) -> tuple[str, str]:
        """Return the place of a cell in words and its HTML: sanitised, in one `div` that carries the place."""
        self._place = f"{self.lesson}, cell {number}"
        attachments = cell.get("attachments")
        self._attachments = attachments if isinstance(attachments, Mapping) else {}
        source = read_text(cell.get("source", ""))
        if cell.cell_type == "code":
            html = f'<pre class="python folded"><code>{escape(source)}</code></pre>' if source.strip() else ""
            html += "".join(map(self._render_output, cell.get("outputs", [])))
        elif cell.cell_type == "markdown":
            html = self._render_markdown(source)
        else:
            html = f"<pre>{escape(source)}</pre>"
        return self._place, frame(self._place, html)

    def leave_out(self, what: str) -> None:
        """Add a line about the cell that is being rendered."""
        line = f"{self._place}: {what}"
        if line not in self.left_out:
            self.left_out.append(line)

    def _render_markdown(self, source: str) -> str:
        """Return the sanitised HTML of a Markdown text, or the text itself if it cannot be rendered."""
        for diagram in re.findall(r"^\s*```\s*(mermaid)\b", source, flags=re.MULTILINE)[:1]:
            self.leave_out(f"the picture of a {diagram} diagram; its text is shown")
        try:
            return self._sanitise(render_markdown(source), source)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            self.leave_out(f"its formatting ({type(error).__name__}); its text is shown")
            return f"<pre>{escape(source)}</pre>"

    def _render_output(self, output: NotebookNode) -> str:
        """Return the sanitised HTML of an output of a code cell; warnings and bare widgets give nothing."""
        if output.output_type == "stream":
            lines = [line.rsplit("\r", 1)[-1] for line in read_text(output.get("text", "")).split("\n")]
            return "" if output.get("name") == "stderr" else _show_output("\n".join(lines))
        if output.output_type == "error":
            return _show_output(f"{read_text(output.get('ename'))}: {read_text(output.get('evalue'))}")
        data = output.get("data", {})
        if WIDGET in data and "image/png" not in data:
            return ""
        if is_source(output):
            return f'<pre class="python folded"><code>{escape(read_text(data["text/plain"]).strip())}</code></pre>'
        kind = next((kind for kind in DISPLAYED if kind in data), None)
        if kind is None:
            self.leave_out(f"an output of kind {shorten(', '.join(map(str, data)) or 'unknown')}")
            return ""
        metadata = output.get("metadata", {})
        html = self._render_data(kind, read_text(data[kind]), metadata.get(kind, {}))
        picture = re.match(r'<p><img src="([0-9a-f]{24}\.png)"', html)
        if picture and isinstance(name := metadata.get("explorer"), str):
            self.explorers[picture[1]] = name
        return html

    def _render_data(self, kind: str, text: str, metadata: object) -> str:
        """Return the sanitised HTML of an output's data of one kind."""
        if kind == "text/plain":
            return _show_output(text)
        if kind == "text/markdown":
            return self._render_markdown(text)
        if kind == "text/latex":
            return self._render_markdown(text if re.match(r"\s*(\$|\\begin|\\\[|\\\()", text) else f"$${text}$$")
        if kind == "text/html":
            return f'<div class="output">{self._sanitise(text, text)}</div>'
        coded = base64.b64encode(text.encode()).decode() if kind == "image/svg+xml" else text
        sizes = metadata if isinstance(metadata, Mapping) else {}
        size = "".join(f' {side}="{escape(str(sizes[side]))}"' for side in ("width", "height") if side in sizes)
        image = f'<img src="data:{kind};base64,{escape(coded)}"{size}>'
        return f"<p>{self._sanitise(image, '')}</p>"

    def _sanitise(self, html: str, text: str) -> str:
        """Return HTML without what could run, be fetched or hide; `text` itself if it is nested too deep."""
        html = _SVG.sub(_embed_svg, html)
        html = _CHECKBOX.sub(lambda box: "☑\u00a0" if box["checked"] else "☐\u00a0", html)
        for name in find_dropped_tags(html):
            self.leave_out(name)
        html = nh3.clean(
            html,
            tags=TAGS,
            clean_content_tags=EMPTIED_TAGS,
            attributes=ATTRIBUTES,
            attribute_filter=self._filter_attribute,
            url_schemes=SEEN_SCHEMES,
            link_rel=None,
        )
        if measure_depth(html) > DEEPEST_NESTING:
            self.leave_out(
                f"its formatting (more than {DEEPEST_NESTING} elements inside each other); its text is shown"
            )
            return f"<pre>{escape(text)}</pre>"
        html = _IMAGE.sub(self._size_picture, html)
        for pattern, replacement in _REWRITES:
            html = pattern.sub(replacement, html)
        return html

    def _filter_attribute(self, tag: str, name: str, value: str) -> str | None:
        """Return what an attribute becomes, or None to remove it."""
        if name == "src":
            return self._keep_picture(value) if tag == "img" else None
        if name == "href":
            return self._settle_link(value.strip()) if tag == "a" else None
        if name in ("id", "name"):
            return self._take_identifier(value)
        if name == "style":
            return filter_style(value)
        if name == "color":
            return read_colour(value)
        if name in ("colspan", "rowspan"):
            return str(min(int(value), LARGEST_SPAN)) if re.fullmatch(r"0*[1-9]\d{0,8}", value) else None
        return value

    def _take_identifier(self, name: str) -> str | None:
        """Return the identifier for a name; a name that the lesson has already gets a number, as in Jupyter none."""
        identifier = make_identifier(self.prefix, name)
        number = 1
        unique = identifier
        while unique in self._identifiers:
            number += 1
            unique = f"{identifier}--{number}"
        self._identifiers.add(unique)
        return unique

    def _settle_link(self, target: str) -> str | None:
        """Return the address of a link: of the web, or of a place in the report; None makes it its text.

        Links that lead nowhere are listed as left out, except those to the workbook's guides.
        """
        if re.match(r"(?:https?://|mailto:)[^\s\"<>]", target, flags=re.IGNORECASE) and len(target) < LONGEST_LINK:
            return target
        lesson, _, name = target.partition("#")
        match = re.fullmatch(r"(?:\./)?(\d\d)_[\w-]+\.ipynb", lesson)
        if match or not lesson:
            prefix = match[1] if match else self.prefix
            return f"#{make_identifier(prefix, name)}" if name else f"#lesson-{prefix}"
        if re.fullmatch(r"\.\./docs/[\w-]+\.md", lesson):
            return None  # a guide of the workbook, such as the glossary: the text is enough
        self.leave_out(f'the link "{shorten(target)}" (only links to the web and within the report lead somewhere)')
        return None

    def _keep_picture(self, source: str) -> str | None:
        """Return the name of the file that a picture is written to, or None if it is left out."""
        try:
            data = self._read_picture(source.strip())
            name, self._shares[name] = write_picture(data, self.folder)
            return name
        except LeftOut as reason:
            name = f"{source[:20].split(';')[0]}…" if source.startswith("data:") else shorten(source)
            self.leave_out(f'the picture "{name}" ({reason})')
        return None

    def _read_picture(self, source: str) -> bytes:
        """Return the bytes of a picture: attached, embedded or in the lesson's folder.

        Raises:
            LeftOut: it lies elsewhere, is missing or damaged.
        """
        try:
            if source.startswith("attachment:"):
                kinds = self._attachments.get(unquote(source.removeprefix("attachment:")), {})
                encoded = next(iter(kinds.values()), None) if isinstance(kinds, Mapping) else None
                if encoded is None:
                    raise LeftOut("not attached to the cell")
                text = read_text(encoded)
                return text.encode() if "<svg" in text else base64.b64decode(text)
            if source.startswith("data:"):
                kind, _, content = source.partition(",")
                return base64.b64decode(unquote(content)) if kind.endswith(";base64") else unquote_to_bytes(content)
        except (binascii.Error, ValueError) as error:
            raise LeftOut("damaged") from error
        if re.match(r"[\w+.-]+:|[/\\]", source):
            raise LeftOut("not in the notebook's folder")
        try:
            path = (self.lesson_folder / unquote(re.split(r"[?#]", source)[0])).resolve()
            if not path.is_relative_to(self.lesson_folder):
                raise LeftOut("not in the notebook's folder")
            if not path.is_file():
                raise LeftOut("no such file in the notebook's folder")
            return path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a name too long, no permission
            raise LeftOut("cannot be read") from error

    def _size_picture(self, image: re.Match[str]) -> str:
        """Return an `img` element with the share of the page's width it takes; its description if it has no file."""
        attributes = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', image[1])}
        name = attributes.get("src")
        if name not in self._shares:
            return escape(attributes.get("alt", ""))
        share = measure_share(attributes, self._shares[name], self.folder / name)
        style = filter_style(attributes.get("style", "").replace("width", "_"))
        kept = {"src": name, "alt": attributes.get("alt", ""), "width": f"{share:.1%}", "style": style}
        written = [f'{key}="{escape(value)}"' for key, value in kept.items() if value]
        return f"<img {' '.join(written)}>"


def is_source(output: NotebookNode) -> bool:
    """Return whether an output is highlighted code, as `runtime.show_source` displays it."""
    data = output.get("data", {})
    return "text/latex" in data and "highlight" in data.get("text/html", "") and "text/plain" in data


def frame(place: str, html: str) -> str:
    """Return the HTML of a cell in a `div` that carries the cell's place."""
    return f'<div class="cell" data-cell="{escape(place)}">\n{html}\n</div>\n'


def _show_output(text: str) -> str:
    """Return printed text as HTML."""
    return f'<div class="output"><pre><code>{escape(text, quote=False)}</code></pre></div>' if text.strip() else ""


def _embed_svg(svg: re.Match[str]) -> str:
    """Return an `img` element of a drawing that stands in the HTML itself."""
    quoted = re.sub(r"<[^>]*>", lambda tag: re.sub(r"=\s*([^\s\"'>/]+)(?=[\s>/])", r'="\1"', tag[0]), svg[0])
    text = quoted if "xmlns" in quoted else quoted.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f'<img src="data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}">'


def measure_share(attributes: Mapping[str, str], natural: float, picture: Path) -> float:
    """Return the share of the page's width for a picture: as its width or height says, or else its natural one."""
    styled = re.search(r"(?<![-\w])width:\s*([\d.]+(?:px|%)?)", attributes.get("style", ""))
    for side, length in (
        ("width", styled and styled[1]),
        *((side, attributes.get(side)) for side in ("width", "height")),
    ):
        size = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*(px|%)?\s*", length or "")
        if size and float(size[1]) > 0 and not (side == "height" and size[2] == "%"):
            share = float(size[1]) / (100 if size[2] == "%" else FULL_WIDTH)
            if side == "height":
                with Image.open(picture) as image:
                    share *= image.width / image.height
            return min(1.0, share)
    return natural


def write_picture(data: bytes, folder: Path) -> tuple[str, float]:
    """Return the name of a picture's file, written into `folder`, and its natural share of the page's width.

    Drawings (SVG) become PNG files, so that nothing in them can run or be fetched.

    Raises:
        LeftOut: it is no picture, or damaged, or too large.
    """
    is_drawing = b"<svg" in data[:4096] or (b"<svg" in data[:100_000] and data.lstrip().startswith(b"<"))
    dots_per_pixel = 2 if is_drawing else 1
    if is_drawing:
        data = _draw_svg(data, folder)
    try:
        with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as image:
            if image.width * image.height > LARGEST_PICTURE:
                raise LeftOut("too large")
            image.load()
            kind = (image.format or "").lower()
            width = image.size[0]
            if kind == "bmp":
                file = io.BytesIO()
                image.save(file, format="PNG")
                kind, data = "png", file.getvalue()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise LeftOut("no picture, or a damaged one") from error
    name = f"{hashlib.sha256(data).hexdigest()[:24]}.{kind}"
    (folder / name).write_bytes(data)
    return name, min(1.0, width / dots_per_pixel / FULL_WIDTH)


def _draw_svg(data: bytes, folder: Path) -> bytes:
    """Return a drawing as PNG, two dots per pixel, no larger than a page.

    Raises:
        LeftOut: typst cannot draw it.
    """
    (folder / "drawing.svg").write_bytes(data)
    source = """
        #set page(width: auto, height: auto, margin: 0pt, fill: none)
        #context {
          let size = measure(image("drawing.svg"))
          let scale = calc.min(1, 550pt / size.width, 800pt / size.height)
          image("drawing.svg", width: size.width * scale, height: size.height * scale)
        }"""
    (folder / "drawing.typ").write_text(source, encoding="utf-8")
    try:
        pages: Any = typst.compile(folder / "drawing.typ", root=folder, format="png", ppi=192)
    except (RuntimeError, OSError) as error:
        raise LeftOut("a drawing that cannot be drawn") from error
    return pages[0] if isinstance(pages, list) else pages


def find_unknown_letters(texts: Iterable[str]) -> str:
    """Return the characters of `texts` that no font of this machine has, each once."""
    from matplotlib import font_manager

    letters = {letter for text in texts for letter in text if not letter.isspace()}
    default = font_manager.findfont("DejaVu Sans")  # comes with matplotlib and has nearly all that is needed
    others = font_manager.fontManager.ttflist
    for path in [default, *(font.fname for font in others if "Last Resort" not in font.name)]:
        if not letters:
            break
        letters -= {chr(code) for code in font_manager.get_font(path).get_charmap()}
    return "".join(sorted(letters))
