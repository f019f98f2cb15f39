"""Both networks: configuration, losses against torchvision's second stage, and training on two images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, box_iou

from helpers.digits.anchors import FITTED_ANCHORS, REPORT_ANCHORS, AnchorSet, Resize
from helpers.digits.dataset import prepare_images
from helpers.digits.model import (
    EVERYTHING,
    REPORT_TEST,
    REPORT_VALIDATION,
    ModelConfig,
    SmallPyramid,
    Thresholds,
    build_digit_rcnn,
    count_multiplications,
    detect,
)

CPU = torch.device("cpu")
RESIZE = Resize(64, 128)
ON_ONE_LEVEL = FITTED_ANCHORS.on_one_level().scaled_to(RESIZE)
SMALL = ModelConfig("small", None, RESIZE, ON_ONE_LEVEL, (100, 100), num_regions=32, width=8, pyramid_width=16)
FULL = replace(ModelConfig(weights=None), resize=RESIZE, num_proposals=(50, 50), num_regions=16)


def draw_batch(seed: int = 0) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Return two noisy images of different sizes with a bright and a dark bar each, in place of digits."""
    generator = torch.Generator().manual_seed(seed)
    images, targets = [], []
    for height, width in ((40, 70), (50, 60)):
        image = torch.randint(90, 130, (3, height, width), generator=generator, dtype=torch.uint8)
        boxes = torch.tensor([[8.0, 8, 20, 34], [34.0, 10, 46, 36]])
        for (x1, y1, x2, y2), shade in zip(boxes.int().tolist(), (250, 5), strict=True):
            image[:, y1:y2, x1:x2] = shade
        images.append(image)
        targets.append({"boxes": boxes, "labels": torch.tensor([2, 10])})
    return images, targets


def build(config: ModelConfig, **arguments) -> nn.Module:
    torch.manual_seed(0)
    return build_digit_rcnn(config, **arguments)


