"""Site: every page is there, opens from disk without a network, and leads only to what exists."""

import base64
import itertools
import re
from html import unescape

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from benchmarks import browser
from helpers.course import site
from helpers.course.lessons import LessonFailed
from helpers.course.site import Workbook, build_site, rewrite_links, write_glossary
from helpers.course.site_checks import check_site, read_page
from helpers.course.site_lessons import RUN_IT, WIDGET
from helpers.explorer_frames import FrameControl, Frames, save_fragment
from helpers.paths import ROOT
from tests.course.tiny import write_notebook

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of the theme and of myst-nb
REPOSITORY = "https://github.com/someone/workbook"
PHONE = {"width": 390, "height": 844}  # pixels
WEBP = base64.b64encode(b"RIFF\0\0\0\0WEBP").decode()
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def workbook(tmp_path):
    """Return a made-up workbook: a front page, two guides, a glossary, two lessons and two modules."""
    root = tmp_path / "workbook"
    for folder in ("notebooks", "docs", "figures", "helpers/detection"):
        (root / folder).mkdir(parents=True)
    front = "# Title\n\n## Start\n\n[01](notebooks/01_first.ipynb) [figure](figures/01_loss.png) [licence](LICENSE)"
    front += " [guide](docs/guide.md#part)"
    (root / "README.md").write_text(f"{front}\n\n![A pixel](figures/01_loss.png)\n")
    (root / "LICENSE").write_text("")
    guide = "# Guide\n\n## Part\n\n[front](../README.md) [answers](exercises.md) [docs/guide.md](guide.md#part)\n"
    (root / "docs" / "guide.md").write_text(guide)
    (root / "docs" / "exercises.md").write_text("# Answers\n\n42 is right.\n")
    (root / "docs" / "glossary.md").write_text(
        "# Glossary\n\n- **anchor**: A box. [Lesson](../notebooks/01_first.ipynb).\n"
    )
    (root / "figures" / "01_loss.png").write_bytes(base64.b64decode(PIXEL))
    (root / "figures" / "dot.png").write_bytes(base64.b64decode(PIXEL))
    (root / "figures" / "README.md").write_text("| `01_loss.png` | The loss falls. |\n")
    (root / "helpers" / "files.py").write_text('"""Files."""\n\nclass Pair:\n    """Two."""\n')
    (root / "helpers" / "detection" / "boxes.py").write_text(
        '"""Boxes."""\n\nfrom helpers.files import Pair\n\n'
        'def area(boxes: Float[Tensor, "N 4"]) -> Pair:\n    """Areas."""\n'
    )
    picture = new_output("display_data", {"image/png": PIXEL})
    explorer = new_output("execute_result", {WIDGET: {"model_id": "a"}, "text/plain": "VBox(children=())"})
    frames = Frames("01_dot", "A dot.", "", [FrameControl("size", ["1", "2"], 0, True)], 1, 1, WEBP, [WEBP], [0, 0])
    save_fragment(frames, root / "figures" / "explorers" / "01_dot.html")
    moving = new_output("execute_result", {"image/png": PIXEL}, metadata={"explorer": "dot"})
    for number, name in (("01", "first"), ("02", "second")):
        title = new_markdown_cell(
            f"# {number} · A lesson\n\nText.\n\n[next](02_second.ipynb) · [contents](../README.md)"
        )
        links = "See [the module](../helpers/detection/boxes.py) and [01](01_first.ipynb), $x^2$."
        text = new_markdown_cell(f"{links}\n\n![A dot](../figures/dot.png)")
        code = new_code_cell('run.save_figure(figure, "loss")', outputs=[picture, explorer, moving])
        solution = "### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION"
        exercise = new_code_cell(
            solution, metadata={"nbgrader": {"solution": True, "grade_id": f"{number}-1-solution"}}
        )
        write_notebook(root / "notebooks" / f"{number}_{name}.ipynb", title, text, code, exercise)
    return Workbook(root, REPOSITORY)


