"""Explorers without a kernel: every control moves the picture in a browser, and a fragment is small and alone."""

import base64
import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from ipywidgets import FloatSlider, IntSlider, ToggleButtons
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import browser
from helpers import explorer_frames, explorers
from helpers.explorer_frames import (
    LARGEST_FRAGMENT,
    RUN_IT,
    FragmentError,
    cut_changes,
    encode_frames,
    read_fragment,
    read_fragments,
    save_fragment,
    write_fragment,
)
from helpers.explorers import join

STYLE_OF_A_PAGE = "<style>img { margin: 2em; padding: 1em; }</style>"


def build():
    """Return an explorer with two sliders, buttons, and a slider that has no frames."""
    figure = Figure(figsize=(3, 2), layout="constrained")
    ax = figure.subplots()
    controls = {
        "sigma": FloatSlider(2.0, min=0.5, max=4.0, step=0.5, description="σ (cells)"),
        "height": IntSlider(1, min=0, max=5, description="height <px>"),
        "colour": ToggleButtons(options=("red", "blue"), value="red", description="colour"),
        "width": IntSlider(3, min=1, max=9, description="width (px)"),
    }

    def draw(sigma, height, colour, width):
        ax.clear()
        ax.plot([0, sigma], [0, height], color=colour, linewidth=width)
        ax.set(xlim=(-1, 5), ylim=(-1, 6))

    values = {"sigma": (1.0, 2.0, 3.5), "height": (0, 1, 5), "colour": ("red", "blue")}
    return join(figure, controls, draw, values, 'A line "from" the origin.')


def decode(picture, background):
    """Return the pixels that a browser shows."""
    layers = [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA") for text in (background, picture)]
    return np.asarray(Image.alpha_composite(*layers).convert("RGB")).astype(int)


def test_the_frames_are_the_pictures_of_all_combinations(monkeypatch):
    monkeypatch.setattr(explorers, "LARGEST_DPI", 0)  # as large as the explorer's own picture
    explorer = build()
    frames = explorer.render("line")
    assert [control.values for control in frames.controls] == [["1", "2", "3.5"], ["0", "1", "5"], ["red", "blue"]]
    assert [control.start for control in frames.controls] == [1, 1, 0]
    assert [control.is_slider for control in frames.controls] == [True, True, False]
    assert len(frames.order) == 18
    combinations = itertools.product((1.0, 2.0, 3.5), (0, 1, 5), ("red", "blue"))
    for (sigma, height, colour), position in zip(combinations, frames.order, strict=True):
        explorer.children[0].value = sigma
        explorer.children[1].value = height
        explorer.children[2].value = colour
        drawn = np.asarray(Image.open(io.BytesIO(explorer.children[-1].value)).convert("RGB")).astype(int)
        assert np.abs(decode(frames.pictures[position], frames.background) - drawn).max() < 40


def test_rendering_leaves_the_explorer_as_it_was():
    explorer = build()
    before = explorer.children[-1].value
    explorer.render("line")
    explorer.show()
    assert explorer.children[-1].value == before


def test_a_picture_fills_a_page_and_narrow_figures_have_letters_of_the_largest_size(monkeypatch):
    monkeypatch.setattr(explorers, "FRAME_WIDTH", 330)  # the figure is 3 inches wide
    frames = build().render("line")
    assert (frames.width, frames.height) == (330, 220)
    assert "max-width: 462px" in write_fragment(frames)
    monkeypatch.setattr(explorers, "FRAME_WIDTH", 720)
    assert build().render("line").width == 3 * explorers.LARGEST_DPI


def test_fewer_values_keep_the_present_one():
    explorer = build()
    explorer.children[0].value = 3.5
    frames = explorer.render("line", most_values=2)
    assert [list(control.values) for control in frames.controls] == [["1", "3.5"], ["0", "1"], ["red", "blue"]]
    assert frames.controls[0].start == 1


def test_a_fragment_has_labels_values_alternative_text_and_what_is_fixed():
    text = write_fragment(build().render("line"))
    assert text.count("data-control") - text.count("[data-control]") == 3
    assert '<span class="name">σ (cells)</span><input type="range" min="0" max="2" step="1" value="1"' in text
    assert 'aria-valuetext="2"' in text
    assert "height &lt;px&gt;" in text
    assert "<legend>colour</legend>" in text
    alt = "A line &quot;from&quot; the origin. σ (cells): 2, height &lt;px&gt;: 1, colour: red."
    assert f'alt="{alt}"' in text
    assert f"Fixed here: width (px) 3. {RUN_IT}" in text


def test_a_fragment_fetches_nothing():
    text = write_fragment(build().render("line"))
    assert re.findall(r"https?://|@import|<link", text) == []
    assert set(re.findall(r'(?:src="|url\()([\w:/]+)', text)) == {"data:image/webp"}


def test_a_fragment_that_is_read_and_written_is_the_same(tmp_path):
    frames = build().render("line")
    save_fragment(frames, tmp_path / "05_line.html")
    text = (tmp_path / "05_line.html").read_text(encoding="utf-8")
    assert write_fragment(read_fragment(text)) == text == read_fragments(tmp_path, "05")["line"]
    assert read_fragments(tmp_path, "06") == {}
    assert read_fragments(tmp_path / "none", "05") == {}


def test_html_that_was_added_to_a_fragment_is_not_shown():
    text = write_fragment(build().render("line"))
    changed = text.replace("</fieldset>", "</fieldset><meta http-equiv='refresh' content='0; url=/a'>")
    assert changed != text
    assert write_fragment(read_fragment(changed)) == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"order": [', '"order": [999, '),
        ('"width": 300', '"width": Infinity'),
        ('"text": "', '"text": "\\ud800'),
        ('"start": 1', '"start": 7'),
        ('"name": "line"', '"name": "a b"'),
        ('"pictures": ["', '"pictures": ["!'),
        ('"pictures": ["', '"pictures": ["AAAA", "'),
        ('"pictures"', '"other"'),
        ("background-image", "other"),
        ("application/json", "other"),
        ('{"name"', '["name"'),
    ],
)
def test_a_damaged_fragment_is_named(old, new, tmp_path):
    text = write_fragment(build().render("line"))
    text = re.sub(r'"width": \d+', '"width": 300', text)  # the figure's resolution is a setting of matplotlib
    assert old in text
    (tmp_path / "05_line.html").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(FragmentError, match=r"05_line\.html"):
        read_fragments(tmp_path, "05")


def make_noise(count, size=(200, 150)):
    """Return random pictures, which no encoding makes small without loss."""
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]


