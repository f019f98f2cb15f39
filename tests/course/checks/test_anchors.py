"""Right implementations of the tasks of anchors, and their contracts."""

import numpy as np
import torch
from torchvision.models.detection.rpn import permute_and_flatten

from helpers.course.checks import anchors, catalogue
from helpers.detection import anchors as workbook
from helpers.tasks.judging import judge
from helpers.tasks.running import run_cases


def _loop(feature_map_sizes, anchor_scales, image_size=224):
    levels = []
    for (height, width), scales in zip(feature_map_sizes, anchor_scales, strict=True):
        rows = []
        for row in range(height):
            for column in range(width):
                x, y = (column + 0.5) * image_size / width, (row + 0.5) * image_size / height
                rows += [[x - scale / 2, y - scale / 2, x + scale / 2, y + scale / 2] for scale in scales]
        levels.append(torch.tensor(rows, dtype=torch.float64))
    return levels


def _size_by_size_loop(feature_map_sizes, anchor_scales, image_size=224):
    levels = []
    for (height, width), scales in zip(feature_map_sizes, anchor_scales, strict=True):
        y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        centres = np.stack([x * image_size / width, y * image_size / height], axis=-1).reshape(-1, 2)
        levels.append(np.concatenate([np.hstack([centres - scale / 2, centres + scale / 2]) for scale in scales]))
    return levels


def _from_torchvision(maps, num_anchors):
    levels = []
    for level in maps:
        batch_size, channels, height, width = level.shape
        levels.append(permute_and_flatten(level, batch_size, num_anchors, channels // num_anchors, height, width))
    return torch.cat(levels, dim=1)


def _row_by_row(maps, num_anchors):
    rows = []
    for level in maps:
        num_outputs = level.shape[1] // num_anchors
        for row in range(level.shape[2]):
            for column in range(level.shape[3]):
                for anchor in range(num_anchors):
                    rows.append(level[:, anchor * num_outputs : (anchor + 1) * num_outputs, row, column])
    return torch.stack(rows, dim=1)


ORACLES = {"generate_anchors": _loop, "flatten_predictions": _from_torchvision}
"""An independent right implementation of each task."""

VARIATIONS = {
    "generate_anchors": {
        "size by size, NumPy arrays": _size_by_size_loop,
        "the workbook's own": lambda maps, *rest: workbook.generate_anchors([tuple(size) for size in maps], *rest),
        "integer sizes in a tensor": lambda maps, scales, size=224: _loop(maps, map(torch.tensor, scales), size),
    },
    "flatten_predictions": {"loops": _row_by_row, "the workbook's own": workbook.flatten_predictions},
}
"""Legitimate variations of each task."""


def check(name, function, **partners):
    task = catalogue.compile_visible(name)
    return judge(task, run_cases(function, task.cases, partners))


def test_anchors_by_hand():
    (level,) = anchors.generate_anchors([(2, 3)], [[2, 4]], 12)
    assert len(level) == 12
    assert level[[0, 1, 2, -1]].tolist() == [[1, 2, 3, 4], [0, 1, 4, 5], [5, 2, 7, 4], [8, 7, 12, 11]]


def test_both_orders_of_anchors_are_named():
    names = {check("generate_anchors", function).convention for function in (_loop, _size_by_size_loop)}
    assert names == set(catalogue.compile_visible("generate_anchors").conventions)


def test_anchors_and_predictions_in_the_same_order_pass_and_in_different_orders_they_do_not():
    functions = {
        "cell by cell": (anchors.generate_anchors, anchors.flatten_predictions),
        "size by size": (anchors.generate_size_by_size, anchors.flatten_size_by_size),
    }
    for generate_order, (generate, _) in functions.items():
        for flatten_order, (_, flatten) in functions.items():
            verdict = check("flatten_predictions", flatten, generate_anchors=generate)
            assert verdict.is_passed == (generate_order == flatten_order)


def test_an_order_of_predictions_is_accepted_while_the_anchors_are_not_written():
    for flatten in (anchors.flatten_predictions, anchors.flatten_size_by_size):
        verdict = check("flatten_predictions", flatten)
        assert verdict.is_passed
        assert verdict.skipped == ("generate_anchors",)


def test_predictions_by_hand():
    level = torch.tensor([0.0, 100, 1, 101, 10, 110, 11, 111]).reshape(1, 4, 1, 2)
    rows = anchors.flatten_predictions([level], 2)[0]
    assert rows.tolist() == [[0, 1], [10, 11], [100, 101], [110, 111]]


def test_a_mistake_is_named_for_anchors_listed_size_by_size_too():
    def without_half_cell(feature_map_sizes, anchor_scales, image_size=224):
        levels = _size_by_size_loop(feature_map_sizes, anchor_scales, image_size)
        strides = [(image_size / width, image_size / height) for height, width in feature_map_sizes]
        return [level - np.array(stride * 2) / 2 for level, stride in zip(levels, strides, strict=True)]

    verdict = check("generate_anchors", without_half_cell)
    assert verdict.diagnoses[0].mistake.code == "GA1"
