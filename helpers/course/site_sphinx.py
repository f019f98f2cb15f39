"""Extension of Sphinx for the site: formulas as MathML, and a warning about each picture without alternative text."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from helpers.course.site_math import Formula, convert_formulas

LOGGER = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with a build; Sphinx calls this."""
    formulas = Formulas()
    app.connect("doctree-read", formulas.collect)
    app.connect("doctree-read", warn_of_silent_pictures)
    app.connect("doctree-read", link_full_names_only)
    app.connect("env-check-consistency", formulas.convert)
    app.add_html_math_renderer("mathml", (formulas.visit, None), (formulas.visit, None))
    return {"parallel_read_safe": False, "parallel_write_safe": False}


class Formulas:
    """Formulas of all pages, and their MathML."""

    def __init__(self) -> None:
        self._mathml: dict[Formula, str] = {}

    def collect(self, app: Sphinx, document: nodes.document) -> None:
        """Note the formulas of a page that has been read."""
        for node in document.findall(lambda node: isinstance(node, (nodes.math, nodes.math_block))):
            self._mathml[_read_formula(node)] = ""

    def convert(self, app: Sphinx, environment: BuildEnvironment) -> None:
        """Convert the formulas of all pages, and warn of those that pandoc cannot read."""
        for formula, mathml in zip(self._mathml, convert_formulas(list(self._mathml)), strict=True):
            self._mathml[formula] = mathml
            if not mathml:
                LOGGER.warning("pandoc cannot convert the formula %s", formula.tex)

    def visit(self, translator: Any, node: nodes.Element) -> None:
        """Write a formula into the page."""
        formula = _read_formula(node)
        mathml = self._mathml[formula]
        translator.body.append(f'<div class="formula">{mathml}</div>\n' if formula.is_block else mathml)
        raise nodes.SkipNode


def _read_formula(node: nodes.Node) -> Formula:
    """Return the formula of a node; amsmath's environments stay in the TeX."""
    return Formula(node.astext().strip(), isinstance(node, nodes.math_block))


def link_full_names_only(app: Sphinx, document: nodes.document) -> None:
    """Let a name in a signature lead to a class only by its full name: several packages have a class `Recipe`."""
    for reference in document.findall(addnodes.pending_xref):
        if reference.get("refdomain") == "py":
            reference.attributes.pop("refspecific", None)


def warn_of_silent_pictures(app: Sphinx, document: nodes.document) -> None:
    """Warn of each picture of a page without an alternative text."""
    for picture in document.findall(nodes.image):
        if not picture.get("alt", "").strip():
            LOGGER.warning("a picture without alternative text: %s", picture.get("uri"), location=picture)
