"""Drivers for average precision."""

import numpy as np
import torch

from helpers.course.checks.average_precision import make_sequence, precision_recall_curve
from helpers.tasks.drivers.average_precision import call_with_arrays, compute_ap_of_detections, time_curve


def test_tensors_become_arrays_and_share_their_memory():
    recall = torch.tensor([0.5, 1.0], dtype=torch.float64)

    def compute(array, method):
        array[0] = 9
        return type(array), array.dtype, method

    assert call_with_arrays(compute, recall, "all-point") == (np.ndarray, np.float64, "all-point")
    assert recall.tolist() == [9, 1]


def test_the_students_curve_is_passed_on_as_arrays():
    def curve(detections, targets, label, iou_threshold):
        assert (label, iou_threshold) == (0, 0.5)
        return torch.tensor([0.25]), [1.0]

    def area(recall, precision, method):
        assert recall.dtype == precision.dtype == np.float64
        return recall[0] + precision[0], method

    assert compute_ap_of_detections(area, curve, *make_sequence("T", 1), "11-point") == (1.25, "11-point")


def test_the_workload_of_the_curve_has_as_many_detections_as_asked_for():
    assert time_curve(precision_recall_curve, 3, 4) == 12
