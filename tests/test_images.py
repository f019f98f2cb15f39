"""PNG images: what is written, what a header tells, and which files are refused before a pixel is decoded."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from helpers.images import read_image_sizes, read_images, write_image
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
