"""Numbers from detections, the two files of the assignment, and the messages about broken ones."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from helpers.average_precision import Detections
from helpers.course import cli
from helpers.digits.dataset import DigitDataset
from helpers.digits.metrics import NO_NUMBER, measure_accuracy
from helpers.digits.reading import (
    ReadingConfig,
    check_numbers,
    choose_reading,
    find_lost_zeros,
    read_numbers,
    read_predictions,
    suppress,
    write_numbers,
    write_predictions,
    write_submission_files,
)
from helpers.images import write_image
from helpers.records import DatasetError
from tests.digits.support import LEFT, RIGHT, build_detections, seeded

IDS = np.array([1, 2, 5])


def test_two_detections_of_one_digit_give_one_digit_even_with_different_classes():
    duplicates = build_detections((LEFT, 0.9, 1), (LEFT, 0.8, 7), (RIGHT, 0.7, 3), (RIGHT, 0.6, 3))
    assert suppress(duplicates, 0.5).labels.tolist() == [2, 4]
    assert read_numbers([duplicates]) == ["13"]


def test_suppression_and_score_threshold_can_change_places():
    generator = seeded(0)
    corner = 30 * torch.rand(60, 2, generator=generator)
    scores = torch.rand(60, generator=generator).sort(descending=True).values
    labels = torch.randint(1, 11, (60,), generator=generator)
    detections = Detections(torch.cat([corner, corner + 20], 1), scores, labels)
    for threshold in (0.2, 0.5, 0.8):
        threshold_last = suppress(detections, 0.4).above(threshold)
        threshold_first = suppress(detections.above(threshold), 0.4)
        assert len(threshold_last.scores) > 0
        for column, expected in zip(threshold_last, threshold_first, strict=True):
            assert torch.equal(column, expected)


def test_a_cascade_lowers_the_threshold_only_in_images_without_a_detection():
    high_scores = build_detections((LEFT, 0.9, 1), (RIGHT, 0.3, 2))
    low_scores = build_detections((LEFT, 0.35, 1), (RIGHT, 0.2, 2))
    no_detections = build_detections()
    config = ReadingConfig(thresholds=(0.5, 0.3))
    assert read_numbers([high_scores, low_scores, no_detections], config) == ["1", "1", NO_NUMBER]
    assert read_numbers([low_scores]) == [NO_NUMBER]


def test_a_leading_zero_is_part_of_the_number():
    assert read_numbers([build_detections((RIGHT, 0.9, 9), (LEFT, 0.8, 0))]) == ["09"]


def draw_validation(seed: int, count: int = 60) -> tuple[list[Detections], list[str]]:
    """Return detections in images of two digits, and the true numbers; most false detections have lower scores."""
    rng = np.random.default_rng(seed)
    detections, numbers = [], []
    for _ in range(count):
        digits = rng.integers(0, 10, 2)
        score = rng.uniform(0.1, 0.5) if rng.random() < 0.2 else rng.uniform(0.5, 1.0)
        true_detections = [(LEFT, score, int(digits[0])), (RIGHT, 0.99 * score, int(digits[1]))]
        false_detection = ((60.0, 10.0, 80.0, 50.0), 0.4 * score, 8)
        detections.append(build_detections(*true_detections, false_detection))
        numbers.append("".join(map(str, digits)))
    return detections, numbers


def test_the_chosen_cascade_has_a_higher_accuracy_than_any_single_threshold():
    detections, numbers = draw_validation(0)
    config = choose_reading(detections, numbers)
    accuracy = measure_accuracy(read_numbers(detections, config), numbers)
    single = [
        measure_accuracy(read_numbers(detections, ReadingConfig((threshold / 20,))), numbers)
        for threshold in range(1, 20)
    ]
    assert accuracy > max(single)
    assert len(config.thresholds) > 1
    assert list(config.thresholds) == sorted(config.thresholds, reverse=True)


def test_without_any_detection_the_chosen_settings_read_no_number():
    config = choose_reading([build_detections()] * 2, ["1", "2"])
    assert read_numbers([build_detections()], config) == [NO_NUMBER]


@pytest.fixture
def dataset(tmp_path) -> DigitDataset:
    """Three images without truth, whose ids are not consecutive."""
    (tmp_path / "test").mkdir()
    for image_id in IDS:
        write_image(tmp_path / "test" / f"{image_id}.png", np.zeros((60, 90, 3), np.uint8))
    return DigitDataset.read_unlabelled(tmp_path, "test")


@pytest.fixture
def written(dataset, tmp_path):
    """The path of a `pred.json` for `dataset`, and its detections."""
    detections = [
        build_detections((LEFT, 0.875, 0), (RIGHT, 0.0078125, 9)),
        build_detections(),
        build_detections((RIGHT, 0.5, 4)),
    ]
    write_predictions(tmp_path / "pred.json", dataset.image_ids, detections)
    return tmp_path / "pred.json", detections


def test_all_predictions_are_written_in_the_assignments_format(written):
    assert json.loads(written[0].read_text())[:2] == [
        {"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 40], "score": 0.875},
        {"image_id": 1, "category_id": 10, "bbox": [32, 10, 20, 40], "score": 0.0078125},
    ]


def test_written_predictions_are_read_again(written, dataset):
    path, detections = written
    for read_detections, image_detections in zip(read_predictions(path, dataset), detections, strict=True):
        for column, expected in zip(read_detections, image_detections, strict=True):
            torch.testing.assert_close(column, expected)


def test_a_file_without_predictions_is_written_and_read(dataset, tmp_path):
    write_predictions(tmp_path / "pred.json", dataset.image_ids, [build_detections()] * 3)
    assert [len(image.scores) for image in read_predictions(tmp_path / "pred.json", dataset)] == [0, 0, 0]


def test_records_of_another_program_may_have_any_order(written, dataset):
    path, detections = written
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    assert torch.equal(read_predictions(path, dataset)[0].scores, detections[0].scores)


def test_detections_with_equal_scores_do_not_depend_on_the_order_of_the_records(dataset, tmp_path):
    boxes = [[10, 10, 20, 40], [32, 10, 20, 40], [32, 10, 20, 40]]
    records = [
        {"image_id": 2, "category_id": category, "bbox": box, "score": 0.5}
        for category, box in zip((8, 3, 2), boxes, strict=True)
    ]
    readings = []
    for name, rows in (("first.json", records), ("second.json", records[::-1])):
        (tmp_path / name).write_text(json.dumps(rows))
        readings.append(read_predictions(tmp_path / name, dataset))
    for first, second in zip(readings[0][1], readings[1][1], strict=True):
        assert torch.equal(first, second)
    assert [read_numbers(reading)[1] for reading in readings] == ["71", "71"]


def change(**values):
    return lambda records: records[2].update(values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(image_id=77), r"3\): image_id 77 .* of other images"),
        (change(image_id="5"), r"3\): image_id is '5'.*an integer"),
        (change(category_id=0), r"3\): category_id is 0.*counts from 0: add 1"),
        (change(category_id=11), r"3\): category_id is 11.*ids are 1 to 10"),
        (change(bbox=[32, 10, 0, 40]), r"3\): bbox \[32, 10, 0, 40\] has no width"),
        (change(bbox=[32, 10, 20]), r"3\): bbox is \[32, 10, 20\].*four finite numbers"),
        (change(bbox=[32, 10, float("nan"), 4]), r"3\): bbox is .*nan.*four finite numbers"),
        (change(bbox=[320, 100, 200, 400]), r"3\): bbox .* leaves the 90 × 60 image.*not of a resized one"),
        (change(score=3.2), r"3\): score is 3\.2.*softmax"),
        (change(score=None), r"3\): score is None"),
        (lambda records: records[2].pop("score"), r"3\): 'score' is missing"),
        (lambda records: records.append([1, 2]), r"4\): it is a list"),
    ],
)
def test_a_broken_prediction_is_refused_with_record_and_remedy(written, dataset, damage, message):
    records = json.loads(written[0].read_text())
    damage(records)
    written[0].write_text(json.dumps(records))
    with pytest.raises(DatasetError, match=rf"pred\.json: detection \(record {message}"):
        read_predictions(written[0], dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": []}', "the top level is a dict, not a list of detections"),
        ("[{", "not JSON"),
        ("", "the file is empty"),
        (None, "the result file is missing"),
    ],
)
def test_a_file_that_is_not_a_list_of_predictions_is_refused(dataset, tmp_path, content, message):
    if content is not None:
        (tmp_path / "pred.json").write_text(content)
    with pytest.raises(DatasetError, match=rf"pred\.json: {message}"):
        read_predictions(tmp_path / "pred.json", dataset)


def test_corners_in_place_of_sizes_are_recognised_by_all_boxes_together(dataset, tmp_path):
    corners = [[60, 20, 85, 55], [40, 20, 60, 55]]
    records = [{"image_id": 1, "category_id": 3, "bbox": box, "score": 0.5} for box in corners]
    (tmp_path / "pred.json").write_text(json.dumps(records))
    with pytest.raises(DatasetError, match=r"all boxes fit as \[x1, y1, x2, y2\].*convert them"):
        read_predictions(tmp_path / "pred.json", dataset)


def test_boxes_without_width_are_not_written(dataset, tmp_path):
    flat = build_detections(((10.0, 10.0, 10.0, 50.0), 0.9, 1), (LEFT, 0.8, 2))
    write_predictions(tmp_path / "pred.json", dataset.image_ids[:1], [flat])
    assert [row["category_id"] for row in json.loads((tmp_path / "pred.json").read_text())] == [3]


def test_numbers_are_written_with_leading_zeros_and_read_again(tmp_path):
    numbers = ["09", NO_NUMBER, "123"]
    write_numbers(tmp_path / "pred.csv", IDS, numbers)
    assert (tmp_path / "pred.csv").read_text() == "image_id,pred_label\n1,09\n2,-1\n5,123\n"
    assert check_numbers(tmp_path / "pred.csv", IDS) == numbers


def test_a_table_may_have_any_order_windows_line_ends_and_a_byte_order_mark(tmp_path):
    (tmp_path / "pred.csv").write_bytes("\ufeffimage_id,pred_label\r\n5,123\r\n1,09\r\n2,-1\r\n".encode())
    assert check_numbers(tmp_path / "pred.csv", IDS) == ["09", "-1", "123"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is nothing.*write the header image_id,pred_label"),
        ("id,label\n1,2\n", "line 1 is 'id,label'.*write the header image_id,pred_label"),
        ("image_id,pred_label\n1,2\n2\n", "line 3: it has 1 fields"),
        ("image_id,pred_label\n1,2\n77,2\n", "line 3: image_id '77' is none of the 3 images"),
        ("image_id,pred_label\n1.png,2\n", r"line 2: image_id '1\.png'"),
        ("image_id,pred_label\n1,2\n1,3\n", "line 3: image_id 1 has an earlier line"),
        ("image_id,pred_label\n1,12.0\n", r"line 2: pred_label is '12\.0'.*decimals: keep them as text"),
        ("image_id,pred_label\n1,\n", "line 2: pred_label is ''.*-1 where nothing is found"),
        ("image_id,pred_label\n1,-2\n", "line 2: pred_label is '-2'"),
        ("image_id,pred_label\n1,2\n", r"image_id 2 is missing \(2 of 3 images\)"),
        (None, "the file is missing"),
    ],
)
def test_a_broken_table_is_refused_with_line_and_remedy(tmp_path, text, message):
    if text is not None:
        (tmp_path / "pred.csv").write_text(text)
    with pytest.raises(DatasetError, match=rf"pred\.csv: {message}"):
        check_numbers(tmp_path / "pred.csv", IDS)


@pytest.mark.parametrize(
    "text",
    [
        "image_id,pred_label\n1,09\n\n2,-1\n  \n5,123\n\n\n",
        "image_id,pred_label\n\n1,09\n,\n2,-1,\n5,123,,",
        "\ufeff\nimage_id,pred_label,\n1,09\n2,-1\n5,123\n",
        ",image_id,pred_label\n0,1,09\n1,2,-1\n2,5,123\n",
        "pred_label,image_id,score\n09,1,0.5\n-1,2,b\n123,5,a\n",
        'image_id,pred_label\r"1","09"\r2,-1\r5,123\r',
        " image_id , pred_label \n 1 , 09 \n2,-1\n5,123",
    ],
)
def test_blank_lines_further_columns_and_line_ends_have_no_effect_in_a_table(tmp_path, text):
    (tmp_path / "pred.csv").write_bytes(text.encode())
    assert check_numbers(tmp_path / "pred.csv", IDS) == ["09", "-1", "123"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,pred_label\n\n1,1,234\n", "line 3: it has 3 fields"),  # a number with a thousands separator
        ("image_id,pred_label\n1,\u0661\n", "line 2: pred_label is '\u0661'"),
        ("image_id,pred_label\n\u0661,1\n", "line 2: image_id '\u0661' is none of the 3 images"),
        (f"image_id,pred_label\n{'9' * 5000},1\n", r"line 2: image_id '9+\.\.\.9+' is none of"),
        (f"image_id,pred_label\n1,{'a' * 5000}\n", r"line 2: pred_label is 'a+\.\.\.a+'"),
        (f"image_id,pred_label\n1,{'1' * 200_000}\n", r"line 2: not CSV \(field larger than field limit"),
        ("image_id;pred_label\n1;2\n", "line 1 is 'image_id;pred_label'.*write the header"),
        ("image_id,pred_label,image_id\n1,2,1\n", "line 1 is .*write the header"),
        ("x" * 9000, r"line 1 is 'x+\.\.\.x+'"),
    ],
)
def test_a_table_of_unusual_fields_is_refused_in_a_short_message(tmp_path, text, message):
    (tmp_path / "pred.csv").write_text(text)
    with pytest.raises(DatasetError, match=rf"pred\.csv: {message}") as caught:
        check_numbers(tmp_path / "pred.csv", IDS)
    assert len(str(caught.value)) < 500


def test_a_table_of_many_megabytes_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "pred.csv").write_text("image_id,pred_label\n")
    os.truncate(tmp_path / "pred.csv", 2**24 + 1)
    with pytest.raises(DatasetError, match=r"pred\.csv: the file has 16 MB, more than the 16 MB that are read"):
        check_numbers(tmp_path / "pred.csv", IDS)


def test_shares_and_long_values_in_predictions_are_refused_in_a_short_message(written, dataset):
    records = json.loads(written[0].read_text())
    for record in records:
        record["bbox"] = [value / 90 for value in record["bbox"]]
    written[0].write_text(json.dumps(records))
    with pytest.raises(DatasetError, match=r"\(record 1\): bbox .*no box exceeds 1: shares of the image's sides"):
        read_predictions(written[0], dataset)
    for name in ("image_id", "category_id", "bbox", "score"):
        written[0].write_text(json.dumps([records[0] | {name: ["a" * 900] * 900}]))
        with pytest.raises(DatasetError, match=rf"\(record 1\): {name} is ") as caught:
            read_predictions(written[0], dataset)
        assert len(str(caught.value)) < 500


def test_the_order_of_predictions_has_no_effect_even_if_scores_are_equal(dataset, tmp_path):
    equal_scores = build_detections((RIGHT, 0.5, 4), (LEFT, 0.5, 4), (LEFT, 0.5, 2))
    write_predictions(tmp_path / "pred.json", dataset.image_ids[:1], [equal_scores])
    first = read_predictions(tmp_path / "pred.json", dataset)[0]
    (tmp_path / "pred.json").write_text(json.dumps(json.loads((tmp_path / "pred.json").read_text())[::-1]))
    for column, expected in zip(read_predictions(tmp_path / "pred.json", dataset)[0], first, strict=True):
        assert torch.equal(column, expected)


@pytest.fixture
def with_zeros() -> list[Detections]:
    """The detections of "09", of "9" after a 0 with a low score, and of "12"."""
    return [
        build_detections((LEFT, 0.9, 0), (RIGHT, 0.8, 9)),
        build_detections((RIGHT, 0.8, 9), (LEFT, 0.3, 0)),
        build_detections((LEFT, 0.8, 1), (RIGHT, 0.7, 2)),
    ]


def test_leading_zeros_that_integers_lost_are_recognised_by_the_detections(with_zeros, tmp_path):
    numbers = read_numbers(with_zeros)
    assert numbers == ["09", "9", "12"]
    write_numbers(tmp_path / "pred.csv", IDS, [str(int(number)) for number in numbers])
    assert check_numbers(tmp_path / "pred.csv", IDS)[0] == "9"  # the table alone does not show the loss
    with pytest.raises(DatasetError, match=r"image_id 1: pred_label is '9', .* '09' \(1 of 3.*keep numbers as text"):
        check_numbers(tmp_path / "pred.csv", IDS, with_zeros)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.85, 0.95])
def test_a_number_that_some_threshold_gives_has_lost_no_zero(with_zeros, threshold):
    numbers = read_numbers(with_zeros, ReadingConfig((threshold, 0.05)))
    assert find_lost_zeros(numbers, with_zeros) == []


def test_no_zero_was_lost_if_one_number_has_a_leading_zero(with_zeros):
    assert find_lost_zeros(["9", "09", "12"], with_zeros) == []
    assert find_lost_zeros(["9", "9", "12"], with_zeros) == [(0, "09")]


def test_a_number_of_zeros_alone_becomes_one_zero():
    detections = [build_detections((LEFT, 0.9, 0), (RIGHT, 0.9, 0)), build_detections((LEFT, 0.9, 0))]
    assert find_lost_zeros(["0", "0"], detections) == [(0, "00")]


def test_both_files_are_written_and_the_table_follows_the_settings(dataset, tmp_path):
    high_scores, low_scores = build_detections((LEFT, 0.9, 0), (RIGHT, 0.8, 7)), build_detections((LEFT, 0.4, 3))
    detections = [high_scores, low_scores, low_scores]
    numbers = write_submission_files(tmp_path / "new", dataset, detections, ReadingConfig((0.5,)))
    assert numbers == ["07", NO_NUMBER, NO_NUMBER]
    detections_in_file = read_predictions(tmp_path / "new" / "pred.json", dataset)
    assert [len(image.scores) for image in detections_in_file] == [2, 1, 1]
    assert check_numbers(tmp_path / "new" / "pred.csv", dataset.image_ids, detections_in_file) == numbers


def test_the_command_counts_detections_and_numbers_or_names_the_error(written, dataset, tmp_path, capsys):
    path, detections = written
    write_numbers(tmp_path / "pred.csv", IDS, read_numbers(detections))
    command = ["check", str(tmp_path / "test"), str(path), str(tmp_path / "pred.csv")]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "3 detections in 3 images" in printed
    assert "3 images, 1 of them without a number" in printed
    (tmp_path / "pred.csv").write_text("image_id,pred_label\n1,2\n")
    assert cli.main(command) == 1
    assert "image_id 2 is missing" in capsys.readouterr().err
    write_predictions(path, IDS, [build_detections((LEFT, 0.9, 0), (RIGHT, 0.9, 4)), *detections[1:]])
    (tmp_path / "pred.csv").write_text("image_id,pred_label\n1,4\n2,-1\n5,4\n")
    assert cli.main(command) == 1
    assert "the detections make '04'" in capsys.readouterr().err
