"""Build task of the detection loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from helpers.course.checks import anchors as anchor_checks
from helpers.course.checks import matching
from helpers.course.checks.definition import Case, Definition, Mistake
from helpers.detection.boxes import encode
from helpers.detection.matching import BACKGROUND, hard_negative_mining, match_anchors_to_targets


class DetectionLoss(nn.Module):
    """Losses of a batch: objectness, class and box.

    Match the anchors of all levels to the objects of each image: positive from an IoU of 0.5, negative (background) up
    to 0.3. Then compute three terms from raw outputs:

    - `loss_obj`: binary cross-entropy of the objectness logits, with target 1 for positive anchors and 0 for the hard
      negatives, three per positive. All other anchors are ignored.
    - `loss_cls`: cross-entropy of the class logits of positive anchors. Its targets are classes from 0.
    - `loss_loc`: smooth-L1 between the 4 outputs of positive anchors and the encoded offsets of their boxes from the
      anchors, (dx / w, dy / h, log w' / w, log h' / h), not pixels.
    - `loss_total` = loss_obj + loss_cls + 2 * loss_loc, with a gradient.

    Each term is a mean. You choose its divisor: the number of used anchors or of positive ones, for the whole batch or
    image by image, for all levels together or level by level. The same image twice must give the same loss. An image
    without objects has no class and box loss. It has no hard negatives, or a few: your mining may choose some without a
    positive anchor (task 2.7). No term is ever NaN.

    Three functions are imported for you; after their tasks they run your own code:

    - `encode(boxes, anchors)`,
    - `match_anchors_to_targets(anchors, boxes, labels).index`: for each anchor the row of its object, or `BACKGROUND`,
      or another negative number if it is ignored,
    - `hard_negative_mining(losses, positive, negative)`: a mask [B, N] from masks and losses [B, N].

    You may as well use your own versions and copy them into this cell.

    Example: all outputs are 0, an image has one object, and one anchor equals its box. Then `loss_obj` is the mean of
    one positive and three hard negatives, log 2 = 0.693; `loss_cls` is log 3 = 1.099; `loss_loc` is 0.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(
        self, predictions: list[Tensor], targets: list[dict[str, Tensor]], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the terms "loss_obj", "loss_cls", "loss_loc" and "loss_total" as scalars.

        Args:
            predictions: for each level a map [B, A * (5 + C), h, w]; the channels of a cell are A groups of 4 offsets,
                1 objectness logit and C class logits. A is the number of channels divided by 5 + C.
            targets: for each image {"boxes": [N, 4] in pixels, "labels": [N] classes from 0}; N may be 0.
            anchors: for each level [h * w * A, 4] in pixels, as `generate_anchors` returns them. Flatten the maps in
                the same order.
        """
        outputs = torch.cat([self._flatten(level) for level in predictions], dim=1)  # [B, N, 5 + C]
        all_anchors = torch.cat(list(anchors))
        positive, negative, true_boxes, true_labels = self._match(all_anchors, targets)

        losses = F.binary_cross_entropy_with_logits(outputs[..., 4], positive.float(), reduction="none")
        used = positive | hard_negative_mining(losses, positive, negative, ratio=3)
        objectness = torch.where(used, losses, 0.0).sum() / used.sum().clamp(min=1)

        num_positives = positive.sum().clamp(min=1)
        class_logits = outputs[..., 5:][positive]
        class_loss = F.cross_entropy(class_logits, true_labels[positive], reduction="sum") / num_positives
        offsets = outputs[..., :4][positive]
        true_offsets = encode(true_boxes, all_anchors)[positive]
        box_loss = F.smooth_l1_loss(offsets, true_offsets, reduction="none").mean(-1).sum() / num_positives
        return {
            "loss_obj": objectness,
            "loss_cls": class_loss,
            "loss_loc": box_loss,
            "loss_total": objectness + class_loss + 2 * box_loss,
        }

    def _flatten(self, level: Float[Tensor, "B channels h w"]) -> Float[Tensor, "B N outputs"]:
        """Return the outputs of one level, cell by cell in rows, the anchors of a cell together."""
        groups = level.unflatten(1, (-1, 5 + self.num_classes))  # [B, A, 5 + C, h, w]
        return groups.permute(0, 3, 4, 1, 2).flatten(1, 3)

    def _match(
        self, anchors: Float[Tensor, "N 4"], targets: list[dict[str, Tensor]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return for each image and anchor whether it is positive, whether negative, and its object's box and class."""
        masks, boxes, labels = [], [], []
        for target in targets:
            index = match_anchors_to_targets(anchors, target["boxes"], target["labels"]).index
            is_positive = index >= 0
            matched_boxes = anchors.clone()  # the others keep the anchor itself, which has the offsets 0
            matched_boxes[is_positive] = target["boxes"][index[is_positive]]
            matched_labels = torch.zeros_like(index)
            matched_labels[is_positive] = target["labels"][index[is_positive]]
            masks.append((is_positive, index == BACKGROUND))
            boxes.append(matched_boxes)
            labels.append(matched_labels)
        positive = torch.stack([is_positive for is_positive, _ in masks])
        negative = torch.stack([is_negative for _, is_negative in masks])
        return positive, negative, torch.stack(boxes), torch.stack(labels)


# The scene of most cases: 3 x 5 cells of 16 pixels with one anchor of 32 pixels each, and one object. The anchor of row
# 1, column 1 is positive (IoU 0.625), the one of row 1, column 2 is ignored (IoU 0.444), the others are negative.
HEIGHT, WIDTH = 3, 5
OBJECT = [20.0, 8, 40, 40]
POSITIVE = (1, 1)
NUM_CLASSES = 3


def make_grid_anchors(height: int, width: int, size: float = 32, stride: float = 16) -> Tensor:
    """Return one square anchor per cell, row by row."""
    centres = [((column + 0.5) * stride, (row + 0.5) * stride) for row in range(height) for column in range(width)]
    half = size / 2
    return torch.tensor([[x - half, y - half, x + half, y + half] for x, y in centres])


def make_target(boxes: list[list[float]], labels: list[int]) -> dict[str, Tensor]:
    """Return the target of one image."""
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}


