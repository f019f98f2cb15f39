"""Adapters of the keypoint tasks: with the reference as the student's function every result is the workbook's own."""

import random

import pytest
import torch
from torch import nn

from helpers.course.checks import heatmaps, keypoint_ablations, keypoint_metrics, keypoint_models
from helpers.keypoints import batches, codecs, dataset, metrics, model, recipes, scenes, training
from helpers.keypoints import heatmaps as workbook
from helpers.tasks import solutions
from helpers.tasks.adapters import keypoints


@pytest.fixture(autouse=True)
def originals():
    yield
    solutions.restore_originals()


@pytest.fixture(scope="module")
def points():
    """Return the points of handout-like figures, of all sub-pixel places, and of the border."""
    generator = random.Random(0)
    figures = torch.tensor([scenes.lay_out(generator).tolist() for _ in range(60)])
    anywhere = torch.rand(200, 5, 2, generator=torch.Generator().manual_seed(0)) * 128
    border = torch.tensor([[0.0, 64.0], [127.9, 0.1], [33.3, 128.0], [128.0, 127.0], [0.4, 0.4]])
    return torch.cat([figures, anywhere, border[None]])


@pytest.fixture(scope="module")
def noisy_maps(points):
    maps = workbook.generate_heatmap(points, 64, 2.0)
    return maps + 0.05 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("size", "sigma"), [(16, 1.0), (64, 2.0), (128, 4.0)])
def test_maps_are_equal_to_the_last_digit(points, size, sigma):
    expected = workbook.generate_heatmap(points, size, sigma)
    solutions.use_solution("generate_heatmap", heatmaps.generate_heatmap)
    assert codecs.generate_heatmap is not heatmaps.generate_heatmap
    assert torch.equal(codecs.HeatmapCodec(size, sigma).encode(points), expected)
    assert workbook.generate_heatmap(points[0, 0], size, sigma).shape == (size, size)


@pytest.mark.parametrize("decoder", ["argmax", "dark", "local"])
def test_decoded_points_are_equal_to_the_last_digit(points, noisy_maps, decoder):
    codec = codecs.HeatmapCodec(64, 2.0, decoder)
    all_maps = (noisy_maps, workbook.generate_heatmap(points, 64, 2.0), torch.zeros(2, 5, 64, 64))
    expected = [codec.decode(maps) for maps in all_maps]
    original = codecs.dark
    solutions.use_solution("extract_keypoints_from_heatmaps", heatmaps.extract_keypoints_from_heatmaps)
    solutions.use_solution("dark", heatmaps.dark)
    assert codecs.dark is not original
    for maps, decoded in zip(all_maps, expected, strict=True):
        assert torch.equal(codec.decode(maps).points, decoded.points)
        assert torch.equal(codec.decode(maps).scores, decoded.scores)


def test_the_soft_argmax_is_equal_to_the_last_digit(noisy_maps):
    for temperature in (1.0, 0.05):
        expected = workbook.soft_argmax(noisy_maps, temperature)
        solutions.use_solution("soft_argmax", heatmaps.soft_argmax)
        assert torch.equal(workbook.soft_argmax(noisy_maps, temperature), expected)
        solutions.restore_originals()


@pytest.mark.parametrize("permutation_invariant", [False, True])
@pytest.mark.parametrize("normalize_by", ["bbox", "torso"])
def test_metrics_are_equal_to_the_last_digit(points, normalize_by, permutation_invariant):
    predicted = points + 3 * torch.randn(points.shape, generator=torch.Generator().manual_seed(2))
    predicted[::2] = metrics.exchange_hands(predicted[::2])
    arguments = (predicted, points, metrics.THRESHOLDS, normalize_by, permutation_invariant)
    expected = metrics.compute_pck(*arguments)
    errors = metrics.compute_errors(predicted, points, permutation_invariant)
    row = metrics.evaluate_points(predicted, points)
    solutions.use_solution("compute_pck", keypoint_metrics.compute_pck)
    solutions.use_solution("compute_swap_invariant_errors", keypoint_metrics.compute_swap_invariant_errors)
    assert torch.equal(metrics.compute_pck(*arguments), expected)
    assert torch.equal(metrics.compute_errors(predicted, points, permutation_invariant), errors)
    assert metrics.evaluate_points(predicted, points) == row


def test_thresholds_may_be_an_array(points):
    thresholds = torch.linspace(0.005, 0.25, 9, dtype=torch.float64).numpy()
    expected = metrics.compute_pck(points + 2, points, thresholds)
    solutions.use_solution("compute_pck", keypoint_metrics.compute_pck)
    assert torch.equal(metrics.compute_pck(points + 2, points, thresholds), expected)


