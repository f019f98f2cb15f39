"""Statistics of layouts, by hand and on real photos."""

import numpy as np
import pytest

from helpers.digits.dataset import DigitDataset
from helpers.digits.statistics import SVHN_LAYOUT, measure_layout, measure_overlaps, summarise_layout


def test_the_overlap_of_an_image_is_the_largest_iou_of_two_of_its_boxes():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 5, 5], [5, 0, 15, 10], [40, 0, 50, 10], [0, 0, 10, 10], [10, 0, 20, 10]])
    # In image 0 the first and the third box share 50 of 150 px; image 1 has one box; the boxes of image 2 only touch.
    overlaps = measure_overlaps(np.array([0, 0, 0, 1, 2, 2]), boxes.astype(float))
    assert overlaps.tolist() == pytest.approx([1 / 3, 0])


def test_quantities_by_hand():
    sizes, owners = np.array([[50, 100], [40, 60]]), np.array([0, 0, 1])
    boxes = np.array([[10, 5, 20, 30], [25, 5, 30, 30], [0, 0, 20, 40]], float)
    measures = measure_layout(sizes, owners, boxes)
    assert {name: values.tolist() for name, values in measures.items()} == {
        "image width": [100, 60],
        "image height": [50, 40],
        "box width": [10, 5, 20],
        "box height": [25, 25, 40],
        "height / width": [2.5, 5, 2],
        "box height / image height": [0.5, 0.5, 1],
    }


def test_a_summary_has_three_quantiles_of_each_quantity():
    summary = summarise_layout({"box width": np.arange(101.0)})
    assert summary == {"box width": (5, 50, 95)}


def test_the_layout_of_the_real_photos_is_that_of_svhn(svhn_folder):
    dataset = DigitDataset.read(svhn_folder, "train")
    summary = summarise_layout(measure_layout(dataset.sizes, dataset.owners, dataset.boxes))
    assert summary.keys() == SVHN_LAYOUT["train"].keys()
    for name, expected in SVHN_LAYOUT["train"].items():
        assert summary[name] == pytest.approx(expected, rel=0.12), name
