"""Networks: weights, shapes, and which heads depend on the position of a figure."""

from __future__ import annotations

import itertools

import pytest
import torch

from helpers.keypoints.model import HeatmapNet, RegressionNet, RegressionVariant

HEADS = {
    "pooled": {},
    "pooled, no dropout": {"dropout": 0.0},
    "coordinates": {"coordinates": True},
    "flattened": {"head": "flattened"},
    "flattened, with spreads": {"head": "flattened", "outputs_per_point": 4},
    "simcc": {"head": "simcc"},
    "integral": {"head": "integral"},
}


def build_regression(head="pooled", width=32, dropout=0.5, **options):
    """Return the assignment's network, or a variant if the options ask for one."""
    if head == "pooled" and not options:
        return RegressionNet(width=width, dropout=dropout)
    return RegressionVariant(head, width=width, dropout=dropout, **options)


def count_weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def count_backbone() -> int:
    return sum(9 * before * after + 3 * after for before, after in itertools.pairwise([1, 32, 64, 128, 256]))


def test_the_assignments_heatmap_net_has_602_629_weights():
    stages = 4 * (256 * 128 + (128 + 128) * 64 + (64 + 64) * 32) + 3 * (128 + 64 + 32)
    assert count_weights(HeatmapNet()) == count_backbone() + stages + 5 * 32 + 5 == 602_629


def test_without_skips_the_stages_have_half_as_many_input_channels():
    assert count_weights(HeatmapNet()) - count_weights(HeatmapNet(skips=False)) == 4 * (128 * 64 + 64 * 32)


def test_the_assignments_regression_net_has_430_602_weights():
    layers = 256 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    assert count_weights(RegressionNet()) == count_backbone() + layers == 430_602


@pytest.mark.parametrize("options", HEADS.values(), ids=HEADS)
def test_every_head_has_the_assignments_weights_to_within_2_percent(options):
    assert count_weights(build_regression(**options)) == pytest.approx(430_602, rel=0.02)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_maps_have_the_given_size(size, skips):
    assert HeatmapNet(output_size=size, skips=skips, width=4)(torch.rand(2, 1, 128, 128)).shape == (2, 5, size, size)


def test_a_size_without_a_decoder_is_refused():
    with pytest.raises(ValueError, match=r"output_size is 48 cells: choose one of \[16, 32, 64, 128\]"):
        HeatmapNet(output_size=48)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"head": "pooled"}, (5, 2)),
        ({"head": "flattened"}, (5, 2)),
        ({"head": "flattened", "outputs_per_point": 4}, (5, 4)),
        ({"head": "simcc", "num_bins": 128}, (5, 2, 128)),
        ({"head": "integral"}, (5, 8, 8)),
    ],
)
def test_outputs_have_the_shape_that_the_codec_decodes(options, shape):
    outputs = build_regression(width=4, **options)(torch.rand(3, 1, 128, 128))
    assert outputs.shape == (3, *shape)


def test_the_pooled_variant_is_the_assignments_network():
    networks = []
    for build in (RegressionNet, lambda **options: RegressionVariant("pooled", **options)):
        torch.manual_seed(0)
        networks.append(build(width=4, dropout=0.25))
    first, second = (network.state_dict() for network in networks)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    images = torch.rand(2, 1, 128, 128)
    torch.manual_seed(1)
    outputs = networks[0](images)
    torch.manual_seed(1)
    assert torch.equal(outputs, networks[1](images))


def test_coordinates_are_shares_of_the_image():
    outputs = RegressionNet(width=4)(100 * torch.randn(8, 1, 128, 128))
    assert ((outputs >= 0) & (outputs <= 1)).all()


def test_with_an_empty_start_the_maps_are_empty_and_gradients_are_not_zero():
    images = torch.rand(2, 1, 128, 128)
    assert HeatmapNet(width=4)(images).abs().max() > 0.01
    model = HeatmapNet(width=4, empty_start=True)
    assert count_weights(model) == count_weights(HeatmapNet(width=4))
    maps = model(images)
    assert maps.abs().max() == 0
    (maps - 1).square().mean().backward()
    assert model.output.weight.grad.abs().max() > 0


def test_only_skips_let_the_maps_depend_on_the_image_if_the_deepest_map_is_zero():
    for skips in (True, False):
        model = HeatmapNet(width=4, skips=skips).eval()
        model.backbone.blocks[3].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        maps = model(torch.rand(2, 1, 128, 128))
        assert torch.equal(maps[0], maps[1]) != skips


def measure_change(model: torch.nn.Module) -> float:
    """Return the largest change of the outputs when a dot moves by 32 pixels, far from every border."""
    images = torch.zeros(2, 1, 128, 128)  # black, so that the border does not differ from the zero padding
    images[0, 0, 40:44, 40:44] = images[1, 0, 72:76, 72:76] = 1
    # Without biases, and with the untrained normalisation, black cells are zero in every map: no border is visible.
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.bias)
    first, second = model.eval()(images)
    return (first - second).abs().max().item()


def test_of_all_heads_only_the_pooled_one_does_not_depend_on_the_position_of_a_dot():
    torch.manual_seed(0)
    assert measure_change(RegressionNet(width=8)) < 1e-7
    for options in ({"coordinates": True}, {"head": "flattened"}, {"head": "simcc"}, {"head": "integral"}):
        assert measure_change(build_regression(width=8, **options)) > 1e-5, options


@pytest.mark.parametrize("build", [HeatmapNet, RegressionNet])
def test_outputs_are_float32_where_the_network_runs_in_bfloat16(build):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = build(width=4)(torch.rand(2, 1, 128, 128))
    assert outputs.dtype == torch.float32


def test_the_grid_of_coordinates_is_not_saved_with_the_weights():
    model = RegressionVariant("pooled", coordinates=True, width=4)
    assert not any(name.startswith("coordinates") for name in model.state_dict())
    centres = model.coordinates[0, :, 64, 127]  # y of row 64 and x of column 127
    torch.testing.assert_close(centres, torch.tensor([1 - 1 / 128, 1 / 128]))


@pytest.mark.parametrize("build", [HeatmapNet, RegressionNet])
def test_the_memory_format_does_not_change_the_outputs(build):
    torch.manual_seed(0)
    model = build(width=8).eval()
    images = torch.rand(2, 1, 128, 128)
    expected = model(images)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last)(images), expected)