def make_map(
    height: int,
    width: int,
    positives: dict[tuple[int, int, int], list[float]],
    background: Tensor,
    num_anchors: int = 1,
) -> Tensor:
    """Return the outputs [1, A * 8, h, w] of one level.

    Args:
        height: rows of cells.
        width: columns of cells.
        positives: outputs by row, column and anchor of the cell.
        background: objectness logit of every other anchor, [A, h, w], or a single one.
        num_anchors: A.
    """
    outputs = torch.zeros(num_anchors, 5 + NUM_CLASSES, height, width)
    outputs[:, :4] = 0.3
    outputs[:, 4] = background
    for (row, column, anchor), numbers in positives.items():
        outputs[anchor, :, row, column] = torch.tensor(numbers)
    return outputs.flatten(0, 1)[None]


def _make_outputs(box: list[float], anchor: Tensor, objectness: float, classes: list[float], shift: float = 0.0):
    """Return the 8 outputs of one anchor: the right offsets, the first one moved by `shift`, and the given logits."""
    offsets = encode(torch.tensor(box), anchor).tolist()
    return [offsets[0] + shift, *offsets[1:], objectness, *classes]


def draw_loss_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `DetectionLoss`."""
    anchors = make_grid_anchors(HEIGHT, WIDTH)
    target, empty = make_target([OBJECT], [1]), make_target([], [])
    anchor = anchors[POSITIVE[0] * WIDTH + POSITIVE[1]]
    distinct = _draw_logits(generator, 1, HEIGHT, WIDTH)
    distinct[0, 1, 2] = 2.0  # the ignored anchor has the highest one

    def scene(
        objectness: float, classes: list[float], shift: float = 0.0, background: Tensor | float = -20.0
    ) -> Tensor:
        outputs = _make_outputs(OBJECT, anchor, objectness, classes, shift)
        return make_map(HEIGHT, WIDTH, {(*POSITIVE, 0): outputs}, torch.as_tensor(background))

    def case(group: str, title: str, driver: str, *inputs: Any, tolerance: float = 1e-3) -> Case:
        return Case(group, title, (*inputs, NUM_CLASSES), driver=f"training.{driver}", tolerance=tolerance)

    def compare(title: str, first: Tensor, second: Tensor) -> Case:
        return case("laws", title, "compare_terms", [first], [second], [target], [anchors])

    right = scene(20.0, [0.0, 20, 0])
    learning = scene(0.0, [0.0, 0, 0], 0.5, distinct)
    zero = torch.zeros_like(right)
    row, column = torch.randint(3, (2,), generator=generator).tolist()
    label = int(torch.randint(NUM_CLASSES, (), generator=generator))
    size, place = 26 + 6 * torch.rand(2, 2, generator=generator)
    centre = torch.tensor([column + 0.5, row + 0.5]) * 16 + place / 32 - 1
    random_box = torch.cat([centre - size / 2, centre + size / 2]).tolist()
    random_outputs = _make_outputs(
        random_box, anchors[row * WIDTH + column], 20.0, [20.0 * (c == label) for c in range(3)]
    )
    random_right = make_map(HEIGHT, WIDTH, {(row, column, 0): random_outputs}, torch.tensor(-20.0))
    noise = torch.randn(1, 8, HEIGHT, WIDTH, generator=generator)
    return [
        case(
            "by hand", "right outputs: every term is 0", "compute_terms", [right], [target], [anchors], tolerance=1e-2
        ),
        case("by hand", "which anchors of one object learn", "list_learning", [learning], [target], [anchors]),
        case("borders and empty input", "an image without objects", "measure_empty", [zero], [empty], [anchors]),
        case(
            "borders and empty input",
            "the same object and an image without objects: which anchors of the first image learn",
            "list_learning",
            [torch.cat([learning, zero - 20])],
            [target, empty],
            [anchors],
        ),
        case(
            "shapes and batches",
            "the same image twice: quotient of the losses",
            "compare_doubled",
            [noise],
            [target],
            [anchors],
        ),
        case(
            "shapes and batches",
            "two levels that are equal: which anchors learn",
            "list_learning_levels",
            [learning, learning],
            [target],
            [anchors, anchors],
        ),
        compare(
            "quotients of the terms: positive logit -2 and 0, class logit 2 and 0, an offset wrong by 2 and 0.5",
            scene(-2.0, [0.0, 2, 0], 2.0),
            scene(0.0, [0.0, 0, 0], 0.5),
        ),
        compare(
            "quotients of the terms: negative logits 1 and 0, class logit -1 and 0, an offset wrong by 0.8 and 0.4",
            scene(20.0, [0.0, -1, 0], 0.8, 1.0),
            scene(20.0, [0.0, 0, 0], 0.4, 0.0),
        ),
        case(
            "laws", "random outputs: weights of the terms in the sum", "measure_weights", [noise], [target], [anchors]
        ),
        *_draw_pair_cases(generator),
        case(
            "data",
            "right outputs for a random object",
            "compute_terms",
            [random_right],
            [make_target([random_box], [label])],
            [anchors],
            tolerance=1e-2,
        ),
        case(
            "data",
            "right outputs for an object of the last class",
            "compute_terms",
            [scene(20.0, [0.0, 0, 20])],
            [make_target([OBJECT], [2])],
            [anchors],
            tolerance=1e-2,
        ),
    ]


def _draw_logits(generator: torch.Generator, *shape: int) -> Tensor:
    """Return logits between -1 and 0 in random order, no two equal."""
    count = torch.Size(shape).numel()
    return -torch.randperm(count, generator=generator).reshape(shape) / count


def _draw_pair_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases with the anchors of `generate_anchors`: 2 x 4 cells, anchors of 16, 24 and 32 pixels.

    The object equals the anchor of 24 pixels in row 0, column 2. The one of 32 pixels is positive, too (IoU 0.5625).
    The one of 16 pixels is ignored (IoU 0.444).
    """
    box = [28.0, 4, 52, 28]
    half = torch.tensor([-16.0, -16, 16, 16])
    large = torch.tensor([40.0, 16, 40, 16]) + half
    logits = _draw_logits(generator, 3, 2, 4)
    logits[0, 0, 2] = 2.0
    settings = ([[2, 4]], [[16, 24, 32]], 64)
    positions = ((0, 2, 1), torch.tensor(box)), ((0, 2, 2), large)
    right = {place: _make_outputs(box, anchor, 20.0, [0.0, 20, 0]) for place, anchor in positions}
    learning = {place: _make_outputs(box, anchor, 0.0, [0.0, 0, 0], 0.5) for place, anchor in positions}
    target = make_target([box], [1])

    def case(title: str, driver: str, outputs: Tensor, tolerance: float) -> Case:
        inputs = (driver, *settings, [outputs], [target], NUM_CLASSES)
        return Case(
            "pairs",
            title,
            inputs,
            driver="training.call_with_anchors",
            partners=("generate_anchors",),
            tolerance=tolerance,
        )

    return [
        case(
            "anchors of your generate_anchors, 3 per cell: right outputs",
            "compute_terms",
            make_map(2, 4, right, torch.tensor(-20.0), 3),
            1e-2,
        ),
        case(
            "anchors of your generate_anchors, 3 per cell: which anchors learn",
            "list_learning",
            make_map(2, 4, learning, logits, 3),
            1e-3,
        ),
    ]


