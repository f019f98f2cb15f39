"""Every kind of broken dataset gives one error that names file, record and remedy, and nothing is written."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from helpers.detection.dataset import ShapeDetectionDataset
from helpers.handout import HandoutConfig, ensure_handout
from helpers.keypoints.dataset import KeypointDataset
from helpers.records import DatasetError


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return ensure_handout(tmp_path_factory.mktemp("sound") / "handout", HandoutConfig(num_train=6, num_val=2))


@pytest.fixture
def folder(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "handout"))


def read_boxes(folder, dialect):
    return ShapeDetectionDataset.read(folder / "detection", "train", dialect)


def read_points(folder, dialect):
    return KeypointDataset.read(folder / "keypoints", "train", dialect)


def edit(name, change):
    """Return a function that applies `change` to the parsed document `name` of a dataset."""

    def apply(folder):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(change(document) or document))

    return apply


def set_record(kind, row, **values):
    return lambda document: document[kind][row].update(values)


def set_all(kind, **values):
    return lambda document: [record.update(values) for record in document[kind]] and None


def rewrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name, num_bytes):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:num_bytes])


def repaint(name, convert):
    def apply(folder):
        with Image.open(folder / name) as image:
            converted = convert(image.copy())
        converted.save(folder / name)

    return apply


def copy(source, target):
    return lambda folder: shutil.copy(folder / source, folder / target)


COCO, HANDOUT = "detection/train_coco.json", "detection/train_annotations.json"
IMAGE = "detection/train/000003.png"
POINTS, PEOPLE = "keypoints/train_annotations.json", "keypoints/train_coco.json"


def swap_corners(document):
    for record in document["annotations"][:2]:
        x1, y1, x2, y2 = record["bbox"]
        record["bbox"] = [x2, y1, x1, y2]


def move_keypoint(document):
    document["images"][1]["keypoints"][4] = [40, 128]


def drop_keypoint(document):
    document["images"][1]["keypoints"].pop()


def set_number(index, value):
    """Return a change of one number of the second figure's triples x, y, v."""

    def change(document):
        document["annotations"][1]["keypoints"][index] = value

    return change


def drop_visibility(document):
    triples = document["annotations"][1]["keypoints"]
    del triples[2::3]


def rename_keypoint(document):
    document["keypoint_names"][0] = "hat"


def reverse_names(document):
    document["categories"][0]["keypoints"].reverse()


def scale_points(scale, offset, num_figures):
    """Return a change of the first figures' points from pixels into shares of the image."""

    def change(document):
        for record in document["images"][:num_figures]:
            record["keypoints"] = [[x * scale + offset, y * scale + offset] for x, y in record["keypoints"]]

    return change


def scale_triples(document):
    for record in document["annotations"]:
        record["keypoints"] = [value if i % 3 == 2 else value / 128 for i, value in enumerate(record["keypoints"])]


def duplicate_figure(document):
    document["annotations"][1]["image_id"] = 0


