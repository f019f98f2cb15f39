"""Build tasks of the keypoint networks: the heatmap network and the regression network of the assignment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from helpers.course.checks.definition import Case, Definition, Mistake

IMPORTS = "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor, nn"


class HeatmapNet(nn.Module):
    """Network from grey images to one map per point.

    Four blocks make the maps smaller. A block is a 3 x 3 convolution (padding 1), batch normalisation, ReLU and 2 x 2
    max pooling. Channels: 1 -> 32 -> 64 -> 128 -> 256. So 128 x 128 pixels become 64, 32, 16 and 8 cells per side.

    Three stages make the maps larger. A stage is a deconvolution (`nn.ConvTranspose2d`) of stride 2, batch
    normalisation and ReLU. The first stage turns the last map, 256 channels of 8 x 8 cells, into 128 channels of
    16 x 16. The second one gets these 128 channels and the 128 of the third block's output, which has the same size. It
    outputs 64 channels of 32 x 32. The third one gets these 64 channels and the 64 of the second block's output. It
    outputs 32 channels of 64 x 64. A block's output is its map after the pooling.

    The last layer is a 1 x 1 convolution from 32 channels to one per point. Its outputs are the maps: no function
    follows, because a map may be negative anywhere.

    The deconvolution's kernel is 2 x 2; 3 x 3 (padding 1, output padding 1) and 4 x 4 (padding 1) are right, too.
    Biases before a batch normalisation may be left out.

    This is the network with its default options. Others change it as follows.

    - `output_size` 16 or 32: one or two stages. 128: a fourth stage, which gets the 32 channels of the third one and
      the 32 of the first block's output, and outputs 16 channels. The last layer follows the last stage.
    - `skips` False: a stage gets the channels of the stage before it alone, and no block's output.
    - `width`: channels of the first block. All numbers of channels above change in proportion, but not the image's one
      channel and the maps of the points. With 16 the blocks have 1 -> 16 -> 32 -> 64 -> 128.

    Example: with 5 points the kernels have 387,360 weights in the blocks and 213,152 in the stages and the last layer,
    600,512 together. With all biases and batch normalisations the network has 602,629 parameters. A batch [2, 1, 128,
    128] gives [2, 5, 64, 64].

    Args:
        num_points: maps per image.
        output_size: cells per side of the maps of 128 x 128 pixels: 16, 32, 64 or 128.
        skips: whether stages get outputs of blocks.
        width: channels of the first block.
    """

    def __init__(self, num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> None:
        super().__init__()
        self.skips = skips
        self.blocks = nn.ModuleList(
            [
                _make_block(1, width),
                _make_block(width, 2 * width),
                _make_block(2 * width, 4 * width),
                _make_block(4 * width, 8 * width),
            ]
        )
        self.stages = nn.ModuleList()
        channels = 8 * width
        size = 8
        while size < output_size:
            is_first = size == 8
            inputs = 2 * channels if skips and not is_first else channels
            self.stages.append(_make_stage(inputs, channels // 2))
            channels = channels // 2
            size = 2 * size
        self.output = nn.Conv2d(channels, num_points, kernel_size=1)

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B K h w"]:
        """Return one map per image and point.

        Args:
            images: values 0 to 1; H and W are multiples of 16, and may differ.

        Returns:
            Maps of h = H / 2 rows and w = W / 2 columns at output_size 64. In general h = H · output_size / 128.
        """
        features = images
        maps = []
        for block in self.blocks:
            features = block(features)
            maps.append(features)
        for number, stage in enumerate(self.stages):
            if self.skips and number > 0:
                features = torch.cat([features, maps[3 - number]], dim=1)
            features = stage(features)
        return self.output(features)


def _make_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)
    )


def _make_stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class RegressionNet(nn.Module):
    """Network from grey images to the coordinates of points, as shares of the image's sides.

    The same four blocks as in the heatmap network: a 3 x 3 convolution (padding 1), batch normalisation, ReLU and 2 x 2
    max pooling. Channels: 1 -> 32 -> 64 -> 128 -> 256.

    Global average pooling takes the mean of each channel over all cells of the last map: 256 numbers, whatever the size
    of the images. Three linear layers follow: 256 -> 128 -> 64 -> 2 per point. After each of the first two come a ReLU
    and dropout with probability 0.5. A sigmoid after the last one keeps all outputs between 0 and 1.

    Biases before a batch normalisation may be left out.

    `width` are the channels of the first block. All numbers of channels above change in proportion, but not the image's
    one channel and the two numbers per point. With 16 the blocks have 1 -> 16 -> 32 -> 64 -> 128.

    Example: with 5 points the blocks' kernels have 387,360 weights, the linear layers 256 * 128 + 128 * 64 + 64 * 10 =
    41,600, together 428,960. With all biases and batch normalisations the network has 430,602 parameters. A batch
    [2, 1, 128, 128] gives [2, 10].

    Args:
        num_points: points per image.
        width: channels of the first block.
        dropout: probability of both dropouts.
    """

    def __init__(self, num_points: int = 5, width: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            _make_block(1, width),
            _make_block(width, 2 * width),
            _make_block(2 * width, 4 * width),
            _make_block(4 * width, 8 * width),
        )
        self.pooling = nn.AdaptiveAvgPool2d(1)
        self.hidden = nn.Sequential(
            nn.Linear(8 * width, 4 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, 2 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.output = nn.Linear(2 * width, 2 * num_points)

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B outputs"]:
        """Return the coordinates of all points, one row per image.

        Args:
            images: values 0 to 1; H and W are multiples of 16, and may differ.

        Returns:
            Two numbers per point, in the order x1, y1, x2, y2, …
        """
        means = self.pooling(self.blocks(images)).flatten(1)
        return torch.sigmoid(self.output(self.hidden(means)))


# Cases


def draw_heatmap_net_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `HeatmapNet`."""
    pair = torch.rand(2, 1, 16, 16, generator=generator)
    targets = 2 + torch.rand(2, 2, 8, 8, generator=generator)
    return [
        _describe("by hand", "5 points, 128 x 128 pixels", 5, 1, 128, 128),
        _describe("shapes and batches", "3 points, 3 images of 32 x 48 pixels", 3, 3, 32, 48),
        _describe("shapes and batches", "width 16", 3, 1, 32, 48, width=16),
        _describe("shapes and batches", "one stage", 3, 1, 32, 48, output_size=16, width=16),
        _describe("shapes and batches", "two stages", 3, 1, 32, 48, output_size=32, width=16),
        _describe("shapes and batches", "four stages", 3, 1, 32, 48, output_size=128, width=16),
        _describe("shapes and batches", "without skips", 3, 1, 32, 48, skips=False, width=16),
        *_paint(generator, (1.0, 1.0), (1.0, -1.0), (-1.6, 1.0)),
        Case("laws", "weights that get no gradient", (2, pair), driver="keypoint_models.count_unreached_weights"),
        Case("laws", "two passes of the same images differ", (2, pair), driver="keypoint_models.compare_passes"),
        Case("data", "a few steps on two images", (2, pair, targets), driver="keypoint_models.train_on_two_images"),
    ]


