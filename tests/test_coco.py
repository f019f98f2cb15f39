import dataclasses
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.datasets import CocoDetection

from helpers import coco
from helpers.images import write_image
from helpers.records import DatasetError

NAMES = ("circle", "square", "triangle")
POINT_NAMES = ("head", "hand", "foot")
DIALECTS = ("coco", "handout")


@pytest.fixture
def box_file():
    """Two images with three objects by hand; the size 17 of the first is one more than its box's."""
    return coco.BoxFile(
        image_ids=np.array([4, 9]),
        file_names=("4.png", "9.png"),
        image_sizes=np.array([[40, 60], [40, 60]]),
        owners=np.array([0, 0, 1]),
        boxes=np.array([[1, 2, 17, 18], [10, 0, 60, 40], [5, 5, 35, 35]], float),
        labels=np.array([0, 2, 1]),
        areas=np.array([17.0**2, 50 * 40, 900]),
        visibility=np.array([1 / 3, 1.0, 0.0]),
        ignored=np.array([False, False, True]),
    )


@pytest.fixture
def point_file():
    points = np.array([[[10, 20], [30, 5], [11, 39]], [[0, 0], [59, 39], [7, 8]]]) + 0.5
    return coco.PointFile(np.array([0, 1]), ("0.png", "1.png"), np.array([[40, 60], [40, 60]]), points)


def test_coco_files_hold_corner_width_and_height(box_file, tmp_path):
    coco.write_boxes(tmp_path / "file.json", box_file, "coco", NAMES)
    records = json.loads((tmp_path / "file.json").read_text())["annotations"]
    assert [record["bbox"] for record in records] == [[1, 2, 16, 16], [10, 0, 50, 40], [5, 5, 30, 30]]
    assert [record["area"] for record in records] == [256, 2000, 900]
    assert [record["category_id"] for record in records] == [1, 3, 2]
    assert [record["id"] for record in records] == [1, 2, 3]
    assert [(record["iscrowd"], record["ignored"]) for record in records] == [(0, 0), (0, 0), (0, 1)]


def test_the_handouts_files_hold_two_corners(box_file, tmp_path):
    coco.write_boxes(tmp_path / "file.json", box_file, "handout", NAMES, first_id=7)
    text = (tmp_path / "file.json").read_text()
    records = json.loads(text)["annotations"]
    assert records[0] == {
        "id": 7, "image_id": 4, "category_id": 0, "bbox": [1, 2, 17, 18], "area": 289, "visibility": 1 / 3,
    }  # fmt: skip
    assert [record["id"] for record in records] == [7, 8, 9]
    assert text == json.dumps(json.loads(text), indent=2)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_reading_returns_what_was_written(box_file, tmp_path, dialect):
    coco.write_boxes(tmp_path / "file.json", box_file, dialect, NAMES)
    read = coco.read_boxes(tmp_path / "file.json", dialect, NAMES)
    for name in ("image_ids", "image_sizes", "owners", "boxes", "labels", "visibility"):
        assert_array_equal(getattr(read, name), getattr(box_file, name))
    assert read.file_names == box_file.file_names
    assert_array_equal(read.areas, [256, 2000, 900] if dialect == "coco" else box_file.areas)
    assert_array_equal(read.ignored, box_file.ignored & (dialect == "coco"))  # the handout has no such mark


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_file_without_objects_is_a_file(box_file, tmp_path, dialect):
    none = np.zeros(0)
    empty = coco.BoxFile(
        box_file.image_ids, box_file.file_names, box_file.image_sizes,
        none.astype(int), np.zeros((0, 4)), none.astype(int), none, none, none.astype(bool),
    )  # fmt: skip
    coco.write_boxes(tmp_path / "file.json", empty, dialect, NAMES)
    read = coco.read_boxes(tmp_path / "file.json", dialect, NAMES)
    assert read.boxes.shape == (0, 4)
    assert read.file_names == box_file.file_names


