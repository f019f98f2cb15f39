"""Faster R-CNN for digits: the report's, on torchvision's ResNet-50, and one for two cores, of the same parts.

Images come as they are on disk. The model itself resizes and normalises them, and gives boxes back in their pixels:
done again outside, either would spoil the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import BasicBlock, conv1x1
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign

from helpers import runtime
from helpers.average_precision import Detections
from helpers.digits.anchors import REPORT_ANCHORS, AnchorSet, Resize
from helpers.digits.fast_ops import MatrixRoIAlign
from helpers.digits.loss import Term, compute_region_losses

NUM_CLASSES = 11
"""Ten digits, labelled 1 to 10, and torchvision's background 0."""
ROI_SIZE = 7
"""Cells across and down into which a region's features are pooled."""


@dataclass(frozen=True)
class Thresholds:
    """What becomes of a network's boxes: a change of them needs no training."""

    score: float = 0.0  # boxes with no higher score are dropped; the 100 best of an image remain in any case
    nms: float = 0.5  # IoU above which a box suppresses a worse one of its class


EVERYTHING = Thresholds()
"""For average precision and for task 1: a cut at any score cuts the precision-recall curve."""
REPORT_VALIDATION = Thresholds(score=0.5, nms=0.5)
REPORT_TEST = Thresholds(score=0.7, nms=0.3)


@dataclass(frozen=True)
class ModelConfig:
    """What the network is. The defaults are the report's."""

    backbone: Literal["resnet50", "small"] = "resnet50"
    weights: Literal["DEFAULT"] | None = "DEFAULT"  # of the ResNet: trained on COCO, fetched when first asked for
    resize: Resize = Resize()
    anchors: AnchorSet = REPORT_ANCHORS  # on as many levels of the pyramid, from the finest on
    num_proposals: tuple[int, int] = (2000, 1000)  # per image, in training and after it
    num_regions: int = 512  # sampled per image to train the second stage: what a step costs
    positive_fraction: float = 0.25  # of them at most
    width: int = 32  # of the small backbone: channels of its first stage
    pyramid_width: int = 64  # of the small one
    head_width: int = 256  # of the small one


def build_digit_rcnn(config: ModelConfig = ModelConfig(), term: Term | None = None) -> FasterRCNN:
    """Returns the untrained network of `config`: lists of images and targets in, losses or detections out.

    In training mode it returns torchvision's losses of the first stage, "loss_objectness" and "loss_rpn_box_reg", and
    those of `loss.compute_region_losses` of the second, unweighted. All of it can run under `runtime.autocast`:
    features are computed in bfloat16 then, but never a coordinate, of which bfloat16 tells 128 pixels from 129, no
    finer.

    Args:
        term: a loss of decoded boxes that is computed beside smooth-L1.
    """
    network = _build_resnet50(config) if config.backbone == "resnet50" else _build_small(config)
    network.roi_heads = RegionHeads(network.roi_heads, term)
    for part in (network.backbone, network.rpn.head, network.roi_heads.box_predictor):
        part.register_forward_hook(lambda module, inputs, outputs: _to_float32(outputs))
    return network


def _arguments(config: ModelConfig) -> dict[str, Any]:
    """Returns what both networks tell torchvision's `FasterRCNN`."""
    in_training, after_it = config.num_proposals
    return {
        "min_size": config.resize.shorter,
        "max_size": config.resize.longer,
        "rpn_pre_nms_top_n_train": in_training,
        "rpn_post_nms_top_n_train": in_training,
        "rpn_pre_nms_top_n_test": after_it,
        "rpn_post_nms_top_n_test": after_it,
        "box_batch_size_per_image": config.num_regions,
        "box_positive_fraction": config.positive_fraction,
    }


def _build_resnet50(config: ModelConfig) -> FasterRCNN:
    """Returns torchvision's network with new anchors, proposal head and predictor, as the report builds it.

    The first stage's pretrained head goes with its anchors: it predicts for three shapes per cell, not four.
    """
    network = fasterrcnn_resnet50_fpn_v2(weights=config.weights, **_arguments(config))
    generator = config.anchors.build_generator()
    network.rpn.anchor_generator = generator
    network.rpn.head = RPNHead(network.backbone.out_channels, generator.num_anchors_per_location()[0])
    network.roi_heads.box_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], ROI_SIZE, sampling_ratio=2)
    features = network.roi_heads.box_predictor.cls_score.in_features
    network.roi_heads.box_predictor = FastRCNNPredictor(features, NUM_CLASSES)
    return network


def _build_small(config: ModelConfig) -> FasterRCNN:
    """Returns a network of the same parts that two cores can train; its batch normalisation learns from scratch."""
    network = FasterRCNN(
        SmallPyramid(config.width, config.pyramid_width, num_levels=len(config.anchors.sizes)),
        rpn_anchor_generator=config.anchors.build_generator(),
        box_head=TwoMLPHead(config.pyramid_width * ROI_SIZE**2, config.head_width),
        box_predictor=FastRCNNPredictor(config.head_width, NUM_CLASSES),
        **_arguments(config),
    )
    network.roi_heads.box_roi_pool = MatrixRoIAlign(ROI_SIZE)
    return network