def test_mirrored_batches_are_equal_to_the_last_digit():
    figures = dataset.KeypointDataset.draw(6, seed=3)
    images, points = dataset.mirror(figures.images, figures.points)
    solutions.use_solution("mirror_figure", keypoint_ablations.mirror_figure)
    mirrored_images, mirrored_points = batches.mirror(figures.images, figures.points)
    assert torch.equal(mirrored_images, images)
    assert torch.equal(mirrored_points, points)
    assert mirrored_images.dtype == torch.uint8


def _train(recipe, precision):
    """Return the outputs of the recipe's network after two steps, with the seed of the recipe."""
    torch.manual_seed(0)
    network = training.build_network(recipe)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    images = torch.rand(4, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    targets = None
    for _ in range(2):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            outputs = network(images)
        targets = torch.zeros_like(outputs) if targets is None else targets
        (outputs - targets).square().mean().backward()
        optimizer.step()
    assert outputs.dtype == torch.float32
    return network, outputs.detach()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "reference", "recipe"),
    [
        ("HeatmapNet", keypoint_models.HeatmapNet, recipes.ASSIGNMENT_HEATMAP),
        ("RegressionNet", keypoint_models.RegressionNet, recipes.ASSIGNMENT_REGRESSION),
    ],
)
def test_the_assignments_networks_train_alike_to_the_last_digit(name, reference, recipe, precision):
    _, expected = _train(recipe, precision)
    solutions.use_solution(name, reference)
    network, outputs = _train(recipe, precision)
    assert isinstance(network, reference)
    assert torch.equal(outputs, expected)
    assert set(network.state_dict()) == set(reference().state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {"output_size": 16, "empty_start": True},
        {"output_size": 32, "width": 16},
        {"output_size": 128, "width": 8},
        {"output_size": 128, "width": 8, "skips": False},
        {"skips": False},
        {"empty_start": True, "num_points": 3},
    ],
)
def test_heatmap_networks_of_the_lessons_are_equal_to_the_last_digit(options):
    _compare_networks("HeatmapNet", keypoint_models.HeatmapNet, options)


@pytest.mark.parametrize("options", [{"width": 16}, {"dropout": 0.0}, {"width": 4, "dropout": 0.25, "num_points": 3}])
def test_regression_networks_of_the_lessons_are_equal_to_the_last_digit(options):
    _compare_networks("RegressionNet", keypoint_models.RegressionNet, options)


def _compare_networks(name, reference, options):
    """Compare the outputs in training and in evaluation mode, after a step of gradient descent."""
    images = torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    outputs = []
    for solution in (None, reference):
        if solution is not None:
            solutions.use_solution(name, solution)
        torch.manual_seed(1)
        network = getattr(model, name)(**options)
        assert isinstance(network, reference) == (solution is not None)
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
        in_training = network(images)
        (in_training - 1).square().mean().backward()
        optimizer.step()
        outputs.append([in_training.detach(), network.eval()(images).detach()])
    for expected, actual in zip(*outputs, strict=True):
        assert torch.equal(actual, expected)


def test_variants_of_the_regression_network_stay_the_workbooks():
    solutions.use_solution("RegressionNet", keypoint_models.RegressionNet)
    recipe = recipes.TUNED_REGRESSION
    assert isinstance(training.build_network(recipe), model.RegressionVariant)
    assert isinstance(training.build_network(recipes.ASSIGNMENT_REGRESSION), keypoint_models.RegressionNet)


def test_every_task_of_these_lessons_has_an_adapter():
    modules = (heatmaps, keypoint_ablations, keypoint_metrics, keypoint_models)
    names = [definition.name for module in modules for definition in module.DEFINITIONS]
    assert [name for name in names if not hasattr(keypoints, name)] == []
    assert keypoints.mse_of_empty_map(keypoint_ablations.mse_of_empty_map) == {}


def test_a_students_results_may_be_arrays():
    solutions.use_solution("generate_heatmap", lambda *inputs: heatmaps.generate_heatmap(*inputs).double().numpy())
    maps = codecs.HeatmapCodec(16, 2.0).encode(torch.full((2, 5, 2), 40.0))
    assert maps.dtype == torch.float32
    assert maps.shape == (2, 5, 16, 16)


def test_a_network_without_layers_of_the_usual_kind_stays_as_it_is():
    solutions.use_solution("HeatmapNet", lambda num_points, **options: nn.Identity())
    images = torch.zeros(1, 1, 16, 16)
    assert torch.equal(model.HeatmapNet(empty_start=True)(images), images)


def test_the_adapters_call_no_function_whose_body_a_copy_lacks():
    """In a copy the originals raise an exception."""
    assert not hasattr(keypoints, "get_original")
    solutions.use_solution("compute_pck", keypoint_metrics.compute_pck)
    solutions.use_solution("compute_swap_invariant_errors", lambda predicted, true: torch.zeros(len(true), 5))
    true = torch.zeros(1, 5, 2)
    true[0, 0, 0] = 10.0
    assert metrics.compute_errors(true + torch.tensor([3.0, 4.0]), true).tolist() == [[5.0] * 5]
