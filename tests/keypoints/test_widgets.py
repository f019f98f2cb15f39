"""What the explorers compute, and that their pictures follow the sliders."""

import io

import numpy as np
import pytest
from matplotlib.pyplot import imread

from helpers.keypoints.widgets import describe_codec, explore_codec, explore_stages


def find_control(box, description):
    return next(control for control in box.children[:-1] if control.description == description)


def see(box) -> np.ndarray:
    """Returns the picture below the sliders."""
    return imread(io.BytesIO(box.children[-1].value))


def test_argmax_answers_with_the_centre_of_the_points_cell():
    """By hand: cells of four pixels; (61, 47) lies in the one from (60, 44) to (64, 48)."""
    heatmap, decoded, error = describe_codec(2.0, 32, "argmax", 61.0, 47.0)
    assert heatmap.shape == (32, 32)
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (11, 15)
    assert decoded.tolist() == [62, 46]
    assert error == pytest.approx(2**0.5)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("size", [16, 128])
def test_dark_reads_a_perfect_map_at_any_sigma_and_resolution(sigma, size):
    assert describe_codec(sigma, size, "dark", 61.3, 47.8).error < 0.01 * 128 / size


def test_noise_makes_sigma_matter():
    """The flatter the top, the more a little noise moves it."""
    errors = [describe_codec(sigma, 64, "dark", 61.3, 47.8, noise=0.02).error for sigma in (1.0, 4.0)]
    assert 0.01 < errors[0] < errors[1]


def test_noise_is_the_same_at_every_call():
    first, second = (describe_codec(sigma, 16, "argmax", 20.0, 20.0, noise=0.1).heatmap for sigma in (1.0, 1.0))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("description", "value"),
    [
        ("σ (cells)", 3.0),
        ("map size", 128),
        ("decoder", "dark"),
        ("x (px)", 0.0),
        ("y (px)", 128.0),
        ("noise", 0.1),
    ],
)
def test_every_slider_moves_the_codecs_picture_and_moves_it_back(description, value):
    box = explore_codec()
    before, control = see(box), find_control(box, description)
    start = control.value
    control.value = value
    assert not np.array_equal(see(box), before)
    control.value = start
    np.testing.assert_array_equal(see(box), before)


@pytest.mark.parametrize(("description", "value"), [("stage", 2), ("image", 1)])
def test_every_slider_moves_the_stages_picture(description, value):
    images = np.full((2, 128, 128), 255, np.uint8)
    images[1, 20:40, 20:40] = 0
    maps = np.random.default_rng(0).random((3, 2, 5, 8, 8))
    box = explore_stages(images, maps, ("early", "middle", "late"))
    before = see(box)
    find_control(box, description).value = value
    assert not np.array_equal(see(box), before)


def test_stages_are_chosen_by_name():
    box = explore_stages(np.zeros((1, 128, 128), np.uint8), np.zeros((2, 1, 5, 8, 8)), ("early", "late"))
    assert [name for name, _ in find_control(box, "stage").options] == ["early", "late"]
