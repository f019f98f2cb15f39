import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from helpers import coco, handout, paths
from helpers.course import cli
from helpers.detection.scenes import CLASS_NAMES, SceneConfig
from helpers.handout import HandoutConfig, ensure_handout, is_complete
from helpers.keypoints.scenes import IMAGE_SIZE, POINT_NAMES, FigureConfig
from helpers.records import DatasetError

SAMPLE = paths.ROOT.parent / "shared" / "handout_sample"
MD5_SUMS = {
    "detection/train_annotations.json": "d2b0268f941f277852cc7d24290af97e",
    "detection/val_annotations.json": "28f2974ee0266f7de30a15db5ce13ffd",
    "keypoints/train_annotations.json": "dc2de7d75922672c17c653c7331f9d6f",
    "keypoints/val_annotations.json": "f5807bce9dce49d1fd709090ad1e6fdd",
}
SMALL = HandoutConfig(num_train=4, num_val=2)
SETS = [(name, split) for name in ("detection", "keypoints") for split in ("train", "val")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The handout's data, all of it."""
    return ensure_handout(tmp_path_factory.mktemp("whole") / "handout")


@pytest.fixture
def folder(tmp_path):
    return ensure_handout(tmp_path / "handout", SMALL)


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", MD5_SUMS)
def test_annotations_are_the_handouts_to_the_byte(whole, name):
    assert hashlib.md5((whole / name).read_bytes()).hexdigest() == MD5_SUMS[name]


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the handout's sample is not at {SAMPLE}")
def test_pixels_are_those_of_the_handouts_sample(whole):
    paths = sorted(SAMPLE.rglob("*.png"))
    assert len(paths) == 48
    for path in paths:
        with Image.open(path) as expected, Image.open(whole / path.relative_to(SAMPLE)) as drawn:
            assert drawn.mode == expected.mode
            assert_array_equal(np.asarray(drawn), np.asarray(expected))


def test_every_file_of_the_plan_exists(whole):
    assert {path.name for path in whole.iterdir()} == {"detection", "keypoints", "manifest.json"}
    for name in ("detection", "keypoints"):
        documents = {f"{split}_{kind}.json" for split in ("train", "val") for kind in ("annotations", "coco")}
        assert {path.name for path in (whole / name).iterdir()} == documents | {"train", "val"}
        assert [path.name for path in sorted((whole / name / "train").iterdir())] == [
            f"{i:06d}.png" for i in range(1000)
        ]
        assert len(list((whole / name / "val").glob("001[01]??.png"))) == 200


@pytest.mark.parametrize(("name", "split"), SETS)
def test_torchvision_opens_both_sets(whole, name, split):
    dataset = CocoDetection(whole / name / split, whole / name / f"{split}_coco.json")
    assert len(dataset) == {"train": 1000, "val": 200}[split]
    image, targets = dataset[7]
    assert image.size == {"detection": (224, 224), "keypoints": (128, 128)}[name]
    assert all(target["image_id"] == {"train": 7, "val": 1007}[split] for target in targets)
    assert len(targets) >= (2 if name == "detection" else 1)


@pytest.mark.parametrize("split", ["train", "val"])
def test_pycocotools_and_the_handouts_file_agree_on_every_box(whole, split):
    truth = COCO(str(whole / "detection" / f"{split}_coco.json"))
    records = json.loads((whole / "detection" / f"{split}_annotations.json").read_text())["annotations"]
    assert len(truth.anns) == len(records) == {"train": 3471, "val": 691}[split]
    for record in records:
        ours = truth.anns[record["id"] + 1]
        x, y, width, height = ours["bbox"]
        assert [x, y, x + width, y + height] == record["bbox"]
        assert truth.cats[ours["category_id"]]["name"] == CLASS_NAMES[record["category_id"]]
        assert (ours["image_id"], ours["visibility"]) == (record["image_id"], record["visibility"])
        assert (ours["area"], ours["iscrowd"]) == (width * height, 0)


@pytest.mark.parametrize("split", ["train", "val"])
def test_pycocotools_finds_one_person_with_five_keypoints_in_every_image(whole, split):
    truth = COCO(str(whole / "keypoints" / f"{split}_coco.json"))
    assert truth.cats[1]["keypoints"] == list(POINT_NAMES)
    assert all(1 <= point <= 5 for limb in truth.cats[1]["skeleton"] for point in limb)
    for image_id in truth.getImgIds():
        (figure,) = truth.loadAnns(truth.getAnnIds(imgIds=image_id))
        assert figure["num_keypoints"] == 5
        assert figure["keypoints"][2::3] == [2] * 5
        assert figure["area"] == figure["bbox"][2] * figure["bbox"][3]


@pytest.mark.parametrize("split", ["train", "val"])
def test_both_dialects_say_the_same(whole, split):
    boxes = [
        coco.read_boxes(coco.annotation_path(whole / "detection", split, dialect), dialect, CLASS_NAMES)
        for dialect in ("coco", "handout")
    ]
    points = [
        coco.read_points(
            coco.annotation_path(whole / "keypoints", split, dialect), dialect, POINT_NAMES, (IMAGE_SIZE, IMAGE_SIZE)
        )
        for dialect in ("coco", "handout")
    ]
    for name in ("image_ids", "owners", "boxes", "labels", "visibility", "ignored"):
        assert_array_equal(getattr(boxes[0], name), getattr(boxes[1], name))
    for name in ("image_ids", "points", "image_sizes"):
        assert_array_equal(getattr(points[0], name), getattr(points[1], name))


def test_a_second_call_draws_and_writes_nothing(folder, monkeypatch):
    before = snapshot(folder)
    monkeypatch.setattr(handout, "_write_sets", None)
    assert ensure_handout(folder, SMALL) == folder
    assert snapshot(folder) == before


@pytest.mark.parametrize("name", ["detection/train/000002.png", "keypoints/val/000005.png", "detection/val_coco.json"])
@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_a_missing_or_truncated_file_is_noticed_and_made_again(folder, name, damage):
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "truncate":
        (folder / name).write_bytes(content[:-1])
    assert not is_complete(folder, SMALL)
    ensure_handout(folder, SMALL)
    assert is_complete(folder, SMALL)
    assert (folder / name).read_bytes() == content


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"made_from": 1, "file_sizes": []}'])
def test_a_folder_with_a_broken_manifest_is_not_complete(folder, text):
    (folder / "manifest.json").write_text(text)
    assert not is_complete(folder, SMALL)


