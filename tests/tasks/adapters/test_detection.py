"""Adapters of the detection tasks: with the reference, results are those of the workbook's own functions."""

import torch

from helpers.course.checks import catalogue
from helpers.detection import boxes as helper_boxes
from helpers.tasks.adapters import detection


def draw_boxes(generator, *shape):
    corners = torch.randint(0, 150, (*shape, 2), generator=generator).float()
    return torch.cat([corners, corners + torch.randint(1, 70, (*shape, 2), generator=generator)], dim=-1)


def test_iou_of_batches_is_equal_to_the_last_digit():
    (replacement,) = detection.compute_iou(catalogue.find_definition("compute_iou").reference).values()
    generator = torch.Generator().manual_seed(0)
    shapes = [((5,), (7,)), ((3, 5), (7,)), ((3, 5), (3, 7)), ((5,), (2, 3, 7)), ((3, 0), (7,)), ((0,), (0,))]
    for first, second in shapes:
        boxes, others = draw_boxes(generator, *first), draw_boxes(generator, *second)
        assert torch.equal(replacement(boxes, others), helper_boxes.compute_iou(boxes, others)), (first, second)
