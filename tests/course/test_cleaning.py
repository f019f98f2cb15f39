"""Cleaning of executed notebooks."""

from nbformat.v4 import new_code_cell, new_notebook

from helpers.course import cleaning


def test_outputs_counts_and_ids_stay_and_the_metadata_of_the_run_goes():
    cell = new_code_cell("1", execution_count=3, metadata={"papermill": {}, "tags": [], "name": "x"}, id="one")
    cleaned = cleaning.clean(new_notebook(cells=[cell], metadata={"papermill": {}, "workbook": {}, "kept": 1}))
    assert cleaned.metadata == {"kept": 1}
    assert cleaned.cells[0].metadata == {"name": "x"}
    assert (cleaned.cells[0].execution_count, cleaned.cells[0].id) == (3, "one")
