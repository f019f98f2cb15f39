"""Drivers of the box dialects: JSON is really written, and both functions are called."""

import pytest
import torch

from helpers.tasks.drivers import dialects


def test_a_result_that_json_cannot_write_is_an_error():
    assert dialects.write_json(lambda boxes: boxes.tolist(), torch.tensor([[1.0, 2, 3, 4]])) == [[1, 2, 3, 4]]
    with pytest.raises(TypeError):
        dialects.write_json(list, torch.zeros(1, 4))


def test_a_file_is_written_and_read():
    boxes = torch.tensor([[1.0, 2, 3, 4]])
    assert dialects.write_then_read(lambda boxes: (boxes * 2).tolist(), lambda rows: rows[0], boxes) == [2, 4, 6, 8]
    read = dialects.read_then_write(torch.tensor, lambda boxes: (boxes + 1).tolist(), [[1.0, 2, 3, 4]])
    assert read == [[2, 3, 4, 5]]
