"""Extension of the site: what Sphinx would let pass is a warning, and formulas are in the page."""

import re

import pytest

from helpers.course.lessons import LessonFailed
from helpers.course.site import configure, run_sphinx

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of the theme and of myst-nb
HEAD = "# Page\n\n"


def build(folder, text):
    """Return the page that Sphinx makes of a Markdown text."""
    source = folder / "source"
    for name in ("_static", "_extra"):
        (source / name).mkdir(parents=True)
    (source / "index.md").write_text(HEAD + text)
    run_sphinx(source, folder / "built", configure(""))
    return (folder / "built" / "index.html").read_text()


def test_formulas_are_mathml_in_the_line_and_on_lines_of_their_own(tmp_path):
    html = build(tmp_path, "A $x^2$ and\n\n$$\\frac{a}{b}$$\n")
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert '<div class="formula"><math display="block"' in html
    assert not re.search(r"<script[^>]*mathjax", html, flags=re.IGNORECASE)


FAULTS = {
    "a formula that cannot be read": ("$\\frac{a}{b$", "cannot convert the formula"),
    "a picture without a text": ("![](a.png)", "a picture without alternative text: a.png"),
    "a link that leads nowhere": ("[a](none.md)", "none.md"),
    "a heading that is left out": ("### Deep", "header"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_warning_is_an_error_that_names_the_page_and_the_cause(tmp_path, kind):
    text, message = FAULTS[kind]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.png").write_bytes(b"")
    with pytest.raises(LessonFailed, match=message):
        build(tmp_path, text)


def test_a_class_of_the_same_name_in_another_module_is_not_linked(tmp_path):
    modules = "".join(f"```{{py:class}} {module}.Recipe\n```\n\n" for module in ("first", "second"))
    html = build(tmp_path, modules + "```{py:function} train(a: Recipe, b: second.Recipe)\n```\n")
    signature = html[html.index('id="train"') :].partition("</dt>")[0]
    assert 'href="#second.Recipe"' in signature
    assert 'href="#first.Recipe"' not in signature
