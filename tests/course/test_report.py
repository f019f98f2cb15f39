"""The reports: all that a reader should see, on one page, and nothing that has to be fetched."""

import base64
import io
import re

import nbformat
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.course import cli, lessons, report
from helpers.course.report import Assignment
from helpers.paths import ROOT

TINY = Assignment("tiny", "A tiny assignment", ("01", "02"))
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "VBox(children=())"}
HTML = '<div class="highlight">def shown_source():</div>'
SOURCE = {"text/html": HTML, "text/latex": r"\PY{def}", "text/plain": "def shown_source():"}


def draw(width_px):
    """Returns a PNG of this width in base64."""
    file = io.BytesIO()
    Figure(figsize=(width_px / 50, 1), dpi=50).savefig(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def make_lessons(folder):
    """Writes two executed lessons and a picture that one of them shows; returns notebooks and paths."""
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
    paths = [folder / "01_tiny.ipynb", folder / "02_other.ipynb"]
    for path, notebook in zip(paths, notebooks, strict=True):
        nbformat.write(notebook, path)
    (folder / "picture.png").write_bytes(base64.b64decode(draw(100)))
    return notebooks, paths


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lessons")
    notebooks, paths = make_lessons(folder)
    screen, paper = report.write_report(TINY, notebooks, paths, folder / "reports")
    assert paper.read_bytes().startswith(b"%PDF")
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


def test_formulas_are_drawn_by_the_browser_itself(page):
    assert "<mfrac>" in page
    assert "\\frac" not in re.sub(r"<annotation.*?</annotation>", "", page)


def test_a_report_needs_nothing_beside_it_and_no_network(page):
    assert "<script" not in page
    assert re.findall(r'(?:\ssrc|<link[^>]*href)="(?!data:)', page) == []
    assert re.findall(r"url\((?!data:)", page) == []
    assert re.findall(r'href="(?!#)([^"]*)"', page) == ["https://example.org/"]  # the reader's own link, to be clicked
    assert "from afar" in page
    assert "not there" in page
    assert "the code" in page
    assert "contents" not in page


def test_a_link_to_a_lesson_of_the_report_leads_to_its_heading(page):
    anchor = re.search(r'<a\s+href="#([^"]*)"[^>]*>the\s+other</a>', page)[1]
    assert re.search(rf'<h1[^>]*id="{anchor}"[^>]*>02 · Is it\?', page)


@pytest.mark.parametrize(("width", "share"), [(365, 0.5), (730, 1.0), (1500, 1.0)])
def test_a_small_picture_stays_small_and_a_wide_one_fills_the_page(tmp_path, width, share):
    (tmp_path / "a.png").write_bytes(base64.b64decode(draw(width)))
    assert report.measure_width(tmp_path / "a.png") == pytest.approx(share, abs=0.01)


def test_a_picture_of_another_kind_fills_the_page(tmp_path):
    (tmp_path / "a.svg").write_text("<svg/>")
    assert report.measure_width(tmp_path / "a.svg") == 1


def test_a_missing_pandoc_is_told_and_leaves_no_half_report(tmp_path, monkeypatch):
    def fail(*_arguments, **_settings):
        raise OSError("No pandoc was found")

    monkeypatch.setattr(report.pypandoc, "convert_text", fail)
    notebooks, paths = make_lessons(tmp_path)
    with pytest.raises(lessons.LessonFailed, match="no report tiny: No pandoc was found"):
        report.write_report(TINY, notebooks, paths, tmp_path / "reports")
    assert list((tmp_path / "reports").iterdir()) == []


def test_an_up_to_date_run_is_reported_and_else_what_is_saved_with_what_is_wrong_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(report.paths, "RUNS", tmp_path / "runs")
    (notebook, _), (path, _) = make_lessons(tmp_path)
    assert report.find_executed(path, "quick")[1] == "its saved outputs"

    executed = tmp_path / "runs" / "01_tiny" / "quick" / "01_tiny.ipynb"
    executed.parent.mkdir(parents=True)
    notebook.metadata["workbook"] = {"digest": lessons.compute_digest(notebook, "quick")}
    nbformat.write(notebook, executed)
    (executed.parent / "results.json").write_text('{"seed": 0}')
    found, source = report.find_executed(path, "quick")
    assert source == "the run at quick"
    assert "workbook" in found.metadata

    notebook.cells[-1].execution_count = None
    notebook.cells[0].source += " Edited."
    nbformat.write(notebook, path)
    assert report.find_executed(path, "quick")[1] == "its saved outputs, but code cell 1 never ran"


def test_a_report_says_what_its_numbers_are_from(tmp_path, monkeypatch):
    monkeypatch.setattr(report.paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(report, "ASSIGNMENTS", [TINY])
    _, paths = make_lessons(tmp_path)
    monkeypatch.setattr(report, "find_lessons", lambda numbers: paths)
    assert cli.main(["report", "--profile", "smoke"]) == 0
    page = (tmp_path / "reports" / "tiny.html").read_text(encoding="utf-8")
    assert page.count("Figures and numbers: its saved outputs") == 2


def test_every_lesson_is_in_one_report():
    numbers = [number for assignment in report.ASSIGNMENTS for number in assignment.lessons]
    assert numbers == [path.stem[:2] for path in lessons.find_lessons()]


def test_the_command_writes_both_reports_of_the_lessons_as_they_are_saved(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr(report.paths, "RUNS", tmp_path / "no_runs")
    assert cli.main(["report", "--profile", "quick"]) == 0
    names = [f"{assignment.name}.{kind}" for assignment in report.ASSIGNMENTS for kind in ("html", "pdf")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for assignment in report.ASSIGNMENTS:
        page = (tmp_path / f"{assignment.name}.html").read_text(encoding="utf-8")
        paths = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.stem[:2] in assignment.lessons]
        cells = [cell for path in paths for cell in lessons.find_code_cells(nbformat.read(path, as_version=4))]
        figures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
        assert page.count("data:image/png;base64,") == len(figures)
        assert page.count("<h1") == len(paths) + 1
        assert page.count("<details>") >= len(cells)
        assert "VBox(" not in page
        assert (tmp_path / f"{assignment.name}.pdf").stat().st_size > 100_000
    assert "01_dataset_generation: its saved outputs" in capsys.readouterr().out