FILE_KINDS = {
    "missing file": (lambda folder: (folder / COCO).unlink(), COCO, ["missing", "workbook data"]),
    "empty file": (rewrite(COCO, b""), COCO, ["empty", "workbook data"]),
    "blank file": (rewrite(COCO, b" \n"), COCO, ["empty"]),
    "not JSON": (rewrite(COCO, b"images: []"), COCO, ["not JSON", "line 1"]),
    "JSON that breaks off": (cut(COCO, 500), COCO, ["not JSON"]),
    "nested without end": (rewrite(COCO, b"[" * 200_000), COCO, ["nested too deeply"]),
    "integer without end": (rewrite(COCO, b"[" + b"9" * 9000 + b"]"), COCO, ["not JSON"]),
    "not text": (rewrite(COCO, b"\x89PNG\r\n\xff"), COCO, ["text"]),
    "top level a list": (rewrite(COCO, b"[]"), COCO, ["top level", "list", "results"]),
    "missing key": (edit(COCO, lambda d: d.pop("categories") and None), COCO, ["'categories'", "missing"]),
    "records not a list": (edit(COCO, lambda d: {**d, "annotations": {}}), COCO, ["annotation", "dict", "list"]),
    "record not an object": (edit(COCO, lambda d: {**d, "images": [7]}), COCO, ["image", "record 1", "int"]),
}
IMAGE_KINDS = {
    "missing image": (lambda folder: (folder / IMAGE).unlink(), IMAGE, ["missing", "workbook data"]),
    "empty image": (rewrite(IMAGE, b""), IMAGE, ["no PNG image"]),
    "truncated PNG": (cut(IMAGE, 900), IMAGE, ["truncated", "workbook data"]),
    "foreign image file": (rewrite(IMAGE, b"GIF?" * 50), IMAGE, ["no PNG image"]),
    "wrong image size": (repaint(IMAGE, lambda image: image.resize((200, 224))), IMAGE, ["(224, 200)", "(224, 224)"]),
    "wrong image mode": (repaint(IMAGE, lambda image: image.convert("L")), IMAGE, ["mode is L", "RGB"]),
    "transparent image": (repaint(IMAGE, lambda image: image.convert("RGBA")), IMAGE, ["RGBA", "Convert"]),
    "recorded sizes differ": (edit(COCO, set_record("images", 3, width=300)), IMAGE, ["(224, 300)", "one size"]),
}
RECORD_KINDS = {
    "missing field": (lambda d: d["annotations"][2].pop("bbox") and None, ["annotation 3", "'bbox' is missing"]),
    "box outside": (set_record("annotations", 2, bbox=[200, 5, 30, 30], area=900), ["annotation 3", "leaves"]),
    "box left of the image": (set_record("annotations", 2, bbox=[-1, 5, 30, 30], area=900), ["annotation 3", "leaves"]),
    "box without width": (set_record("annotations", 2, bbox=[20, 5, 0, 30], area=0), ["annotation 3", "no width"]),
    "NaN": (set_record("annotations", 2, bbox=[float("nan"), 5, 30, 30]), ["annotation 3", "nan", "finite"]),
    "infinity": (set_record("annotations", 2, bbox=[5, 5, float("inf"), 30]), ["annotation 3", "inf", "finite"]),
    "NaN area": (set_record("annotations", 2, area=float("nan")), ["annotation 3", "area is nan"]),
    "text in a box": (set_record("annotations", 2, bbox=["20", 5, 30, 30]), ["annotation 3", "'20'", "four finite"]),
    "integer beyond any float": (set_record("annotations", 2, bbox=[10**400, 5, 30, 30]), ["annotation 3", "finite"]),
    "truth value in a box": (set_record("annotations", 2, bbox=[True, 5, 30, 30]), ["annotation 3", "True"]),
    "three numbers in a box": (set_record("annotations", 2, bbox=[5, 5, 30]), ["annotation 3", "four finite numbers"]),
    "box that is a number": (set_record("annotations", 2, bbox=5), ["annotation 3", "bbox is 5"]),
    "area of another box": (set_record("annotations", 2, area=1), ["annotation 3", "recorded area of 1"]),
    "unknown category id": (
        set_record("annotations", 2, category_id=9),
        ["annotation 3", "category_id 9", "[1, 2, 3]"],
    ),
    "unknown category name": (set_record("categories", 2, name="star"), ["category 3", "'star'", "circle, square"]),
    "duplicate category id": (set_record("categories", 2, id=1), ["category 1", "already that of record 1"]),
    "duplicate image id": (set_record("images", 4, id=2), ["image 2", "record 5", "already that of record 3"]),
    "duplicate file name": (set_record("images", 4, file_name="000000.png"), ["image 4", "'000000.png'"]),
    "duplicate annotation id": (set_record("annotations", 4, id=2), ["annotation 2", "record 5", "record 2"]),
    "dangling image id": (set_record("annotations", 2, image_id=77), ["annotation 3", "image_id 77", "`images`"]),
    "image id that is text": (set_record("images", 0, id="0"), ["image 0", "id is '0'", "integer"]),
    "image without height": (set_record("images", 1, height=0), ["image 1", "height is 0", "positive"]),
    "visibility above one": (set_record("annotations", 2, visibility=1.5), ["annotation 3", "visibility is 1.5"]),
    "crowd that is text": (set_record("annotations", 2, iscrowd="no"), ["annotation 3", "'no'", "0 or 1"]),
}
DIALECT_KINDS = {
    "x2 < x1": ("handout", edit(HANDOUT, swap_corners), HANDOUT, ["annotation 0", "x2 <= x1", "2 of"]),
    "xywh where xyxy is declared": ("handout", copy(COCO, HANDOUT), HANDOUT, ["[x1, y1, x2, y2]", "dialect='coco'"]),
    "xyxy where xywh is declared": ("coco", copy(HANDOUT, COCO), COCO, ["[x, y, width, height]", "dialect='handout'"]),
}
POINT_KINDS = {
    "too few keypoints": ("handout", edit(POINTS, drop_keypoint), ["image 1", "5 pairs"]),
    "too many keypoints": (
        "handout",
        edit(POINTS, set_record("images", 1, keypoints=[[i, 9] for i in range(6)])),
        ["image 1", "[5, 9]", "5 pairs"],
    ),
    "no keypoints": (
        "handout",
        edit(POINTS, lambda d: d["images"][1].pop("keypoints") and None),
        ["image 1", "5 pairs"],
    ),
    "keypoints by name": (
        "handout",
        edit(POINTS, set_record("images", 1, keypoints={"head": [1, 2]})),
        ["image 1", "{'head': [1, 2]}", "5 pairs"],
    ),
    "pairs in one list": ("handout", edit(POINTS, set_record("images", 1, keypoints=[9] * 10)), ["image 1", "5 pairs"]),
    "keypoint that is null": (
        "handout",
        edit(POINTS, set_record("images", 1, keypoints=[[1, 2], None] * 2 + [[1, 2]])),
        ["image 1", "None", "finite"],
    ),
    "keypoint outside": ("handout", edit(POINTS, move_keypoint), ["image 1", "right_foot", "128 × 128"]),
    "keypoint left of the image": ("coco", edit(PEOPLE, set_number(0, -1)), ["annotation 2", "head", "-1.0"]),
    "keypoint NaN": ("handout", edit(POINTS, set_record("images", 1, keypoints=[[1, float("nan")]] * 5)), ["image 1"]),
    "keypoint infinite": ("coco", edit(PEOPLE, set_number(0, float("inf"))), ["annotation 2", "inf", "finite"]),
    "shares of the image": (
        "handout",
        edit(POINTS, scale_points(1 / 128, 0, 6)),
        ["image 0", "shares", "6 of 6", "128 × 128 pixels"],
    ),
    "shares from -1 to 1": ("handout", edit(POINTS, scale_points(2 / 128, -1, 6)), ["image 0", "shares", "6 of 6"]),
    "shares that rounding leaves above 1": ("handout", edit(POINTS, scale_points(1.004 / 110, 0, 6)), ["shares"]),
    "shares in some records": ("handout", edit(POINTS, scale_points(1 / 128, 0, 2)), ["image 0", "shares", "2 of 6"]),
    "shares in triples": ("coco", edit(PEOPLE, scale_triples), ["annotation 1", "shares", "6 of 6"]),
    "figure without size": (
        "handout",
        edit(POINTS, set_record("images", 1, keypoints=[[0, 0]] * 5)),
        ["image 1", "[0.0, 0.0]", "size"],
    ),
    "other keypoint names": ("handout", edit(POINTS, rename_keypoint), ["hat", "left_foot", "Remedy: "]),
    "other order of names": ("coco", edit(PEOPLE, reverse_names), ["['right_foot", "['head", "order"]),
    "no keypoint names": (
        "handout",
        edit(POINTS, lambda d: d.pop("keypoint_names") and None),
        ["'keypoint_names' is missing"],
    ),
    "names that are null": ("handout", edit(POINTS, lambda d: {**d, "keypoint_names": None}), ["None", "Remedy: "]),
    "category without names": (
        "coco",
        edit(PEOPLE, lambda d: d["categories"][0].pop("keypoints") and None),
        ["category 1", "'keypoints' is missing", "list of names"],
    ),
    "wrong number of names": (
        "handout",
        edit(POINTS, lambda d: {**d, "num_keypoints": 17}),
        ["num_keypoints is 17", "names 5", "Remedy: "],
    ),
    "wrong number of points": (
        "coco",
        edit(PEOPLE, set_record("annotations", 1, num_keypoints=4)),
        ["annotation 2", "num_keypoints is 4", "5 points"],
    ),
    "duplicate keypoint image": ("handout", edit(POINTS, set_record("images", 1, id=0)), ["image 0", "record 2"]),
    "duplicate keypoint file": (
        "handout",
        edit(POINTS, set_record("images", 1, file_name="000000.png")),
        ["image 1", "'000000.png'"],
    ),
    "duplicate figure id": ("coco", edit(PEOPLE, set_record("annotations", 1, id=1)), ["annotation 1", "record 2"]),
    "keypoint triples cut": (
        "coco",
        edit(PEOPLE, set_record("annotations", 1, keypoints=[1, 2])),
        ["annotation 2", "5 tr"],
    ),
    "pairs where triples are declared": ("coco", edit(PEOPLE, drop_visibility), ["annotation 2", "5 triples x, y, v"]),
    "unlabelled keypoint": ("coco", edit(PEOPLE, set_number(2, 0)), ["annotation 2", "v = 0"]),
    "scores for labels": ("coco", edit(PEOPLE, set_number(5, 0.9)), ["annotation 2", "number 2", "v = 0.9"]),
    "two figures in an image": ("coco", edit(PEOPLE, duplicate_figure), ["image 0", "2 figures", "exactly one"]),
    "image without a figure": (
        "coco",
        edit(PEOPLE, lambda d: d["annotations"].pop() and None),
        ["image 5", "0 figures"],
    ),
    "figure of no image": ("coco", edit(PEOPLE, set_record("annotations", 1, image_id=77)), ["annotation 2", "77"]),
    "figure of another category": (
        "coco",
        edit(PEOPLE, set_record("annotations", 1, category_id=5)),
        ["annotation 2", "category_id 5", "one category"],
    ),
    "other image size": (
        "coco",
        edit(PEOPLE, set_record("images", 2, width=64)),
        ["image 2", "(128, 64)", "(128, 128)"],
    ),
    "no category": ("coco", edit(PEOPLE, lambda d: {**d, "categories": []}), ["annotation 1", "category_id 1"]),
    "triples where pairs are declared": ("handout", copy(PEOPLE, POINTS), ["'keypoint_names' is missing", "dialect"]),
    "handout where COCO is declared": ("coco", copy(POINTS, PEOPLE), ["'annotations' is missing", "dialect"]),
    "boxes where points are declared": ("coco", copy(COCO, PEOPLE), ["image 0", "(224, 224)", "(128, 128)"]),
}


