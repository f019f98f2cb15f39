"""Faster R-CNN for digits: the report's network on torchvision's ResNet-50, and a small one for two CPU cores.

The input is images as they are on disk. The model itself resizes and normalises them and returns boxes in their pixels;
neither may be done a second time outside the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import BasicBlock, conv1x1
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign

from helpers import runtime
from helpers.average_precision import Detections
from helpers.digits.anchors import REPORT_ANCHORS, SIZE_DIVISOR, AnchorSet, Resize
from helpers.digits.dataset import prepare_images
from helpers.digits.fast_ops import MatrixRoIAlign
from helpers.digits.loss import Term, compute_region_losses
from helpers.digits.multi_scale import FineInput, MultiScaleRCNN

NUM_CLASSES = 11
"""Number of classes: torchvision's background, label 0, and ten digits, labels 1 to 10."""
ROI_SIZE = 7
"""Cells per axis into which the features of a region are pooled."""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the predicted boxes; a change needs no training."""

    score: float = 0.0  # boxes whose score is not higher are removed; at most the 100 best of an image remain
    nms: float = 0.5  # IoU above which a box suppresses a worse one of its class


EVERYTHING = Thresholds()
"""No score threshold, for average precision and task 1: a threshold would shorten the precision-recall curve."""
REPORT_VALIDATION = Thresholds(score=0.5, nms=0.5)
REPORT_TEST = Thresholds(score=0.7, nms=0.3)


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of the network. The defaults are the report's."""

    backbone: Literal["resnet50", "small"] = "resnet50"
    weights: Literal["DEFAULT"] | None = "DEFAULT"  # of the ResNet: trained on COCO, downloaded at the first use
    resize: Resize = Resize()
    anchors: AnchorSet = REPORT_ANCHORS  # its number of levels is that of the pyramid, from the finest level on
    num_proposals: tuple[int, int] = (2000, 1000)  # per image, in training and in evaluation
    num_regions: int = 512  # proposals sampled per image to train the RoI head; they determine the cost of a step
    positive_fraction: float = 0.25  # largest share of sampled proposals with a digit
    width: int = 32  # small backbone: channels of its first stage
    pyramid_width: int = 64  # small backbone: channels of the feature maps
    head_width: int = 256  # small backbone: units of the RoI head's two layers


@dataclass(frozen=True, kw_only=True)
class MultiScaleConfig(ModelConfig):
    """Configuration of a network with two inputs; `resize` makes the coarse one. Its weights fit a `ModelConfig`'s."""

    fine: FineInput


def build_digit_rcnn(config: ModelConfig = ModelConfig(), term: Term | None = None) -> FasterRCNN:
    """Return the untrained network of `config`: lists of images and targets in, losses or detections out.

    In training mode it returns torchvision's losses of the RPN, "loss_objectness" and "loss_rpn_box_reg", and the
    unweighted losses of `loss.compute_region_losses` of the RoI head. It can run under `runtime.autocast`: features
    are then computed in bfloat16, coordinates never, because the next number above 128 in bfloat16 is 129.

    Args:
        term: overlap loss that is computed in addition to smooth-L1.
    """
    network = _build_resnet50(config) if config.backbone == "resnet50" else _build_small(config)
    heads = RegionHeads(cast(RoIHeads, network.roi_heads), term)
    network.roi_heads = heads
    for part in (network.backbone, cast(nn.Module, network.rpn.head), heads.box_predictor):
        part.register_forward_hook(lambda module, inputs, outputs: _to_float32(outputs))
    return MultiScaleRCNN(network, config.fine) if isinstance(config, MultiScaleConfig) else network


def count_multiplications(config: ModelConfig, image_size: tuple[int, int]) -> dict[str, float]:
    """Return the "weights" of the network of `config`, and its multiplications: "first stage" and "one proposal".

    The first stage is backbone, pyramid and RPN for one image; one proposal is the RoI head. Nothing is computed: the
    network has shapes without numbers.

    Args:
        image_size: (height, width) of the image on disk, pixels.
    """
    sides = config.resize.sizes(torch.tensor([image_size]))[0]
    height, width = ((sides + SIZE_DIVISOR - 1) // SIZE_DIVISOR * SIZE_DIVISOR).tolist()
    with torch.device("meta"):
        network = build_digit_rcnn(replace(config, weights=None)).eval()
        heads = cast(RoIHeads, network.roi_heads)
        with FlopCounterMode(display=False) as image_counter:
            maps = network.backbone(torch.zeros(1, 3, height, width))
            cast(nn.Module, network.rpn.head)(list(maps.values()))
        with FlopCounterMode(display=False) as proposal_counter:
            proposal = torch.zeros(1, cast(int, network.backbone.out_channels), ROI_SIZE, ROI_SIZE)
            heads.box_predictor(heads.box_head(proposal))
    return {
        "weights": float(sum(parameter.numel() for parameter in network.parameters())),
        # A multiplication and an addition are counted as two operations.
        "first stage": image_counter.get_total_flops() / 2,
        "one proposal": proposal_counter.get_total_flops() / 2,
    }


def _shared_arguments(config: ModelConfig) -> dict[str, Any]:
    """Return the arguments of torchvision's `FasterRCNN` that both networks share."""
    in_training, in_evaluation = config.num_proposals
    return {
        "min_size": config.resize.shorter,
        "max_size": config.resize.longer,
        "rpn_pre_nms_top_n_train": in_training,
        "rpn_post_nms_top_n_train": in_training,
        "rpn_pre_nms_top_n_test": in_evaluation,
        "rpn_post_nms_top_n_test": in_evaluation,
        "box_batch_size_per_image": config.num_regions,
        "box_positive_fraction": config.positive_fraction,
    }


def _build_resnet50(config: ModelConfig) -> FasterRCNN:
    """Return torchvision's network with new anchors, RPN head and predictor, as the report builds it.

    New anchors need a new RPN head, which discards the pretrained one: that predicts for three shapes per cell.
    """
    network = fasterrcnn_resnet50_fpn_v2(weights=config.weights, **_shared_arguments(config))
    generator = config.anchors.build_generator()
    network.rpn.anchor_generator = generator
    network.rpn.head = RPNHead(cast(int, network.backbone.out_channels), generator.num_anchors_per_location()[0])
    heads = cast(RoIHeads, network.roi_heads)
    heads.box_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], ROI_SIZE, sampling_ratio=2)
    features = cast(FastRCNNPredictor, heads.box_predictor).cls_score.in_features
    heads.box_predictor = FastRCNNPredictor(features, NUM_CLASSES)
    return network


