"""The keypoint losses, by hand and at their edges."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from helpers.keypoints.codecs import CoordinateCodec, DSNTCodec, HeatmapCodec, SimCCCodec, generate_heatmap, soften
from helpers.keypoints.loss import DSNT_SIGMA, SMALLEST_SPREAD, KeypointLoss, divergence

POINTS = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(0)) * 100 + 14
MIDDLE = torch.full((1, 5, 2), 64.0)


def perfect_outputs(kind: str, points: torch.Tensor) -> torch.Tensor:
    """Returns what a network says that has learned `kind` for these points."""
    match kind:
        case "mse-map":
            return HeatmapCodec(size=32).encode(points)
        case "mse" | "l1":
            return CoordinateCodec().encode(points)
        case "rle":
            coordinates = CoordinateCodec().encode(points)
            return torch.cat([coordinates, torch.full_like(coordinates, SMALLEST_SPREAD)], dim=-1)
        case "simcc":
            return SimCCCodec().encode(points).clamp(min=1e-30).log()
        case "dsnt":
            return generate_heatmap(points, 32, DSNT_SIGMA).clamp(min=1e-30).log()


CRITERIA = {
    "mse-map": ("mse", HeatmapCodec(size=32)),
    "mse": ("mse", CoordinateCodec()),
    "l1": ("l1", CoordinateCodec()),
    "rle": ("rle", CoordinateCodec()),
    "simcc": ("simcc", SimCCCodec()),
    "dsnt": ("dsnt", DSNTCodec(size=32)),
}
BEST = dict.fromkeys(CRITERIA, 0.0) | {"rle": math.log(2 * SMALLEST_SPREAD)}
each_kind = pytest.mark.parametrize("name", CRITERIA)


def loss_of(name: str, outputs: torch.Tensor, points: torch.Tensor, exchangeable_hands: bool = False) -> torch.Tensor:
    return KeypointLoss(*CRITERIA[name], exchangeable_hands)(outputs, points)["loss"]


@each_kind
@pytest.mark.parametrize("exchangeable_hands", [False, True])
def test_a_perfect_prediction_has_the_lowest_loss(name, exchangeable_hands):
    outputs = perfect_outputs(name, POINTS)
    assert loss_of(name, outputs, POINTS, exchangeable_hands) == pytest.approx(BEST[name], abs=2e-4)
    for moved in (POINTS + 3.0, POINTS.flip(0)):
        assert loss_of(name, perfect_outputs(name, moved), POINTS, exchangeable_hands) > BEST[name] + 5e-4


def test_mean_squares_and_absolutes_by_hand():
    # Every coordinate is off by 32 pixels, a quarter of the image.
    outputs = (MIDDLE + 32) / 128
    assert loss_of("mse", outputs, MIDDLE) == pytest.approx(1 / 16)
    assert loss_of("l1", outputs, MIDDLE) == pytest.approx(1 / 4)


def test_heatmap_loss_is_the_mean_over_all_cells():
    # Of an empty map, which is the all-zero score: a Gaussian's square sums to pi sigma².
    for sigma, score in ((1, 0.00077), (2, 0.0031), (3, 0.0069), (4, 0.0121)):
        criterion = KeypointLoss("mse", HeatmapCodec(sigma=sigma))
        value = criterion(torch.zeros(1, 5, 64, 64), MIDDLE)["loss"]
        assert value == pytest.approx(math.pi * sigma**2 / 64**2, rel=1e-3)
        assert value == pytest.approx(score, rel=0.02)


def test_residual_log_likelihood_by_hand():
    # Off by a tenth: the best spread says just that, and the loss is log(2 e / 10).
    def cost(spread):
        outputs = torch.cat([MIDDLE / 128 + 0.1, torch.full_like(MIDDLE, spread)], dim=-1)
        return loss_of("rle", outputs, MIDDLE).item()

    assert cost(0.1) == pytest.approx(1 + math.log(0.2))
    assert cost(0.1) < min(cost(0.08), cost(0.12))


def test_simcc_asks_an_even_guess_for_the_entropy_it_lacks():
    codec = SimCCCodec()
    target = codec.encode(MIDDLE)[0, 0, 0]
    entropy = torch.special.entr(target).sum().item()
    value = loss_of("simcc", torch.zeros(1, 5, 2, codec.num_bins), MIDDLE)
    assert value == pytest.approx(math.log(codec.num_bins) - entropy, rel=1e-5)


def test_dsnt_measures_distance_in_half_sides_of_the_image():
    # A single hot cell 16 pixels right of the truth's cell: a quarter of a half side, and two separate distributions.
    logits = torch.full((1, 5, 32, 32), -200.0)
    logits[..., 16, 20] = 0.0
    centre = torch.full((1, 5, 2), 66.0)  # of cell (16, 16)
    assert loss_of("dsnt", logits, centre) == pytest.approx(16 / 64 + math.log(2), abs=1e-3)


def diverge_densely(p: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Returns the divergence as the textbook has it, over all cells of the map."""
    size = p.shape[-1]
    maps = generate_heatmap(points * (128 / size), size, DSNT_SIGMA)
    q = maps / maps.sum((2, 3), keepdim=True)
    middle = (p + q) / 2
    return sum((torch.xlogy(share, share) - torch.xlogy(share, middle)).sum((2, 3)) for share in (p, q)) / 2


