"""Cells of a report: pictures, styles, colours and identifiers."""

import io

import pytest
from PIL import Image

from helpers.course import report_cells


def encode(kind, size=(20, 10)):
    """Return a picture of one colour in a file format, in bytes."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, format=kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_pictures_of_each_kind_are_written_whole(tmp_path, kind):
    name, share = report_cells.write_picture(encode(kind, (365, 10)), tmp_path)
    assert Image.open(tmp_path / name).size == (365, 10)
    assert share == pytest.approx(0.5)


@pytest.mark.parametrize(
    "data",
    [b"", b"text", encode("PNG")[:-40], encode("JPEG")[:200], b"%!PS-Adobe-3.0 EPSF-3.0", b"<svg", b"<svg><g></svg>"],
)
def test_a_damaged_picture_is_left_out(tmp_path, data):
    with pytest.raises(report_cells.LeftOut):
        report_cells.write_picture(data, tmp_path)


def test_a_picture_with_too_many_pixels_is_left_out_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(report_cells, "LARGEST_PICTURE", 99)
    with pytest.raises(report_cells.LeftOut, match="too large"):
        report_cells.write_picture(encode("PNG", (10, 10)), tmp_path)


@pytest.mark.parametrize(("width", "share"), [(365, 0.5), (730, 1.0), (1500, 1.0)])
def test_a_small_picture_stays_small_and_a_wide_one_fills_the_page(tmp_path, width, share):
    assert report_cells.write_picture(encode("PNG", (width, 10)), tmp_path)[1] == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("style", "kept"),
    [
        ("color: red; position: fixed", "color: #ff0000"),
        ("background: #abc", "background-color: #aabbcc"),
        ("background: url(//host/x)", None),
        ("width: 30%; text-align: CENTER", "width: 30%; text-align: center"),
        ("width: expression(alert(1))", None),
        (";;:", None),
    ],
)
def test_a_style_keeps_what_neither_fetches_nor_moves_anything(style, kept):
    assert report_cells.filter_style(style) == kept


@pytest.mark.parametrize(
    ("name", "identifier"), [("First-part", "01-first-part"), ("σ%20x", "01-σ-x"), ("<a>", "01--a-")]
)
def test_an_identifier_has_only_letters_that_html_and_typst_accept(name, identifier):
    assert report_cells.make_identifier("01", name) == identifier
