"""The drawn splits on disk: in the assignment's layout, once, and the same whatever their size."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from pycocotools.coco import COCO

from helpers import handout
from helpers.course import cli
from helpers.digits import drawn
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn, is_complete
from helpers.digits.scenes import TEST_NUMBERS, TRAIN_NUMBERS, draw_scene
from helpers.records import DatasetError

SMALL = DrawnConfig(num_train=6, num_valid=2, num_test=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ensure_drawn(tmp_path_factory.mktemp("drawn") / "house_numbers", SMALL)


def test_the_layout_is_the_assignments(folder):
    names = {"train", "valid", "test", "train.json", "valid.json", "test.json", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert {path.name for path in (folder / "train").iterdir()} == {f"{number}.png" for number in range(1, 7)}
    document = json.loads((folder / "train.json").read_text())
    assert document["categories"] == [{"id": digit + 1, "name": str(digit)} for digit in range(10)]
    assert [record["id"] for record in document["images"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("split", "stream", "numbers"),
    [("train", 0, TRAIN_NUMBERS), ("valid", 1, TRAIN_NUMBERS), ("test", 2, TEST_NUMBERS)],
)
def test_files_hold_the_scenes_of_the_splits_own_stream(folder, split, stream, numbers):
    truth = COCO(str(folder / f"{split}.json"))
    rng = np.random.default_rng((SMALL.seed, stream))
    for image_id in truth.getImgIds():
        scene = draw_scene(rng, numbers)
        assert_array_equal(np.asarray(Image.open(folder / split / f"{image_id}.png")), scene.image)
        records = truth.loadAnns(truth.getAnnIds(imgIds=image_id))
        assert [record["category_id"] - 1 for record in records] == scene.digits.tolist()
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (record["bbox"] for record in records)])
        assert_array_equal(corners, scene.boxes)


def test_more_images_begin_with_the_same(folder, tmp_path):
    more = ensure_drawn(tmp_path / "more", DrawnConfig(num_train=7, num_valid=2, num_test=3))
    assert (more / "train" / "6.png").read_bytes() == (folder / "train" / "6.png").read_bytes()
    assert (more / "test.json").read_bytes() == (folder / "test.json").read_bytes()
    assert not is_complete(more, SMALL)


def test_the_dataset_reads_every_split(folder):
    assert [len(DigitDataset.read(folder, split)) for split in drawn.SPLITS] == [6, 2, 3]


def test_a_second_call_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr(drawn, "_write_splits", None)
    assert ensure_drawn(folder, SMALL) == folder


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "pred.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"pred\.json"):
        ensure_drawn(tmp_path, SMALL)


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        DrawnConfig(num_valid=0)


def test_the_command_says_where_the_data_is(folder, monkeypatch, capsys):
    monkeypatch.setattr(handout, "is_complete", lambda folder: True)
    monkeypatch.setattr(handout, "ensure_handout", lambda folder: folder)
    monkeypatch.setattr(drawn, "HOUSE_NUMBERS", folder)
    monkeypatch.setattr(drawn, "is_complete", lambda folder: True)
    monkeypatch.setattr(drawn, "ensure_drawn", lambda folder: folder)
    assert cli.main(["data", "--house-numbers"]) == 0
    assert capsys.readouterr().out.endswith(f"\n{folder}: complete already\n")


def test_without_a_name_nothing_is_real(folder, monkeypatch):
    monkeypatch.setattr(drawn, "ensure_drawn", lambda: folder)
    monkeypatch.delenv(drawn.REAL_VARIABLE, raising=False)
    assert drawn.find_house_numbers() == (folder, None)


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_named_folder_is_learned_from_if_it_is_whole_and_else_only_looked_at(
    folder, tmp_path, monkeypatch, by_variable
):
    monkeypatch.setattr(drawn, "ensure_drawn", lambda: folder)
    monkeypatch.setenv(drawn.REAL_VARIABLE, str(tmp_path if by_variable else folder))
    named = None if by_variable else str(tmp_path)
    with pytest.raises(DatasetError, match="file is missing"):
        drawn.find_house_numbers(named)
    annotated = json.dumps({"annotations": [{}]})
    (tmp_path / "train.json").write_text(annotated)
    assert drawn.find_house_numbers(named) == (folder, tmp_path)
    (tmp_path / "valid.json").write_text(annotated)
    assert drawn.find_house_numbers(named) == (tmp_path, tmp_path)


def test_three_splits_with_truth_are_read_as_they_are(folder):
    for own, split in zip(drawn.read_splits(folder), drawn.SPLITS, strict=True):
        expected = DigitDataset.read(folder, split)
        assert own.folder == expected.folder
        assert_array_equal(own.boxes, expected.boxes)


def test_where_the_test_split_has_no_truth_half_of_valid_is_reported_and_chooses_nothing(tmp_path):
    folder = ensure_drawn(tmp_path / "set", DrawnConfig(num_train=2, num_valid=5, num_test=1))
    (folder / "test.json").unlink()
    train_set, valid_set, test_set = drawn.read_splits(folder)
    assert (len(train_set), valid_set.image_ids.tolist(), test_set.image_ids.tolist()) == (2, [1, 3, 5], [2, 4])
    (folder / "valid.json").unlink()
    with pytest.raises(DatasetError, match=r"valid\.json: the annotation file is missing"):
        drawn.read_splits(folder)


@pytest.mark.parametrize("change", [lambda d: d.pop("annotations"), lambda d: d.update(annotations=[])])
def test_a_list_of_images_alone_is_no_truth(tmp_path, monkeypatch, change):
    folder = ensure_drawn(tmp_path / "set", DrawnConfig(num_train=2, num_valid=5, num_test=1))
    assert [drawn.has_truth(folder, split) for split in (*drawn.SPLITS, "none")] == [True, True, True, False]
    for split in ("test", "valid"):
        path = folder / f"{split}.json"
        document = json.loads(path.read_text())
        change(document)
        if split == "valid":  # after the test split has been tried
            _, valid_set, test_set = drawn.read_splits(folder)
            assert (valid_set.image_ids.tolist(), test_set.image_ids.tolist()) == ([1, 3, 5], [2, 4])
        path.write_text(json.dumps(document))
        assert not drawn.has_truth(folder, split)
    monkeypatch.setattr(drawn, "ensure_drawn", lambda: tmp_path / "drawn")
    assert drawn.find_house_numbers(str(folder)) == (tmp_path / "drawn", folder)
    with pytest.raises(DatasetError, match=r"valid\.json: "):
        drawn.read_splits(folder)
