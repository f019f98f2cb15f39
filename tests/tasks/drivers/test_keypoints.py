"""Drivers of the keypoint tasks."""

import torch

from helpers.tasks.drivers import keypoints


def test_a_decoder_gets_the_maps_that_were_drawn():
    calls = []

    def generate(points, height, width, sigma):
        calls.append((height, width, sigma))
        return points * 10

    decoded = keypoints.decode_drawn_points(
        lambda maps, temperature: maps + temperature, generate, torch.ones(1, 2), 16, 2.0, 0.5
    )
    assert calls == [(16, 16, 2.0)]
    assert decoded.tolist() == [[10.5, 10.5]]


def test_a_result_is_multiplied_by_the_number_of_cells():
    assert keypoints.multiply_by_cells(lambda height, width, sigma: sigma / (height * width), 4, 5, 3.0) == 3.0


def test_a_function_is_called_on_its_own_result():
    image, points = keypoints.call_twice(
        lambda *figure: (figure[0] + 1, figure[1] * 2), torch.tensor(0), torch.tensor(3)
    )
    assert (image, points) == (2, 12)


def test_workloads_have_the_sizes_of_a_lesson():
    maps = keypoints.draw_random_points(lambda points, height, width, sigma: (points.shape, height, sigma), 7, 32, 2.0)
    assert maps == ((7, 2), 32, 2.0)
    assert keypoints.decode_random_maps(lambda maps, temperature: (maps.shape, temperature), 3, 8, 0.1) == (
        (3, 8, 8),
        0.1,
    )
    assert keypoints.score_random_figures(lambda predicted, true: (predicted.shape, true.shape), 4) == (
        (4, 5, 2),
        (4, 5, 2),
    )
