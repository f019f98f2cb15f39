"""Publishing: cleaned notebooks, and runs that must not be published."""

import base64
import io

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from helpers import paths
from helpers.course import cleaning, cli, lessons, publishing
from tests.course.tiny import make_finished_run, read_notebook


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "07_tiny" / "quick"


def test_a_published_notebook_keeps_outputs_and_ids_and_loses_the_metadata_of_the_run(tmp_path, folder):
    executed = make_finished_run(folder, new_output("stream", text="42\n"))
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "07_old.png").write_bytes(b"old")
    (figures / "01_other.png").write_bytes(b"other")
    publishing.publish(executed, tmp_path / "07_tiny.ipynb", figures)
    published = read_notebook(tmp_path / "07_tiny.ipynb")
    assert set(published.metadata) == {"kernelspec"}
    (cell,) = published.cells
    assert cell.metadata == {}
    assert cell.id == read_notebook(executed).cells[0].id
    assert cell.execution_count == 1
    assert cell.outputs[0].text == "42\n"
    assert sorted(file.name for file in figures.glob("*.png")) == ["01_other.png", "07_new.png"]


def test_the_explorers_of_a_run_replace_those_of_the_lesson_and_no_others(tmp_path, folder):
    executed = make_finished_run(folder)
    (folder / "explorers").mkdir()
    (folder / "explorers" / "07_new.html").write_text("new")
    published = tmp_path / "figures" / "explorers"
    published.mkdir(parents=True)
    (published / "07_old.html").write_text("old")
    (published / "01_other.html").write_text("other")
    publishing.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")
    assert sorted(file.name for file in published.iterdir()) == ["01_other.html", "07_new.html"]


def test_an_explorer_that_is_too_large_is_not_published(tmp_path, folder):
    executed = make_finished_run(folder)
    (folder / "explorers").mkdir()
    (folder / "explorers" / "07_new.html").write_text("x" * 500_001)
    with pytest.raises(lessons.LessonFailed, match=r"07_new\.html has 500,001 bytes"):
        publishing.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")
    assert not (tmp_path / "07_tiny.ipynb").exists()


def encode_png(pixels):
    """Return an image as a notebook holds it: PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_saved_figure_has_few_colours_and_looks_the_same(folder):
    pixels = np.random.default_rng(0).integers(100, 164, (200, 300, 3), dtype=np.uint8)
    pixels[:, :150] = 255
    output = new_output("display_data", data={"image/png": encode_png(pixels)})
    (cell,) = cleaning.clean(read_notebook(make_finished_run(folder, output))).cells
    picture = cell.outputs[0].data["image/png"]
    assert len(picture) < 0.5 * len(encode_png(pixels))
    saved = Image.open(io.BytesIO(base64.b64decode(picture)))
    assert saved.size == (300, 200)
    assert len(saved.getcolors()) <= 256
    difference = np.abs(np.asarray(saved.convert("RGB"), dtype=int) - pixels)
    assert difference[:, :150].max() <= 1
    assert difference[:, 150:].mean() < 8


def test_a_figure_that_is_small_already_is_left_as_it_is(folder):
    picture = encode_png(np.zeros((4, 4, 3), dtype=np.uint8))
    output = new_output("display_data", data={"image/png": picture})
    (cell,) = cleaning.clean(read_notebook(make_finished_run(folder, output))).cells
    assert len(cell.outputs[0].data["image/png"]) <= len(picture)


def test_a_saved_explorer_is_its_picture_because_no_widget_is_behind_it(folder):
    picture = encode_png(np.zeros((1, 1, 3), dtype=np.uint8))
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "image/png": picture, "text/plain": "a"}
    explorer = new_output("execute_result", data=data, metadata={"explorer": "codec"}, execution_count=1)
    (cell,) = cleaning.clean(read_notebook(make_finished_run(folder, explorer))).cells
    assert cell.outputs[0].data == {"image/png": picture, "text/plain": "a"}
    assert cell.outputs[0].metadata == {"explorer": "codec"}


def test_a_stuck_progress_bar_is_published_only_where_nbval_compares_it(folder, tmp_path):
    data = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "a"},
        "text/plain": "  0%|  | 0/3 [00:00<?, ?step/s]",
    }
    bar = new_output("display_data", data=data)
    measurement = cleaning.clean(read_notebook(make_finished_run(folder, bar, tags=["nbval-ignore-output"])))
    fact = cleaning.clean(read_notebook(make_finished_run(tmp_path / "fact", bar)))
    assert measurement.cells[0].outputs == []
    assert len(fact.cells[0].outputs) == 1


def test_a_notebook_that_shows_this_machines_paths_is_not_published(tmp_path, folder):
    executed = make_finished_run(folder, new_output("stream", text=f"saved to {paths.RUNS}/x.json"))
    with pytest.raises(lessons.LessonFailed, match=r"code cell 1: /"):
        publishing.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")
    assert not (tmp_path / "07_tiny.ipynb").exists()


def test_a_notebook_that_is_too_large_is_not_published(tmp_path, folder):
    executed = make_finished_run(folder, new_output("stream", text="x" * publishing.LARGEST_NOTEBOOK))
    with pytest.raises(lessons.LessonFailed, match="make its figures smaller"):
        publishing.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")


def test_a_failed_run_is_not_published(tmp_path, folder):
    error = new_output("error", ename="ValueError", evalue="no", traceback=[])
    executed = make_finished_run(folder, error)
    with pytest.raises(lessons.LessonFailed, match="not a finished run"):
        publishing.publish(executed, tmp_path / "07_tiny.ipynb", tmp_path / "figures")


@pytest.mark.parametrize("folder", ["home", "root", "Users", "tmp", "var", "opt", "usr", "mnt", "C:"])
@pytest.mark.parametrize("text", ["{}/x.py", "see {}/ipykernel_1/2.py:3", "'{}/a'"])
def test_a_path_of_a_machine_is_found(text, folder):
    start = rf"{folder}\Users" if folder.endswith(":") else f"/{folder}"
    cell = new_code_cell("x", outputs=[new_output("stream", text=text.format(start))])
    assert len(publishing.find_machine_paths(new_notebook(cells=[cell]))) == 1


@pytest.mark.parametrize("text", ["data/runs/x", "a/home/b", "https://arxiv.org/home/x", "1/2", "x / root"])
def test_other_text_is_not_taken_for_a_path_of_a_machine(text):
    cell = new_code_cell("x", outputs=[new_output("stream", text=text)])
    assert publishing.find_machine_paths(new_notebook(cells=[cell])) == []


@pytest.mark.parametrize("arguments", [["--publish", "--profile", "full"], ["--publish", "--seed", "1"]])
def test_only_quick_runs_of_seed_zero_can_be_asked_to_be_published(arguments, capsys):
    assert cli.main(["run", *arguments]) == 2
    assert "only runs at profile quick and seed 0 are published" in capsys.readouterr().err
