"""RoIAlign by matrix products, and the 3 × 3 blur, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.transforms.v2.functional import gaussian_blur

from helpers.digits.fast_ops import MatrixRoIAlign, blur


def draw_proposals(seed: int, count: int) -> torch.Tensor:
    """Return boxes in and around an image of 96 x 64 pixels; some are tiny, some far outside."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([140.0, 100.0]) - 20
    size = torch.rand(count, 2, generator=generator).square() * 70
    return torch.cat([corner, corner + size], dim=1)


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize(("output_size", "sampling_ratio"), [(7, 2), (5, 3), (1, 1)])
def test_values_and_gradient_equal_torchvisions(output_size, sampling_ratio, stride):
    size = (2, 6, 64 // stride, 96 // stride)
    maps = torch.randn(size, generator=torch.Generator().manual_seed(0))
    proposals = [draw_proposals(1, 40), draw_proposals(2, 25)]
    maps_of_ours, maps_of_torchvision = (maps.clone().requires_grad_() for _ in range(2))
    pooled = MatrixRoIAlign(output_size, sampling_ratio, stride)({"0": maps_of_ours}, proposals, [(64, 96)] * 2)
    expected = roi_align(maps_of_torchvision, proposals, output_size, 1 / stride, sampling_ratio)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-4)
    weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(3))
    for result in (pooled, expected):
        (result * weights).sum().backward()
    torch.testing.assert_close(maps_of_ours.grad, maps_of_torchvision.grad, atol=1e-4, rtol=1e-4)
    assert pooled.abs().sum() > 0


def test_arguments_are_those_of_torchvisions_pooling_of_a_pyramid():
    maps = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    proposals, shapes = [draw_proposals(1, 9).clamp(0, 60)], [(64, 96)]
    expected = MultiScaleRoIAlign(["0"], 7, sampling_ratio=2)({"0": maps}, proposals, shapes)
    torch.testing.assert_close(MatrixRoIAlign(7)({"0": maps}, proposals, shapes), expected, atol=1e-5, rtol=1e-4)


def test_each_cell_of_a_linear_map_has_the_value_at_its_middle():
    # Cell i has the value i; a proposal from column 2 to 9 has seven cells of one column, whose middles are 2.5, 3.5, …
    maps = torch.arange(12.0).expand(1, 1, 8, 12)
    pooled = MatrixRoIAlign(7)({"0": maps}, [torch.tensor([[8.0, 4.0, 36.0, 32.0]])], [(32, 48)])
    assert pooled[0, 0, 3].tolist() == pytest.approx([2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5])


@pytest.mark.parametrize("counts", [(0, 3), (3, 0), (0, 0)])
def test_images_without_proposals_have_no_pooled_features(counts):
    proposals = [draw_proposals(seed, count) for seed, count in enumerate(counts)]
    pooled = MatrixRoIAlign(7)({"0": torch.ones(2, 5, 8, 8)}, proposals, [(32, 32)] * 2)
    assert pooled.shape == (sum(counts), 5, 7, 7)


@pytest.mark.parametrize("sigma", [0.3, 0.55, 0.8])
def test_blurring_equals_torchvisions_within_one_grey_level(sigma):
    image = torch.randint(0, 256, (3, 31, 45), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = gaussian_blur(image, [3, 3], [sigma, sigma])
    assert (blur(image, sigma).int() - expected.int()).abs().max() <= 1
    assert (blur(image, sigma) != image).any()