def test_a_made_up_workbook_becomes_a_site(workbook, tmp_path):
    built = build_site(workbook, tmp_path / "site")
    pages = {path.relative_to(built.folder).as_posix() for path in built.folder.rglob("*.html")}
    assert pages >= {"index.html", "notebooks/01_first.html", "docs/guide.html", "docs/glossary.html", "search.html"}
    assert pages >= {"api/index.html", "api/shared.html", "api/files.html", "api/detection/boxes.html"}
    assert built.num_pages == len(pages)
    lesson = (built.folder / "notebooks" / "01_first.html").read_text()
    assert 'alt="The loss falls."' in lesson
    assert 'alt="A dot"' in lesson
    assert (built.folder / "figures" / "01_loss.png").is_file()
    assert not (built.folder / "figures" / "dot.png").exists()  # shown, so Sphinx has copied it with the outputs
    assert RUN_IT.strip("*") in lesson
    assert "VBox" not in lesson
    assert lesson.count('class="explorer" id="explorer-01_dot"') == 1
    assert 'alt="A dot. size: 1."' in lesson
    assert 'class="explorer"' not in (built.folder / "notebooks" / "02_second.html").read_text()
    assert 'href="../api/detection/boxes.html"' in lesson
    assert "docs/guide.md" not in read_text(built.folder / "docs" / "guide.html")  # a link that shows its title
    assert f"{REPOSITORY}/blob/main/LICENSE" in (built.folder / "index.html").read_text()
    area = (built.folder / "api" / "detection" / "boxes.html").read_text()
    assert 'href="../files.html#helpers.files.Pair"' in area
    assert "Float[Tensor, 'N 4']" in unescape(re.sub(r"<[^>]*>", "", area))


def test_answers_to_exercises_are_on_the_site_of_instructors_only(workbook, tmp_path):
    without = build_site(workbook, tmp_path / "without").folder
    assert not (without / "docs" / "exercises.html").exists()
    guide = (without / "docs" / "guide.html").read_text()
    assert "answers" in guide
    assert "exercises" not in guide  # no link either, neither to a page nor to the repository
    assert not [path for path in without.rglob("*.html") if "= 42" in read_text(path) or "42 is" in read_text(path)]
    instructors = build_site(Workbook(workbook.root, REPOSITORY, with_answers=True), tmp_path / "with").folder
    assert "42 is right" in (instructors / "docs" / "exercises.html").read_text()
    assert 'href="exercises.html"' in (instructors / "docs" / "guide.html").read_text()
    assert "answer = 42" in read_text(instructors / "notebooks" / "01_first.html")


def read_text(path):
    """Return the text of a page without its elements."""
    return unescape(re.sub(r"<[^>]*>", "", path.read_text(encoding="utf-8")))


def test_the_front_page_says_where_to_get_the_workbook(workbook, tmp_path):
    text = read_text(build_site(workbook, tmp_path / "with").folder / "index.html")
    assert f"git clone {REPOSITORY}\ncd workbook" in text
    text = read_text(build_site(Workbook(workbook.root), tmp_path / "without").folder / "index.html")
    assert "git clone" not in text
    assert "workbook site --repository ADDRESS" in text


def test_launch_buttons_lead_to_the_repository_and_need_its_address(workbook, tmp_path):
    with_address = build_site(workbook, tmp_path / "with").folder / "notebooks" / "01_first.html"
    links = read_page(with_address).links
    assert any(
        link.startswith("https://colab.research.google.com/github/someone/workbook/blob/main/") for link in links
    )
    assert any(link.startswith("https://mybinder.org/v2/gh/someone/workbook/main") for link in links)
    without = build_site(Workbook(workbook.root), tmp_path / "without").folder / "notebooks" / "01_first.html"
    assert not [link for link in read_page(without).links if "colab" in link or "binder" in link]


