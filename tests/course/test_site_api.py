"""Pages about modules: what a reader of the source sees is on the page, and shapes are readable."""

import ast

import pytest

from helpers.course.site_api import find_classes, format_docstring, read_summary, write_page
from helpers.paths import ROOT

MODULE = '''
"""Boxes of a made-up module.

Costs 5 $ and 3 * 4, in `data/<name>`; see https://example.org/page.
"""
from other import Recipe as OtherRecipe
from package import recipes

SIZE = 4  # pixels
LIMIT = 3
"""Largest number of boxes."""
_HIDDEN = 1  # not for readers
UNEXPLAINED = 2


class Pair(NamedTuple):
    """Two boxes."""

    first: Float[Tensor, "N 4"]  # pixels
    second: Float[Tensor, "N 4"]

    @property
    def width(self) -> int:
        """The width."""

    @classmethod
    def read(cls, path: Path) -> Pair:
        """Read a pair."""

    def _hidden(self): ...


class Network(nn.Module):
    """A network.

    Args:
        width: channels.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()


def compute(boxes: Float[Tensor, "*#batch N 4"], recipe: OtherRecipe, *, pair: Pair | None = None) -> recipes.Recipe:
    """Return the boxes.

    Args:
        boxes: in pixels,
            all levels.
        recipe, pair: two more.

    Raises:
        ValueError: there are none.

    Law: mirroring mirrors.

    Source: Someone 2019, arXiv:1902.09630.
    """


def _hidden(): ...
'''


@pytest.fixture(scope="module")
def page():
    classes = {"made.up.Pair", "other.Recipe", "package.recipes.Recipe"}
    return write_page(MODULE.lstrip(), "made.up", classes)


def test_a_page_holds_constants_with_an_explanation_and_nothing_private(page):
    assert "- `SIZE = 4`: pixels" in page
    assert "- `LIMIT = 3`: Largest number of boxes." in page
    assert "UNEXPLAINED" not in page
    assert "_hidden" not in page.lower()


def test_signs_of_markdown_in_a_docstring_are_escaped_outside_of_code(page):
    assert r"Costs 5 \$ and 3 \* 4, in `data/<name>`; see <https://example.org/page>." in page
    assert format_docstring("a <name> and `<name>`") == r"a \<name> and `<name>`"


def test_an_argument_has_its_shape_beside_its_name_and_its_text_on_one_line(page):
    assert '- **boxes** (`Float[Tensor, "*#batch N 4"]`): in pixels, all levels.' in page
    assert "- **recipe, pair**: two more." in page
    assert "- **ValueError**: there are none." in page


def test_a_section_of_one_paragraph_keeps_its_name(page):
    assert "**Law:** mirroring mirrors." in page
    assert "**Source:** Someone 2019, [arXiv:1902.09630](https://arxiv.org/abs/1902.09630)." in page


def test_names_of_classes_in_signatures_are_full_so_that_they_lead_to_the_right_page(page):
    signature = next(line for line in page.splitlines() if "compute(" in line)
    assert "recipe: other.Recipe" in signature
    assert "pair: made.up.Pair | None=None" in signature
    assert signature.endswith("-> package.recipes.Recipe")


def test_fields_methods_and_properties_of_a_class_are_on_its_page(page):
    assert '- **first**: `Float[Tensor, "N 4"]`, pixels' in page
    assert "{py:property} width\n:type: int" in page
    assert "{py:method} read(path: Path) -> made.up.Pair\n:classmethod:" in page
    assert "{py:class} Network(width: int=8)" in page
    assert "- **width** (`int`): channels." in page


def test_text_after_a_section_is_not_lost():
    text = format_docstring("First.\n\nArgs:\n    a: one.\n\nReturns:\n    two\n    lines.\n\nThe end.")
    assert text == "First.\n\n**Arguments**\n\n- **a**: one.\n\n**Returns:** two\nlines.\n\nThe end."


def test_the_summary_is_the_first_line_and_classes_have_full_names():
    assert read_summary(MODULE.lstrip()) == "Boxes of a made-up module."
    assert find_classes(MODULE.lstrip(), "made.up") == {"made.up.Pair", "made.up.Network"}


@pytest.mark.parametrize("name", ["detection/matching", "keypoints/codecs", "digits/anchors", "average_precision"])
def test_every_public_function_of_a_real_module_has_a_directive(name):
    source = (ROOT / "helpers" / f"{name}.py").read_text(encoding="utf-8")
    page = write_page(source, f"helpers.{name.replace('/', '.')}")
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    public = [name for name in names if not name.startswith("_")]
    assert public
    assert all(f"}} {name}" in page for name in public)
