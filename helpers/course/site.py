"""The workbook as a web site that opens from disk (command: `workbook site`).

Sphinx builds it from README.md, the lessons with their saved outputs, the guides in docs/ and the docstrings of
helpers/. Nothing is executed, and the site fetches nothing from another host. Its source is put together in a temporary
folder, so that the repository holds no generated file. A warning of Sphinx, a broken link inside the site, a picture
without alternative text or a script of another host is an error.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat

from helpers import files, paths
from helpers.course.lessons import LessonFailed, find_lessons, read_notebook
from helpers.course.site_api import find_classes, read_summary, write_page
from helpers.course.site_checks import check_site
from helpers.course.site_lessons import prepare_lesson, read_texts
from helpers.course.site_math import write_font
from helpers.explorer_frames import FragmentError, read_fragments

SITE = paths.DATA / "site"
STYLE = Path(__file__).with_name("site.css")
TITLE = "Where is it? A hands-on workbook in object localisation"
BRANCH = "main"
FRONT = "README.md"
CONTRIBUTING = "CONTRIBUTING.md"
ANSWERS = "docs/exercises.md"  # model answers and rubrics: on the site only where they are asked for
REFERENCE = ("docs/glossary.md", "docs/references.md")  # beside the API; all other pages of docs/ are guides
API_PARTS: Mapping[str, str] = {
    "": "Shared modules",
    "detection": "Detection",
    "keypoints": "Keypoints",
    "digits": "Digits",
    "tasks": "Build tasks",
}
"""Folders in helpers/ whose modules have a page, and the title of their group."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"})
LEFTOVERS = (".buildinfo", "_static/*.html", "_static/**/*.map")
"""Files of a build that no page needs: templates of the theme, and what only its authors need to find their errors."""
LONGEST_REASON = 400  # characters of the warnings in an error

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|!?\[[^\]]*\]\([^)]*\))*)\]\(([^()\s]+)\)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", flags=re.DOTALL | re.MULTILINE)
_TERM = re.compile(r"- \*\*(.+?)\*\*: (.*)")

CONFIG: Mapping[str, Any] = {
    "project": TITLE,
    "html_title": "Where is it?",
    "author": "the authors of the localisation workbook",
    "root_doc": "index",
    "extensions": ["myst_nb", "helpers.course.site_sphinx"],
    "language": "en",
    "highlight_language": "text",
    "python_maximum_signature_line_length": 70,  # characters; longer signatures have a line for each argument
    "add_module_names": False,
    "python_use_unqualified_type_names": True,
    "html_theme": "sphinx_book_theme",
    "html_static_path": ["_static"],
    "html_extra_path": ["_extra"],
    "html_css_files": ["site.css"],
    "html_math_renderer": "mathml",
    "html_copy_source": False,
    "html_show_sourcelink": False,
    "html_show_copyright": False,
    "html_show_sphinx": False,
    "html_show_search_summary": False,  # the summaries are fetched, which a browser refuses for files on disk
    "html_last_updated_fmt": None,
    "exclude_patterns": ["_static", "_extra"],
    "nb_execution_mode": "off",
    "nb_merge_streams": True,
    "myst_enable_extensions": ["dollarmath"],
    "myst_heading_anchors": 3,
}
"""Configuration of Sphinx; `configure` adds what depends on the repository's address."""


@dataclass(frozen=True)
class Workbook:
    """Folder of a workbook, the address under which others find it, and for whom its site is."""

    root: Path
    repository: str = ""  # such as https://github.com/someone/workbook, or "": no launch buttons
    with_answers: bool = False  # whether the site has the answers to the exercises: for instructors

    def find_pages(self) -> dict[str, str]:
        """Return the site's page (its source without suffix) of each file of the repository that has one."""
        pages = {FRONT: "index", CONTRIBUTING: "contributing"}
        lessons = find_lessons(folder=self.root / "notebooks")
        documents = [*lessons, *sorted((self.root / "docs").glob("*.md"))]
        pages |= {name: name.rpartition(".")[0] for name in map(self.name, documents)}
        for part in API_PARTS:
            modules = map(self.name, self.find_modules(part))
            pages |= {name: _name_api_page(name) for name in modules}
        if not self.with_answers:
            pages.pop(ANSWERS, None)
        return {name: page for name, page in pages.items() if (self.root / name).is_file()}

    def find_modules(self, part: str) -> list[Path]:
        """Return the modules in a folder of helpers/ that have a page, in order."""
        return sorted(path for path in (self.root / "helpers" / part).glob("*.py") if path.stem != "__init__")

    def name(self, path: Path) -> str:
        """Return the path of a file inside the repository."""
        return path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Site:
    """A built site."""

    folder: Path
    num_pages: int
    size: int  # bytes
    seconds: float


