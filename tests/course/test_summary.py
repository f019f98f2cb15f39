"""Summary of runs: places of files and numbers."""

import json

import pytest

from helpers.course import lessons, summary
from tests.course.tiny import make_finished_run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "07_tiny" / "quick"


def test_the_summary_has_the_places_of_all_files_and_the_first_numbers(folder):
    text = summary.summarise([make_finished_run(folder)])
    assert "07_tiny · quick · seed 0 · CPU" in text
    for name in ("07_tiny.ipynb", "results.json", "figures/ (1)"):
        assert str(folder / name) in text
    assert "m1                                       0.3333" in text
    assert f"… and {20 - summary.HEADLINES} more in results.json" in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[1]", "holds no JSON object but [1]"),
        ('{"metrics": [1]}', "'metrics' is [1], not an object"),
        ('{"seed": "0"}', "'seed' is '0', not a whole number"),
        ('{"seed": true}', "'seed' is True, not a whole number"),
        ('{"device": null}', "'device' is None, not a text"),
        (None, "cannot be read (No such file"),
    ],
)
def test_damaged_results_end_the_summary_with_one_line_that_names_the_file(folder, text, reason):
    executed = make_finished_run(folder)
    if text is None:
        (folder / "results.json").unlink()
    else:
        (folder / "results.json").write_text(text)
    with pytest.raises(lessons.LessonFailed) as failure:
        summary.summarise([executed])
    message = str(failure.value)
    assert message.startswith(str(folder / "results.json"))
    assert reason in message
    assert "\n" not in message


def test_the_summary_shows_metrics_that_are_not_numbers_as_text(folder):
    executed = make_finished_run(folder)
    results = {"profile": "quick", "metrics": {"none": None, "text": "x" * 100, "nan": float("nan")}}
    (folder / "results.json").write_text(json.dumps(results))
    lines = summary.summarise([executed]).splitlines()
    assert [line.split()[-1][:5] for line in lines[-3:]] == ["None", "xxxxx", "nan"]
