"""Tables of results: headings, means over seeds, and intervals."""

import numpy as np
import pytest
import torch

from helpers.intervals import bootstrap_difference, bootstrap_mean
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.metrics import compute_correctness, compute_pck, evaluate_points, exchange_hands
from helpers.keypoints.tables import average_seeds, compare_points, describe_column, measure_images, tabulate_points


@pytest.fixture(scope="module")
def true():
    return KeypointDataset.draw(12, seed=3).points


@pytest.fixture(scope="module")
def predicted(true):
    """Return a method with two seeds, one of which exchanges the hands, and a method that is 2 px off."""
    return {"exact": [true, exchange_hands(true)], "shifted": [true + torch.tensor([2.0, 0.0])]}


def test_every_column_of_a_row_of_results_has_a_heading_of_its_own(true):
    columns = evaluate_points(true, true)
    headings = {describe_column(column) for column in columns}
    assert len(headings) == len(columns)
    assert describe_column("pck@0.05") == "raw PCK@0.05"
    assert describe_column("error_head_feet") == "error of head and feet (px)"


@pytest.mark.parametrize("column", ["pck", "recall@0.5", "error@0.1", ""])
def test_an_unknown_column_is_refused(column):
    with pytest.raises(ValueError, match="is no column of evaluate_points"):
        describe_column(column)


def test_seeds_are_averaged(true, predicted):
    averages = average_seeds(predicted["exact"], true)
    expected = (1 + compute_pck(exchange_hands(true), true, (0.05,)).item()) / 2
    assert averages["pck@0.05"] == pytest.approx(expected)
    assert averages["pck_swap@0.05"] == 1


def test_the_mean_of_the_values_of_each_image_is_the_number_of_the_column(true, predicted):
    for seeds in predicted.values():
        for column, average in average_seeds(seeds, true).items():
            assert measure_images(seeds, true, column).mean() == pytest.approx(average, abs=1e-12)


def test_a_table_has_a_row_per_method_and_intervals_where_asked(true, predicted):
    table = tabulate_points(predicted, true, ("pck@0.05", "error_head_feet"), intervals=("pck@0.05",))
    assert list(table.index) == ["exact", "shifted"]
    assert list(table.columns) == ["raw PCK@0.05", "error of head and feet (px)"]
    correct = compute_correctness(predicted["shifted"][0], true, 0.05)
    assert table.loc["shifted", "raw PCK@0.05"] == str(bootstrap_mean(correct))
    assert table.loc["shifted", "error of head and feet (px)"] == 2
    assert table.loc["exact", "error of head and feet (px)"] == 0


def test_differences_are_second_minus_first_and_paired(true, predicted):
    table = compare_points(predicted, true, [("exact", "shifted")], ("error_head_feet",))
    assert list(table.index) == [("exact", "shifted")]
    constant = np.full((len(true), 3), 2.0)
    expected = str(bootstrap_difference(constant, np.zeros_like(constant)))
    assert table["change of error of head and feet (px)"].item() == expected == "2.000 (2.000 to 2.000)"
