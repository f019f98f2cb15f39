"""Choice of folders and splits: drawn or real, and the split that is reported if test has no truth."""

import json
from dataclasses import replace

import pytest
from numpy.testing import assert_array_equal

from helpers.digits import splits
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DRAWN_CONFIG, SPLITS, WIDE_CONFIG, DrawnConfig, ensure_drawn
from helpers.records import DatasetError


def test_without_a_folder_of_photos_the_splits_are_drawn(shared_folder, monkeypatch):
    monkeypatch.setattr(splits, "ensure_drawn", lambda: shared_folder)
    monkeypatch.delenv(splits.REAL_VARIABLE, raising=False)
    assert splits.find_house_numbers() == (shared_folder, None)


@pytest.mark.parametrize("by_variable", [False, True])
def test_photos_are_for_training_if_their_valid_split_is_annotated_and_else_to_be_shown(
    shared_folder, tmp_path, monkeypatch, by_variable
):
    monkeypatch.setattr(splits, "ensure_drawn", lambda: shared_folder)
    monkeypatch.setenv(splits.REAL_VARIABLE, str(tmp_path if by_variable else shared_folder))
    real_folder = None if by_variable else str(tmp_path)
    with pytest.raises(DatasetError, match=r"train\.json: the file is missing.*data_dir.*WORKBOOK_SVHN"):
        splits.find_house_numbers(real_folder)
    annotated = json.dumps({"annotations": [{}]})
    (tmp_path / "train.json").write_text(annotated)
    assert splits.find_house_numbers(real_folder) == (shared_folder, tmp_path)
    (tmp_path / "valid.json").write_text(annotated)
    assert splits.find_house_numbers(real_folder) == (tmp_path, tmp_path)


def test_three_annotated_splits_are_read_unchanged(shared_folder):
    for dataset, split in zip(splits.read_splits(shared_folder), SPLITS, strict=True):
        expected = DigitDataset.read(shared_folder, split)
        assert dataset.folder == expected.folder
        assert_array_equal(dataset.image_ids, expected.image_ids)
        assert_array_equal(dataset.boxes, expected.boxes)


@pytest.fixture
def small_folder(tmp_path):
    """A folder of drawn splits with five images in valid."""
    return ensure_drawn(tmp_path / "set", DrawnConfig(num_train=2, num_valid=5, num_test=1))


def test_if_test_is_not_annotated_half_of_valid_is_reported_and_not_selected_on(small_folder):
    (small_folder / "test.json").unlink()
    train_set, valid_set, test_set = splits.read_splits(small_folder)
    assert (len(train_set), valid_set.image_ids.tolist(), test_set.image_ids.tolist()) == (2, [1, 3, 5], [2, 4])
    (small_folder / "valid.json").unlink()
    with pytest.raises(DatasetError, match=r"valid\.json: the annotation file is missing"):
        splits.read_splits(small_folder)


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [lambda document: document.pop("annotations"), lambda document: document.update(annotations=[])],
    ids=["without the field", "an empty list"],
)
def test_a_list_of_images_alone_has_no_truth(small_folder, tmp_path, monkeypatch, change):
    has_truth = [splits.has_truth(small_folder, split) for split in (*SPLITS, "none")]
    assert has_truth == [True, True, True, False]
    edit(small_folder / "test.json", change)
    assert not splits.has_truth(small_folder, "test")
    _, valid_set, test_set = splits.read_splits(small_folder)
    assert (valid_set.image_ids.tolist(), test_set.image_ids.tolist()) == ([1, 3, 5], [2, 4])
    edit(small_folder / "valid.json", change)
    assert not splits.has_truth(small_folder, "valid")
    monkeypatch.setattr(splits, "ensure_drawn", lambda: tmp_path / "drawn")
    assert splits.find_house_numbers(str(small_folder)) == (tmp_path / "drawn", small_folder)
    with pytest.raises(DatasetError, match=r"valid\.json: "):
        splits.read_splits(small_folder)


def test_images_to_select_on_are_drawn_as_wide_as_test_for_drawn_numbers_and_are_valid_for_photos(
    shared_folder, tmp_path, monkeypatch
):
    config = replace(WIDE_CONFIG, num_valid=12)
    monkeypatch.setattr(splits, "WIDE_CONFIG", config)
    monkeypatch.setattr(splits, "WIDE_NUMBERS", tmp_path / "wide")
    _, valid_set, _ = splits.read_splits(shared_folder)
    assert splits.read_wide_valid(shared_folder, valid_set) is valid_set
    monkeypatch.setattr(splits, "HOUSE_NUMBERS", shared_folder)
    wide_valid = splits.read_wide_valid(shared_folder, valid_set)
    assert (wide_valid.folder, len(wide_valid)) == (tmp_path / "wide" / "valid", 12)


def test_the_images_to_select_on_have_the_layout_of_test_and_another_seed():
    assert WIDE_CONFIG.train_numbers == DRAWN_CONFIG.test_numbers
    assert WIDE_CONFIG.seed != DRAWN_CONFIG.seed