def _name_module(name: str) -> str:
    """Return the dotted name of the module in a file of the repository."""
    return name.removesuffix(".py").replace("/", ".")


def _name_api_page(name: str) -> str:
    """Return the page about the module in a file of the repository."""
    return name.removesuffix(".py").replace("helpers/", "api/", 1)


def build_site(workbook: Workbook, to: Path) -> Site:
    """Build the site of a workbook into the folder `to`, which is replaced when the site is complete and checked.

    Raises:
        LessonFailed: a lesson cannot be read, Sphinx has warned, or a check of the site has failed.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="site_") as name:
        folder = Path(name).resolve()
        source, built = folder / "source", folder / "site"
        assemble(workbook, source)
        run_sphinx(source, built, configure(workbook.repository))
        faults = check_site(built)
        if faults:
            raise LessonFailed(f"the site has {len(faults)} faults: {shorten('; '.join(faults))}")
        with files.name_disk_errors(to):
            shutil.rmtree(to, ignore_errors=True)
            shutil.copytree(built, to)
    contents = [path for path in to.rglob("*") if path.is_file()]
    num_pages = sum(path.suffix == ".html" for path in contents)
    return Site(to, num_pages, sum(path.stat().st_size for path in contents), time.perf_counter() - started)


def shorten(text: str) -> str:
    """Return a text of at most `LONGEST_REASON` characters on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} …"


def configure(repository: str) -> dict[str, Any]:
    """Return the configuration of Sphinx; with the repository's address, lessons have launch buttons."""
    theme: dict[str, Any] = {
        "home_page_in_toc": True,
        "show_toc_level": 2,
        "use_download_button": False,
        "navigation_with_keys": True,
        "navbar_persistent": [],  # else the header has a second search field and a second button for the pages
    }
    if repository:
        theme |= {
            "repository_url": repository.rstrip("/"),
            "repository_branch": BRANCH,
            "use_repository_button": True,
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
                "notebook_interface": "jupyterlab",
            },
        }
    return {**CONFIG, "html_theme_options": theme}


def run_sphinx(source: Path, to: Path, config: Mapping[str, Any]) -> None:
    """Build the pages in `source` as HTML into the folder `to`.

    Raises:
        LessonFailed: Sphinx has warned; the message holds the first warnings.
    """
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            source,
            None,
            to,
            source.parent / "doctrees",
            "html",
            confoverrides=dict(config),
            status=None,
            warning=warnings,
            freshenv=True,
        )
        app.build()
    lines = [line for line in re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()).splitlines() if line.strip()]
    if lines:
        text = shorten("; ".join(line.replace(f"{source}{os.sep}", "") for line in lines))
        raise LessonFailed(f"the site has {len(lines)} warnings: {text}")
    for pattern in LEFTOVERS:
        for path in to.glob(pattern):
            path.unlink()


