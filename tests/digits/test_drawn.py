"""Drawn splits on disk: the assignment's layout, one random stream per split, and drawing only when needed."""

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
def test_files_hold_the_scenes_of_the_random_stream_of_their_split(folder, split, stream, numbers):
    truth = COCO(str(folder / f"{split}.json"))
    rng = np.random.default_rng((SMALL.seed, stream))
    for image_id in truth.getImgIds():
        scene = draw_scene(rng, numbers)
        assert_array_equal(np.asarray(Image.open(folder / split / f"{image_id}.png")), scene.image)
        records = truth.loadAnns(truth.getAnnIds(imgIds=image_id))
        assert [record["category_id"] - 1 for record in records] == scene.digits.tolist()
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (record["bbox"] for record in records)])
        assert_array_equal(corners, scene.boxes)


def test_a_larger_split_begins_with_the_images_of_a_smaller_one(folder, tmp_path):
    larger = ensure_drawn(tmp_path / "larger", DrawnConfig(num_train=7, num_valid=2, num_test=3))
    assert (larger / "train" / "6.png").read_bytes() == (folder / "train" / "6.png").read_bytes()
    assert (larger / "test.json").read_bytes() == (folder / "test.json").read_bytes()
    assert not is_complete(larger, SMALL)


def test_the_dataset_reads_every_split(folder):
    assert [len(DigitDataset.read(folder, split)) for split in drawn.SPLITS] == [6, 2, 3]


def test_a_second_call_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr(drawn, "_write_splits", None)
    assert ensure_drawn(folder, SMALL) == folder


def test_a_folder_of_other_files_is_refused_and_unchanged(tmp_path):
    (tmp_path / "pred.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"pred\.json"):
        ensure_drawn(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["pred.json"]


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="every split needs at least one image"):
        DrawnConfig(num_valid=0)


def test_the_command_prints_the_folder_and_that_it_is_complete(folder, monkeypatch, capsys):
    monkeypatch.setattr(handout, "is_complete", lambda folder: True)
    monkeypatch.setattr(handout, "ensure_handout", lambda folder: folder)
    monkeypatch.setattr(drawn, "HOUSE_NUMBERS", folder)
    monkeypatch.setattr(drawn, "is_complete", lambda folder: True)
    monkeypatch.setattr(drawn, "ensure_drawn", lambda folder: folder)
    assert cli.main(["data", "--house-numbers"]) == 0
    assert capsys.readouterr().out.endswith(f"\n{folder}: complete already\n")
