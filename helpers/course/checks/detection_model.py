"""Build task of the detector's network."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from helpers.course.checks.definition import Case, Definition, Mistake


class MultiScaleDetector(nn.Module):
    """Network from images [B, 3, H, W] to three maps [B, A * (5 + C), h, w], finest first.

    Backbone: five convolutions 3 x 3 with padding 1, each followed by batch normalisation and ReLU.

        channels    stride    cells of an image of 224 x 224
        3 -> 32     1
        32 -> 64    2         112 x 112
        64 -> 128   2         56 x 56, feature map 0
        128 -> 256  2         28 x 28, feature map 1
        256 -> 512  2         14 x 14, feature map 2

    Head of each feature map: a convolution 3 x 3 with padding 1 that keeps the number of channels, then a convolution
    1 x 1 to A * (5 + C) channels. The channels of a cell are A groups of 4 box offsets, 1 objectness logit and C class
    logits. The outputs are raw numbers without an activation. Batch normalisation and ReLU between the two
    convolutions of a head are up to you; without them the check remarks that the head is one linear map.

    Example: with 4 classes and 2 anchors per cell a map has 2 * (5 + 4) = 18 channels. For images of 64 x 64 the maps
    have 16 x 16, 8 x 8 and 4 x 4 cells.

    The lessons use the attribute `heads`, an `nn.ModuleList` of the three heads, and the method `features`. They train
    narrower networks, too: with `width` W the channels are W, 2 W, 4 W, 8 W and 16 W.

    Args:
        num_classes: C.
        num_anchors: A, per cell.
        width: channels of the first convolution.
    """

    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__()
        self.block1 = nn.Sequential(_convolution(3, width), _convolution(width, 2 * width, stride=2))
        self.block2 = _convolution(2 * width, 4 * width, stride=2)
        self.block3 = _convolution(4 * width, 8 * width, stride=2)
        self.block4 = _convolution(8 * width, 16 * width, stride=2)
        outputs = num_anchors * (5 + num_classes)
        self.heads = nn.ModuleList()
        for channels in (4 * width, 8 * width, 16 * width):
            self.heads.append(nn.Sequential(_convolution(channels, channels), nn.Conv2d(channels, outputs, 1)))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the output maps of the three heads, finest first."""
        return [head(features) for head, features in zip(self.heads, self.features(images), strict=True)]

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the three feature maps that are the inputs of the heads, finest first."""
        fine = self.block2(self.block1(images))
        middle = self.block3(fine)
        return [fine, middle, self.block4(middle)]


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3 x 3 convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def draw_model_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `MultiScaleDetector`."""
    seed = int(torch.randint(2**31, (), generator=generator))

    def shapes(group: str, title: str, settings: dict[str, int], size: tuple[int, ...]) -> Case:
        return Case(group, title, (list(size),), settings, driver="networks.list_shapes")

    return [
        Case("by hand", "weights of the convolutions", (), driver="networks.list_weights"),
        shapes("by hand", "shapes of the maps for one image of 224 x 224", {}, (1, 3, 224, 224)),
        shapes(
            "shapes and batches",
            "4 classes, 2 anchors, two images of 64 x 96",
            {"num_classes": 4, "num_anchors": 2},
            (2, 3, 64, 96),
        ),
        Case(
            "shapes and batches",
            "weights of the convolutions of width 4, with 4 classes and 2 anchors",
            (),
            {"num_classes": 4, "num_anchors": 2, "width": 4},
            driver="networks.list_weights",
        ),
        Case(
            "laws",
            "receptive field of a cell in the middle of each map, by gradient",
            (80,),
            driver="networks.measure_fields",
        ),
        Case("laws", "the network in detail", (seed,), driver="networks.probe_detector", tolerance=1e-3),
    ]


class LinearHeads(MultiScaleDetector):
    """The detector with nothing between the two convolutions of a head."""

    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        for number, channels in enumerate((4 * width, 8 * width, 16 * width)):
            self.heads[number] = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, num_anchors * (5 + num_classes), 1)
            )


# Wrong networks. They differ from the reference in one place.