def draw_regression_net_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `RegressionNet`."""
    pair = torch.rand(2, 1, 32, 32, generator=generator)
    targets = torch.ones(2, 4)
    return [
        _describe("by hand", "5 points, 128 x 128 pixels", 5, 1, 128, 128),
        _describe("shapes and batches", "3 points, 3 images of 32 x 48 pixels", 3, 3, 32, 48),
        _describe("shapes and batches", "width 16", 3, 1, 32, 48, width=16),
        *_paint(generator, (0.7, 1.0), (0.7, -1.0), (-0.7, 1.0)),
        Case("laws", "weights that get no gradient", (2, pair), driver="keypoint_models.count_unreached_weights"),
        Case("laws", "two passes of the same images differ", (2, pair), driver="keypoint_models.compare_passes"),
        Case(
            "laws",
            "two passes of the same images differ, dropout 0",
            (2, pair),
            {"dropout": 0.0},
            driver="keypoint_models.compare_passes",
        ),
        Case("data", "a few steps on two images", (2, pair, targets), driver="keypoint_models.train_on_two_images"),
    ]


def _describe(
    group: str, title: str, num_points: int, num_images: int, num_rows: int, num_columns: int, **options: int
) -> Case:
    images = torch.zeros(num_images, 1, num_rows, num_columns)
    return Case(group, title, (num_points, images), options, driver="keypoint_models.describe_network")


def _paint(generator: torch.Generator, *paints: tuple[float, float]) -> list[Case]:
    """Return a case per scale of the kernels and sign of the last one. The images are dark on the left."""
    images = torch.rand(1, 1, 32, 48, generator=generator) * (torch.arange(48) >= 20)
    return [
        Case(
            "by hand",
            f"all kernels constant, scale {scale:g}, last layer {'positive' if last_sign > 0 else 'negative'}",
            (1, images, scale, last_sign),
            driver="keypoint_models.compute_painted_outputs",
        )
        for scale, last_sign in paints
    ]


# Other networks, right and wrong


class _HeatmapVariant(HeatmapNet):
    """Heatmap network that differs from the assignment's in one respect."""

    def __init__(
        self,
        num_points: int = 5,
        output_size: int = 64,
        skips: bool = True,
        width: int = 32,
        make_block: Callable[[int, int], nn.Module] = _make_block,
        make_stage: Callable[[int, int], nn.Module] = _make_stage,
        end: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(num_points, output_size, skips, width)
        self.end = end
        self.blocks = _make_layers(make_block, self.blocks)
        self.stages = _make_layers(make_stage, self.stages)

    def forward(self, images: Tensor) -> Tensor:
        maps = super().forward(images)
        return maps if self.end is None else self.end(maps)


def _make_layers(make: Callable[[int, int], nn.Module], like: nn.ModuleList) -> nn.ModuleList:
    """Return blocks or stages with the same numbers of channels."""
    layers: Any = like
    return nn.ModuleList([make(layer[0].in_channels, layer[0].out_channels) for layer in layers])


def _make_kernel_stage(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=1, output_padding=1 if kernel == 3 else 0)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def _make_upsampling_stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _make_double_stage(inputs: int, outputs: int) -> nn.Sequential:
    more = (nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
    return nn.Sequential(*_make_stage(inputs, outputs), *more)


def _make_stage_without_normalisation(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, stride=2), nn.ReLU())


def _make_stage_without_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, stride=2), nn.BatchNorm2d(outputs))


