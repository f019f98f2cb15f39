"""Text and JSON files of any origin: what is read alike, and what is refused by name."""

import json
import os
import subprocess
import sys

import pytest

from helpers import records
from helpers.records import (
    ID,
    NUMBER,
    DatasetError,
    Records,
    check_schema,
    list_of,
    read_json,
    read_text,
    require_file,
    shorten,
)

RULES = list_of("digit", {"id": ID, "size": NUMBER | {"description": "a finite number"}}, {"ignored": {"enum": [0, 1]}})
ROWS = [{"id": 1, "size": 2.5}, {"id": 7, "size": 3, "extra": [None]}]


def refuse(path, content, reader=read_json):
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        reader(path, "annotation file")
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 500
    assert "elete" not in str(caught.value)  # the file may be the only copy
    return str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert read_text(tmp_path / "a.json", "file") == '{"a": 1}'


def test_a_key_that_comes_twice_is_refused_with_the_record(tmp_path):
    message = refuse(tmp_path / "a.json", b'[{"id": 1}, {"id": 31, "bbox": [1], "bbox": [2]}]')
    assert "the key 'bbox' comes twice in the object with id 31. Remedy: keep one of the two" in message
    assert "the key 'a' comes twice" in refuse(tmp_path / "a.json", b'{"a": 1, "a": 1}')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\t", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"{", "not JSON"),
        (b"[1, 2", "not JSON"),
        (b"[" + b"9" * 9000 + b"]", "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b"\xe9", "not UTF-8 text"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16 text. Save it as UTF-8"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(tmp_path, content, words):
    assert words in refuse(tmp_path / "a.json", content)


def test_a_file_of_too_many_lists_or_values_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LARGEST_NUMBER_OF_LISTS", 4)
    (tmp_path / "a.json").write_text("[[], {}, []]")
    assert read_json(tmp_path / "a.json") == [[], {}, []]
    monkeypatch.setattr(json, "loads", None)
    assert "more than 4 lists and objects" in refuse(tmp_path / "a.json", b"[[], {}, [], []]")
    monkeypatch.setattr(records, "LARGEST_NUMBER_OF_VALUES", 2)
    assert "more than 2 values" in refuse(tmp_path / "a.json", b"[1, 2, 3, 4]")


def test_only_regular_files_of_a_bounded_size_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"12345")
    (tmp_path / "small").write_bytes(b"1234")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr(records, "LARGEST_FILE", 4)
    assert require_file(tmp_path / "small", "table") == 4
    for name, words in {
        "pipe": "no regular file, but a pipe",
        "folder": "the table is a folder",
        "large": "more than",
        "missing": "the table is missing. Look elsewhere",
        "loop": "cannot be read",
        "n" * 300: "cannot be read",
        "nothing\0here": "cannot be read",
    }.items():
        with pytest.raises(DatasetError, match=words):
            require_file(tmp_path / name, "table", "Look elsewhere")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e300"])
def test_a_number_that_cannot_be_computed_with_is_refused_with_its_record(tmp_path, constant):
    (tmp_path / "a.json").write_text(f'[{{"id": 1, "size": 1}}, {{"id": 7, "size": {constant}}}]')
    document = read_json(tmp_path / "a.json")
    with pytest.raises(DatasetError, match=r"digit 7 \(record 2\): size is .* Remedy: it has to be a finite number"):
        check_schema(tmp_path / "a.json", document, RULES)


def test_it_is_passed_over_in_a_field_that_is_not_read(tmp_path):
    (tmp_path / "a.json").write_text('[{"id": 1, "size": 1, "extra": NaN}]')
    check_schema(tmp_path / "a.json", read_json(tmp_path / "a.json"), RULES)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS, None),
        ([], None),
        ({}, "the digit records are a dict. They have to be a list"),
        ([*ROWS, 5], r"digit \(record 3\): it is a int. Remedy: every record is an object"),
        ([{"size": 1}], r"digit \(record 1\): 'id' is missing. Remedy: it is an integer"),
        ([{"id": "9", "size": 1}], r"digit 9 \(record 1\): id is '9'. Remedy: it has to be an integer"),
        ([{"id": True, "size": 1}], "id is True"),
        ([{"id": 2**63, "size": 1}], "id is 9223372036854775808"),
        ([{"id": 5, "size": "a" * 9000}], r"size is 'a{10,30}\.\.\.a{10,30}'"),
        ([{"id": 5, "size": [[[[[[[[7]]]]]]]]}], r"size is \[\[\[\[\[\.\.\.\]\]\]\]\]"),
    ],
)
def test_the_first_record_that_breaks_a_rule_is_named_with_field_value_and_rule(tmp_path, rows, message):
    if message is None:
        return check_schema(tmp_path, rows, RULES)
    with pytest.raises(DatasetError, match=message) as caught:
        check_schema(tmp_path, rows, RULES)
    assert len(str(caught.value)) < 500


def test_an_integer_may_be_written_with_a_decimal_point(tmp_path):
    check_schema(tmp_path, [{"id": 3.0, "size": 1}], RULES)


def test_of_many_bad_records_the_first_is_named_and_all_are_counted(tmp_path):
    table = Records(tmp_path, "digit", ROWS)
    table.refuse([False, False], str, "nothing")
    with pytest.raises(DatasetError, match=r"digit 1 \(record 1\): 0 \(2 of 2 records fail this check\). Remedy: do"):
        table.refuse([True, True], str, "do this")
    with pytest.raises(DatasetError, match=r"digit 7 \(record 2\): id 7 is already that of record 1"):
        Records(tmp_path, "digit", ROWS[1:] * 2).require_unique("id")


def test_values_are_shortened_without_being_written_out():
    assert shorten("a") == "'a'"
    assert len(shorten("a" * 10**6)) <= 60
    assert len(shorten([[list(range(1000))] * 1000] * 1000)) <= 60
    assert len(shorten({str(key): [key] * 100 for key in range(1000)})) <= 60
    assert len(shorten(10**4000)) <= 60


def test_a_long_message_keeps_its_start_and_its_end():
    assert str(DatasetError("short")) == "short"
    message = str(DatasetError("path: " + "x" * 10**5 + ". Remedy: do this"))
    assert len(message) <= records.LONGEST_MESSAGE
    assert message.startswith("path: ")
    assert message.endswith(". Remedy: do this")


def test_no_reader_waits_for_torch():
    code = "import sys, helpers.records, helpers.images, helpers.coco; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
