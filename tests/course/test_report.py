"""Reports: all that Jupyter displays arrives in both files, nothing runs or is fetched, and nothing stops a report."""

import base64
import hashlib
import io
import random
import re
import threading
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from PIL import Image

from helpers import paths
from helpers.course import cli, lessons, publishing, report, report_cells
from helpers.course.report import Assignment
from helpers.explorer_frames import FrameControl, Frames, save_fragment

TINY = Assignment("tiny", "A tiny assignment", ("01", "02"))
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "VBox(children=())"}
HTML = '<div class="highlight">def shown_source():</div>'
SOURCE = {"text/html": HTML, "text/latex": r"\PY{def}", "text/plain": "def shown_source():"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="365" height="20"><rect width="9" height="9"/></svg>'


def draw(width_px):
    """Return a PNG of this width in base64."""
    file = io.BytesIO()
    Figure(figsize=(width_px / 50, 1), dpi=50).savefig(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def encode(kind, size=(20, 10)):
    """Return a picture of one colour in a file format, in bytes."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, format=kind)
    return file.getvalue()


def make_report(folder, *notebooks):
    """Return the report of lists of cells (texts are text cells), with its HTML and its typst source."""
    sources = []
    lesson_paths = [folder / f"{number:02d}_lesson.ipynb" for number in range(1, len(notebooks) + 1)]
    cells = [[new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells] for cells in notebooks]

    def run_typst(source, folder, compile=report.run_typst):
        sources.append(source)
        return compile(source, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "run_typst", run_typst)
        executed = [
            report.Lesson(path, new_notebook(cells=part), "saved")
            for path, part in zip(lesson_paths, cells, strict=True)
        ]
        made = report.write_report(TINY, executed, folder / "out")
    assert made.files[1].read_bytes().startswith(b"%PDF")
    return SimpleNamespace(
        html=made.files[0].read_text(encoding="utf-8"), typst=sources[-1], left_out=made.left_out, files=made.files
    )


class ActiveParts(HTMLParser):
    """What a browser would run or fetch."""

    def __init__(self):
        super().__init__()
        self.parts = []
        self.in_style = False

    def handle_starttag(self, tag, attributes):
        self.in_style = tag == "style"
        if tag in ("script", "iframe", "object", "embed", "link", "base", "form", "svg", "video", "audio", "source"):
            self.parts.append(tag)
        for name, value in attributes:
            value = value or ""
            address = re.sub(r"\s", "", value).lower()
            if name.startswith("on") or ("url(" in address and name != "content"):
                self.parts.append((tag, name, value))
            if name == "href" and not (tag == "a" and re.match("https?://|mailto:|#", address)):
                self.parts.append((tag, name, value))
            if name in (
                "src",
                "srcset",
                "data",
                "background",
                "poster",
                "action",
                "srcdoc",
                "ping",
                "xlink:href",
            ) and not (tag == "img" and re.match("data:image/(png|jpeg|gif|webp);base64,", address)):
                self.parts.append((tag, name, value))
            if (name, address) == ("http-equiv", "refresh"):
                self.parts.append((tag, name))

    def handle_data(self, text):
        if self.in_style and re.search(r"@import|url\(", text):
            self.parts.append(("style", text))

    def handle_endtag(self, tag):
        self.in_style = False


def find_active_parts(html):
    parser = ActiveParts()
    parser.feed(html)
    return parser.parts


KINDS = {  # Markdown -> pattern in the HTML, pattern in the typst source
    "emphasis": ("**bold** *it* ~~gone~~ `code`", "<strong>bold</strong> <em>it</em> <del>gone</del>", "strike"),
    "tags": ("<kbd>K</kbd><mark>m</mark><u>u</u>x<sup>2</sup>", "<kbd>K.*<mark>m.*<u>u.*<sup>2", "highlight.*super"),
    "colour": ("<span style='color: red'>r</span>", r'style="color: #ff0000">r', r'text\(fill: rgb\("#ff0000"\)\)'),
    "font": ("<font color=green>g</font>", r'style="color: #008000">g', r'rgb\("#008000"\)'),
    "alert box": ('<div class="alert alert-info">Note $x$</div>', 'class="alert alert-info".*Note.*<math', "fill: rgb"),
    "markdown in a box": ('<div class="alert">\n\n**b**\n\n</div>', 'class="alert".*<strong>b', "fill: rgb.*strong"),
    "details": (
        "<details><summary>More</summary>\n\n**inside**\n</details>",
        "<details>.*<summary>.*More.*</summary>.*<strong>inside</strong>.*</details>",
        "strong.More.*strong.inside",
    ),
    "pipe table": ("|a|b|\n|:-:|--|\n|1|$x$|", "<table.*<td[^>]*>1</td>.*<math", r"table\(.*center"),
    "HTML table": (
        "<table><tr><td colspan=2 style='background-color: #eee'>1</td></tr><tr><td>2<td>3</table>",
        'colspan="2".*#eeeeee',
        r'colspan: 2.*rgb\("#eeeeee"\)|rgb\("#eeeeee"\).*colspan: 2',
    ),
    "centre tag": ("<center>mid</center>", "text-align: center.*mid", r"#align\(center\)\[.*mid"),
    "centred paragraph": ("<p align=center>mid</p>", "text-align: center.*mid", r"#align\(center\)\[.*mid"),
    "centred style": ("<div style='text-align:center'>mid</div>", "text-align: center.*mid", r"#align\(center\)"),
    "centred heading": ("<h3 align=center>mid</h3>", "<h3[^>]*text-align: center[^>]*>mid", r"#align\(center\)"),
    "local picture": ("![p](p.png)", "<img[^>]*data:image/png;base64", r"image\(.*width: 2\.7"),
    "picture with width": ("<img src=p.png width=365>", "<img[^>]*width:50.0%", "width: 50.0%"),
    "picture with styled width": ("<img src='p.png' style='width: 30%'>", "<img[^>]*width:30.0%", "width: 30.0%"),
    "picture with height": ("<img src=p.png height=73>", "<img[^>]*width:20.0%", "width: 20.0%"),
    "attached picture": ("![p](attachment:at%20t.png)", "<img[^>]*data:image/png", r"image\("),
    "embedded picture": (f"![p](data:image/png;base64,{draw(100)})", "<img[^>]*data:image/png", r"image\("),
    "drawing in a file": ("![p](d.svg)", "<img[^>]*data:image/png[^>]*width:50.0%", "width: 50.0%"),
    "drawing in the text": ("<svg width=73 height=9><circle r=5 /></svg>", "<img[^>]*data:image/png", "width: 10.0%"),
    "folder with a space": ("![p](sub%20dir/p.png)", "<img[^>]*data:image/png", r"image\("),
    "caption": ("<figure><img src=p.png><figcaption>Cap</figcaption></figure>", "<figcaption>.*Cap", "figure.*Cap"),
    "formula in dollars": ("$a_1$", "<math.*<msub>", r"\$a_1\$"),
    "formula in two dollars": ("$$\\frac a b$$", '<math display="block".*<mfrac>', r"a / b"),
    "formula in brackets": (r"\\(a^1\\) and \(b^1\)", "<msup>.*<msup>", r"\$a\^1\$ and \$b\^1\$"),
    "display in brackets": ("\\\\[a^1\\\\]\n\n\\[b^1\\]", '"block".*<msup>.*"block".*<msup>', r"a\^1.*b\^1"),
    "bare environment": ("\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}", '"block".*<mtable', "a & ?= b"),
    "formula in HTML": (r"<div>$a^2$ and \(b^2\)</div>", "<msup>.*<msup>", r"a\^2.*b\^2"),
    "less than": ("$a < b$ and $c > d$", "&lt;.*&gt;", "a < b.*c > d"),
    "escaped dollars": (r"\$5 and \$6", r"\$5 and \$6", r"\\\$5 and \\\$6"),
    "escaped brackets": (r"\[1\] and \(see below\)", r"\[1\] and \(see below\)", r"\[1\\\] and \(see below\)"),
    "unbalanced dollar": ("a $ sign and\n\n$$ two", r"a \$ sign and.*\$\$ two", r"\\\$ sign"),
    "code is no formula": ("`$a$`\n\n```\n$b$\n```", r"<code>\$a\$.*\$b\$", r"`\$a\$`.*\$b\$"),
    "lists": (
        "1. one\n   - two\n\n- [ ] open\n- [x] done",
        "<ol.*<ul>.*two.*☐\u00a0open.*☑\u00a0done",
        r"\+ one.*☐.*☑",
    ),
    "definition": ("Term\n: meaning", "<dt>.*Term.*<dd>.*meaning", "/ Term"),
    "definition of two terms": (
        "One\nTwo: x\n: meaning",
        "<dt>.*One.*Two: x.*<dd>.*meaning",
        "/ .*One, *.*Two.*meaning",
    ),
    "lines": ("one  \ntwo<br>three", "one<br />.*two<br />.*three", r"one \\"),
    "quote and rule": ("> quoted\n\n---", "<blockquote>.*quoted.*<hr", r"#pad\(.*quoted.*horizontalrule"),
    "code": ("```python\ndef f(): pass\n```", 'class="sourceCode python".*def', "```python"),
    "address": ("https://example.org/x", '<a\\s+href="https://example.org/x"', r'#link\("https://example.org/x"\)'),
    "pandoc's raw block is code": ("```{=html}\n<i>x</i>\n```", "&lt;i&gt;x", "<i>x"),
    "pandoc's raw inline is text": ("`x`{=typst}", "<code>x</code>{=typst}", r"\{=typst\}"),
    "pandoc's metadata is text": ("---\ntitle: Mine\n---\n", "title: Mine", "title: Mine"),
    "typst's code is text": ('#read("/etc/passwd") @x', r"#read\(", r"\\#read\("),
    "letters": ("Ж א 漢 é → “q”", "Ж א 漢 é → “q”", "Ж א 漢 é"),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Return for each kind its HTML and its typst source, all of one report."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "sub dir").mkdir()
    for name in ("p.png", "sub dir/p.png"):
        (folder / name).write_bytes(encode("PNG"))
    (folder / "d.svg").write_text(SVG)
    cells = []
    for number, (markdown, _, _) in enumerate(KINDS.values()):
        cell = new_markdown_cell(markdown)
        cell["attachments"] = {"at t.png": {"image/png": draw(100)}}
        cells += [f"begin{number}mark", cell, f"end{number}mark"]
    made = make_report(folder, cells)
    parts = {}
    for number, kind in enumerate(KINDS):
        part = re.compile(f"begin{number}mark(.*)end{number}mark", re.DOTALL)
        parts[kind] = part.search(made.html)[1], part.search(made.typst)[1]
    return parts, made


@pytest.mark.parametrize("kind", KINDS)
def test_what_jupyter_displays_arrives_in_both_files(kinds, kind):
    html, typst = kinds[0][kind]
    assert re.search(KINDS[kind][1], html, re.DOTALL), html
    assert re.search(KINDS[kind][2], typst, re.DOTALL), typst


def test_nothing_is_left_out_of_what_jupyter_displays(kinds):
    assert [line for line in kinds[1].left_out if "no font" not in line] == []
    assert find_active_parts(kinds[1].html) == []


OUTPUTS = {
    "table": ({"text/html": pd.DataFrame({"a b": [1]}).to_html()}, "<table.*a b.*<td[^>]*>1</td>", r"table\(.*a b"),
    "HTML": ({"text/html": "<b>bold</b><script>alert(1)</script>"}, "<strong>bold</strong>", "strong.bold"),
    "Markdown": ({"text/markdown": "*it* $x^2$"}, "<em>it</em>.*<msup>", r"emph\[it\].*x\^2"),
    "LaTeX": ({"text/latex": r"$\displaystyle x^3$"}, "<msup>", r"x\^3"),
    "bare LaTeX": ({"text/latex": r"x^4"}, "<msup>", r"x\^4"),
    "drawing": ({"image/svg+xml": SVG}, "<img[^>]*data:image/png[^>]*width:50", r"image\("),
    "JPEG": ({"image/jpeg": base64.b64encode(encode("JPEG")).decode()}, "<img[^>]*data:image/jpeg", r"image\("),
    "text": ({"text/plain": "<Axes: >"}, "&lt;Axes: &gt;", "<Axes: >"),
    "list of lines": ({"text/plain": ["one\n", "two"]}, "one\ntwo", "one\ntwo"),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    cells = []
    for number, (data, _, _) in enumerate(OUTPUTS.values()):
        cells += [f"begin{number}mark", new_code_cell("", outputs=[new_output("display_data", data=data)])]
        cells += [f"end{number}mark"]
    error = new_output("error", ename="ValueError", evalue="\x1b[31mred\x1b[0m", traceback=[])
    stream = new_output("stream", name="stdout", text="10%\r100%\r\n")
    unknown = new_output("display_data", data={"application/x-unknown": "x"})
    last = [new_code_cell("", outputs=[error, stream, unknown]), new_raw_cell("raw *cell*")]
    made = make_report(tmp_path_factory.mktemp("outputs"), cells + last)
    parts = {}
    for number, kind in enumerate(OUTPUTS):
        part = re.compile(f"begin{number}mark(.*)end{number}mark", re.DOTALL)
        parts[kind] = part.search(made.html)[1], part.search(made.typst)[1]
    return parts, made


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_cells_arrive_in_both_files(outputs, kind):
    html, typst = outputs[0][kind]
    assert re.search(OUTPUTS[kind][1], html, re.DOTALL), html
    assert re.search(OUTPUTS[kind][2], typst, re.DOTALL), typst


def test_outputs_neither_run_nor_fetch_and_what_is_left_out_is_named(outputs):
    made = outputs[1]
    assert find_active_parts(made.html) == []
    assert "ValueError: red" in made.html
    assert "raw *cell*" in made.html
    assert "100%" in made.html
    assert "10%\r" not in made.html
    assert made.left_out == [
        "01_lesson, cell 5: <script>",
        f"01_lesson, cell {3 * len(OUTPUTS) + 1}: an output of kind application/x-unknown",
    ]


ATTACKS = {  # Markdown -> what the line about it contains; None: Jupyter displays nothing of it either
    "<script>alert(1)</script>": "<script>",
    "<img src=p.png onerror=alert(1)>": "onerror",
    "<a href='javascript:alert(1)'>a</a>": "javascript:",
    "<a href='java\nscript:alert(1)'>a</a>": "link",
    "[a](javascript:alert(1))": "javascript:",
    "[a](data:text/html;base64,PHNjcmlwdD4=)": "data:text/html",
    "<iframe src=https://HOST></iframe>": "<iframe>",
    "<object data=/etc/passwd></object><embed src=//HOST>": "<object>",
    "<link rel=stylesheet href=//HOST/x.css>": "<link>",
    "<link href=/etc/passwd>": "<link>",
    "<style>@import url(//HOST/x.css);</style>": "<style>",
    "<meta http-equiv=refresh content='0;url=http://HOST'>": "<meta>",
    "<base href=http://HOST/>": "<base>",
    "<form action=http://HOST><button>b</button></form>": "<form>",
    "<video src=http://HOST/v poster=http://HOST/p></video>": "<video>",
    "<div style=\"background: url('http://HOST/x')\">x</div>": None,
    "<p style='list-style-image: url(//HOST/x)'>x</p>": None,
    "<table background=http://HOST/x><tr><td>1</table>": None,
    "![a](http://HOST/x.png)": "http://HOST/x.png",
    "![a](//HOST/x.png)": "//HOST/x.png",
    "![a][b]\n\n[b]: http://HOST/b.png": "http://HOST/b.png",
    "<img src='http://HOST/x.png' srcset='//HOST/y.png 2x'>": "http://HOST/x.png",
    "![a](\\\\HOST\\x.png)": "HOST",
    "![a](../secret.png)": "../secret.png",
    "![a](sub/../../secret.png)": "secret.png",
    "![a](%2e%2e/secret.png)": "secret.png",
    "![a](SECRET)": "secret.png",
    "![a](file://SECRET)": "file:",
    "![a](leaving.png)": "leaving.png",
    "![a](leaving/secret.png)": "leaving/secret.png",
    "![a](data:text/html,<script>alert(1)</script>)": "data:text/html",
    "![a](data:image/png;base64,AAAA)": "data:image/png",
    "![a](data:image/png;base64,A)": "damaged",
    "![a](nowhere.png)": "nowhere.png",
    "![a](.)": "no such file",
    "![a](attachment:nowhere.png)": "attachment:nowhere.png",
    "![a](evil.svg)": "evil.svg",
    "<svg onload=alert(1)><script>alert(1)</script></svg>": None,
    "<svg><image href=http://HOST/x.png /></svg>": "data:image/svg",
    "<math><mtext><img src=http://HOST/x onerror=alert(1)></mtext></math>": "<math>",
    "<!-- <script>alert(1)</script> -->x": None,
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">': "<noscript>",
    "```{=html}\n<script>alert(1)</script>\n```": None,
    "<div typst:fill='read(\"/etc/passwd\")' data-cell='x'>d</div>": None,
    "```mermaid\ngraph TD\n```": "mermaid",
    "[file](../helpers/x.py)": "../helpers/x.py",
}


class Counter(BaseHTTPRequestHandler):
    """Server that counts what is fetched from it."""

    fetched: list = []  # noqa: RUF012  # shared by all requests

    def do_GET(self):
        self.fetched.append(self.path)
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """Return a report of all attacks, their lines, and what was fetched from a server while it was made."""
    outer = tmp_path_factory.mktemp("attacks")
    folder = outer / "notebooks"
    folder.mkdir()
    (outer / "secret.png").write_bytes(encode("PNG", (33, 33)))
    (folder / "p.png").write_bytes(encode("PNG"))
    (folder / "leaving.png").symlink_to(outer / "secret.png")
    (folder / "leaving").symlink_to(outer)
    (folder / "evil.svg").write_text(SVG.replace("</svg>", '<script>a()</script><image href="/etc/passwd"/></svg>'))
    server = HTTPServer(("127.0.0.1", 0), Counter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host, secret = f"127.0.0.1:{server.server_port}", str(outer / "secret.png")
    texts = [text.replace("HOST", host).replace("SECRET", secret) for text in ATTACKS]
    html_outputs = [new_output("display_data", data={"text/html": text}) for text in texts]
    try:
        made = make_report(folder, texts, [new_code_cell("", outputs=html_outputs)])
    finally:
        server.shutdown()
        server.server_close()
    lines = {text: [] for text in ATTACKS}
    for number, text in enumerate(ATTACKS, start=1):
        lines[text] = [line for line in made.left_out if line.startswith(f"01_lesson, cell {number}:")]
    return SimpleNamespace(made=made, lines=lines, host=host, secret=base64.b64encode(encode("PNG", (33, 33))).decode())


@pytest.mark.parametrize("text", ATTACKS)
def test_what_is_left_out_of_a_text_cell_is_named_with_lesson_and_cell(attacked, text):
    named = ATTACKS[text]
    if named is None:
        assert attacked.lines[text] == []
    else:
        assert named.replace("HOST", attacked.host) in " ".join(attacked.lines[text])


def test_nothing_in_a_report_runs_or_fetches_whatever_its_cells_contain(attacked):
    assert find_active_parts(attacked.made.html) == []
    assert Counter.fetched == []
    assert "default-src 'none'" in attacked.made.html


def test_no_file_outside_the_notebooks_folder_is_embedded(attacked):
    assert attacked.secret[30:] not in attacked.made.html
    assert "root:" not in attacked.made.html
    drawn = set(re.findall(r'image\("([^"]+)"', attacked.made.typst))
    assert len(drawn) == 2  # p.png, and the drawing without its script
    assert "#read(" not in re.sub(r"\\#", "", attacked.made.typst)


def test_the_check_for_active_parts_sees_each_kind():
    for text in ("<script>", "<a onclick=x>", "<img src=//h>", "<a href=javascript:x>", "<p style='a:url(x)'>"):
        assert find_active_parts(text) != []
    assert find_active_parts("<style>@import 'x'</style>") != []
    assert find_active_parts("<a href='https://h'>") == []


def test_what_is_left_out_is_listed_at_the_end_of_both_files(attacked):
    for text in (attacked.made.html, attacked.made.typst):
        end = text[text.rindex("Left out of this report") :]
        assert "01_lesson, cell 7" in end.replace("\\", "")


@pytest.mark.parametrize(
    "tex",
    [r"\frac{a}{b", r"\foo{x}", "}{", "#", r"\begin{align}x", r"\left(x\right", r"\ce{H2O}", r"\require{physics}"],
)
def test_a_formula_that_cannot_be_typeset_arrives_as_its_source_and_is_named(tmp_path, tex):
    made = make_report(tmp_path, ["text", f"before ${tex}$ after $x^2$"])
    code = rf"before\s+<code>{re.escape(tex)}</code>\s+after\s+<math"
    assert re.search(code, unescape(made.html)), made.html[-3000:]
    assert len(made.left_out) == 1
    assert made.left_out[0].startswith(f'01_lesson, cell 2: the formula "{tex}"')


def test_a_formula_that_only_typst_refuses_is_typeset_in_html(tmp_path, monkeypatch):
    def refuse(source, folder, compile=report.run_typst):
        if "y^3" in source:
            raise report.ConversionError("typst: refused")
        return compile(source, folder)

    monkeypatch.setattr(report, "run_typst", refuse)
    made = make_report(tmp_path, ["$x^2$ and $$y^ 3$$ and $z^2$"])
    assert made.html.count("<msup>") == 3
    assert made.left_out == ['01_lesson, cell 1: the formula "y^ 3" in the PDF']
    assert "`y^ 3`" in made.typst


@pytest.mark.parametrize(
    ("tex", "html", "left_out"),
    [
        (r"a \over b", "<mfrac>", ""),
        (r"{a \over b} + 1", "<mfrac>", ""),
        (r"{\rm IoU}", "IoU", ""),
        (r"\hbox{if } x", "if", ""),
        (r"\begin{align}a &= b \notag\end{align}", "<mtable", ""),
        (r"\textcolor{red}{x^2}", "<msup>", r"\textcolor in the formula"),
        (r"x^2 \tag{1}", "<msup>", r"\tag in the formula"),
    ],
)
def test_commands_that_only_mathjax_knows_are_rewritten_and_a_lost_colour_or_number_is_named(
    tmp_path, tex, html, left_out
):
    made = make_report(tmp_path, [f"$${tex}$$"])
    assert re.search(f"<math.*{html}", made.html, re.DOTALL)
    assert [left_out in line for line in made.left_out] == [True] * bool(left_out)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("<blockquote>", "</blockquote>"), ("<div class=alert>", "</div>"), ("<ul><li>", "</li></ul>"), ("<b>", "</b>")],
)
@pytest.mark.parametrize("depth", [10, 20, 30, 300])
def test_deep_nesting_arrives_or_is_named(tmp_path, opening, closing, depth):
    made = make_report(tmp_path, [opening * depth + "inside" + closing * depth])
    assert "inside" in made.html
    assert "inside" in made.typst
    assert all("elements inside each other" in line for line in made.left_out)


def test_a_cell_that_spans_a_million_columns_needs_no_memory(tmp_path):
    made = make_report(tmp_path, ["<table><tr><td colspan=99999999>wide</td></tr><tr><td>1<td>2</table>"])
    assert "wide" in made.html
    assert made.left_out == []


def test_commands_that_a_formula_defines_hold_for_later_formulas(tmp_path):
    made = make_report(tmp_path, [r"$\newcommand{\R}{\mathbb{R}}\def\half{\frac12}$", r"$x \in \R$ and $\half$"])
    assert re.search("<mi[^>]*>ℝ</mi>", made.html)
    assert "<mfrac>" in made.html
    assert made.left_out == []


def test_links_lead_to_headings_and_anchors_or_are_named(tmp_path):
    first = (
        "# 01 · One\n\n[a](#First-part) [b](02_lesson.ipynb) [c](02_lesson.ipynb#Second-%CF%83) [d](#here) [e](#gone)"
    )
    anchors = "## First part\n\n<a id='here'></a>\n\n## First part\n\n## <a name='in'></a>Anchored\n\n[f](#in)"
    made = make_report(tmp_path, [first, anchors], ["# 02 · Two", "## Second σ\n\n[g](01_lesson.ipynb#Anchored)"])
    targets = dict(re.findall(r'<a\s+href="(#[^"]*)"[^>]*>\s*(\w)</a>', made.html))
    assert sorted(targets.values()) == list("abcdfg")
    for target in targets:
        assert made.html.count(f'id="{target[1:]}"') == 1
    assert made.left_out == ['01_lesson, cell 1: the link to "gone" (no heading or anchor of this name)']
    assert made.typst.count("#link(<") == 6


def test_a_link_to_a_guide_of_the_workbook_becomes_its_text_and_another_one_is_named(tmp_path):
    made = make_report(tmp_path, ["# 01 · One\n\n[terms](../docs/glossary.md) [list](../docs/list.csv)"])
    assert "terms" in made.html
    assert "glossary.md" not in made.html
    assert len(made.left_out) == 1
    assert 'the link "../docs/list.csv"' in made.left_out[0]


def test_names_that_appear_twice_are_no_reason_to_fail(tmp_path):
    cells = [
        "<a id=x></a><a id=x></a><p id=x>p</p><table id=x><tr><td>1</table>",
        "# x\n\n# x\n\n[x](#x) [x](#lesson-01)",
    ]
    assert "all but" not in "".join(make_report(tmp_path, cells, cells).left_out)


NASTY = [
    "> " * 300 + "deep",
    "<div>" * 3000 + "deep",
    "- " * 200 + "deep",
    "[" * 2000,
    "*" * 1000 + "a" + "_" * 1000,
    "`" * 999,
    "\x00\x1b[31m\x07\ud800\ufffe\u202e text",
    "\\(" * 500,
    "$" * 501,
    "| a |\n|---|\n" + "| b | c | d |\n" * 3,
    "|||\n|-|-|\n|||",
    "<table><tr>",
    "<table><tr><td><table><tr><td>inner</td></tr></table></td></tr></table>",
    "<table></table><ul></ul><ol start=99999999999></ol><dl></dl>",
    "<td colspan=0>a</td><table><tr><td colspan=99999999>x</td><td rowspan=-1>y</table>",
    "<div class='alert'><h1>Title in a box</h1><hr></div>",
    "<details><summary># t</summary><h1>in details</h1>",
    "> # Title in a quote\n> ---",
    "# [link](#x) ![a](p.png) $x$ <a id=q></a> `c`",
    "[](#x) [](http://) ![]() [a](<>) [b](http://[) <http://x y>",
    "[a](http://" + "x" * 9000 + ")",
    '#import "@preview/x:1.0.0": *\n#include "x" #{panic()} \\u{41} /* // */ @ref <label> ~ -- ``` $',
    "<img src=p.png width=0><img src=p.png width=-5><img src=p.png width=1e99><img src=p.png width=99999 height=0>",
    "<center><p align=right><center>x",
    "<p><b><i><a href=#><font color=nocolour style='color:rgb(999,0,0)'>x",
    "<span style='color:;background-color:red;;;text-align'>x</span>",
    "&lt;script&gt; &#0; &#x110000; &nbsp; &unknown;",
    "1. a\n\n99999999999. b\n\n~~~{.python #id .folded}\nx\n~~~",
    "Term\n: <details><summary>s</summary>\n\n    code",
    "<kbd></kbd><mark></mark><u></u><sub></sub><a></a><em></em>",
    "<h1></h1><h2><br></h2>#\n\n## \n\n### ###",
    "<pre><code class=folded>x</code></pre><pre class='python folded'>y</pre>",
    "<figure><figcaption>only</figcaption></figure><figure></figure>",
]
PIECES = [*ATTACKS, *(markdown for markdown, _, _ in KINDS.values() if len(markdown) < 500), *NASTY]


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_a_nasty_text_cell_stops_no_renderer(tmp_path, text):
    renderer = report_cells.LessonCells(tmp_path / "01_x.ipynb", tmp_path)
    _, html = renderer.render(1, new_markdown_cell(text))
    assert find_active_parts(html) == []


def test_random_compositions_of_nasty_text_never_stop_a_report(tmp_path):
    (tmp_path / "p.png").write_bytes(encode("PNG"))
    choose = random.Random(0)
    separators = ["\n\n", "\n", " ", "> ", "- "]
    for _ in range(2):
        texts = ["".join(choose.choice([*PIECES, *separators]) for _ in range(9)) for _ in range(75)]
        cuts = [sorted(choose.randrange(len(text)) for _ in "ab") for text in texts]
        cells = [text[:start] + text[end:] for text, (start, end) in zip(texts, cuts, strict=True)]
        made = make_report(tmp_path, cells)
        assert find_active_parts(made.html) == []
        assert [line for line in made.left_out if "all but its text" in line] == []
        assert max(map(len, made.left_out)) < 500


def test_a_cell_that_stops_pandoc_or_typst_arrives_as_text_and_is_named(tmp_path, monkeypatch):
    def refuse(source, folder, compile=report.run_typst):
        if "#strong[poison]" in source:
            raise report.ConversionError("typst: poisoned")
        return compile(source, folder)

    monkeypatch.setattr(report, "run_typst", refuse)
    made = make_report(tmp_path, ["# One", "**fine**", "a **poison** b", "**fine, too**", "[c](#One)"])
    assert "<strong>fine, too</strong>" in made.html
    assert "a **poison** b" in made.html
    assert made.left_out == ["01_lesson, cell 3: all but its text (typst: poisoned)"]


def test_a_character_that_no_font_has_is_named(tmp_path):
    assert "\U0001fbff" not in report_cells.find_unknown_letters(["aé→"])
    assert report_cells.find_unknown_letters(["a\u0378é"]) == "\u0378"
    made = make_report(tmp_path, ["a\u0378"])
    assert made.left_out == ["PDF: characters that no font of this machine has: \u0378"]


WHOLE = nbformat.writes(new_notebook(cells=[new_markdown_cell("# 01 · One"), new_code_cell("x = 1")])).encode()
DAMAGED = {
    "empty": b"",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "binary": b"\x00\xff\xfe\x80",
    "Latin-1": WHOLE.replace("·".encode(), b"\xb7"),
    "list": b"[]",
    "null": b"null",
    "other JSON": b'{"a": 1}',
    "cells are a number": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}',
    "cell without type": WHOLE.replace(b"cell_type", b"kind"),
    "version 9": WHOLE.replace(b'"nbformat": 4', b'"nbformat": 9'),
    "version 3": b'{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}',
    "no cells": nbformat.writes(new_notebook()).encode(),
    "metadata are a list": WHOLE.replace(b'"metadata": {},\n "nbformat"', b'"metadata": [],\n "nbformat"'),
    "widgets are a list": WHOLE.replace(b'"metadata": {},\n "nbformat"', b'"metadata": {"widgets": [1]},\n "nbformat"'),
    "tags are a number": WHOLE.replace(b'"metadata": {}', b'"metadata": {"tags": 3}'),
    "nested deeply": b"[" * 100_000,
    "folder": None,
}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Return a folder for two lessons, each in its report."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(report, "ASSIGNMENTS", [Assignment("a", "A", ("01",)), Assignment("b", "B", ("02",))])
    monkeypatch.setattr(report, "find_lessons", lambda numbers: lessons.find_lessons(numbers, tmp_path))
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 02 · Two")]), tmp_path / "02_other.ipynb")
    return tmp_path


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_notebook_is_named_in_one_line_and_does_not_stop_the_next_report(course, capsys, kind):
    path = course / "01_broken.ipynb"
    if DAMAGED[kind] is None:
        path.mkdir()
    else:
        assert DAMAGED[kind] != WHOLE
        path.write_bytes(DAMAGED[kind])
    assert cli.main(["report"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no report a: ")
    assert "01_broken.ipynb" in line
    assert len(line) < 500
    assert not re.search("delete|remove|regenerate", line)
    assert sorted(file.name for file in (course / "reports").iterdir()) == ["b.html", "b.pdf"]


def test_every_failed_report_is_named(course):
    for name in ("01_broken.ipynb", "02_other.ipynb"):
        (course / name).write_text("{")
    with pytest.raises(lessons.LessonFailed, match=r"no report a: .*01_broken.*; no report b: .*02_other"):
        report.write_reports("quick")


def test_a_mistake_in_the_report_itself_is_one_line_that_names_the_report(course, capsys, monkeypatch):
    monkeypatch.setattr(report, "render_lesson", lambda *_arguments: {}["a" * 1000])
    (course / "01_one.ipynb").write_bytes(WHOLE)
    assert cli.main(["report"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no report a: KeyError")
    assert "no report b: KeyError" in line
    assert len(line) < 500


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + WHOLE,
        nbformat.writes(new_notebook(cells=[new_code_cell("a = f()", metadata={"tags": ["parameters"]})])).encode(),
    ],
    ids=["byte order mark", "computed parameters"],
)
def test_an_unusual_notebook_is_no_reason_to_fail(course, capsys, data):
    (course / "01_one.ipynb").write_bytes(data)
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().err == ""


def make_lessons(folder):
    """Return two executed lessons, written into a folder, with a picture that one of them shows."""
    texts = [
        "# 01 · Is it tiny?\n\n← [contents](../README.md) · [02 · Is it?](02_other.ipynb) →\n\nFirst lesson.",
        "See [the other](02_other.ipynb), [the code](../helpers/course/report.py) and [the web](https://example.org/).\n\n"
        "$$\\frac{a}{b} \\cap c$$\n\n![from here](picture.png)\n\n![from afar](https://example.org/far.png) "
        '<img src="https://example.org/tag.png"/>\n\n![not there](nowhere.png)',
    ]
    outputs = [
        new_output("stream", name="stdout", text=f"{'name':20}{'AP':>100}\n"),
        new_output("stream", name="stderr", text="a warning\n"),
        new_output("display_data", data={"image/png": draw(365), "text/plain": "<Figure>"}),
        new_output("display_data", data=SOURCE),
        new_output("execute_result", data=WIDGET, execution_count=1),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    first = [*map(new_markdown_cell, texts), new_code_cell("secret_sauce = 1", outputs=outputs, execution_count=1)]
    own = new_markdown_cell("## My own words\n\nI was surprised by σ² ≤ ½ — truly.\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    second = [new_markdown_cell("# 02 · Is it?"), own, new_code_cell("print(1)", execution_count=1)]
    notebooks = [new_notebook(cells=cells, metadata=kernel) for cells in (first, second)]
    lesson_paths = [folder / "01_tiny.ipynb", folder / "02_other.ipynb"]
    for path, notebook in zip(lesson_paths, notebooks, strict=True):
        nbformat.write(notebook, path)
    (folder / "picture.png").write_bytes(base64.b64decode(draw(100)))
    return [
        report.Lesson(path, publishing.clean(notebook), "saved")
        for path, notebook in zip(lesson_paths, notebooks, strict=True)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lessons")
    executed = make_lessons(folder)
    screen, pdf = report.write_report(TINY, executed, folder / "reports").files
    assert pdf.read_bytes().startswith(b"%PDF")
    return screen.read_text(encoding="utf-8")


def test_a_report_shows_title_text_the_readers_own_words_tables_and_figures(page):
    assert "<title>A tiny assignment</title>" in page
    assert re.search(r'<h1[^>]*id="01[^>]*>01 · Is it tiny\?', page)
    assert "First lesson." in page
    assert re.search(r"<h2[^>]*>My own words", page)
    assert "σ² ≤ ½ — truly" in page
    assert "<td>1</td>" in page.replace(' style="text-align: left;"', "")
    assert page.count("data:image/png;base64,") == 2


def test_code_is_folded_and_so_is_a_source_that_is_shown(page):
    folded = re.findall(r"<details>.*?</details>", page, re.DOTALL)
    assert len(folded) == 3
    unfolded = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    plain = [re.sub(r"<[^>]+>", "", part) for part in (*folded, unfolded)]
    assert "secret_sauce = 1" in plain[0]
    assert "def shown_source():" in plain[1]
    assert "secret_sauce" not in plain[3]
    assert "AP" in plain[3]


def test_warnings_and_widgets_are_left_out(page):
    assert "a warning" not in page
    assert "VBox" not in page


def test_an_explorer_moves_in_the_html_file_and_is_its_picture_in_the_pdf(tmp_path):
    data = base64.b64encode(encode("WEBP")).decode()
    controls = [FrameControl("size", ["1", "2"], 0, True)]
    save_fragment(Frames("01_dot", "A dot.", "", controls, 20, 10, data, [data], [0, 0]), tmp_path / "01_dot.html")
    explorer = new_output("execute_result", {"image/png": draw(100)}, metadata={"explorer": "dot"})
    other = new_output("display_data", {"image/png": draw(120)})
    notebook = new_notebook(cells=[new_markdown_cell("# 01"), new_code_cell("1", outputs=[explorer, other])])
    lesson = report.Lesson(tmp_path / "01_lesson.ipynb", notebook, "saved", tmp_path)
    html = report.write_report(TINY, [lesson], tmp_path).files[0]
    page = html.read_text(encoding="utf-8")
    assert page.count('class="explorer"') == 1
    assert page.count("data:image/png;base64,") == 1
    allowed = re.search(r"script-src '(sha256-[^']*)'", page)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert allowed == "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    without = report.write_report(TINY, [replace(lesson, explorers=None)], tmp_path)
    assert without.files[0].read_text(encoding="utf-8").count("data:image/png;base64,") == 2
    (tmp_path / "01_dot.html").write_text("<p>")
    with pytest.raises(lessons.LessonFailed, match=r"01_dot\.html"):
        report.write_report(TINY, [lesson], tmp_path)


def test_formulas_are_drawn_by_the_browser_itself(page):
    assert "<mfrac>" in page
    assert "\\frac" not in re.sub(r"<annotation.*?</annotation>", "", page)


def test_a_report_needs_nothing_beside_it_and_no_network(page):
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert re.findall(r'(?:\ssrc|<link[^>]*href)="(?!data:)', page) == []
    assert re.findall(r"url\((?!data:)", page) == []
    assert re.findall(r'href="(?!#)([^"]*)"', page) == ["https://example.org/"]  # the reader's own link, to be clicked
    assert "from afar" in page
    assert "not there" in page
    assert "the code" in page
    assert "contents" not in page


def test_a_link_to_a_lesson_of_the_report_leads_to_its_heading(page):
    anchor = re.search(r'<a\s+href="#([^"]*)"[^>]*>the\s+other</a>', page)[1]
    assert re.search(rf'<div id="{anchor}">\s*</div>\s*<h1[^>]*>02 · Is it\?', page)


def test_a_missing_pandoc_is_named_and_leaves_no_half_report(tmp_path, monkeypatch):
    def fail():
        raise OSError("No pandoc was found")

    monkeypatch.setattr(report.pypandoc, "get_pandoc_path", fail)
    executed = make_lessons(tmp_path)
    with pytest.raises(lessons.LessonFailed, match="no report tiny: No pandoc was found"):
        report.write_report(TINY, executed, tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_an_up_to_date_run_is_reported_and_else_what_is_saved_with_what_is_wrong_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    lesson = make_lessons(tmp_path)[0]
    path, notebook = lesson.path, lesson.notebook
    assert report.find_executed(path, "quick").source == "its saved outputs"

    executed = tmp_path / "runs" / "01_tiny" / "quick" / "01_tiny.ipynb"
    executed.parent.mkdir(parents=True)
    notebook.metadata["workbook"] = {"digest": lessons.compute_digest(notebook, "quick")}
    nbformat.write(notebook, executed)
    (executed.parent / "results.json").write_text('{"seed": 0}')
    assert report.find_executed(path, "quick").source == "the run at quick"

    notebook.cells[-1].execution_count = None
    notebook.cells[0].source += " Edited."
    nbformat.write(notebook, path)
    assert report.find_executed(path, "quick").source == "its saved outputs, but code cell 1 never ran"


def test_a_report_says_what_its_numbers_are_from(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(report, "ASSIGNMENTS", [TINY])
    lesson_paths = [lesson.path for lesson in make_lessons(tmp_path)]
    monkeypatch.setattr(report, "find_lessons", lambda numbers: lesson_paths)
    assert cli.main(["report", "--profile", "smoke"]) == 0
    page = (tmp_path / "reports" / "tiny.html").read_text(encoding="utf-8")
    assert page.count("Figures and numbers: its saved outputs") == 2


def test_every_lesson_is_in_one_report():
    numbers = [number for assignment in report.ASSIGNMENTS for number in assignment.lessons]
    assert numbers == [path.stem[:2] for path in lessons.find_lessons()]


def test_the_command_writes_both_reports_of_the_lessons_as_they_are_saved(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr(paths, "RUNS", tmp_path / "no_runs")
    assert cli.main(["report", "--profile", "quick"]) == 0
    names = [f"{assignment.name}.{kind}" for assignment in report.ASSIGNMENTS for kind in ("html", "pdf")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for assignment in report.ASSIGNMENTS:
        page = (tmp_path / f"{assignment.name}.html").read_text(encoding="utf-8")
        lesson_paths = lessons.find_lessons(assignment.lessons)
        cells = [cell for path in lesson_paths for cell in lessons.find_code_cells(nbformat.read(path, as_version=4))]
        outputs = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
        figures = [output for output in outputs if "explorer" not in output.get("metadata", {})]
        assert page.count('class="explorer"') == len(outputs) - len(figures)
        assert page.count("data:image/png;base64,") == len(figures)
        assert page.count("<h1") == len(lesson_paths) + 1
        assert page.count("<details>") >= len(cells)
        assert "VBox(" not in page
        assert (tmp_path / f"{assignment.name}.pdf").stat().st_size > 100_000
    assert "01_dataset_generation: its saved outputs" in capsys.readouterr().out
