"""PNG images: what is written, what a header tells, and which files are refused before a pixel is decoded."""

import os
import struct
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from helpers.images import leaves_folder, read_image, read_image_sizes, read_images, write_image
from helpers.records import DatasetError


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (128, 128), (1, 1, 3), (7, 5, 3), (224, 224, 3)])
def test_pil_reads_the_pixels_that_were_written(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    write_image(tmp_path / "image.png", pixels)
    with Image.open(tmp_path / "image.png") as image:
        assert image.mode == ("RGB" if len(shape) == 3 else "L")
        assert_array_equal(np.asarray(image), pixels)
    mode = "RGB" if len(shape) == 3 else "L"
    read = read_images(tmp_path, ["image.png"], np.array([shape[:2]]), mode)
    assert_array_equal(read[0], pixels)


def test_sizes_are_read_from_the_first_bytes_alone(tmp_path):
    for name, shape in (("a.png", (7, 300)), ("b.png", (70000, 1, 3))):
        write_image(tmp_path / name, np.zeros(shape, np.uint8))
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:33])
    assert_array_equal(read_image_sizes(tmp_path, ("b.png", "a.png")), [[70000, 1], [7, 300]])
    assert read_image_sizes(tmp_path, ()).shape == (0, 2)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(30)])
def test_no_size_is_read_from_what_is_no_png(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.png: "):
        read_image_sizes(tmp_path, ("a.png",))


def test_no_images_are_an_empty_array(tmp_path):
    assert read_images(tmp_path, [], np.zeros((0, 2), int), "RGB").shape == (0, 0, 0, 3)
    assert read_images(tmp_path, [], np.zeros((0, 2), int), "L").shape == (0, 0, 0)


# Headers


def pack_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def build_png(height, width, depth=8, colour_type=2, body=b""):
    """Return a file with a right header and nothing that could be decoded."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + pack_chunk(b"IHDR", header) + body


def refuse(read, *arguments):
    with pytest.raises(DatasetError) as caught:
        read(*arguments)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.fixture
def no_decoder(monkeypatch):
    """Make every call of Pillow fail: what is refused is refused by its header."""
    monkeypatch.setattr(Image, "open", None)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(("height", "width"), [(9000, 9000), (2**31 - 1, 2**31 - 1), (2**24, 2), (5000, 5000)])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, height, width):
    (tmp_path / "a.png").write_bytes(build_png(height, width))
    message = refuse(read_image_sizes, tmp_path, ["a.png"])
    assert f"a.png: the image is {(height, width)} (height, width), more than 16777216 pixels" in message
    for read in (
        lambda: read_image(tmp_path / "a.png", (height, width), "RGB"),
        lambda: read_images(tmp_path, ["a.png"], np.array([[height, width]]), "RGB"),
    ):
        assert refuse(read) == message


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    ("depth", "colour_type", "name"),
    [(8, 0, "L"), (8, 6, "RGBA"), (8, 3, "P"), (8, 4, "LA"), (16, 2, "RGB with 16 bits"), (1, 0, "L with 1 bits")],
)
def test_another_mode_is_refused_by_its_header(tmp_path, depth, colour_type, name):
    (tmp_path / "a.png").write_bytes(build_png(4, 5, depth, colour_type))
    message = refuse(read_image, tmp_path / "a.png", (4, 5), "RGB")
    assert message.endswith(f"a.png: its mode is {name}, not RGB. Convert the image to RGB")
    assert refuse(read_image_sizes, tmp_path, ["a.png"], "RGB") == message
    assert read_image_sizes(tmp_path, ["a.png"]).tolist() == [[4, 5]]


@pytest.mark.usefixtures("no_decoder")
def test_another_size_is_refused_by_its_header(tmp_path):
    (tmp_path / "a.png").write_bytes(build_png(4, 5))
    assert "the image is (4, 5) (height, width), but recorded as (5, 4)" in refuse(
        read_image, tmp_path / "a.png", (5, 4), "RGB"
    )


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("form", ["JPEG", "GIF", "BMP", "TIFF", "WEBP", "EPS"])
def test_no_other_format_is_opened_whatever_its_name(tmp_path, form):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png", form)
    name = {"WEBP": "WebP"}.get(form, form)
    for read in (
        lambda: read_image(tmp_path / "a.png", (4, 5), "RGB"),
        lambda: read_image_sizes(tmp_path, ["a.png"]),
    ):
        assert refuse(read).endswith(f"a.png: no PNG image, but {name}. Images of a set are PNG: save them as PNG")


@pytest.mark.usefixtures("no_decoder")
def test_a_header_that_allows_no_pixels_or_has_another_checksum_is_refused(tmp_path):
    for content in (build_png(0, 5), build_png(4, 5, 3), build_png(4, 5, 8, 1)):
        (tmp_path / "a.png").write_bytes(content)
        assert "its header allows no pixels" in refuse(read_image_sizes, tmp_path, ["a.png"])
    flipped = bytearray(build_png(4, 5))
    flipped[19] ^= 1
    (tmp_path / "a.png").write_bytes(flipped)
    assert "beginning is damaged" in refuse(read_image_sizes, tmp_path, ["a.png"])


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (
        lambda: read_image(tmp_path / "a.png", (4, 5), "RGB"),
        lambda: read_images(tmp_path, ["a.png"], np.array([[4, 5]]), "RGB"),
        lambda: read_image_sizes(tmp_path, ["a.png"]),
    ):
        assert "a.png: the image is no regular file, but a pipe" in refuse(read)


def test_a_second_header_does_not_change_what_is_decoded(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((4, 5, 3), np.uint8))
    content = (tmp_path / "a.png").read_bytes()
    for size in ((5, 4), (9500, 9500), (20000, 20000)):  # Pillow warns of the second and refuses the third
        (tmp_path / "a.png").write_bytes(content[:33] + build_png(*size)[8:] + content[33:])
        assert "truncated or damaged" in refuse(read_image, tmp_path / "a.png", (4, 5), "RGB")


def test_images_that_do_not_fit_into_memory_are_refused_by_the_folder(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(build_png(4096, 4096))

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(np, "empty", fail)
    assert f"{tmp_path}: 1 images take 0 GB" in refuse(read_images, tmp_path, ["a.png"], np.array([[4096] * 2]), "RGB")


@pytest.mark.parametrize(
    "name",
    ["../1.png", "/etc/1.png", "a/../../1.png", "..\\1.png", "C:\\1.png", "C:1.png", "", ".", "a//1.png", "a\0.png",
     "a\nb.png", "\ud800.png", "./1.png", "\\\\host\\share\\1.png"],
)  # fmt: skip
def test_names_that_leave_the_folder_are_recognised(name):
    assert leaves_folder(name)


@pytest.mark.parametrize("name", ["1.png", "a/b/1.png", "..1.png", "1..png", "Straße 7.png", "ab:c.png"])
def test_names_within_the_folder_are_not(name):
    assert not leaves_folder(name)