def test_another_configuration_replaces_the_data(folder):
    other = HandoutConfig(seed=3, num_train=2, num_val=1)
    ensure_handout(folder, other)
    assert is_complete(folder, other)
    assert not is_complete(folder, SMALL)
    assert len(list((folder / "detection" / "train").iterdir())) == 2
    assert list(folder.parent.iterdir()) == [folder]


def test_looks_change_the_images_and_not_the_truth(folder, tmp_path):
    scene = SceneConfig(palette="shared", texture=40, noise=8.0, minimum_visibility=1.0)
    config = HandoutConfig(num_train=4, num_val=2, scene=scene, figure=FigureConfig(tellable_hands=True))
    other = ensure_handout(tmp_path / "other", config)
    for name, _ in SETS:
        for path in ("train_annotations.json", "val_annotations.json"):
            assert (folder / name / path).read_bytes() == (other / name / path).read_bytes()
        assert (folder / name / "train/000000.png").read_bytes() != (other / name / "train/000000.png").read_bytes()
    records = json.loads((other / "detection" / "train_coco.json").read_text())["annotations"]
    assert [record["ignored"] for record in records] == [int(record["visibility"] < 1) for record in records]


def test_a_folder_with_foreign_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(DatasetError, match=r"thesis\.txt"):
        ensure_handout(tmp_path, SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"
    with pytest.raises(DatasetError, match="a file"):
        ensure_handout(tmp_path / "thesis.txt", SMALL)


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        HandoutConfig(num_val=0)


def test_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(coco, "write_points", fail)
    with pytest.raises(OSError, match="disk full"):
        ensure_handout(tmp_path / "handout", SMALL)
    assert list(tmp_path.iterdir()) == []


def start_writing(folder):
    program = (
        "import sys, pathlib; from helpers.handout import ensure_handout; ensure_handout(pathlib.Path(sys.argv[1]))"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=paths.ROOT)


def wait_for(condition, process):
    limit = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < limit, "the run did not reach this state within a minute"
        time.sleep(0.001)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process outright")
@pytest.mark.parametrize(
    "reached", ["detection/train/000000.png", "detection/val/001100.png", "keypoints/train/000500.png"]
)
def test_a_killed_run_leaves_nothing_that_looks_complete(tmp_path, reached):
    folder = tmp_path / "handout"
    process = start_writing(folder)
    wait_for(lambda: list(tmp_path.glob(f".handout.*.partial/{reached}")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    assert not is_complete(folder)
    (partial,) = tmp_path.glob(".handout.*.partial")

    ensure_handout(folder, SMALL)
    assert is_complete(folder, SMALL)
    assert partial.exists()  # it might belong to a run that is still alive
    for path in (partial, *partial.rglob("*")):
        os.utime(path, (0, 0))
    ensure_handout(folder, HandoutConfig(num_train=1, num_val=1))
    assert list(tmp_path.iterdir()) == [folder]


def test_two_runs_at_once_agree(tmp_path):
    folder = tmp_path / "handout"
    processes = [start_writing(folder) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert is_complete(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_command_prints_where_the_data_is_and_that_it_existed(folder, monkeypatch, capsys):
    monkeypatch.setattr(paths, "HANDOUT", folder)
    monkeypatch.setattr(handout, "is_complete", lambda folder: True)
    monkeypatch.setattr(handout, "ensure_handout", lambda folder: folder)
    assert cli.main(["data"]) == 0
    assert capsys.readouterr().out == f"{folder}: complete already\n"


def test_a_copied_folder_is_as_complete_as_the_original(folder, tmp_path):
    assert is_complete(Path(shutil.copytree(folder, tmp_path / "copy")), SMALL)