def test_divergence_is_zero_for_equals_and_log_2_for_strangers():
    points = POINTS / 4  # cells
    maps = generate_heatmap(POINTS, 32, DSNT_SIGMA)
    equals = maps / maps.sum((2, 3), keepdim=True)
    assert_close(divergence(equals, points), torch.zeros(3, 5), atol=1e-6, rtol=0)
    strangers = equals.roll(16, dims=-1)
    assert_close(divergence(strangers, points), torch.full((3, 5), math.log(2)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
@pytest.mark.parametrize("contrast", [0.0, 1.0, 30.0])
def test_divergence_and_its_gradient_equal_the_textbooks_for_points_everywhere(size, contrast):
    # The window around the point misses 1e-9 of the Gaussian: borders, corners and places between cells included.
    line = torch.cat([torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0]), torch.linspace(1.3, 6.7, 9)]).double()
    line = torch.cat([line, size - line])
    points = torch.cartesian_prod(line, line).unsqueeze(0)
    logits = torch.randn(1, len(points[0]), size, size, generator=torch.Generator().manual_seed(1)).double()
    logits = (contrast * logits).requires_grad_()
    values = [measure(soften(logits), points) for measure in (divergence, diverge_densely)]
    assert_close(*values, atol=1e-8, rtol=0)
    gradients = [torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in values]
    assert_close(*gradients, atol=1e-9, rtol=1e-6)


def exchange(points: torch.Tensor) -> torch.Tensor:
    return points[:, [0, 2, 1, 3, 4]]


@each_kind
def test_exchanged_hands_cost_nothing_where_they_are_exchangeable(name):
    outputs = perfect_outputs(name, exchange(POINTS))
    assert loss_of(name, outputs, POINTS, True) == pytest.approx(BEST[name], abs=2e-4)
    assert loss_of(name, outputs, POINTS, False) > BEST[name] + 5e-4


@each_kind
def test_exchanged_feet_cost_as_much_as_ever(name):
    outputs = perfect_outputs(name, POINTS[:, [0, 1, 2, 4, 3]])
    assert_close(loss_of(name, outputs, POINTS, True), loss_of(name, outputs, POINTS, False))


@each_kind
def test_each_image_chooses_its_own_assignment(name):
    # Only the second image has its hands exchanged; the mean over images is what each would cost alone.
    points = POINTS.clone()
    points[1] = exchange(points)[1]
    outputs = perfect_outputs(name, POINTS + 0.7)
    alone = torch.stack([loss_of(name, outputs[i : i + 1], points[i : i + 1], True) for i in range(3)])
    assert_close(loss_of(name, outputs, points, True), alone.mean())
    assert_close(loss_of(name, outputs, points, True), loss_of(name, outputs, POINTS, True))


@each_kind
def test_hands_learn_from_the_cheaper_assignment_alone(name):
    outputs = perfect_outputs(name, exchange(POINTS) + 0.7).requires_grad_()
    gradients = [
        torch.autograd.grad(loss_of(name, outputs, points, exchangeable), outputs)[0]
        for points, exchangeable in ((POINTS, True), (exchange(POINTS), False))
    ]
    assert_close(*gradients)


@each_kind
def test_gradients_are_finite_for_perfect_and_for_absurd_outputs(name):
    border = torch.tensor([[[0.0, 0], [128, 128], [0, 128], [128, 0], [64, 64]]])
    for outputs in (perfect_outputs(name, border), 100 * torch.randn(perfect_outputs(name, border).shape)):
        outputs.requires_grad_()
        loss = loss_of(name, outputs, border, True)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(outputs.grad).all()


@each_kind
def test_the_loss_is_float32_for_bfloat16_outputs(name):
    assert loss_of(name, perfect_outputs(name, POINTS).bfloat16(), POINTS).dtype == torch.float32
