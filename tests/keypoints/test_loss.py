"""Keypoint losses: by hand, against the textbook, and for extreme outputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from helpers.keypoints.codecs import CoordinateCodec, DSNTCodec, HeatmapCodec, SimCCCodec
from helpers.keypoints.heatmaps import generate_heatmap, spatial_softmax
from helpers.keypoints.loss import DSNT_SIGMA, SMALLEST_SCALE, KeypointLoss, jensen_shannon_divergence

POINTS = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(0)) * 100 + 14
MIDDLE = torch.full((1, 5, 2), 64.0)


def make_perfect_outputs(kind: str, points: torch.Tensor) -> torch.Tensor:
    """Return the outputs of a network that predicts these points perfectly, for a loss of this kind."""
    match kind:
        case "mse-map":
            return HeatmapCodec(size=32).encode(points)
        case "mse" | "l1":
            return CoordinateCodec().encode(points)
        case "laplace":
            coordinates = CoordinateCodec().encode(points)
            return torch.cat([coordinates, torch.full_like(coordinates, SMALLEST_SCALE)], dim=-1)
        case "simcc":
            return SimCCCodec().encode(points).clamp(min=1e-30).log()
        case "dsnt":
            return generate_heatmap(points, 32, DSNT_SIGMA).clamp(min=1e-30).log()


CRITERIA = {
    "mse-map": ("mse", HeatmapCodec(size=32)),
    "mse": ("mse", CoordinateCodec()),
    "l1": ("l1", CoordinateCodec()),
    "laplace": ("laplace", CoordinateCodec()),
    "simcc": ("simcc", SimCCCodec()),
    "dsnt": ("dsnt", DSNTCodec(size=32)),
}
LOWEST_LOSS = dict.fromkeys(CRITERIA, 0.0) | {"laplace": math.log(2 * SMALLEST_SCALE)}
each_kind = pytest.mark.parametrize("name", CRITERIA)


def loss_of(
    name: str, outputs: torch.Tensor, points: torch.Tensor, permutation_invariant: bool = False
) -> torch.Tensor:
    return KeypointLoss(*CRITERIA[name], permutation_invariant)(outputs, points)["loss"]


@each_kind
@pytest.mark.parametrize("permutation_invariant", [False, True])
def test_a_perfect_prediction_has_the_lowest_loss(name, permutation_invariant):
    outputs = make_perfect_outputs(name, POINTS)
    assert loss_of(name, outputs, POINTS, permutation_invariant) == pytest.approx(LOWEST_LOSS[name], abs=2e-4)
    for moved in (POINTS + 3.0, POINTS.flip(0)):
        assert (
            loss_of(name, make_perfect_outputs(name, moved), POINTS, permutation_invariant) > LOWEST_LOSS[name] + 5e-4
        )


def test_mean_squares_and_absolutes_by_hand():
    # Every coordinate is off by 32 pixels, a quarter of the image.
    outputs = (MIDDLE + 32) / 128
    assert loss_of("mse", outputs, MIDDLE) == pytest.approx(1 / 16)
    assert loss_of("l1", outputs, MIDDLE) == pytest.approx(1 / 4)


def test_heatmap_loss_is_the_mean_over_all_cells():
    # By hand, for an empty map: the square of a Gaussian sums to pi sigma².
    for sigma, expected in ((1, 0.00077), (2, 0.0031), (3, 0.0069), (4, 0.0121)):
        criterion = KeypointLoss("mse", HeatmapCodec(sigma=sigma))
        value = criterion(torch.zeros(1, 5, 64, 64), MIDDLE)["loss"]
        assert value == pytest.approx(math.pi * sigma**2 / 64**2, rel=1e-3)
        assert value == pytest.approx(expected, rel=0.02)


def test_the_laplace_likelihood_by_hand():
    # With an error of 0.1, the best scale is 0.1, and the loss is log(2 e / 10).
    def compute_loss(scale):
        outputs = torch.cat([MIDDLE / 128 + 0.1, torch.full_like(MIDDLE, scale)], dim=-1)
        return loss_of("laplace", outputs, MIDDLE).item()

    assert compute_loss(0.1) == pytest.approx(1 + math.log(0.2))
    assert compute_loss(0.1) < min(compute_loss(0.08), compute_loss(0.12))


def test_the_simcc_loss_of_a_uniform_distribution_is_its_entropy_minus_the_targets():
    codec = SimCCCodec()
    target = codec.encode(MIDDLE)[0, 0, 0]
    entropy = torch.special.entr(target).sum().item()
    value = loss_of("simcc", torch.zeros(1, 5, 2, codec.num_bins), MIDDLE)
    assert value == pytest.approx(math.log(codec.num_bins) - entropy, rel=1e-5)


def test_the_dsnt_loss_measures_distance_in_half_sides_of_the_image():
    # All probability is in one cell, 16 pixels (16 / 64 half sides) right of the true cell; the divergence is log 2.
    logits = torch.full((1, 5, 32, 32), -200.0)
    logits[..., 16, 20] = 0.0
    centre = torch.full((1, 5, 2), 66.0)  # of cell (16, 16)
    assert loss_of("dsnt", logits, centre) == pytest.approx(16 / 64 + math.log(2), abs=1e-3)


def diverge_over_all_cells(p: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return the divergence by its definition, over all cells of the map."""
    size = p.shape[-1]
    maps = generate_heatmap(points * (128 / size), size, DSNT_SIGMA)
    q = maps / maps.sum((2, 3), keepdim=True)
    middle = (p + q) / 2
    return sum((torch.xlogy(share, share) - torch.xlogy(share, middle)).sum((2, 3)) for share in (p, q)) / 2