def _build_small(config: ModelConfig) -> FasterRCNN:
    """Return a network of the same parts that two cores can train, with batch normalisation trained from scratch."""
    network = FasterRCNN(
        SmallPyramid(config.width, config.pyramid_width, num_levels=len(config.anchors.sizes)),
        rpn_anchor_generator=config.anchors.build_generator(),
        box_head=TwoMLPHead(config.pyramid_width * ROI_SIZE**2, config.head_width),
        box_predictor=FastRCNNPredictor(config.head_width, NUM_CLASSES),
        **_shared_arguments(config),
    )
    network.roi_heads.box_roi_pool = MatrixRoIAlign(ROI_SIZE)
    return network


class SmallPyramid(nn.Module):
    """Feature pyramid with maps of stride 4, 8, …; each map also receives the features of the coarser ones.

    torchvision's pyramid computes all levels. With a small input most of its levels would not be used.

    Args:
        width: channels of the stage with stride 4; the number doubles with each stage, up to stride 16.
        out_channels: channels of each returned map.
        num_levels: number of returned maps, at most three.

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
        """Return the maps by name; "0" is the finest."""
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
    """Return a basic block of a ResNet with stride 2."""
    shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride=2), nn.BatchNorm2d(out_channels))
    return BasicBlock(in_channels, out_channels, stride=2, downsample=shortcut)


class RegionHeads(RoIHeads):
    """RoI head of torchvision with the unweighted losses of `loss.compute_region_losses`.

    Args:
        heads: RoI head whose parts and settings are used.
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
        self.term: Term | None = term

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Float[Tensor, "_regions 4"]],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Float[Tensor, ""]]]:
        """Return the losses alone in training mode, torchvision's detections alone in evaluation mode."""
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        if targets is None:
            raise ValueError("targets are None; in training mode each image needs its target")
        proposals, matches, labels, _ = self.select_training_samples(proposals, targets)
        regions, labels = torch.cat(proposals), torch.cat(labels)
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        class_logits, offsets = self.box_predictor(pooled)
        true_boxes = torch.cat(
            [_select_boxes(target["boxes"], rows) for target, rows in zip(targets, matches, strict=True)]
        )
        with torch.autocast(class_logits.device.type, enabled=False):
            return [], compute_region_losses(class_logits, offsets, labels, regions, true_boxes, self.term)


def _select_boxes(boxes: Float[Tensor, "_objects 4"], rows: Int[Tensor, " R"]) -> Float[Tensor, "R 4"]:
    """Return the matched box of each region; in an image without a digit, zeros, which no loss uses."""
    return boxes[rows] if len(boxes) else boxes.new_zeros(len(rows), 4)


def _to_float32(outputs: Any) -> Any:
    """Return `outputs`, a nested structure of tensors, with all tensors converted to float32."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _to_float32(value) for name, value in outputs.items()}
    return type(outputs)(_to_float32(value) for value in outputs)


@torch.inference_mode()
def detect(
    network: FasterRCNN, images: Sequence[UInt8[Tensor, "3 _h _w"]], thresholds: Thresholds = EVERYTHING
) -> list[Detections]:
    """Return the detections of each image, in its pixels, from a network in evaluation mode, on the network's device.

    Args:
        images: one batch, of any sizes; all are padded to the largest.
    """
    device = next(network.parameters()).device
    heads = cast(RoIHeads, network.roi_heads)
    heads.score_thresh, heads.nms_thresh = thresholds.score, thresholds.nms
    with runtime.autocast(device):  # as in training
        outputs = network(prepare_images(images, device))
    return [Detections(*(output[name].cpu() for name in ("boxes", "scores", "labels"))) for output in outputs]