def test_a_site_that_fails_leaves_the_one_before_it_as_it_was(workbook, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("before")
    (workbook.root / "docs" / "guide.md").write_text("# Guide\n\n[a](../nowhere.md)\n")
    with pytest.raises(LessonFailed, match=r"warnings.*guide\.md.*nowhere\.md"):
        build_site(workbook, tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "before"


def test_a_broken_explorer_is_named(workbook, tmp_path):
    (workbook.root / "figures" / "explorers" / "01_dot.html").write_text("<p>")
    with pytest.raises(LessonFailed, match=r"01_dot\.html: it is no fragment"):
        build_site(workbook, tmp_path / "site")


def test_a_broken_lesson_is_named(workbook, tmp_path):
    (workbook.root / "notebooks" / "02_second.ipynb").write_text("{")
    with pytest.raises(LessonFailed, match=r"02_second\.ipynb"):
        build_site(workbook, tmp_path / "site")


LINKS = {
    "a page": ("[a](../docs/guide.md#part)", "[a](guide.md#part)"),
    "a page by its path": ("[docs/guide.md](../docs/guide.md#part)", "[Guide](guide.md#part)"),
    "a page by its name": ("[guide.md](guide.md)", "[Guide](guide.md)"),
    "the page of answers": ("[a](exercises.md#part)", "a"),
    "the front page": ("[a](../README.md)", "[a](../index.md)"),
    "a module": ("[a](../helpers/files.py)", "[a](../api/files.md)"),
    "a picture": ("[a](../figures/01_loss.png)", '<a href="../figures/01_loss.png">a</a>'),
    "a shown picture": ("![a](../figures/01_loss.png)", "![a](../figures/01_loss.png)"),
    "a file of the repository": ("[a](../LICENSE)", f"[a]({REPOSITORY}/blob/main/LICENSE)"),
    "a folder of the repository": ("[a](../figures)", f"[a]({REPOSITORY}/tree/main/figures)"),
    "another host": ("[a](https://example.org/a.md)", "[a](https://example.org/a.md)"),
    "an anchor": ("[a](#part)", "[a](#part)"),
    "nothing": ("[a](../none.md)", "[a](../none.md)"),
    "code": ("`[a](../README.md)`", "`[a](../README.md)`"),
    "a block of code": ("```\n[a](../README.md)\n```", "```\n[a](../README.md)\n```"),
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_leads_to_the_same_thing_as_in_the_repository(workbook, kind):
    text, expected = LINKS[kind]
    assert rewrite_links(text, "docs/guide.md", workbook, workbook.find_pages()) == expected


def test_without_an_address_a_link_into_the_repository_is_its_text(workbook):
    alone = Workbook(workbook.root)
    assert rewrite_links("[a](../LICENSE)", "docs/guide.md", alone, alone.find_pages()) == "a"


def test_terms_of_the_glossary_become_sphinx_terms():
    text = write_glossary("# Glossary\n\n- **a b**: One\n  two.\n- **c**: Three.\n\nThe end.\n")
    assert text == "# Glossary\n\n```{glossary}\na b\n  One\n  two.\n\nc\n  Three.\n\n```\n\nThe end.\n"


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Return the site of this workbook."""
    return build_site(Workbook(ROOT, REPOSITORY), tmp_path_factory.mktemp("real") / "site")


def test_the_real_site_has_a_page_for_every_lesson_guide_and_module(real):
    expected = [path.relative_to(ROOT).with_suffix(".html") for path in (ROOT / "notebooks").glob("*.ipynb")]
    guides = [path for path in (ROOT / "docs").glob("*.md") if path.name != "exercises.md"]
    expected += [path.relative_to(ROOT).with_suffix(".html") for path in guides]
    for part in ("", "detection", "keypoints", "digits", "tasks"):
        modules = [path.stem for path in (ROOT / "helpers" / part).glob("*.py") if path.stem != "__init__"]
        expected += [f"api/{part}/{name}.html" for name in modules]
    assert len(expected) > 50
    assert [name for name in expected if not (real.folder / name).is_file()] == []


def test_the_real_site_has_no_broken_link_no_silent_picture_and_nothing_of_other_hosts(real):
    assert check_site(real.folder) == []
    lessons = [read_page(path) for path in (real.folder / "notebooks").glob("*.html")]
    assert all(len(page.fetched) > 5 for page in lessons)


def test_every_lesson_has_links_to_its_neighbours_and_no_trace_of_a_widget(real):
    paths = sorted((real.folder / "notebooks").glob("*.html"))
    for before, path in itertools.pairwise(paths):
        assert before.name in read_page(path).links
        assert path.name in read_page(before).links
    for path in paths:
        assert "VBox(" not in path.read_text(encoding="utf-8")


def test_shapes_are_readable(real):
    text = read_text(real.folder / "api" / "detection" / "matching.html")
    assert "target_boxes: Float[Tensor, '*batch N 4']" in text  # in the signature
    assert 'target_boxes (Float[Tensor, "*batch N 4"]): boxes in pixels.' in text  # in the list of arguments


@pytest.fixture(scope="module")
def page(real):
    """Return a page of a browser that is open at the front page of the real site on disk."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e .[test]")
    if (program := browser.find_browser()) is None:
        pytest.skip(browser.HOW_TO_GET_A_BROWSER)
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program)
        page = chromium.new_page(viewport=browser.VIEW)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or page.errors.append(request.url))
        yield page
        assert page.errors == []
        chromium.close()