def test_divergence_is_zero_for_equal_distributions_and_log_2_for_disjoint_ones():
    points = POINTS / 4  # cells
    maps = generate_heatmap(POINTS, 32, DSNT_SIGMA)
    equal_maps = maps / maps.sum((2, 3), keepdim=True)
    assert_close(jensen_shannon_divergence(equal_maps, points), torch.zeros(3, 5), atol=1e-6, rtol=0)
    disjoint_maps = equal_maps.roll(16, dims=-1)
    assert_close(jensen_shannon_divergence(disjoint_maps, points), torch.full((3, 5), math.log(2)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
@pytest.mark.parametrize("contrast", [0.0, 1.0, 30.0])
def test_divergence_and_its_gradient_equal_the_definition_for_points_everywhere(size, contrast):
    # The window omits 1e-9 of the Gaussian. The points are at borders, in corners, and between cells.
    line = torch.cat([torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0]), torch.linspace(1.3, 6.7, 9)]).double()
    line = torch.cat([line, size - line])
    points = torch.cartesian_prod(line, line).unsqueeze(0)
    logits = torch.randn(1, len(points[0]), size, size, generator=torch.Generator().manual_seed(1)).double()
    logits = (contrast * logits).requires_grad_()
    values = [
        measure(spatial_softmax(logits), points) for measure in (jensen_shannon_divergence, diverge_over_all_cells)
    ]
    assert_close(*values, atol=1e-8, rtol=0)
    gradients = [torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in values]
    assert_close(*gradients, atol=1e-9, rtol=1e-6)


def exchange(points: torch.Tensor) -> torch.Tensor:
    return points[:, [0, 2, 1, 3, 4]]


@each_kind
def test_exchanged_hands_have_the_lowest_loss_if_it_is_permutation_invariant(name):
    outputs = make_perfect_outputs(name, exchange(POINTS))
    assert loss_of(name, outputs, POINTS, True) == pytest.approx(LOWEST_LOSS[name], abs=2e-4)
    assert loss_of(name, outputs, POINTS, False) > LOWEST_LOSS[name] + 5e-4


@each_kind
def test_permutation_invariance_does_not_change_the_loss_of_exchanged_feet(name):
    outputs = make_perfect_outputs(name, POINTS[:, [0, 1, 2, 4, 3]])
    assert_close(loss_of(name, outputs, POINTS, True), loss_of(name, outputs, POINTS, False))


@each_kind
def test_the_assignment_is_chosen_for_each_image_separately(name):
    # Only the second image has its hands exchanged; the loss of the batch is the mean of the images' losses.
    points = POINTS.clone()
    points[1] = exchange(points)[1]
    outputs = make_perfect_outputs(name, POINTS + 0.7)
    image_losses = torch.stack([loss_of(name, outputs[i : i + 1], points[i : i + 1], True) for i in range(3)])
    assert_close(loss_of(name, outputs, points, True), image_losses.mean())
    assert_close(loss_of(name, outputs, points, True), loss_of(name, outputs, POINTS, True))


@each_kind
def test_gradients_come_from_the_assignment_with_the_smaller_loss_only(name):
    outputs = make_perfect_outputs(name, exchange(POINTS) + 0.7).requires_grad_()
    gradients = [
        torch.autograd.grad(loss_of(name, outputs, points, permutation_invariant), outputs)[0]
        for points, permutation_invariant in ((POINTS, True), (exchange(POINTS), False))
    ]
    assert_close(*gradients)


@each_kind
def test_gradients_are_finite_for_perfect_and_for_extreme_outputs(name):
    border = torch.tensor([[[0.0, 0], [128, 128], [0, 128], [128, 0], [64, 64]]])
    for outputs in (make_perfect_outputs(name, border), 100 * torch.randn(make_perfect_outputs(name, border).shape)):
        outputs.requires_grad_()
        loss = loss_of(name, outputs, border, True)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("codec", [HeatmapCodec(), CoordinateCodec()])
def test_the_dsnt_loss_of_another_codec_is_refused(codec):
    with pytest.raises(ValueError, match="needs a DSNTCodec, not"):
        KeypointLoss("dsnt", codec)


@each_kind
def test_the_loss_is_float32_for_bfloat16_outputs(name):
    assert loss_of(name, make_perfect_outputs(name, POINTS).bfloat16(), POINTS).dtype == torch.float32
