"""Build tasks of the keypoint networks: the heatmap network and the regression network of the assignment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from helpers.course.checks.definition import Case, Definition, Mistake

IMPORTS = "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor, nn"


class HeatmapNet(nn.Module):
    """Network from grey images to one map per point, at half the images' size.

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

    Example: with 5 points the kernels have 387,360 weights in the blocks and 213,152 in the stages and the last layer,
    600,512 together. With all biases and batch normalisations the network has 602,629 parameters. A batch [2, 1, 128,
    128] gives [2, 5, 64, 64].
    """

    def __init__(self, num_points: int = 5) -> None:
        super().__init__()
        self.block1 = _make_block(1, 32)
        self.block2 = _make_block(32, 64)
        self.block3 = _make_block(64, 128)
        self.block4 = _make_block(128, 256)
        self.stage1 = _make_stage(256, 128)
        self.stage2 = _make_stage(128 + 128, 64)
        self.stage3 = _make_stage(64 + 64, 32)
        self.output = nn.Conv2d(32, num_points, kernel_size=1)

    def forward(self, images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B K h w"]:
        """Return one map per image and point.

        Args:
            images: values 0 to 1; H and W are multiples of 16, and may differ.

        Returns:
            Maps of h = H / 2 rows and w = W / 2 columns.
        """
        map1 = self.block1(images)
        map2 = self.block2(map1)
        map3 = self.block3(map2)
        map4 = self.block4(map3)
        features = self.stage1(map4)
        features = self.stage2(torch.cat([features, map3], dim=1))
        features = self.stage3(torch.cat([features, map2], dim=1))
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

    Example: with 5 points the blocks' kernels have 387,360 weights, the linear layers 256 * 128 + 128 * 64 + 64 * 10 =
    41,600, together 428,960. With all biases and batch normalisations the network has 430,602 parameters. A batch
    [2, 1, 128, 128] gives [2, 10].
    """

    def __init__(self, num_points: int = 5) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            _make_block(1, 32), _make_block(32, 64), _make_block(64, 128), _make_block(128, 256)
        )
        self.pooling = nn.AdaptiveAvgPool2d(1)
        self.hidden = nn.Sequential(
            nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.5)
        )
        self.output = nn.Linear(64, 2 * num_points)

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
        *_paint(generator, (0.7, 1.0), (0.7, -1.0), (-0.7, 1.0)),
        Case("laws", "weights that get no gradient", (2, pair), driver="keypoint_models.count_unreached_weights"),
        Case("laws", "two passes of the same images differ", (2, pair), driver="keypoint_models.compare_passes"),
        Case("data", "a few steps on two images", (2, pair, targets), driver="keypoint_models.train_on_two_images"),
    ]


def _describe(group: str, title: str, num_points: int, num_images: int, height: int, width: int) -> Case:
    images = torch.zeros(num_images, 1, height, width)
    return Case(group, title, (num_points, images), driver="keypoint_models.describe_network")


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
        make_block: Callable[[int, int], nn.Module] = _make_block,
        make_stage: Callable[[int, int], nn.Module] = _make_stage,
        end: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(num_points)
        self.end = end
        for number, (before, after) in enumerate(((1, 32), (32, 64), (64, 128), (128, 256)), start=1):
            setattr(self, f"block{number}", make_block(before, after))
        for number, (before, after) in enumerate(((256, 128), (256, 64), (128, 32)), start=1):
            setattr(self, f"stage{number}", make_stage(before, after))

    def forward(self, images: Tensor) -> Tensor:
        maps = super().forward(images)
        return maps if self.end is None else self.end(maps)


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