def refused(read, folder, dialect, damage):
    """Return the message that `read` gives for a damaged dataset, and checks that reading writes nothing."""
    damage(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(DatasetError) as caught:
        read(folder, dialect)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    return str(caught.value)


def assert_names(message, path, words):
    assert message.startswith(str(path))
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize("kind", FILE_KINDS | IMAGE_KINDS)
def test_a_broken_file_is_refused_by_name(folder, kind):
    damage, name, words = (FILE_KINDS | IMAGE_KINDS)[kind]
    assert_names(refused(read_boxes, folder, "coco", damage), folder / name, words)


@pytest.mark.parametrize("kind", RECORD_KINDS)
def test_a_broken_record_is_refused_by_name(folder, kind):
    change, words = RECORD_KINDS[kind]
    message = refused(read_boxes, folder, "coco", edit(COCO, change))
    assert_names(message, folder / COCO, ["Remedy: ", *words])


@pytest.mark.parametrize("kind", DIALECT_KINDS)
def test_boxes_that_cannot_be_what_they_are_declared_to_be_are_refused(folder, kind):
    dialect, damage, name, words = DIALECT_KINDS[kind]
    assert_names(refused(read_boxes, folder, dialect, damage), folder / name, words)


@pytest.mark.parametrize("kind", POINT_KINDS)
def test_broken_keypoints_are_refused_by_name(folder, kind):
    dialect, damage, words = POINT_KINDS[kind]
    name = {"handout": POINTS, "coco": PEOPLE}[dialect]
    assert_names(refused(read_points, folder, dialect, damage), folder / name, words)


def test_a_keypoint_image_is_checked_like_any_other(folder):
    name = "keypoints/train/000002.png"
    assert_names(refused(read_points, folder, "handout", cut(name, 100)), folder / name, ["truncated"])


def test_of_many_broken_records_the_first_is_named_and_all_are_counted(folder):
    message = refused(read_boxes, folder, "coco", edit(COCO, set_all("annotations", category_id=0)))
    count = len(json.loads((folder / COCO).read_text())["annotations"])
    assert "annotation 1 (record 1)" in message
    assert f"({count} of {count} records fail this check)" in message


def test_of_many_broken_images_the_first_is_named_and_all_are_counted(folder):
    def damage(folder):
        for number in (2, 3, 5):
            (folder / f"detection/train/{number:06d}.png").unlink()

    message = refused(read_boxes, folder, "coco", damage)
    assert message.startswith(str(folder / "detection/train/000002.png"))
    assert "(3 of 6 images are broken)" in message


@pytest.mark.parametrize("num_bytes", range(0, 2600, 97))
def test_a_png_is_refused_wherever_it_breaks_off(folder, num_bytes):
    size = (folder / IMAGE).stat().st_size
    message = refused(read_boxes, folder, "coco", cut(IMAGE, min(num_bytes, size - 5)))
    assert message.startswith(str(folder / IMAGE))


def test_one_flipped_bit_in_an_image_is_noticed(folder):
    def damage(folder):
        content = bytearray((folder / IMAGE).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / IMAGE).write_bytes(content)

    assert "truncated or damaged" in refused(read_boxes, folder, "coco", damage)


def test_a_sound_dataset_is_read_in_both_dialects(folder):
    for dialect in ("coco", "handout"):
        assert len(read_boxes(folder, dialect)) == 6
        assert len(read_points(folder, dialect)) == 6