def _make_average_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.AvgPool2d(2))


def _list_maps(network: HeatmapNet, images: Tensor) -> list[Tensor]:
    """Return the outputs of the blocks."""
    maps = []
    features = images
    for block in network.blocks:
        features = block(features)
        maps.append(features)
    return maps


class _SkipsBeforePooling(HeatmapNet):
    """The stages get the blocks' maps before the pooling, one size larger."""

    def __init__(self, num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> None:
        super().__init__(num_points, output_size, skips, width)
        if not skips:
            return
        outputs = [8 * width // 2**number for number in range(len(self.stages) + 1)]
        for number in range(1, len(self.stages)):
            self.stages[number] = _make_stage(outputs[number] + outputs[number - 1], outputs[number + 1])
        self.output = nn.Sequential(nn.Conv2d(outputs[-1] + outputs[-2], num_points, 1))

    def forward(self, images: Tensor) -> Tensor:
        if not self.skips:
            return super().forward(images)
        before_pooling = []
        features = images
        blocks: Any = self.blocks
        for block in blocks:
            before_pooling.append(block[:3](features))
            features = block[3](before_pooling[-1])
        for number, stage in enumerate(self.stages):
            features = torch.cat([stage(features), before_pooling[3 - number]], dim=1)
        return self.output(features)


class _ThirdSkip(HeatmapNet):
    """The last layer gets a block's map, too."""

    def __init__(self, num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> None:
        super().__init__(num_points, output_size, skips, width)
        if skips and len(self.stages) < 4:
            self.output = nn.Conv2d(2 * self.output.in_channels, num_points, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = _list_maps(self, images)
        features = maps[3]
        for number, stage in enumerate(self.stages):
            features = stage(torch.cat([features, maps[3 - number]], dim=1) if self.skips and number else features)
        if self.skips and len(self.stages) < 4:
            features = torch.cat([features, maps[3 - len(self.stages)]], dim=1)
        return self.output(features)


def _without_skips(num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> nn.Module:
    return HeatmapNet(num_points, output_size, False, width)


def _skips_in_any_case(num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> nn.Module:
    return HeatmapNet(num_points, output_size, True, width)


def _always_64_cells(num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> nn.Module:
    return HeatmapNet(num_points, 64, skips, width)


def _always_32_channels(num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> nn.Module:
    return HeatmapNet(num_points, output_size, skips)


class _NoSkipToFourthStage(HeatmapNet):
    """The fourth stage gets the third stage's channels alone."""

    def __init__(self, num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> None:
        super().__init__(num_points, output_size, skips, width)
        if len(self.stages) == 4:
            self.stages[3] = _make_stage(width, width // 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = _list_maps(self, images)
        features = maps[3]
        for number, stage in enumerate(self.stages):
            is_joined = self.skips and number in (1, 2)
            features = stage(torch.cat([features, maps[3 - number]], dim=1) if is_joined else features)
        return self.output(features)


class _SkipsAdded(HeatmapNet):
    """Maps are added, not joined."""

    def __init__(self, num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> None:
        super().__init__(num_points, output_size, False, width)
        self.adds = skips

    def forward(self, images: Tensor) -> Tensor:
        maps = _list_maps(self, images)
        features = maps[3]
        for number, stage in enumerate(self.stages):
            features = stage(features + maps[3 - number] if self.adds and number else features)
        return self.output(features)


class _OneStageMore(HeatmapNet):
    """One more stage makes the maps twice as large."""

    def __init__(self, num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> None:
        super().__init__(num_points, output_size, skips, width)
        channels = self.output.in_channels
        last: Any = nn.Sequential(_make_stage(channels, channels // 2), nn.Conv2d(channels // 2, num_points, 1))
        self.output = last


class _StagesInPlainList(HeatmapNet):
    """The stages are in a Python list, where the network does not see their weights."""

    def __init__(self, num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> None:
        super().__init__(num_points, output_size, skips, width)
        stages: Any = list(self.stages)
        del self.stages
        self.stages = stages


def _always_five_maps(num_points: int = 5, output_size: int = 64, skips: bool = True, width: int = 32) -> nn.Module:
    return HeatmapNet(5, output_size, skips, width)


class _BlocksWithoutGradient(HeatmapNet):
    """The blocks are not trained."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            maps = _list_maps(self, images)
        features = maps[3]
        for number, stage in enumerate(self.stages):
            features = stage(torch.cat([features, maps[3 - number]], dim=1) if self.skips and number else features)
        return self.output(features)


def _make_stage_with_dropout(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_make_stage(inputs, outputs), nn.Dropout(0.5))


class _RegressionVariant(RegressionNet):
    """Regression network that differs from the assignment's in one respect."""

    def __init__(
        self,
        num_points: int = 5,
        width: int = 32,
        dropout: float = 0.5,
        make_block: Callable[[int, int], nn.Module] = _make_block,
        pooling: Callable[[], nn.Module] | None = None,
        make_hidden: Callable[[int, float], nn.Module] | None = None,
        end: Callable[[Tensor], Tensor] = torch.sigmoid,
    ) -> None:
        super().__init__(num_points, width, dropout)
        channels = pairwise((1, width, 2 * width, 4 * width, 8 * width))
        self.blocks = nn.Sequential(*(make_block(before, after) for before, after in channels))
        if pooling is not None:
            replaced: Any = pooling()
            self.pooling = replaced
        if make_hidden is not None:
            hidden: Any = make_hidden(width, dropout)
            self.hidden = hidden
        self.end = end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.output(self.hidden(self.pooling(self.blocks(images)).flatten(1))))


def _identity(values: Tensor) -> Tensor:
    return values


def _make_hidden(
    width: int, dropout: float, num_cells: int = 1, has_relu: bool = True, has_dropout: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise((8 * width * num_cells, 4 * width, 2 * width)):
        layers.append(nn.Linear(before, after))
        if has_relu:
            layers.append(nn.ReLU())
        if has_dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def _one_hidden_layer(num_points: int = 5, width: int = 32, dropout: float = 0.5) -> nn.Module:
    network = RegressionNet(num_points, width, dropout)
    network.hidden = nn.Sequential(nn.Linear(8 * width, 4 * width), nn.ReLU(), nn.Dropout(dropout))
    network.output = nn.Linear(4 * width, 2 * num_points)
    return network


def _always_of_width_32(num_points: int = 5, width: int = 32, dropout: float = 0.5) -> nn.Module:
    return RegressionNet(num_points, dropout=dropout)


def _always_half(num_points: int = 5, width: int = 32, dropout: float = 0.5) -> nn.Module:
    return RegressionNet(num_points, width)


def _always_ten_numbers(num_points: int = 5, width: int = 32, dropout: float = 0.5) -> nn.Module:
    return RegressionNet(5, width, dropout)


class _DropoutAlwaysOn(RegressionNet):
    """Dropout acts in evaluation mode, too."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.pooling(self.blocks(images)).flatten(1)
        hidden: Any = self.hidden
        for number in (0, 3):
            share = hidden[number + 2].p
            features = nn.functional.dropout(torch.relu(hidden[number](features)), share)
        return torch.sigmoid(self.output(features))


HEATMAP_NET = Definition(
    name="HeatmapNet",
    number="5.7",
    title="Network that outputs heatmaps",
    purpose="This network outputs one map per point. The lessons train it at several widths and sizes of the"
    " maps, with and without skip connections.",
    points=3,
    difficulty=3,
    minutes=(25, 45),
    reference=HeatmapNet,
    imports=IMPORTS,
    removed=("helpers.keypoints.model._double",),
    draw_cases=draw_heatmap_net_cases,
    convention="deconvolutions of 2 x 2",
    conventions={
        "deconvolutions of 3 x 3": partial(_HeatmapVariant, make_stage=partial(_make_kernel_stage, kernel=3)),
        "deconvolutions of 4 x 4": partial(_HeatmapVariant, make_stage=partial(_make_kernel_stage, kernel=4)),
    },
    hints=(
        "Write down, for each layer, the channels and the cells per side of its input and of its output.",
        "A block and a stage each occur several times: write a function that returns an `nn.Sequential` for given "
        "numbers of channels.",
        "Begin with the default options. Keep the outputs of all blocks. `torch.cat([features, map3], dim=1)` joins "
        "channels, so the second stage has 128 + 128 of them as inputs.",
        "Then the other options: each stage halves the channels and doubles the cells, from 8 up to output_size. Make "
        "the stages in a loop and put them in an `nn.ModuleList`.",
    ),
    mistakes=(
        Mistake(
            "NT1",
            "the stages get the blocks' maps before the pooling",
            "The maps after the pooling are joined: 128 channels of 16 x 16 cells and 64 channels of 32 x 32.",
            _SkipsBeforePooling,
        ),
        Mistake(
            "NT2",
            "each stage has another convolution",
            "A stage is a deconvolution, batch normalisation and ReLU, and nothing else.",
            partial(_HeatmapVariant, make_stage=_make_double_stage),
        ),
        Mistake(
            "NT3",
            "the last layer gets the first block's map, too",
            "Two maps are joined: that of the third and that of the second block.",
            _ThirdSkip,
        ),
        Mistake(
            "NT4a",
            "a ReLU follows the last layer",
            "The last layer is linear. Behind a ReLU, a cell whose value is too low gets no gradient.",
            partial(_HeatmapVariant, end=torch.relu),
        ),
        Mistake(
            "NT4b",
            "a sigmoid follows the last layer",
            "The last layer is linear: the squared error brings the values to 0 and 1.",
            partial(_HeatmapVariant, end=torch.sigmoid),
        ),
        Mistake(
            "NT7",
            "no map of a block is joined",
            "The second stage also gets the third block's output, and the third stage the second block's.",
            _without_skips,
        ),
        Mistake(
            "NT8",
            "maps are added, not joined",
            "Join the channels: torch.cat([features, map3], dim=1). The next stage has twice as many inputs.",
            _SkipsAdded,
        ),
        Mistake(
            "NT9",
            "there is one stage too many, so maps are twice as large",
            "Three stages bring 8 cells to 64.",
            _OneStageMore,
        ),
        Mistake(
            "NT10",
            "the number of points is always 5",
            "Use num_points for the channels of the last layer.",
            _always_five_maps,
        ),
        Mistake(
            "NT11",
            "the stages have no batch normalisation",
            "A stage is a deconvolution, batch normalisation and ReLU.",
            partial(_HeatmapVariant, make_stage=_make_stage_without_normalisation),
        ),
        Mistake(
            "NT12",
            "the stages have no ReLU",
            "A stage is a deconvolution, batch normalisation and ReLU.",
            partial(_HeatmapVariant, make_stage=_make_stage_without_relu),
        ),
        Mistake(
            "NT13",
            "layers are in a Python list",
            "The network does not find weights in a list, so they are not trained. Use nn.ModuleList.",
            _StagesInPlainList,
        ),
        Mistake(
            "NT14",
            "maps are enlarged by upsampling and a convolution",
            "Use nn.ConvTranspose2d with stride 2.",
            partial(_HeatmapVariant, make_stage=_make_upsampling_stage),
        ),
        Mistake(
            "NT15",
            "blocks pool by the mean",
            "Use max pooling: nn.MaxPool2d(2).",
            partial(_HeatmapVariant, make_block=_make_average_block),
        ),
        Mistake(
            "NT24",
            "no gradient reaches the blocks",
            "Leave out torch.no_grad() and detach(): the blocks are trained, too.",
            _BlocksWithoutGradient,
        ),
        Mistake(
            "NT25",
            "the stages have dropout",
            "A stage is a deconvolution, batch normalisation and ReLU.",
            partial(_HeatmapVariant, make_stage=_make_stage_with_dropout),
        ),
        Mistake(
            "NT26",
            "the width is always 32",
            "Use width for the channels of the first block, and its multiples for all others.",
            _always_32_channels,
        ),
        Mistake(
            "NT27",
            "the maps always have 64 cells per side",
            "The number of stages follows from output_size: each stage doubles the 8 cells of the last map.",
            _always_64_cells,
        ),
        Mistake(
            "NT28",
            "blocks' outputs are joined without skips, too",
            "With skips=False a stage gets the output of the stage before it alone.",
            _skips_in_any_case,
        ),
        Mistake(
            "NT29",
            "the fourth stage gets no output of a block",
            "At output_size 128 the fourth stage also gets the first block's output.",
            _NoSkipToFourthStage,
        ),
    ),
)

REGRESSION_NET = Definition(
    name="RegressionNet",
    number="5.8",
    title="Network that outputs coordinates",
    purpose="This network outputs two numbers per point. The lesson trains it as specified and looks for the"
    " reason why it fails.",
    points=2,
    difficulty=2,
    minutes=(15, 30),
    reference=RegressionNet,
    imports=IMPORTS,
    draw_cases=draw_regression_net_cases,
    hints=(
        "The blocks are those of HeatmapNet. How many numbers per image remain after global average pooling?",
        "`nn.AdaptiveAvgPool2d(1)`, or the mean over the last two axes, gives [B, 256] for images of any size.",
        "Linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. The last layer has 2 * num_points outputs.",
    ),
    mistakes=(
        Mistake(
            "NT5a",
            "no sigmoid follows the last layer",
            "Coordinates are shares of the image's sides, between 0 and 1.",
            partial(_RegressionVariant, end=_identity),
        ),
        Mistake(
            "NT5b",
            "a tanh follows the last layer",
            "A tanh has values from -1 to 1. Shares of the image's sides are between 0 and 1: use a sigmoid.",
            partial(_RegressionVariant, end=torch.tanh),
        ),
        Mistake(
            "NT5c",
            "a ReLU follows the last layer",
            "A ReLU has no upper limit, and no gradient below 0. Use a sigmoid.",
            partial(_RegressionVariant, end=torch.relu),
        ),
        Mistake(
            "NT6",
            "the last map is flattened, not averaged",
            "Global average pooling leaves one mean per channel, 256 numbers. Flattening leaves 256 * 8 * 8.",
            partial(_RegressionVariant, pooling=nn.Identity, make_hidden=partial(_make_hidden, num_cells=8 * 8)),
        ),
        Mistake(
            "NT16",
            "there is no dropout",
            "Dropout with probability 0.5 follows each of the two hidden ReLUs.",
            partial(_RegressionVariant, make_hidden=partial(_make_hidden, has_dropout=False)),
        ),
        Mistake(
            "NT17",
            "no ReLU stands between the linear layers",
            "Without it, three linear layers are no more than one.",
            partial(_RegressionVariant, make_hidden=partial(_make_hidden, has_relu=False)),
        ),
        Mistake(
            "NT18",
            "the pooling takes the maximum",
            "Take the mean of each channel over all cells.",
            partial(_RegressionVariant, pooling=partial(nn.AdaptiveMaxPool2d, 1)),
        ),
        Mistake(
            "NT19",
            "the pooling has a window of 8 x 8 cells",
            "It works for images of 128 x 128 pixels alone. Take the mean over all cells: nn.AdaptiveAvgPool2d(1).",
            partial(_RegressionVariant, pooling=partial(nn.AvgPool2d, 8)),
        ),
        Mistake(
            "NT20",
            "there is one hidden layer",
            "Three linear layers: 256 -> 128 -> 64 -> 2 per point.",
            _one_hidden_layer,
        ),
        Mistake(
            "NT21",
            "the number of points is always 5",
            "The last layer has 2 * num_points outputs.",
            _always_ten_numbers,
        ),
        Mistake(
            "NT22",
            "dropout acts in evaluation mode, too",
            "Use the module nn.Dropout, or give `training=self.training` to F.dropout.",
            _DropoutAlwaysOn,
        ),
        Mistake(
            "NT23",
            "blocks pool by the mean",
            "Use max pooling in the blocks: nn.MaxPool2d(2).",
            partial(_RegressionVariant, make_block=_make_average_block),
        ),
        Mistake(
            "NT30",
            "the width is always 32",
            "Use width for the channels of the first block, and its multiples for all others.",
            _always_of_width_32,
        ),
        Mistake(
            "NT31",
            "the dropout is always 0.5",
            "Use the argument dropout in both dropouts.",
            _always_half,
        ),
    ),
)

DEFINITIONS = (HEATMAP_NET, REGRESSION_NET)