class _SkipsBeforePooling(HeatmapNet):
    """The stages get the blocks' maps before the pooling, one size larger."""

    def __init__(self, num_points: int = 5) -> None:
        super().__init__(num_points)
        self.stage2 = _make_stage(128 + 256, 64)
        self.stage3 = _make_stage(64 + 128, 32)
        self.output = nn.Sequential(nn.Conv2d(32 + 64, num_points, 1))

    def forward(self, images: Tensor) -> Tensor:
        before_pooling = []
        features = images
        for block in (self.block1, self.block2, self.block3, self.block4):
            before_pooling.append(block[:3](features))
            features = block[3](before_pooling[-1])
        features = self.stage2(torch.cat([self.stage1(features), before_pooling[3]], dim=1))
        features = self.stage3(torch.cat([features, before_pooling[2]], dim=1))
        return self.output(torch.cat([features, before_pooling[1]], dim=1))


class _ThirdSkip(HeatmapNet):
    """The last layer gets the first block's map, too."""

    def __init__(self, num_points: int = 5) -> None:
        super().__init__(num_points)
        self.output = nn.Conv2d(32 + 32, num_points, 1)

    def forward(self, images: Tensor) -> Tensor:
        map1 = self.block1(images)
        map2 = self.block2(map1)
        map3 = self.block3(map2)
        features = self.stage2(torch.cat([self.stage1(self.block4(map3)), map3], dim=1))
        features = self.stage3(torch.cat([features, map2], dim=1))
        return self.output(torch.cat([features, map1], dim=1))


class _WithoutSkips(HeatmapNet):
    """No stage gets a block's map."""

    def __init__(self, num_points: int = 5) -> None:
        super().__init__(num_points)
        self.stage2 = _make_stage(128, 64)
        self.stage3 = _make_stage(64, 32)

    def forward(self, images: Tensor) -> Tensor:
        map4 = self.block4(self.block3(self.block2(self.block1(images))))
        return self.output(self.stage3(self.stage2(self.stage1(map4))))


class _SkipsAdded(_WithoutSkips):
    """Maps are added, not joined."""

    def forward(self, images: Tensor) -> Tensor:
        map2 = self.block2(self.block1(images))
        map3 = self.block3(map2)
        features = self.stage1(self.block4(map3)) + map3
        return self.output(self.stage3(self.stage2(features) + map2))


class _FourStages(HeatmapNet):
    """A fourth stage brings the maps to the images' size."""

    def __init__(self, num_points: int = 5) -> None:
        super().__init__(num_points)
        self.output = nn.Sequential(_make_stage(32, 16), nn.Conv2d(16, num_points, 1))


class _StagesInPlainList(HeatmapNet):
    """The stages are in a Python list, where the network does not see their weights."""

    def __init__(self, num_points: int = 5) -> None:
        super().__init__(num_points)
        del self.stage1, self.stage2, self.stage3
        self.stages = [_make_stage(256, 128), _make_stage(256, 64), _make_stage(128, 32)]

    def forward(self, images: Tensor) -> Tensor:
        map2 = self.block2(self.block1(images))
        map3 = self.block3(map2)
        features = self.stages[1](torch.cat([self.stages[0](self.block4(map3)), map3], dim=1))
        return self.output(self.stages[2](torch.cat([features, map2], dim=1)))


def _always_five_maps(num_points: int = 5) -> nn.Module:
    return HeatmapNet()


class _BlocksWithoutGradient(HeatmapNet):
    """The blocks are not trained."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            map2 = self.block2(self.block1(images))
            map3 = self.block3(map2)
            map4 = self.block4(map3)
        features = self.stage2(torch.cat([self.stage1(map4), map3], dim=1))
        return self.output(self.stage3(torch.cat([features, map2], dim=1)))


def _make_stage_with_dropout(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_make_stage(inputs, outputs), nn.Dropout(0.5))


class _RegressionVariant(RegressionNet):
    """Regression network that differs from the assignment's in one respect."""

    def __init__(
        self,
        num_points: int = 5,
        make_block: Callable[[int, int], nn.Module] = _make_block,
        pooling: nn.Module | None = None,
        hidden: nn.Module | None = None,
        end: Callable[[Tensor], Tensor] = torch.sigmoid,
    ) -> None:
        super().__init__(num_points)
        channels = ((1, 32), (32, 64), (64, 128), (128, 256))
        self.blocks = nn.Sequential(*(make_block(before, after) for before, after in channels))
        self.pooling = pooling or self.pooling
        self.hidden = hidden or self.hidden
        self.end = end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.output(self.hidden(self.pooling(self.blocks(images)).flatten(1))))


