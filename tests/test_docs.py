"""Guides: every command that a page shows exists, with its options, and every link leads to a file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from helpers.course import cli
from helpers.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST_PAGE = 1000  # words: about two screens; longer are pages in which a reader looks something up
LOOKED_UP = {
    "results.md",
    "CONTRIBUTING.md",
    "exercises.md",
    "glossary.md",
    "instructors.md",
    "references.md",
    "running.md",
}
FENCED = re.compile(r"^```\w*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\]\(([^()\s]+)\)")

each_page = pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])


def find_commands(text: str) -> list[str]:
    """Return the calls of `workbook` and `make` in a page: in blocks, in indented lines and between backticks."""
    lines = [line for block in FENCED.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    rest = FENCED.sub("", text).replace("\\\n", " ")
    lines += [line for line in rest.splitlines() if line.startswith("    ")]
    lines += [" ".join(span.split()) for span in INLINE.findall(rest)]
    commands = []
    for line in lines:
        for part in re.split(r"&&|;", line.partition(" #")[0]):
            words = re.sub(r"^\s*(\w+=\S+ )*(uv run( --[\w-]+( test)?)? )?", "", part)
            if re.match(r"(workbook|make) ", words):
                commands.append(words.strip())
    return commands


def find_targets() -> set[str]:
    """Return the targets of the Makefile that have a help text."""
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def find_fault(command: str) -> str:
    """Return what is wrong with a call of `workbook` or `make`, or ""."""
    program, *words = shlex.split(command, posix=False)
    if program == "make":
        goals = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        unknown = [goal for goal in goals if goal not in find_targets()]
        return f"the Makefile has no target {unknown[0]}" if unknown else ""
    known = {"--help", "-h", *(name for parameter in cli.workbook.params for name in parameter.opts)}
    words = [word for word in words if word != "…"]
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option not in known:
            return f"workbook has no option {option}"
    if not words:
        return ""
    if words[0] not in cli.workbook.commands:
        return f"there is no command {words[0]}"
    known = {"--help", "-h", *(name for option in cli.workbook.commands[words[0]].params for name in option.opts)}
    options = [word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
    unknown = [option for option in options if option not in known]
    return f"{words[0]} has no option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("```\nworkbook run 03   # one\nuv run --no-sync workbook test\n```", ["workbook run 03", "workbook test"]),
        ("Give `make\nrun` a try.", ["make run"]),
        ("    docker run x && make data", ["make data"]),
        ("A workbook runs; `helpers/workbook.py`.", []),
        ("```\nworkbook grid a.ipynb \\\n  -p seed=1\n```", ["workbook grid a.ipynb    -p seed=1"]),
    ],
)
def test_commands_are_found_in_blocks_and_between_backticks(text, commands):
    assert find_commands(text) == commands


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("workbook run 03 --profile smoke", ""),
        ("workbook --debug report", ""),
        ("workbook --help", ""),
        ("workbook runs", "there is no command runs"),
        ("workbook run --fast", "run has no option --fast"),
        ("workbook --fast run", "workbook has no option --fast"),
        ('make run LESSONS="03 04"', ""),
        ("make everything", "the Makefile has no target everything"),
    ],
)
def test_an_unknown_command_target_or_option_is_a_fault(command, fault):
    assert find_fault(command) == fault


@each_page
def test_every_command_of_a_page_exists_with_its_options(path):
    faults = {command: find_fault(command) for command in find_commands(path.read_text(encoding="utf-8"))}
    assert {command: fault for command, fault in faults.items() if fault} == {}


def test_the_pages_show_the_main_commands():
    commands = {command.split()[1] for path in PAGES for command in find_commands(path.read_text(encoding="utf-8"))}
    assert {"run", "test", "progress", "student", "grade", "report", "grid", "lab"} <= commands


@each_page
def test_every_link_inside_the_repository_leads_to_a_file(path):
    links = LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8")))
    inside = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in inside if not (path.parent / link).exists()] == []


@each_page
def test_every_part_of_a_page_that_a_link_names_exists(path):
    for link in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        name, _, part = link.partition("#")
        target = path.parent / name if name else path
        if part and not re.match(r"[a-z]+:", link) and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            parts = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert part in parts, f"{path.name}: {link}"


@each_page
def test_every_guide_is_linked_from_the_front_page_or_another_guide(path):
    if path.parent == ROOT / "docs":
        assert f"docs/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8") or any(
            f"({path.name})" in other.read_text(encoding="utf-8") for other in PAGES if other != path
        )


@each_page
def test_a_page_is_at_most_two_screens_long_unless_it_is_for_looking_up(path):
    if path.name not in LOOKED_UP:
        assert len(path.read_text(encoding="utf-8").split()) <= LONGEST_PAGE


def test_a_students_copy_holds_every_page_that_its_pages_link_to():
    from helpers.course.student_copy import SET_UP

    pages = [Path(name) for name in SET_UP if name.startswith("docs/") and name.endswith(".md")]
    assert Path("docs/glossary.md") in pages
    for page in pages:
        for link in LINK.findall(FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))):
            if link.endswith(".md") and not link.startswith(("http", "..")):
                assert f"docs/{link}" in SET_UP, f"{page}: {link}"


def test_the_letters_above_the_glossary_are_its_headings_and_its_terms_stand_below_their_letter():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    letters = parts[1::2]
    assert re.findall(r"\[(.)\]\(#(.)\)", parts[0]) == [(letter, letter.lower()) for letter in letters]
    assert letters == sorted(set(letters))
    for letter, part in zip(letters, parts[2::2], strict=True):
        terms = re.findall(r"^- \*\*(.+?)\*\*", part, flags=re.MULTILINE)
        assert {term[0].upper() for term in terms} == {letter}