def test_categories_are_matched_by_name_whatever_their_ids(box_file, tmp_path):
    coco.write_boxes(tmp_path / "file.json", box_file, "coco", NAMES)
    document = json.loads((tmp_path / "file.json").read_text())
    new_ids = {1: 80, 2: 7, 3: 0}
    for record in document["categories"]:
        record["id"] = new_ids[record["id"]]
    for record in document["annotations"]:
        record["category_id"] = new_ids[record["category_id"]]
    document["categories"].reverse()
    (tmp_path / "file.json").write_text(json.dumps(document))
    assert_array_equal(coco.read_boxes(tmp_path / "file.json", "coco", NAMES).labels, box_file.labels)


def test_boxes_may_touch_the_border_and_hold_fractions(box_file, tmp_path):
    boxes = np.array([[0, 0, 60, 40], [0.25, 0.5, 59.75, 40], [59, 39, 60, 40]])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    file = dataclasses.replace(box_file, boxes=boxes, areas=areas)
    coco.write_boxes(tmp_path / "file.json", file, "coco", NAMES)
    assert_array_equal(coco.read_boxes(tmp_path / "file.json", "coco", NAMES).boxes, boxes)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_boxes_that_people_drew_are_cut_at_the_border(box_file, tmp_path, dialect):
    boxes = np.array([[-3, 5, 10, 20], [50, 30, 63, 41], [5, 5, 35, 35]], float)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    coco.write_boxes(tmp_path / "file.json", dataclasses.replace(box_file, boxes=boxes, areas=areas), dialect, NAMES)
    read = coco.read_boxes(tmp_path / "file.json", dialect, NAMES, clip=True)
    assert_array_equal(read.boxes, [[0, 5, 10, 20], [50, 30, 60, 40], [5, 5, 35, 35]])
    assert_array_equal(read.areas, [150, 100, 900])
    with pytest.raises(DatasetError, match="leaves the 60 × 40 image"):
        coco.read_boxes(tmp_path / "file.json", dialect, NAMES)


def test_a_box_mostly_outside_is_a_mistake_even_of_people(box_file, tmp_path):
    for x, refused in ((-8.0, False), (-8.5, True)):  # of 16 pixels
        boxes = np.concatenate([[[x, 2, x + 16, 18]], box_file.boxes[1:]])
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        file = dataclasses.replace(box_file, boxes=boxes, areas=areas)
        coco.write_boxes(tmp_path / "file.json", file, "coco", NAMES)
        if refused:
            with pytest.raises(DatasetError, match=r"annotation 1 .* lies mostly outside the 60 × 40 image"):
                coco.read_boxes(tmp_path / "file.json", "coco", NAMES, clip=True)
        else:
            assert_array_equal(
                coco.read_boxes(tmp_path / "file.json", "coco", NAMES, clip=True).boxes[0], (0, 2, 8, 18)
            )


def test_a_crowd_is_ignored(box_file, tmp_path):
    coco.write_boxes(tmp_path / "file.json", box_file, "coco", NAMES)
    document = json.loads((tmp_path / "file.json").read_text())
    document["annotations"][0]["iscrowd"] = 1
    (tmp_path / "file.json").write_text(json.dumps(document))
    assert coco.read_boxes(tmp_path / "file.json", "coco", NAMES).ignored.tolist() == [True, False, True]


def test_an_outlined_object_may_be_smaller_than_its_box(box_file, tmp_path):
    coco.write_boxes(tmp_path / "file.json", box_file, "coco", NAMES)
    document = json.loads((tmp_path / "file.json").read_text())
    document["annotations"][0] |= {"area": 100, "segmentation": [[1, 2, 17, 2, 9, 18]]}
    (tmp_path / "file.json").write_text(json.dumps(document))
    assert coco.read_boxes(tmp_path / "file.json", "coco", NAMES).areas[0] == 100