class _WithoutFirstLayer(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        self.block1 = _convolution(3, 2 * width, stride=2)


def _pooled(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_convolution(inputs, outputs), nn.MaxPool2d(2))


class _MaxPooling(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        self.block1 = nn.Sequential(_convolution(3, width), _pooled(width, 2 * width))
        self.block2 = _pooled(2 * width, 4 * width)
        self.block3, self.block4 = _pooled(4 * width, 8 * width), _pooled(8 * width, 16 * width)


class _OneTensor(MultiScaleDetector):
    def forward(self, images: Tensor) -> Any:
        flat = [level.flatten(2).mT.flatten(1).unflatten(1, (-1, 8)) for level in super().forward(images)]
        return torch.cat(flat, dim=1)


class _RenamedKeyword(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, anchors_per_cell: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, anchors_per_cell, width)


class _FixedWidth(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors)


class _ThreeAnchors(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, 3, width)


class _ThreeClasses(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(3, num_anchors, width)


class _WithoutPadding(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.padding = (0, 0)


class _MissingStride(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        self.block1 = nn.Sequential(_convolution(3, width), _convolution(width, 2 * width))


class _FirstLayerWithStride(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        self.block1 = nn.Sequential(_convolution(3, width, stride=2), _convolution(width, 2 * width, stride=2))


class _WithoutObjectness(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes - 1, num_anchors, width)


class _CoarsestFirst(MultiScaleDetector):
    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(images)[::-1]


class _Sigmoid(MultiScaleDetector):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [level.sigmoid() for level in super().forward(images)]


class _SigmoidOfObjectness(MultiScaleDetector):
    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for level in super().forward(images):
            groups = level.unflatten(1, (3, -1)) if level.shape[1] == 24 else level.unflatten(1, (2, -1))
            offsets, objectness, classes = groups.split([4, 1, groups.shape[2] - 5], dim=2)
            maps.append(torch.cat([offsets, objectness.sigmoid(), classes], dim=2).flatten(1, 2))
        return maps


class _HeadsInAPlainList(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        heads = list(self.heads)
        del self.heads
        self.heads = heads


def _drop(network: nn.Module, kind: type[nn.Module]) -> None:
    """Replace all layers of a kind by layers that do nothing."""
    for block in network.modules():
        for name, layer in list(block.named_children()):
            if isinstance(layer, kind):
                setattr(block, name, nn.Identity())


class _WithoutNormalisation(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        _drop(self, nn.BatchNorm2d)


class _WithoutRelu(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        for block in (self.block1, self.block2, self.block3, self.block4):
            _drop(block, nn.ReLU)


class _DetachedFeatures(MultiScaleDetector):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [head(level.detach()) for head, level in zip(self.heads, self.features(images), strict=True)]


class _SmallKernelInHead(MultiScaleDetector):
    def __init__(self, num_classes: int = 3, num_anchors: int = 3, width: int = 32) -> None:
        super().__init__(num_classes, num_anchors, width)
        for number, channels in enumerate((4 * width, 8 * width, 16 * width)):
            self.heads[number] = nn.Sequential(
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, num_anchors * (5 + num_classes), 1),
            )


MODEL = Definition(
    name="MultiScaleDetector",
    number="3.1",
    title="The detector's network",
    purpose="This is the network that lessons 3 and 4 train, in several widths and with several dilations.",
    points=3,
    difficulty=2,
    minutes=(25, 45),
    reference=MultiScaleDetector,
    imports="import torch\nfrom jaxtyping import Float\nfrom torch import Tensor, nn",
    convention="a nonlinear step between the two convolutions of a head",
    conventions={
        "linear heads: nothing stands between the two convolutions of a head, so together they are one linear map; "
        "a ReLU between them lets the head learn more": LinearHeads
    },
    draw_cases=draw_model_cases,
    hints=(
        "Follow an image of 224 x 224 through the table: after which convolutions is the map read by a head?",
        "Write a function that returns convolution, batch normalisation and ReLU as one `nn.Sequential`, with the "
        "stride as its argument. The backbone needs it five times.",
        "`forward` is short if `features` returns the three maps: "
        "`[head(level) for head, level in zip(self.heads, self.features(images))]`. Keep the heads in an "
        "`nn.ModuleList`.",
    ),
    mistakes=(
        Mistake(
            "MD2",
            "the first convolution from 3 to 32 channels is left out",
            "Before the first feature map stand two more convolutions: 3 to 32 with stride 1, 32 to 64 with stride 2.",
            _WithoutFirstLayer,
        ),
        Mistake(
            "MD3",
            "maps are halved by max pooling",
            "The assignment halves by convolutions of stride 2, without pooling.",
            _MaxPooling,
        ),
        Mistake(
            "MD4",
            "all maps are returned as one flat tensor",
            "Return a list of three maps [B, A * (5 + C), h, w].",
            _OneTensor,
        ),
        Mistake(
            "MD5e",
            "the argument `num_anchors` has another name",
            "Keep the names of the arguments: `num_classes`, `num_anchors` and `width`.",
            _RenamedKeyword,
        ),
        Mistake(
            "MD5f",
            "the number of anchors is fixed to 3",
            "Use the argument `num_anchors` wherever the channels are counted.",
            _ThreeAnchors,
        ),
        Mistake(
            "MD5c",
            "the number of classes is fixed to 3",
            "Use the argument `num_classes` wherever the channels are counted.",
            _ThreeClasses,
        ),
        Mistake(
            "MD5w",
            "the width is fixed to 32",
            "The first convolution has `width` channels, and each of the next four twice as many as the one before.",
            _FixedWidth,
        ),
        Mistake(
            "MD8a",
            "the convolutions have no padding, so the maps are smaller",
            "A 3 x 3 convolution keeps the size of a map with padding 1.",
            _WithoutPadding,
        ),
        Mistake(
            "MD8b",
            "the convolution from 32 to 64 channels has stride 1, so all maps are twice as large",
            "Check the sizes against the table: 224, 112, 56, 28, 14.",
            _MissingStride,
        ),
        Mistake(
            "MD8c",
            "the first convolution has stride 2, so all maps are half as large",
            "The convolution from 3 to 32 channels has stride 1.",
            _FirstLayerWithStride,
        ),
        Mistake(
            "MD9e",
            "a group of channels has 4 + C numbers: the objectness is missing",
            "Each anchor needs 4 offsets, 1 objectness logit and C class logits: 5 + C numbers.",
            _WithoutObjectness,
        ),
        Mistake("MD9f", "the coarsest map is first", "Return the finest map (56 x 56) first.", _CoarsestFirst),
        Mistake(
            "MD9c",
            "the outputs pass through a sigmoid",
            "Return raw numbers. The losses apply sigmoid and softmax, and offsets may be negative.",
            _Sigmoid,
        ),
        Mistake(
            "MD9d",
            "the objectness passes through a sigmoid",
            "Return the raw logit: the loss applies the sigmoid.",
            _SigmoidOfObjectness,
        ),
        Mistake(
            "MD20",
            "the heads are kept in a plain list, so the optimizer never gets their weights",
            "PyTorch finds the modules of an `nn.ModuleList`, not those of a list.",
            _HeadsInAPlainList,
        ),
        Mistake(
            "MD21",
            "the convolutions have no batch normalisation",
            "After each 3 x 3 convolution of the backbone follow batch normalisation and ReLU.",
            _WithoutNormalisation,
        ),
        Mistake(
            "MD22",
            "the backbone has no ReLU",
            "Without ReLU the backbone is one linear map, however many convolutions it has.",
            _WithoutRelu,
        ),
        Mistake(
            "MD23",
            "the features are detached, so the backbone gets no gradient",
            "Give the heads the feature maps themselves, without `detach` or `no_grad`.",
            _DetachedFeatures,
        ),
        Mistake(
            "MD24",
            "the first convolution of a head is 1 x 1",
            "It is 3 x 3 with padding 1; only the last convolution is 1 x 1.",
            _SmallKernelInHead,
        ),
    ),
)

DEFINITIONS = (MODEL,)