def test_the_reports_network_is_torchvisions_with_new_anchors_and_heads():
    report = ModelConfig()
    assert (report.backbone, report.weights, report.resize) == ("resnet50", "DEFAULT", Resize(800, 1333))
    assert (report.anchors, report.num_regions, report.positive_fraction) == (REPORT_ANCHORS, 512, 0.25)
    assert (EVERYTHING.score, REPORT_VALIDATION, REPORT_TEST) == (0, Thresholds(0.5, 0.5), Thresholds(0.7, 0.3))
    network = build(replace(report, weights=None))  # the weights are 167 MB away
    assert (network.transform.min_size, network.transform.max_size) == ((800,), 1333)
    assert network.rpn.anchor_generator.num_anchors_per_location() == [4] * 5
    assert network.rpn.head.cls_logits.out_channels == 4
    assert network.roi_heads.box_predictor.cls_score.out_features == 11
    pooling = network.roi_heads.box_roi_pool
    assert isinstance(pooling, MultiScaleRoIAlign)
    assert (pooling.featmap_names, pooling.output_size, pooling.sampling_ratio) == (["0", "1", "2", "3"], (7, 7), 2)
    assert (network.roi_heads.fg_bg_sampler.batch_size_per_image, network.rpn._pre_nms_top_n["testing"]) == (512, 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == 42_713_483


@pytest.mark.parametrize("term", [None, "ciou"])
def test_losses_of_the_second_stage_equal_torchvisions(term):
    network = build(SMALL, term=term)
    images, targets = draw_batch()
    prepared, resized = network.transform(prepare_images(images, CPU), targets)
    features = network.backbone(prepared.tensors)
    proposals, _ = network.rpn(prepared, features, resized)
    losses = []
    for forward in (network.roi_heads, lambda *inputs: RoIHeads.forward(network.roi_heads, *inputs)):
        torch.manual_seed(1)  # for the sample of regions
        losses.append(forward(features, list(proposals), prepared.image_sizes, resized)[1])
    ours, theirs = losses
    assert (ours["class"].item(), ours["smooth-l1"].item()) == (
        theirs["loss_classifier"].item(),
        theirs["loss_box_reg"].item(),
    )
    assert (ours["term"].item() > 0) is (term is not None)


@pytest.mark.parametrize("config", [SMALL, FULL], ids=["small", "resnet50"])
def test_images_are_resized_and_normalised_once_and_boxes_come_back_in_their_pixels(config):
    network = build(config).eval()
    network_inputs = []
    network.backbone.register_forward_pre_hook(lambda module, inputs: network_inputs.append(inputs[0]))
    grey = torch.full((3, 32, 40), 128, dtype=torch.uint8)
    detections = detect(network, [grey])[0]
    assert network_inputs[0].shape == (1, 3, 64, 96)  # 32 x 40 doubled, and padded to multiples of 32
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(network_inputs[0][0, :, 30, 30], (128 / 255 - mean) / spread)
    assert not network_inputs[0][0, :, :, 80:].any()
    assert len(detections.boxes) > 0
    assert (detections.boxes >= 0).all()
    assert (detections.boxes[:, 2:] <= torch.tensor([40.0, 32.0])).all()


@pytest.mark.parametrize("config", [SMALL, FULL], ids=["small", "resnet50"])
def test_in_bfloat16_no_coordinate_is_rounded(config):
    network = build(config)
    images, targets = draw_batch()
    dtypes = []
    for part in (network.backbone, network.rpn.head, network.roi_heads.box_predictor):
        part.register_forward_hook(lambda module, inputs, outputs: dtypes.append(collect_dtypes(outputs)))
    convolution = next(part for part in network.rpn.head.modules() if isinstance(part, nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: dtypes.append({output.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        losses = network(prepare_images(images, CPU), targets)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}
        network.eval()
        detections = network(prepare_images(images, CPU))
    assert set.union(*dtypes) == {torch.float32, torch.bfloat16}
    assert dtypes.count({torch.float32}) == 6
    boxes = torch.cat([image_detections["boxes"] for image_detections in detections])
    assert boxes.dtype == torch.float32
    assert not torch.equal(boxes, boxes.bfloat16().float())


def collect_dtypes(outputs) -> set[torch.dtype]:
    if isinstance(outputs, torch.Tensor):
        return {outputs.dtype}
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    return {dtype for part in parts for dtype in collect_dtypes(part)}


def test_batch_normalisation_is_trained_and_not_frozen():
    network = build(SMALL)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in network.modules())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_var.clone() for norm in norms]
    images, targets = draw_batch()
    sum(network(prepare_images(images, CPU), targets).values()).backward()
    assert len(norms) >= 10
    assert not any(torch.equal(norm.running_var, variance) for norm, variance in zip(norms, before, strict=True))
    assert all(norm.weight.grad.abs().sum() > 0 for norm in norms[:7])


def test_the_pyramid_has_strides_4_and_8_and_one_level_per_level_of_the_anchors():
    maps = SmallPyramid(width=8, out_channels=16, num_levels=2).eval()(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(level.shape) for name, level in maps.items()} == {"0": (1, 16, 16, 24), "1": (1, 16, 8, 12)}
    anchors = AnchorSet((FITTED_ANCHORS.sizes[0] * 2, (128, 192)), (1.5, 2.0)).scaled_to(RESIZE)
    network = build(replace(SMALL, anchors=anchors)).eval()
    assert network.rpn.head.cls_logits.out_channels == 4
    assert len(detect(network, draw_batch()[0])) == 2


def test_multiplications_of_a_proposal_are_those_of_the_layers_and_the_first_stage_grows_with_the_image():
    square, wide = (count_multiplications(SMALL, size) for size in ((64, 64), (64, 128)))
    # Two full layers (16 channels of 7 × 7 cells to 256 units, 256 to 256), then 11 classes and 4 offsets for each.
    assert square["one proposal"] == 16 * 49 * 256 + 256 * 256 + 256 * 55 == wide["one proposal"]
    assert wide["first stage"] == 2 * square["first stage"]
    assert square["weights"] == sum(parameter.numel() for parameter in build(SMALL).parameters())


def test_an_image_without_digits_gives_finite_losses_and_gradients():
    network = build(SMALL, term="giou")
    images, targets = draw_batch()
    targets[0] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = network(prepare_images(images, CPU), targets)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


def train(network: nn.Module, num_steps: int, learning_rate: float) -> list[float]:
    """Return the sum of all losses at each step on the same two images; the learning rate falls to almost 0."""
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.02, total_iters=num_steps)
    images, targets = draw_batch()
    losses = []
    torch.manual_seed(0)
    for _ in range(num_steps):
        loss = sum(network(prepare_images(images, CPU), targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def test_the_small_network_overfits_two_images(float32):
    network = build(SMALL)
    train(network, num_steps=200, learning_rate=5e-3)
    network.eval()
    images, targets = draw_batch()
    for detections, target in zip(detect(network, images), targets, strict=True):
        best = detections.above(0.5)
        overlap = box_iou(target["boxes"], best.boxes) * (target["labels"][:, None] == best.labels)
        assert len(best.labels) == 2
        assert overlap.max(dim=1).values.min() > 0.7


def test_the_loss_of_the_reports_network_falls_from_random_weights():
    losses = train(build(FULL), num_steps=4, learning_rate=2e-4)
    assert losses[-1] < 0.8 * losses[0]


def test_detect_applies_the_thresholds_of_each_call():
    network = build(SMALL)
    train(network, num_steps=20, learning_rate=5e-3)
    network.eval()
    images, _ = draw_batch()
    everything, loose, cut = (
        detect(network, images, thresholds)[0] for thresholds in (EVERYTHING, Thresholds(0.0, 0.9), Thresholds(0.3))
    )
    assert (cut.scores > 0.3).all()
    assert torch.equal(cut.scores, everything.scores[everything.scores > 0.3])
    assert everything.scores.tolist() == sorted(everything.scores.tolist(), reverse=True)
    for label in everything.labels.unique():
        overlap = box_iou(*[everything.boxes[everything.labels == label]] * 2).fill_diagonal_(0)
        assert overlap.max() <= 0.5
    overlaps = box_iou(loose.boxes, loose.boxes) * (loose.labels[:, None] == loose.labels)
    assert overlaps.fill_diagonal_(0).max() > 0.5
