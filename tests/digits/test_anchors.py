"""Anchors: resizing and placing against torchvision's, and fitting to boxes of known shapes."""

from __future__ import annotations

import json

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import box_iou

from helpers.digits.anchors import (
    DEFAULT_ANCHORS,
    FITTED_ANCHORS,
    REPORT_ANCHORS,
    STRIDES,
    AnchorSet,
    Resize,
    cluster_anchors,
    measure_best_iou,
    pad_sizes,
)

SMALL = Resize(128, 256)


def draw_boxes(seed: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Return boxes in the shape of digits and the sizes of their images, from wide to upright ones."""
    generator = torch.Generator().manual_seed(seed)
    height = torch.randint(20, 200, (count,), generator=generator)
    width = (height * (0.7 + 4 * torch.rand(count, generator=generator))).long()
    box_height = height * (0.3 + 0.6 * torch.rand(count, generator=generator))
    box_width = torch.minimum(box_height / (1.2 + 2 * torch.rand(count, generator=generator)), 0.9 * width)
    corner = torch.rand(count, 2, generator=generator)
    x, y = corner[:, 0] * (width - box_width), corner[:, 1] * (height - box_height)
    return torch.stack([x, y, x + box_width, y + box_height], dim=1), torch.stack([height, width], dim=1)


@pytest.mark.parametrize("resize", [Resize(), SMALL], ids=str)
def test_images_and_boxes_are_resized_as_torchvision_does(resize):
    boxes, sizes = draw_boxes(0, count=8)
    boxes[0], sizes[0] = torch.tensor([3.0, 5.0, 40.0, 30.0]), torch.tensor([47, 2000])  # the longer side limits
    transform = GeneralizedRCNNTransform(resize.shorter, resize.longer, [0.0] * 3, [1.0] * 3)
    for box, size in zip(boxes, sizes, strict=True):
        images, targets = transform([torch.zeros(3, *size.tolist())], [{"boxes": box.unsqueeze(0)}])
        assert images.image_sizes[0] == tuple(resize.sizes(size.unsqueeze(0))[0].tolist())
        torch.testing.assert_close(resize.boxes(box.unsqueeze(0), size.unsqueeze(0)), targets[0]["boxes"])


def test_sizes_are_padded_as_torchvision_pads_a_batch():
    sizes = torch.tensor([[1, 500], [31, 32], [33, 64]])
    transform = GeneralizedRCNNTransform(SMALL.shorter, SMALL.longer, [0.0] * 3, [1.0] * 3)
    padded = [transform.batch_images([torch.zeros(3, *size)]).shape[-2:] for size in sizes.tolist()]
    assert pad_sizes(sizes).tolist() == [list(size) for size in padded] == [[32, 512], [32, 32], [64, 64]]


def place_anchors(size: tuple[int, int], anchors: AnchorSet, resize: Resize) -> torch.Tensor:
    """Return all anchors of torchvision's generator for one image of (height, width) `size`."""
    height, width = resize.sizes(torch.tensor([size]))[0].tolist()
    padded = (-(-height // 32) * 32, -(-width // 32) * 32)
    image, *maps = (torch.empty(1, 1, -(-padded[0] // step), -(-padded[1] // step)) for step in (1, *STRIDES))
    return anchors.build_generator()(ImageList(image, [(height, width)]), maps)[0]


@pytest.mark.parametrize(
    "anchors", [REPORT_ANCHORS, DEFAULT_ANCHORS, FITTED_ANCHORS], ids=["report", "default", "fitted"]
)
def test_the_best_iou_equals_the_highest_over_all_anchors_of_torchvision(anchors):
    boxes, sizes = draw_boxes(1, count=4)
    expected = []
    for box, size in zip(boxes, sizes, strict=True):
        placed = place_anchors(tuple(size.tolist()), anchors, Resize())
        expected.append(box_iou(Resize().boxes(box.unsqueeze(0), size.unsqueeze(0)), placed).max())
    torch.testing.assert_close(measure_best_iou(boxes, sizes, anchors), torch.stack(expected))


def test_the_best_iou_in_a_small_input_equals_torchvisions():
    boxes, sizes = draw_boxes(2)
    anchors = FITTED_ANCHORS.scaled_to(SMALL)
    expected = [
        box_iou(
            SMALL.boxes(box.unsqueeze(0), size.unsqueeze(0)), place_anchors(tuple(size.tolist()), anchors, SMALL)
        ).max()
        for box, size in zip(boxes, sizes, strict=True)
    ]
    torch.testing.assert_close(measure_best_iou(boxes, sizes, anchors, SMALL), torch.stack(expected))


def test_the_default_set_is_torchvisions_and_the_report_set_is_the_reports():
    for anchors, generator in (
        (DEFAULT_ANCHORS, AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)),
        (REPORT_ANCHORS, AnchorGenerator(((4,), (8,), (12,), (24,), (48,)), ((0.5, 1.0, 1.5, 2.0),) * 5)),
    ):
        for shapes, expected in zip(anchors.build_generator().cell_anchors, generator.cell_anchors, strict=True):
            assert torch.equal(shapes, expected)


def test_scaled_anchors_cover_the_same_share_of_a_smaller_image():
    small = REPORT_ANCHORS.scaled_to(SMALL).build_generator()
    for shapes, large in zip(small.cell_anchors, REPORT_ANCHORS.build_generator().cell_anchors, strict=True):
        torch.testing.assert_close(shapes, large * 128 / 800)
        assert (shapes[:, 2:] > shapes[:, :2]).all()


def test_setting_the_sizes_of_a_generator_has_no_effect():
    generator = DEFAULT_ANCHORS.build_generator()
    generator.sizes = REPORT_ANCHORS.sizes
    assert torch.equal(generator.cell_anchors[0], DEFAULT_ANCHORS.build_generator().cell_anchors[0])


def test_the_best_iou_of_a_box_on_an_anchor_and_beside_it_by_hand():
    # An image of 800 x 800: the level of stride 32 has an anchor of size 256 and ratio 1 centred on (320, 640).
    box = torch.tensor([[320.0 - 128, 640 - 128, 320 + 128, 640 + 128]])
    assert measure_best_iou(box, torch.tensor([[800, 800]]), DEFAULT_ANCHORS).item() == 1.0
    # Half a stride of its own level away, that anchor shares 240 of 256 pixels each way; no other size is nearer.
    shifted = measure_best_iou(box + 16, torch.tensor([[800, 800]]), DEFAULT_ANCHORS).item()
    assert shifted == pytest.approx(240**2 / (2 * 256**2 - 240**2))


def test_fitting_recovers_the_sizes_and_ratios_of_the_boxes():
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([100.0, 300.0])[torch.randint(2, (400,), generator=generator)]
    ratio = torch.tensor([1.0, 2.5])[torch.randint(2, (400,), generator=generator)]
    size = size * (1 + 0.04 * torch.randn(400, generator=generator))
    sides = torch.stack([size / ratio.sqrt(), size * ratio.sqrt()], dim=1)
    fitted = cluster_anchors(torch.cat([torch.zeros(400, 2), sides], 1), torch.full((400, 2), 800), 2, 2)
    assert [size for (size,) in fitted.sizes] == pytest.approx([100, 300], rel=0.03)
    assert fitted.ratios == pytest.approx((1.0, 2.5), rel=0.03)


def test_fitted_anchors_have_a_higher_mean_iou_than_any_named_set():
    boxes, sizes = draw_boxes(3, count=400)
    means = [
        measure_best_iou(boxes, sizes, anchors).mean()
        for anchors in (REPORT_ANCHORS, DEFAULT_ANCHORS, FITTED_ANCHORS, cluster_anchors(boxes, sizes))
    ]
    assert means == sorted(means)
    assert means[-1] > means[-2] + 0.01


def test_a_further_size_never_lowers_the_best_iou():
    boxes, sizes = draw_boxes(4)
    single_size = measure_best_iou(boxes, sizes, AnchorSet(((96,),), (2.0,)), strides=(16,))
    two_sizes = measure_best_iou(boxes, sizes, AnchorSet(((96, 192),), (2.0,)), strides=(16,))
    assert (two_sizes >= single_size).all()
    assert (two_sizes > single_size).any()


def test_on_real_photos_the_reports_anchors_match_no_digit_and_the_fitted_ones_nearly_all(svhn_folder):
    document = json.loads((svhn_folder / "train.json").read_text())
    size_of = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    rows = document["annotations"]
    sizes = torch.tensor([size_of[row["image_id"]] for row in rows])
    boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float32)
    boxes[:, 2:] += boxes[:, :2]
    fits = [measure_best_iou(boxes, sizes, anchors) for anchors in (REPORT_ANCHORS, DEFAULT_ANCHORS, FITTED_ANCHORS)]
    # Expected values: 4000 boxes of SVHN's train split.
    assert [fit.mean().item() for fit in fits] == pytest.approx([0.05, 0.68, 0.79], abs=0.02)
    assert [(fit >= 0.5).float().mean().item() for fit in fits] == pytest.approx([0.0, 0.981, 0.998], abs=0.02)
    assert [(fit >= 0.7).float().mean().item() for fit in fits] == pytest.approx([0.0, 0.431, 0.877], abs=0.06)