def open_page(page, built, name):
    page.goto(f"{(built.folder / name).as_uri()}")


def test_from_disk_the_search_finds_a_term_of_the_glossary(page, real):
    page.goto(f"{(real.folder / 'search.html').as_uri()}?q=gridding")
    page.wait_for_selector("#search-results li a")
    links = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.getAttribute('href'))")
    assert any("docs/glossary.html#term-gridding" in link for link in links)


def test_from_disk_dark_mode_is_chosen_in_the_menu_and_kept_on_the_next_page(page, real):
    def read_colour():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    open_page(page, real, "notebooks/01_dataset_generation.html")
    assert read_colour() == "rgb(255, 255, 255)"
    choose_colours(page, "dark")
    dark = read_colour()
    assert dark != "rgb(255, 255, 255)"
    open_page(page, real, "index.html")
    assert read_colour() == dark
    choose_colours(page, "light")


def choose_colours(page, mode):
    page.locator(".theme-switch-button:visible").click()
    page.locator(f".theme-change-button[data-mode={mode}]:visible").click()


@pytest.mark.parametrize("path", sorted((ROOT / "figures" / "explorers").glob("*.html")), ids=lambda path: path.stem)
def test_from_disk_every_control_of_a_published_explorer_changes_its_picture(page, real, path):
    (lesson,) = (ROOT / "notebooks").glob(f"{path.stem[:2]}_*.ipynb")

    def open_fragment():
        open_page(page, real, f"notebooks/{lesson.stem}.html")
        return browser.Fragment(page, page.locator(f"#explorer-{path.stem}"))

    fragment = open_fragment()
    assert fragment.find_not_reached() == []
    num_controls = len(fragment.controls)
    assert num_controls > 0
    for number in range(num_controls):
        fragment = open_fragment()
        if not fragment.move(fragment.controls[number]):  # such as a threshold of NMS where few boxes have this score
            fragment = open_fragment()
            for slider in fragment.box.locator("input[type=range]").all():
                slider.press("Home")
            assert fragment.move(fragment.controls[number]), fragment.controls[number].inner_text()


def test_on_a_phone_the_list_of_pages_opens_and_leads_to_a_lesson(page, real):
    page.set_viewport_size(PHONE)
    open_page(page, real, "index.html")
    link = page.locator(".bd-sidebar-primary a[href*='03_detector_training']")
    assert not is_on_screen(link)
    page.locator(".primary-toggle:visible").click()
    page.wait_for_function("document.querySelector('dialog[open]')")
    assert is_on_screen(link)
    link.click()
    assert page.url.endswith("notebooks/03_detector_training.html")


def is_on_screen(link):
    return link.evaluate("link => link.getBoundingClientRect().left >= 0 && link.checkVisibility()")


@pytest.mark.parametrize("name", ["index", "notebooks/05_heatmap_vs_regression", "docs/results", "api/digits/batches"])
def test_on_a_phone_no_page_is_wider_than_the_window(page, real, name):
    page.set_viewport_size(PHONE)
    open_page(page, real, f"{name}.html")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    empty = "[...document.images].filter(image => image.complete && !image.naturalWidth).length"
    assert page.evaluate(empty) == 0


def test_the_command_prints_pages_size_and_seconds(workbook, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(site.paths, "ROOT", workbook.root)
    monkeypatch.setattr(site, "SITE", tmp_path / "site")
    site.write_site("", with_answers=True)
    printed = capsys.readouterr().out
    assert "without launch buttons" in printed
    assert "for instructors" in printed
    assert " pages, " in printed
    assert "MB, " in printed
    assert str(tmp_path / "site" / "index.html") in printed