def test_pycocotools_finds_every_object_where_the_truth_is_the_detection(box_file, tmp_path):
    coco.write_boxes(tmp_path / "file.json", box_file, "coco", NAMES)
    truth = COCO(str(tmp_path / "file.json"))
    assert truth.getImgIds() == [4, 9]
    assert [category["name"] for category in truth.loadCats(truth.getCatIds())] == list(NAMES)
    annotations = truth.loadAnns(truth.getAnnIds())
    keys = ("image_id", "category_id", "bbox")
    detections = truth.loadRes([{key: record[key] for key in keys} | {"score": 0.9} for record in annotations])
    evaluation = COCOeval(truth, detections, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_torchvision_opens_what_was_written(box_file, tmp_path):
    coco.write_boxes(tmp_path / "file.json", box_file, "coco", NAMES)
    pixels = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)
    for name in box_file.file_names:
        write_image(tmp_path / name, pixels)
    image, targets = CocoDetection(tmp_path, tmp_path / "file.json")[1]
    assert_array_equal(np.asarray(image), pixels)
    assert [target["bbox"] for target in targets] == [[5, 5, 30, 30]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_point_is_the_centre_of_the_pixel_that_a_file_names(point_file, tmp_path, dialect):
    coco.write_points(tmp_path / "file.json", point_file, dialect, POINT_NAMES, [(0, 1), (0, 2)])
    document = json.loads((tmp_path / "file.json").read_text())
    named = document["images"][0]["keypoints"] if dialect == "handout" else document["annotations"][0]["keypoints"]
    assert named == ([[10, 20], [30, 5], [11, 39]] if dialect == "handout" else [10, 20, 2, 30, 5, 2, 11, 39, 2])
    read = coco.read_points(tmp_path / "file.json", dialect, POINT_NAMES, (40, 60))
    assert_array_equal(read.points, point_file.points)
    assert_array_equal(read.points[0, 0], [10.5, 20.5])
    assert read.file_names == point_file.file_names
    assert_array_equal(read.image_sizes, point_file.image_sizes)


def test_figures_in_any_order_belong_to_their_images(point_file, tmp_path):
    coco.write_points(tmp_path / "file.json", point_file, "coco", POINT_NAMES, [(0, 1)])
    document = json.loads((tmp_path / "file.json").read_text())
    document["annotations"].reverse()
    (tmp_path / "file.json").write_text(json.dumps(document))
    read = coco.read_points(tmp_path / "file.json", "coco", POINT_NAMES, (40, 60))
    assert_array_equal(read.points, point_file.points)


def test_pycocotools_scores_the_true_keypoints_with_one(point_file, tmp_path):
    coco.write_points(tmp_path / "file.json", point_file, "coco", POINT_NAMES, [(0, 1), (0, 2)])
    truth = COCO(str(tmp_path / "file.json"))
    (person,) = truth.loadCats(truth.getCatIds(catNms=["person"]))
    assert (person["keypoints"], person["skeleton"]) == (list(POINT_NAMES), [[1, 2], [1, 3]])
    annotations = truth.loadAnns(truth.getAnnIds())
    assert annotations[0]["bbox"] == [10.5, 5.5, 20, 34]
    assert (annotations[0]["area"], annotations[0]["num_keypoints"], annotations[0]["iscrowd"]) == (680, 3, 0)
    keys = ("image_id", "category_id", "keypoints")
    detections = truth.loadRes([{key: record[key] for key in keys} | {"score": 0.9} for record in annotations])
    evaluation = COCOeval(truth, detections, "keypoints")
    evaluation.params.kpt_oks_sigmas = np.full(3, 0.05)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["boxes", "areas", "visibility"])