def _identity(values: Tensor) -> Tensor:
    return values


def _make_hidden(inputs: int = 256, relu: bool = True, dropout: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((inputs, 128), (128, 64)):
        layers.append(nn.Linear(before, after))
        if relu:
            layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(0.5))
    return nn.Sequential(*layers)


def _without_sigmoid(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, end=_identity)


def _ends_in_tanh(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, end=torch.tanh)


def _ends_in_relu(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, end=torch.relu)


def _flattened(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, pooling=nn.Identity(), hidden=_make_hidden(256 * 8 * 8))


def _without_dropout(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, hidden=_make_hidden(dropout=False))


def _without_hidden_relu(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, hidden=_make_hidden(relu=False))


def _global_max_pooling(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, pooling=nn.AdaptiveMaxPool2d(1))


def _fixed_window(num_points: int = 5) -> nn.Module:
    return _RegressionVariant(num_points, pooling=nn.AvgPool2d(8))


def _one_hidden_layer(num_points: int = 5) -> nn.Module:
    network = _RegressionVariant(num_points, hidden=nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.5)))
    network.output = nn.Linear(128, 2 * num_points)
    return network


def _always_ten_numbers(num_points: int = 5) -> nn.Module:
    return RegressionNet()


class _DropoutAlwaysOn(RegressionNet):
    """Dropout acts in evaluation mode, too."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.pooling(self.blocks(images)).flatten(1)
        for number in (0, 3):
            features = nn.functional.dropout(torch.relu(self.hidden[number](features)), 0.5)
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
        "Keep the outputs of the second and the third block in variables. `torch.cat([features, map3], dim=1)` joins "
        "channels, so the next stage has 128 + 128 of them as inputs.",
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
            _WithoutSkips,
        ),
        Mistake(
            "NT8",
            "maps are added, not joined",
            "Join the channels: torch.cat([features, map3], dim=1). The next stage has twice as many inputs.",
            _SkipsAdded,
        ),
        Mistake(
            "NT9",
            "there are four stages, so maps have the size of the image",
            "Three stages bring 8 cells to 64.",
            _FourStages,
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
            _without_sigmoid,
        ),
        Mistake(
            "NT5b",
            "a tanh follows the last layer",
            "A tanh has values from -1 to 1. Shares of the image's sides are between 0 and 1: use a sigmoid.",
            _ends_in_tanh,
        ),
        Mistake(
            "NT5c",
            "a ReLU follows the last layer",
            "A ReLU has no upper limit, and no gradient below 0. Use a sigmoid.",
            _ends_in_relu,
        ),
        Mistake(
            "NT6",
            "the last map is flattened, not averaged",
            "Global average pooling leaves one mean per channel, 256 numbers. Flattening leaves 256 * 8 * 8.",
            _flattened,
        ),
        Mistake(
            "NT16",
            "there is no dropout",
            "Dropout with probability 0.5 follows each of the two hidden ReLUs.",
            _without_dropout,
        ),
        Mistake(
            "NT17",
            "no ReLU stands between the linear layers",
            "Without it, three linear layers are no more than one.",
            _without_hidden_relu,
        ),
        Mistake(
            "NT18",
            "the pooling takes the maximum",
            "Take the mean of each channel over all cells.",
            _global_max_pooling,
        ),
        Mistake(
            "NT19",
            "the pooling has a window of 8 x 8 cells",
            "It works for images of 128 x 128 pixels alone. Take the mean over all cells: nn.AdaptiveAvgPool2d(1).",
            _fixed_window,
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
    ),
)

DEFINITIONS = (HEATMAP_NET, REGRESSION_NET)