def assemble(workbook: Workbook, source: Path) -> None:
    """Write the source of the site into the folder `source`: pages as Markdown, lessons as notebooks, style, figures.

    Raises:
        LessonFailed: a lesson or an explorer cannot be read.
    """
    pages = workbook.find_pages()
    (source / "_static").mkdir(parents=True)
    shutil.copy(STYLE, source / "_static" / STYLE.name)
    write_font(source / "_static" / "formulas.ttf")
    (source / "_extra").mkdir()
    figures = workbook.root / "figures" / "README.md"
    figure_texts = figures.read_text(encoding="utf-8") if figures.is_file() else ""
    classes: set[str] = set()
    for name in pages:
        if name.endswith(".py"):
            classes |= find_classes((workbook.root / name).read_text(encoding="utf-8"), _name_module(name))
    for name, page in pages.items():
        path = workbook.root / name
        if path.suffix == ".ipynb":
            try:
                explorers = read_fragments(figures.parent / "explorers", path.stem[:2])
            except FragmentError as error:
                raise LessonFailed(f"figures/explorers/{error}: publish the lesson again") from error
            texts = read_texts(figure_texts, path.stem[:2])
            lesson = prepare_lesson(read_notebook(path), texts, explorers, workbook.with_answers)
            for cell in lesson.cells:
                if cell.cell_type == "markdown":
                    cell.source = rewrite_links(cell.source, name, workbook, pages)
                    copy_pictures(cell.source, page, workbook, source)
            target = source / f"{page}.ipynb"
            target.parent.mkdir(exist_ok=True)
            nbformat.write(lesson, target)
        elif path.suffix == ".py":
            text = write_page(path.read_text(encoding="utf-8"), _name_module(name), classes)
            files.write_text(source / f"{page}.md", text)
        else:
            text = rewrite_links(path.read_text(encoding="utf-8"), name, workbook, pages)
            copy_pictures(text, page, workbook, source)
            if name == "docs/glossary.md":
                text = write_glossary(text)
            if name == FRONT:
                text = write_source(text, workbook.repository) + _write_contents(pages)
            files.write_text(source / f"{page}.md", text)
    write_api_contents(workbook, source / "api")


def copy_pictures(text: str, page: str, workbook: Workbook, source: Path) -> None:
    """Copy the pictures that Markdown shows into `source`, and those that HTML in it names into the extra files.

    Args:
        text: of the page, after `rewrite_links`.
        page: where its relative addresses start.
        workbook: holds the pictures; one that is missing is left to Sphinx, which warns of it.
        source: of the site.
    """
    shown = re.findall(r"!\[[^\]]*\]\(([^()\s]+)\)", text)
    named = re.findall(r'(?:href|src)="([^"]+)"', text)
    for addresses, folder in ((shown, source), (named, source / "_extra")):
        for address in addresses:
            name = posixpath.normpath(PurePosixPath(page).parent / address)
            picture = workbook.root / name
            if picture.suffix.lower() in PICTURES and picture.is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(picture, folder / name)


def find_title(path: Path) -> str:
    """Return the first heading of a guide, or "" for another file."""
    found = re.match(r"# (.+)", path.read_text(encoding="utf-8")) if path.suffix == ".md" else None
    return found[1] if found else ""


def rewrite_links(text: str, name: str, workbook: Workbook, pages: Mapping[str, str]) -> str:
    """Return Markdown whose links lead to pages of the site, to pictures in it, or to the repository.

    A link to a file that is not on the site leads to the repository. Without its address, and for the page of answers,
    only the link's text is kept. A text that is the path of a page becomes the page's title.

    Args:
        text: of the page.
        name: file of the page in the repository, where relative links start.
        workbook: the files that exist, and the address of the repository.
        pages: see `Workbook.find_pages`.
    """
    here = PurePosixPath(name).parent
    own_folder = PurePosixPath(pages[name]).parent

    def rewrite(link: re.Match[str]) -> str:
        is_picture, label, address = link.groups()
        label = _LINK.sub(rewrite, label)
        path, _, anchor = address.partition("#")
        if not path or re.match(r"[\w+.-]+:", path):
            return f"{is_picture}[{label}]({address})"
        target = posixpath.normpath(here / path)
        if target in pages:
            kind = ".ipynb" if target.endswith(".ipynb") else ".md"
            address = posixpath.relpath(pages[target] + kind, own_folder)
            if f"/{target}".endswith(f"/{label}"):
                label = find_title(workbook.root / target) or label
            return f"[{label}]({address}{'#' if anchor else ''}{anchor})"
        if is_picture:
            return f"![{label}]({address})"
        file = workbook.root / target
        if file.suffix.lower() in PICTURES and file.is_file():
            return f'<a href="{posixpath.relpath(target, own_folder)}">{label}</a>'
        if target == ANSWERS:
            return label
        if file.exists():
            kind = "tree" if file.is_dir() else "blob"
            return f"[{label}]({workbook.repository}/{kind}/{BRANCH}/{target})" if workbook.repository else label
        return f"[{label}]({address})"

    parts = _CODE.split(text)
    return "".join(part if number % 2 else _LINK.sub(rewrite, part) for number, part in enumerate(parts))