def test_pictures_that_are_too_large_lose_quality_and_then_size():
    frames = make_noise(20)
    encoded = encode_frames(frames, 0)
    assert sum(map(len, [encoded.background, *encoded.pictures])) < LARGEST_FRAGMENT
    assert (encoded.width, encoded.height) == (150, 200)
    smaller = encode_frames(frames, 0, most_bytes=200_000)
    assert sum(map(len, [smaller.background, *smaller.pictures])) < 200_000
    with pytest.raises(FragmentError, match="render fewer values"):
        encode_frames(frames, 0, most_bytes=2_000)


def test_equal_frames_share_a_picture():
    first, second = make_noise(2, (20, 20))
    encoded = encode_frames([first, second, first], 1)
    assert encoded.order == [0, 1, 0]
    assert len(encoded.pictures) == 2


def test_only_what_differs_from_the_background_is_opaque():
    background = Image.new("RGB", (3, 2), "white")
    frame = background.copy()
    frame.putpixel((2, 1), (10, 20, 30))
    changes = np.asarray(cut_changes(frame, background))
    assert changes[1, 2].tolist() == [10, 20, 30, 255]
    assert changes[..., 3].sum() == 255


def test_a_fragment_over_the_limit_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer_frames, "LARGEST_FRAGMENT", 1000)
    frames = build().render("line")
    with pytest.raises(FragmentError, match=r"05_line\.html has .* over 1,000"):
        save_fragment(frames, tmp_path / "05_line.html")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return a page of a browser, open from disk, with two explorers."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e .[test]")
    if (program := browser.find_browser()) is None:
        pytest.skip(browser.HOW_TO_GET_A_BROWSER)
    frames = build().render("line")
    path = tmp_path_factory.mktemp("page") / "page.html"
    text = write_fragment(frames) + write_fragment(replace(frames, name="other"))
    path.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{STYLE_OF_A_PAGE}{text}", encoding="utf-8")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program)
        page = chromium.new_page(viewport=browser.VIEW)
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri())
        yield page
        assert faults == []
        chromium.close()


def test_in_a_browser_every_control_changes_picture_value_and_text_by_keyboard(page):
    fragments = browser.find_fragments(page)
    assert [len(fragment.controls) for fragment in fragments] == [3, 3]
    other = fragments[1].picture.screenshot()
    for control in fragments[0].controls:
        before, alt = fragments[0].picture.screenshot(), fragments[0].picture.get_attribute("alt")
        value = fragments[0].read(control)
        assert fragments[0].move(control)
        assert fragments[0].picture.screenshot() != before
        assert fragments[0].picture.get_attribute("alt") != alt
        assert fragments[0].read(control) != value
    assert fragments[1].picture.screenshot() == other
    place = "{position: 'fixed', top: 0, left: 0, width: 'auto', minWidth: 0}"
    fragments[0].picture.evaluate(f"picture => Object.assign(picture.style, {place})")
    frames = build().render("line")  # a fraction of a pixel in the place of the picture would blur it
    shown = np.asarray(Image.open(io.BytesIO(fragments[0].picture.screenshot())).convert("RGB")).astype(int)
    assert np.abs(shown - decode(frames.pictures[frames.order[-1]], frames.background)).max() < 3
    assert fragments[0].find_not_reached() == []