class SmallPyramid(nn.Module):
    """Returns feature maps of strides 4, 8, …, each knowing what the coarser ones see: a feature pyramid.

    torchvision's own computes every level, and at an input this small all but the finest would be for nothing.

    Args:
        width: channels of the stage with stride 4; they double with every stage, down to stride 16.
        out_channels: of every map that is returned.
        num_levels: maps that are returned, at most three.

    Source: Lin et al., "Feature pyramid networks" (arXiv:1612.03144).
    """

    def __init__(self, width: int, out_channels: int, num_levels: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.stem = Conv2dNormActivation(3, width, stride=2)
        self.stages = nn.ModuleList(build_block(*pair) for pair in zip((width, *widths[:-1]), widths, strict=True))
        self.laterals = nn.ModuleList(
            Conv2dNormActivation(channels, out_channels, kernel_size=1, activation_layer=None) for channels in widths
        )
        self.outputs = nn.ModuleList(
            Conv2dNormActivation(out_channels, out_channels, activation_layer=None) for _ in range(num_levels)
        )
        self.out_channels = out_channels

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Float[Tensor, "B out _h _w"]]:
        """Returns the maps by name, "0" the finest."""
        features = self.stem(images.contiguous(memory_format=torch.channels_last))
        laterals = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            features = stage(features)
            laterals.append(lateral(features))
        for level in (1, 0):  # from the coarsest down
            coarser = F.interpolate(laterals[level + 1], size=laterals[level].shape[-2:])
            laterals[level] = laterals[level] + coarser
        return {str(level): output(laterals[level]) for level, output in enumerate(self.outputs)}


def build_block(in_channels: int, out_channels: int) -> BasicBlock:
    """Returns a ResNet's basic block that halves its input."""
    shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride=2), nn.BatchNorm2d(out_channels))
    return BasicBlock(in_channels, out_channels, stride=2, downsample=shortcut)


class RegionHeads(RoIHeads):
    """torchvision's second stage with the losses of `loss.compute_region_losses`: they come unweighted.

    Args:
        heads: the second stage whose parts and settings it takes over.
        term: see `build_digit_rcnn`.
    """

    def __init__(self, heads: RoIHeads, term: Term | None) -> None:
        sampler, matcher = heads.fg_bg_sampler, heads.proposal_matcher
        super().__init__(
            heads.box_roi_pool,
            heads.box_head,
            heads.box_predictor,
            matcher.high_threshold,
            matcher.low_threshold,
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            heads.box_coder.weights,
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
        )
        self.term = term

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Float[Tensor, "_regions 4"]],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Float[Tensor, ""]]]:
        """Returns no detections and the losses in training, torchvision's detections and no losses after it."""
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        proposals, matches, labels, _ = self.select_training_samples(proposals, targets)
        regions, labels = torch.cat(proposals), torch.cat(labels)
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        class_logits, offsets = self.box_predictor(pooled)
        true_boxes = torch.cat([_pick(target["boxes"], rows) for target, rows in zip(targets, matches, strict=True)])
        with torch.autocast(class_logits.device.type, enabled=False):
            return [], compute_region_losses(class_logits, offsets, labels, regions, true_boxes, self.term)


def _pick(boxes: Float[Tensor, "_objects 4"], rows: Int[Tensor, " R"]) -> Float[Tensor, "R 4"]:
    """Returns the matched box of each region; in an image without a digit it is empty, and never looked at."""
    return boxes[rows] if len(boxes) else boxes.new_zeros(len(rows), 4)


def _to_float32(outputs: Any) -> Any:
    """Returns what a part of a network returns with every tensor in it in float32."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _to_float32(value) for name, value in outputs.items()}
    return type(outputs)(_to_float32(value) for value in outputs)


@torch.inference_mode()
def detect(
    network: FasterRCNN, images: Sequence[UInt8[Tensor, "3 _h _w"]], thresholds: Thresholds = EVERYTHING
) -> list[Detections]:
    """Returns the detections of each image, in its own pixels, from a network in evaluation mode; runs where it is.

    Args:
        images: one batch, of any sizes; it is padded to the largest.
    """
    device = next(network.parameters()).device
    network.roi_heads.score_thresh, network.roi_heads.nms_thresh = thresholds.score, thresholds.nms
    with runtime.autocast(device):  # as in training
        found = network([prepare_image(image, device) for image in images])
    return [Detections(*(one[name].cpu() for name in ("boxes", "scores", "labels"))) for one in found]


def prepare_image(image: UInt8[Tensor, "3 H W"], device: torch.device) -> Float[Tensor, "3 H W"]:
    """Returns the image on `device` as the network reads it, 0 to 1: the network itself normalises and resizes it."""
    return image.to(device).float().div_(255)
