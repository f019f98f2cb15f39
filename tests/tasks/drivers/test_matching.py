"""Drivers for matching and mining: what they read off, and what they leave free."""

import pytest
import torch

from helpers.tasks.drivers import matching

POSITIVE, NEGATIVE = torch.tensor([True, False, False]), torch.tensor([False, False, True])


def test_the_label_of_an_ignored_anchor_and_the_boxes_of_others_are_left_free():
    boxes = torch.arange(12.0).reshape(3, 4)
    first = matching.match(lambda: (torch.tensor([2, -1, 0]), boxes, POSITIVE, NEGATIVE))
    second = matching.match(
        lambda: (torch.tensor([2, 5, 0]), -boxes + 2 * boxes[:1] * POSITIVE[:, None], POSITIVE, NEGATIVE)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["labels (0 where free)"].tolist() == [2, 0, 0]
    assert first["boxes of the positive anchors"].tolist() == [[0, 1, 2, 3]]


def test_a_wrong_number_of_results_raises_an_exception():
    with pytest.raises(ValueError, match="unpack"):
        matching.match(lambda: (POSITIVE, NEGATIVE))


@pytest.mark.parametrize(
    "chosen", [torch.tensor([True, False, True]), torch.tensor([2, 0]), [0, 2], [True, False, True]]
)
def test_a_mask_and_numbers_of_anchors_are_the_same_choice(chosen):
    assert matching.mine(lambda: chosen) == [0, 2]


def test_a_free_number_of_hard_negatives_must_still_be_negative():
    inputs = torch.zeros(3), POSITIVE, NEGATIVE
    for chosen, is_right in (([], True), ([2], True), ([1], False), ([0, 2], False)):
        assert matching.mine_freely(lambda *_, chosen=chosen: chosen, *inputs) == {
            "all chosen anchors are negative": is_right
        }


def test_equal_losses_are_counted():
    counted = matching.count_mined(lambda *_: [2], torch.zeros(3), POSITIVE, NEGATIVE)
    assert counted == {"number of chosen anchors": 1, "all chosen anchors are negative": True}


def test_the_workloads_have_the_size_that_is_asked_for():
    assert matching.time_matching(lambda anchors, boxes, labels: [0] * (len(anchors) + len(labels)), 40, 2) == 42
    assert matching.time_mining(lambda losses, positive, negative: positive, 200) == 2