def write_source(text: str, repository: str) -> str:
    """Return the front page with the way to the workbook's files at the beginning of its part "Start"."""
    if repository:
        folder = repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
        way = f"First get the workbook:\n\n```\ngit clone {repository}\ncd {folder}\n```"
    else:
        way = (
            "These commands run in the folder of the workbook. This site was built without the address from which to\n"
            "get it: `workbook site --repository ADDRESS` shows the address here, and gives the lessons buttons for\n"
            "Colab and Binder."
        )
    return re.sub(r"^## Start$", lambda heading: f"{heading[0]}\n\n{way}", text, count=1, flags=re.MULTILINE)


def write_glossary(text: str) -> str:
    """Return the glossary with its terms in Sphinx's directive, so that the search lists them and links lead to them.

    Args:
        text: a term is an item of a list, `- **term**: what it means`; further lines of an item are indented.
    """
    lines: list[str] = []
    is_inside = False
    for line in text.splitlines():
        term = _TERM.match(line)
        if term:
            lines += [""] if is_inside else ["```{glossary}"]
            lines += [term[1], f"  {term[2]}"]
            is_inside = True
        elif is_inside and line.startswith(" "):
            lines.append(f"  {line.strip()}")
        elif is_inside and line:
            lines += ["```", "", line]
            is_inside = False
        else:
            lines.append(line)
    return "\n".join([*lines, "```" if is_inside else ""])


def _write_contents(pages: Mapping[str, str]) -> str:
    """Return the lists of pages at the left of the site."""
    lessons = [page for name, page in pages.items() if name.endswith(".ipynb")]
    guides = [page for name, page in pages.items() if name.startswith("docs/") and name not in REFERENCE]
    guides += [page for name, page in pages.items() if name == CONTRIBUTING]
    reference = [pages[name] for name in REFERENCE if name in pages]
    groups = {"Lessons": lessons, "Guides": guides, "Reference": [*reference, "api/index"]}
    return "".join(write_toctree(names, ":hidden:", f":caption: {title}") for title, names in groups.items() if names)


def write_api_contents(workbook: Workbook, folder: Path) -> None:
    """Write the pages that list the modules into `folder`: one for each group, and one for the groups."""
    groups = []
    for part, title in API_PARTS.items():
        modules = workbook.find_modules(part)
        if not modules:
            continue
        group = part or "shared"
        groups.append(group)
        pages = [f"{path.stem} <{part}/{path.stem}>" if part else path.stem for path in modules]
        rows = [
            f"- [{'.'.join(filter(None, [part, path.stem]))}]({page.partition('<')[2].rstrip('>') or page}.md): "
            f"{read_summary(path.read_text(encoding='utf-8'))}"
            for path, page in zip(modules, pages, strict=True)
        ]
        files.write_text(folder / f"{group}.md", "\n".join([f"# {title}", "", *rows, write_toctree(pages, ":hidden:")]))
    text = "# API\n\nFunctions and classes that the lessons import, with the shapes of their tensors.\n"
    files.write_text(folder / "index.md", text + write_toctree(groups, ":maxdepth: 1"))


def write_toctree(pages: Sequence[str], *options: str) -> str:
    """Return Sphinx's directive for a list of pages."""
    return "\n".join(["", "```{toctree}", *options, "", *pages, "```", ""])


def write_site(repository: str, with_answers: bool) -> None:
    """Build the site into `SITE` and print its pages, size and time.

    Raises:
        LessonFailed: see `build_site`.
    """
    site = build_site(Workbook(paths.ROOT, repository.rstrip("/"), with_answers), SITE)
    if not repository:
        print("without launch buttons: the address of the repository is not given (--repository)")
    if with_answers:
        print("with the answers to the exercises: for instructors")
    print(f"{site.num_pages} pages, {site.size / 1e6:.1f} MB, {site.seconds:.0f} s")
    print(site.folder / "index.html")