class PlainLoss(nn.Module):
    """A right loss in loops over the images, from which wrong ones and legitimate variations are derived."""

    thresholds = (0.5, 0.3)
    ratio = 3

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, predictions: list[Tensor], targets: list[Any], anchors: list[Tensor]) -> Any:
        """Return the four terms."""
        outputs = torch.cat([self.flatten(level) for level in predictions], dim=1)
        images = [
            self.compute_image(rows, torch.cat(list(anchors)), target)
            for rows, target in zip(outputs, targets, strict=True)
        ]
        terms = [torch.stack(column).sum() / self.count(predictions, targets) for column in zip(*images, strict=True)]
        return self.collect(*terms)

    def count(self, predictions: list[Tensor], targets: list[Any]) -> int:
        """Return the divisor of the sum over the images."""
        return len(targets)

    def flatten(self, level: Tensor) -> Tensor:
        """Return the outputs of a level, cell by cell."""
        return level.unflatten(1, (-1, 5 + self.num_classes)).permute(0, 3, 4, 1, 2).flatten(1, 3)

    def compute_image(self, rows: Tensor, anchors: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three terms of one image."""
        labels, boxes, positive, negative = self.match(anchors, target)
        losses = self.compute_objectness(rows[:, 4], positive)
        objectness = self.average_objectness(losses, positive, negative)
        if not positive.any():
            return objectness, rows.sum() * 0, rows.sum() * 0
        class_loss = self.compute_class_loss(rows[positive, 5:], labels[positive] - 1)
        return objectness, class_loss, self.compute_box_loss(rows[:, :4], boxes, anchors, positive)

    def match(self, anchors: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return labels + 1, boxes, and the masks of positive and negative anchors."""
        return matching.match_anchors_to_targets(anchors, target["boxes"], target["labels"], *self.thresholds)

    def compute_objectness(self, logits: Tensor, positive: Tensor) -> Tensor:
        """Return the objectness loss of each anchor."""
        return F.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")

    def average_objectness(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the objectness term."""
        used = positive | matching.hard_negative_mining(losses, positive, negative, self.ratio)
        return losses[used].sum() / used.sum().clamp(min=1)

    def compute_class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the class term of the positive anchors."""
        return F.cross_entropy(logits, labels)

    def compute_box_loss(self, offsets: Tensor, boxes: Tensor, anchors: Tensor, positive: Tensor) -> Tensor:
        """Return the box term."""
        return F.smooth_l1_loss(offsets[positive], encode(boxes[positive], anchors[positive]))

    def collect(self, objectness: Tensor, class_loss: Tensor, box_loss: Tensor) -> Any:
        """Return the terms by name."""
        total = objectness + class_loss + 2 * box_loss
        return {"loss_obj": objectness, "loss_cls": class_loss, "loss_loc": box_loss, "loss_total": total}


# Wrong losses. Each replaces one step of `PlainLoss`.


class _AnchorMajor(PlainLoss):
    def flatten(self, level: Tensor) -> Tensor:
        return level.unflatten(1, (-1, 5 + self.num_classes)).permute(0, 1, 3, 4, 2).flatten(1, 3)


class _WithoutPermute(PlainLoss):
    def flatten(self, level: Tensor) -> Tensor:
        return level.reshape(len(level), -1, 5 + self.num_classes)


class _ChannelsByKind(PlainLoss):
    def flatten(self, level: Tensor) -> Tensor:
        return level.unflatten(1, (5 + self.num_classes, -1)).permute(0, 3, 4, 2, 1).flatten(1, 3)


class _ColumnsFirst(PlainLoss):
    def flatten(self, level: Tensor) -> Tensor:
        return super().flatten(level.mT)


class _RawPixels(PlainLoss):
    def compute_box_loss(self, offsets: Tensor, boxes: Tensor, anchors: Tensor, positive: Tensor) -> Tensor:
        return F.smooth_l1_loss(offsets[positive], boxes[positive])


class _PixelOffsets(PlainLoss):
    def compute_box_loss(self, offsets: Tensor, boxes: Tensor, anchors: Tensor, positive: Tensor) -> Tensor:
        return F.smooth_l1_loss(offsets[positive], (boxes - anchors)[positive])


class _AllBoxes(PlainLoss):
    def compute_box_loss(self, offsets: Tensor, boxes: Tensor, anchors: Tensor, positive: Tensor) -> Tensor:
        true_boxes = torch.where(positive[:, None], boxes, anchors)
        return F.smooth_l1_loss(offsets, encode(true_boxes, anchors))


class _AbsoluteError(PlainLoss):
    def compute_box_loss(self, offsets: Tensor, boxes: Tensor, anchors: Tensor, positive: Tensor) -> Tensor:
        return F.l1_loss(offsets[positive], encode(boxes[positive], anchors[positive]))


class _SquaredError(PlainLoss):
    def compute_box_loss(self, offsets: Tensor, boxes: Tensor, anchors: Tensor, positive: Tensor) -> Tensor:
        return F.mse_loss(offsets[positive], encode(boxes[positive], anchors[positive]))


class _EmptyImageUsesAll(PlainLoss):
    def average_objectness(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if positive.any():
            return super().average_objectness(losses, positive, negative)
        return losses[negative].sum()


class _MeanOfNothing(PlainLoss):
    def compute_image(self, rows: Tensor, anchors: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        labels, boxes, positive, negative = self.match(anchors, target)
        losses = self.compute_objectness(rows[:, 4], positive)
        class_loss = F.cross_entropy(rows[positive, 5:], labels[positive] - 1)
        box_loss = self.compute_box_loss(rows[:, :4], boxes, anchors, positive)
        return self.average_objectness(losses, positive, negative), class_loss, box_loss


class _DividedByLevels(PlainLoss):
    def count(self, predictions: list[Tensor], targets: list[Any]) -> int:
        return len(predictions)


class _BoxWeightOne(PlainLoss):
    def collect(self, objectness: Tensor, class_loss: Tensor, box_loss: Tensor) -> dict[str, Tensor]:
        total = objectness + class_loss + box_loss
        return {"loss_obj": objectness, "loss_cls": class_loss, "loss_loc": box_loss, "loss_total": total}


class _WeightedTerms(PlainLoss):
    def collect(self, objectness: Tensor, class_loss: Tensor, box_loss: Tensor) -> dict[str, Tensor]:
        total = objectness + class_loss + 2 * box_loss
        return {"loss_obj": objectness, "loss_cls": class_loss, "loss_loc": 2 * box_loss, "loss_total": total}


class _OtherName(PlainLoss):
    def collect(self, objectness: Tensor, class_loss: Tensor, box_loss: Tensor) -> dict[str, Tensor]:
        terms = super().collect(objectness, class_loss, box_loss)
        terms["loss"] = terms.pop("loss_total")
        return terms


class _Tuple(PlainLoss):
    def collect(self, objectness: Tensor, class_loss: Tensor, box_loss: Tensor) -> tuple[Tensor, ...]:
        return tuple(super().collect(objectness, class_loss, box_loss).values())


class _Detached(PlainLoss):
    def collect(self, objectness: Tensor, class_loss: Tensor, box_loss: Tensor) -> dict[str, Tensor]:
        terms = super().collect(objectness, class_loss, box_loss)
        return {name: value.detach() for name, value in terms.items()}


class _ClassPlusOne(PlainLoss):
    def compute_class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels + 1)


class _SoftmaxTwice(PlainLoss):
    def compute_class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.softmax(-1), labels)


class _SigmoidTwice(PlainLoss):
    def compute_objectness(self, logits: Tensor, positive: Tensor) -> Tensor:
        return super().compute_objectness(logits.sigmoid(), positive)


class _WithoutMining(PlainLoss):
    def average_objectness(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return losses[positive | negative].sum() / positive.sum().clamp(min=1)


class _MinesFromIgnored(PlainLoss):
    def average_objectness(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return super().average_objectness(losses, positive, ~positive)


class _OtherThreshold(PlainLoss):
    thresholds = (0.4, 0.3)


class _OtherRatio(PlainLoss):
    ratio = 5


LOSS = Definition(
    name="DetectionLoss",
    number="3.2",
    title="The detection loss",
    purpose="It turns the outputs of the network into the one number that the training makes small.",
    points=4,
    difficulty=4,
    minutes=(45, 80),
    reference=DetectionLoss,
    imports=(
        "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor, nn\n\n"
        "from helpers.detection.boxes import encode\n"
        "from helpers.detection.matching import BACKGROUND, hard_negative_mining, match_anchors_to_targets"
    ),
    draw_cases=draw_loss_cases,
    workload=Case("data", "four images of 224 x 224", (4,), driver="training.time_loss"),
    calls=600,
    partners={"generate_anchors": anchor_checks.generate_anchors},
    hints=(
        "Follow one anchor by hand: the second anchor of the cell in row 1, column 2. Which row of the anchors is it? "
        "Which channels of which cell belong to it?",
        "Flatten each map to [B, h * w * A, 5 + C] in the order of the anchors: separate the channels into [A, 5 + C], "
        "move both axes behind h and w, then join h, w and A. Now anchors and outputs have equal rows, and the masks "
        "of the matching select both.",
        "The losses take raw outputs: `F.binary_cross_entropy_with_logits`, `F.cross_entropy`, `F.smooth_l1_loss`. "
        "Their mean over no row is NaN: sum, and divide by the number of rows or 1.",
        "`level.unflatten(1, (-1, 5 + num_classes)).permute(0, 3, 4, 1, 2).flatten(1, 3)` flattens a map; "
        "`encode(boxes[positive], anchors[positive])` are the targets of the box term.",
    ),
    indistinguishable=(frozenset({"DL6", "DL8"}),),
    mistakes=(
        Mistake(
            "DL1",
            "maps are flattened anchor by anchor, but the anchors are listed cell by cell",
            "Follow one anchor by hand: the second anchor of row 0, column 2 must be the same row of both tensors.",
            _AnchorMajor,
        ),
        Mistake(
            "DL2a",
            "the targets of the box term are boxes in pixels",
            "The network predicts a small correction of the anchor: encode the box first.",
            _RawPixels,
        ),
        Mistake(
            "DL2b",
            "the targets of the box term are differences in pixels",
            "Divide shifts by the anchor's size and take the logarithm of the size: use `encode`.",
            _PixelOffsets,
        ),
        Mistake(
            "DL3",
            "in an image without objects every anchor is a hard negative",
            "An image without objects should give no hard negatives, or a few.",
            _EmptyImageUsesAll,
        ),
        Mistake(
            "DL4",
            "the mean over no positive anchor is NaN",
            "Check `positive.any()` before a mean, or divide a sum by `positive.sum().clamp(min=1)`.",
            _MeanOfNothing,
        ),
        Mistake(
            "DL5",
            "the sum over the images is divided by the number of levels",
            "The same image twice must give the same loss: divide by the number of images.",
            _DividedByLevels,
        ),
        Mistake("DL6", "the box term has the weight 1 in the sum", "The weights are 1 : 1 : 2.", _BoxWeightOne),
        Mistake(
            "DL7",
            "the class target is one too large",
            "The matching of task 2.6 adds 1, because 0 is background there. The class logits count from 0.",
            _ClassPlusOne,
        ),
        Mistake(
            "DL8",
            "the returned box term is multiplied by its weight already",
            "Return the plain terms, and weight them in `loss_total` only.",
            _WeightedTerms,
        ),
        Mistake(
            "DL9a",
            "the sum has another name",
            "The names are loss_obj, loss_cls, loss_loc and loss_total.",
            _OtherName,
        ),
        Mistake("DL9b", "a tuple is returned", "Return a dict with the four names.", _Tuple),
        Mistake(
            "DL9c",
            "the returned terms have no gradient",
            "Return tensors without `detach`, `item` or `no_grad`: the training differentiates `loss_total`.",
            _Detached,
        ),
        Mistake(
            "DL11",
            "all negative anchors are used, without mining",
            "Use three hard negatives per positive anchor: background is a hundred times more frequent.",
            _WithoutMining,
        ),
        Mistake("DL12a", "an anchor is positive from an IoU of 0.4", "Positive starts at 0.5.", _OtherThreshold),
        Mistake("DL12b", "five hard negatives are used per positive", "The ratio is 3.", _OtherRatio),
        Mistake(
            "DL13a",
            "a sigmoid stands before the loss that contains one",
            "`binary_cross_entropy_with_logits` takes the raw logits.",
            _SigmoidTwice,
        ),
        Mistake(
            "DL13b",
            "a softmax stands before the loss that contains one",
            "`cross_entropy` takes the raw logits.",
            _SoftmaxTwice,
        ),
        Mistake(
            "DL14",
            "the box term uses all anchors",
            "Only positive anchors have a box to learn.",
            _AllBoxes,
        ),
        Mistake(
            "DL15",
            "maps are reshaped to rows without moving the channels behind the cells",
            "`view` and `reshape` cut memory in its order. Permute the channels to the end first.",
            _WithoutPermute,
        ),
        Mistake(
            "DL16",
            "channels are read as 5 + C groups of A numbers",
            "The 5 + C numbers of one anchor stand together: separate the channels into [A, 5 + C].",
            _ChannelsByKind,
        ),
        Mistake(
            "DL17",
            "maps are flattened column by column",
            "The anchors are listed row by row: h before w.",
            _ColumnsFirst,
        ),
        Mistake(
            "DL18a",
            "the box term is the absolute error",
            "Smooth-L1 is quadratic for errors below 1: `F.smooth_l1_loss`.",
            _AbsoluteError,
        ),
        Mistake(
            "DL18b",
            "the box term is the squared error",
            "Smooth-L1 is linear for errors above 1: `F.smooth_l1_loss`.",
            _SquaredError,
        ),
        Mistake(
            "DL19",
            "ignored anchors can be hard negatives",
            "An anchor with an IoU between 0.3 and 0.5 is neither positive nor negative.",
            _MinesFromIgnored,
        ),
    ),
)

DEFINITIONS = (LOSS,)