def test_what_is_not_finite_is_not_written(box_file, tmp_path, name, value):
    coco.write_boxes(tmp_path / "file.json", box_file, "handout", NAMES)
    before = (tmp_path / "file.json").read_bytes()
    broken = getattr(box_file, name).copy()
    broken[1] = value
    with pytest.raises(ValueError, match="JSON compliant"):
        coco.write_boxes(tmp_path / "file.json", dataclasses.replace(box_file, **{name: broken}), "handout", NAMES)
    assert (tmp_path / "file.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_point_that_is_not_finite_is_not_written(point_file, tmp_path, dialect, value):
    points = point_file.points.copy()
    points[1, 2, 0] = value
    with pytest.raises(ValueError, match="JSON compliant"):
        coco.write_points(
            tmp_path / "file.json", dataclasses.replace(point_file, points=points), dialect, POINT_NAMES, [(0, 1)]
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_file_without_figures_is_a_file(point_file, tmp_path, dialect):
    empty = coco.PointFile(np.zeros(0, int), (), np.zeros((0, 2), int), np.zeros((0, 3, 2)))
    coco.write_points(tmp_path / "file.json", empty, dialect, POINT_NAMES, [(0, 1)])
    assert coco.read_points(tmp_path / "file.json", dialect, POINT_NAMES, (40, 60)).points.shape == (0, 3, 2)


def test_a_figure_may_touch_the_first_pixel(point_file, tmp_path):
    points = np.array([[[0, 0], [1, 0], [0, 2]], [[0, 0], [0.25, 0.5], [1, 1.25]]]) + 0.5
    file = dataclasses.replace(point_file, points=points)
    coco.write_points(tmp_path / "file.json", file, "handout", POINT_NAMES, [(0, 1)])
    assert_array_equal(coco.read_points(tmp_path / "file.json", "handout", POINT_NAMES, (40, 60)).points, points)


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def scale_boxes(rows):
    """Return a change of the boxes at `rows` from pixels into shares of the 60 × 40 image."""

    def change(document):
        for row in rows:
            record = document["annotations"][row]
            record["bbox"] = [value / side for value, side in zip(record["bbox"], (60, 40, 60, 40), strict=True)]
            record["area"] /= 60 * 40

    return change


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_boxes_that_are_shares_of_the_image_are_refused(box_file, tmp_path, dialect, clip):
    path = tmp_path / "file.json"
    coco.write_boxes(path, box_file, dialect, NAMES)
    edit(path, scale_boxes(range(3)))
    message = (
        r"record 1\): bbox \[0\.0166667, .*\]: no box exceeds 1: shares of the image's sides, not pixels; scale them"
    )
    with pytest.raises(DatasetError, match=rf"{message} \(3 of 3 records fail this check\)"):
        coco.read_boxes(path, dialect, NAMES, clip=clip)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_single_box_of_shares_is_refused_too(box_file, tmp_path, dialect):
    path = tmp_path / "file.json"
    coco.write_boxes(path, box_file, dialect, NAMES)
    edit(path, scale_boxes([1]))
    with pytest.raises(DatasetError, match=r"record 2\): .*no side of it exceeds 1: shares of the image's sides"):
        coco.read_boxes(path, dialect, NAMES)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_shares_whose_rounded_decimals_exceed_1_are_refused(box_file, tmp_path, dialect, clip):
    path = tmp_path / "file.json"
    boxes = np.array([[0.3334, 0.5, 1.0001, 1.002]] * 3)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    coco.write_boxes(path, dataclasses.replace(box_file, boxes=boxes, areas=areas), dialect, NAMES)
    with pytest.raises(DatasetError, match=r"shares of the image's sides, not pixels; scale them \(3 of 3 records"):
        coco.read_boxes(path, dialect, NAMES, clip=clip)
    write_detections(tmp_path / "pred.json", boxes, [4, 4, 9])
    with pytest.raises(DatasetError, match=r"shares of the image's sides, not pixels; scale them \(3 of 3 records"):
        coco.read_results(tmp_path / "pred.json", NAMES, RESULT_IDS)


def test_a_small_box_elsewhere_is_none_of_shares(box_file, tmp_path):
    boxes = np.array([[59, 39, 60, 40], [0.5, 0.5, 1.25, 1], [5, 5, 35, 35]])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    coco.write_boxes(tmp_path / "a.json", dataclasses.replace(box_file, boxes=boxes, areas=areas), "coco", NAMES)
    assert_array_equal(coco.read_boxes(tmp_path / "a.json", "coco", NAMES).boxes, boxes)


def reverse_records(document):
    for name in ("images", "annotations", "categories"):
        document.get(name, []).reverse()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_order_of_records_means_nothing(box_file, point_file, tmp_path, dialect):
    coco.write_boxes(tmp_path / "boxes.json", box_file, dialect, NAMES)
    coco.write_points(tmp_path / "points.json", point_file, dialect, POINT_NAMES, [(0, 1)])
    for read in (
        lambda: coco.read_boxes(tmp_path / "boxes.json", dialect, NAMES),
        lambda: coco.read_points(tmp_path / "points.json", dialect, POINT_NAMES, (40, 60)),
    ):
        before = read()
        for name in ("boxes.json", "points.json"):
            edit(tmp_path / name, reverse_records)
        for field in dataclasses.fields(before):
            assert_array_equal(getattr(read(), field.name), getattr(before, field.name))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_nothing_refers_to_is_passed_over(box_file, point_file, tmp_path, dialect):
    def add(document):
        document["info"] = {"year": None, "categories": [1]}
        for record in document["images"] + document.get("annotations", []):
            record["extra"] = [float("nan")]
        if "categories" in document:
            document["categories"].insert(0, {"id": 70, "name": "shapes", "supercategory": "none"})
            document["categories"].append({"id": 71, "name": document["categories"][1]["name"]})

    coco.write_boxes(tmp_path / "boxes.json", box_file, dialect, NAMES)
    coco.write_points(tmp_path / "points.json", point_file, dialect, POINT_NAMES, [(0, 1)])
    for name in ("boxes.json", "points.json"):
        edit(tmp_path / name, add)
    assert_array_equal(coco.read_boxes(tmp_path / "boxes.json", dialect, NAMES).labels, box_file.labels)
    read = coco.read_points(tmp_path / "points.json", dialect, POINT_NAMES, (40, 60))
    assert_array_equal(read.points, point_file.points)


def test_two_categories_of_one_name_are_refused_if_both_are_used(box_file, tmp_path):
    coco.write_boxes(tmp_path / "a.json", box_file, "coco", NAMES)
    edit(tmp_path / "a.json", lambda document: document["categories"][2].update(name="circle"))
    with pytest.raises(DatasetError, match=r"category 3 \(record 3\): name 'circle' is already that of record 1"):
        coco.read_boxes(tmp_path / "a.json", "coco", NAMES)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["../4.png", "/tmp/4.png", "a\\..\\..\\4.png", "", "x" * 200, "4\0.png"])
def test_file_names_that_leave_the_folder_are_refused(box_file, point_file, tmp_path, dialect, name):
    coco.write_boxes(tmp_path / "boxes.json", box_file, dialect, NAMES)
    coco.write_points(tmp_path / "points.json", point_file, dialect, POINT_NAMES, [(0, 1)])
    for read in (
        lambda: coco.read_boxes(tmp_path / "boxes.json", dialect, NAMES),
        lambda: coco.read_points(tmp_path / "points.json", dialect, POINT_NAMES, (40, 60)),
        lambda: coco.read_image_list(tmp_path / "boxes.json"),
    ):
        read()
        for file in ("boxes.json", "points.json"):
            edit(tmp_path / file, lambda document: document["images"][1].update(file_name=name))
        with pytest.raises(DatasetError, match=r"json: image \d+ \(record 2\): file_name") as caught:
            read()
        assert len(str(caught.value)) < 500
        for file in ("boxes.json", "points.json"):
            edit(tmp_path / file, lambda document: document["images"][1].update(file_name="sub/9.png"))


@pytest.mark.parametrize("size", [(2**40, 2**40), (2**24, 2), (5000, 5000), (10**30, 1)])
def test_an_absurd_recorded_size_is_refused(box_file, tmp_path, size):
    coco.write_boxes(tmp_path / "a.json", box_file, "coco", NAMES)
    edit(tmp_path / "a.json", lambda document: document["images"][1].update(height=size[0], width=size[1]))
    with pytest.raises(DatasetError, match=r"a\.json: image 9 \(record 2\): .* 16777216"):
        coco.read_boxes(tmp_path / "a.json", "coco", NAMES)


def test_a_list_of_images_alone_is_read_in_the_order_of_the_ids(box_file, tmp_path):
    coco.write_boxes(tmp_path / "a.json", box_file, "coco", NAMES)
    assert coco.lists_annotations(tmp_path / "a.json")
    edit(tmp_path / "a.json", reverse_records)
    for change in (lambda d: d.pop("annotations"), lambda d: d.update(annotations=[]), lambda d: d.pop("categories")):
        edit(tmp_path / "a.json", change)
        assert not coco.lists_annotations(tmp_path / "a.json")
        read = coco.read_image_list(tmp_path / "a.json")
        assert read.image_ids.tolist() == [4, 9]
        assert read.file_names == ("4.png", "9.png")
        assert_array_equal(read.image_sizes, box_file.image_sizes)
        assert len(read.boxes) == len(read.owners) == 0


def test_objects_are_taken_with_their_images(box_file):
    taken = box_file.take(np.array([1, 0, 1]))
    assert taken.image_ids.tolist() == [9, 4, 9]
    assert taken.owners.tolist() == [0, 1, 1, 2]
    assert_array_equal(taken.boxes, box_file.boxes[[2, 0, 1, 2]])


def test_objects_without_further_columns_are_visible_and_as_large_as_their_boxes(box_file):
    columns = [getattr(box_file, name) for name in ("image_ids", "file_names", "image_sizes", "owners")]
    file = coco.BoxFile.of(*columns, box_file.boxes, box_file.labels)
    assert file.areas.tolist() == [256, 2000, 900]
    assert file.visibility.tolist() == [1, 1, 1]
    assert not file.ignored.any()


@pytest.mark.parametrize(
    ("box", "outside"),
    [
        ((0, 0, 10, 10), False), ((-5, 0, 5, 10), False), ((-6, 0, 5, 10), True), ((55, 35, 65, 45), True),
        ((5, 5, 5, 9), True), ((9, 9, 5, 5), True), ((70, 50, 80, 60), True), ((-80, -80, -70, -70), True),
    ],
)  # fmt: skip
def test_a_box_is_mostly_outside_if_less_than_half_of_it_is_inside_or_it_has_no_area(box, outside):
    assert coco.are_mostly_outside(np.array([box], float), np.array([[40, 60]])).tolist() == [outside]


# Results

RESULT_IDS = np.array([4, 9])


def write_detections(path, boxes, image_ids):
    results = coco.ResultFile(
        np.array(image_ids), np.array(boxes, float), np.zeros(len(boxes), int), np.ones(len(boxes))
    )
    coco.write_results(path, results)


def test_results_that_are_shares_of_the_image_are_refused(tmp_path):
    write_detections(tmp_path / "pred.json", [(0.1, 0.1, 0.5, 0.5), (0, 0, 1, 1)], [4, 9])
    with pytest.raises(DatasetError, match=r"pred\.json: detection \(record 1\): bbox .*no box exceeds 1: shares of"):
        coco.read_results(tmp_path / "pred.json", NAMES, RESULT_IDS)


def test_results_are_refused_if_all_of_one_image_are_shares_and_read_if_one_is_in_the_corner(tmp_path):
    boxes = [(0.1, 0.1, 0.5, 0.5), (5, 5, 9, 9), (1, 2, 30, 30)]
    write_detections(tmp_path / "pred.json", boxes, [4, 9, 9])
    with pytest.raises(
        DatasetError, match=r"\(record 1\): bbox .*no side of it exceeds 1: shares of the image's sides"
    ):
        coco.read_results(tmp_path / "pred.json", NAMES, RESULT_IDS)
    write_detections(tmp_path / "pred.json", boxes, [4, 4, 9])
    assert_array_equal(coco.read_results(tmp_path / "pred.json", NAMES, RESULT_IDS).boxes, boxes)
