"""Predictions: stored before the result, locked by it, kept whole, and counted by tolerance."""

import json
import math

import pytest

from helpers import predictions
from helpers.predictions import PredictionLog, read_predictions
from helpers.records import DatasetError

NAME = "share of covered circles"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "predictions.json"


def open_log(path, lesson="02_anchors", profile="quick"):
    """Return the log of a new session, in which the lesson asks for one prediction."""
    log = PredictionLog(lesson, profile, path)
    log.predict(NAME, None, tolerance=0.1)
    return log


def test_without_a_value_nothing_is_printed_and_nothing_is_written(path, capsys):
    log = open_log(path)
    log.record(NAME, 0.837)
    assert capsys.readouterr().out == ""
    assert not path.exists()
    row = log.tabulate().loc[NAME]
    assert math.isnan(row["prediction"])
    assert (row["result"], row["within tolerance"]) == (0.837, "–")


def test_a_prediction_can_be_changed_until_its_result_is_recorded(path):
    log = open_log(path)
    log.predict(NAME, 0.5, tolerance=0.1)
    log.predict(NAME, 0.8, tolerance=0.1)
    assert [(row.value, row.result) for row in read_predictions(path)] == [(0.8, None)]


def test_a_recorded_result_locks_the_prediction_in_this_and_in_later_sessions(path, capsys):
    log = open_log(path)
    log.predict(NAME, 0.5, tolerance=0.1)
    log.record(NAME, 0.837)
    for session in (log, open_log(path)):
        session.predict(NAME, 0.837, tolerance=0.1)
        assert "locked" in capsys.readouterr().out
    assert [(row.value, row.result) for row in read_predictions(path)] == [(0.5, 0.837)]


def test_a_prediction_after_the_result_of_the_session_is_not_stored(path, capsys):
    log = open_log(path)
    log.record(NAME, 0.837)
    log.predict(NAME, 0.837, tolerance=0.1)
    assert "already shown" in capsys.readouterr().out
    assert not path.exists()


def test_the_first_result_counts(path):
    log = open_log(path)
    log.predict(NAME, 0.5, tolerance=0.1)
    log.record(NAME, 0.837)
    log.record(NAME, 0.5)
    assert read_predictions(path)[0].result == 0.837
    assert log.tabulate().loc[NAME, "within tolerance"] == "no"


def test_a_batch_run_of_a_lesson_with_stored_predictions_changes_none_of_them(path):
    log = open_log(path)
    log.predict(NAME, 0.5, tolerance=0.1)
    log.record(NAME, 0.837)
    before = path.read_bytes()
    batch = open_log(path)
    batch.record(NAME, 0.2)
    assert path.read_bytes() == before
    assert batch.tabulate().loc[NAME, "prediction"] == 0.5


@pytest.mark.parametrize(("error", "verdict"), [(0.0, "yes"), (0.1, "yes"), (-0.1, "yes"), (0.11, "no"), (-0.11, "no")])
def test_an_error_of_exactly_the_tolerance_is_within_it(path, error, verdict):
    log = PredictionLog("02", "quick", path)
    tolerance = abs(0.5 + error - 0.5) if abs(error) == 0.1 else 0.1  # the same rounding as that of the error
    log.predict("a power of two", 0.5 + error, tolerance)
    log.record("a power of two", 0.5)
    assert log.tabulate().loc["a power of two", "within tolerance"] == verdict
    assert read_predictions(path)[0].is_right == (verdict == "yes")


def test_the_table_keeps_the_order_of_the_lesson_and_the_summary_counts(path):
    log = PredictionLog("02", "quick", path)
    for name, value in (("first", 1), ("second", None), ("third", 3)):
        log.predict(name, value, tolerance=1)
    log.record("third", 4.25)
    log.record("first", 1.25)
    table = log.tabulate()
    assert list(table.index) == ["first", "second", "third"]
    assert list(table["within tolerance"]) == ["yes", "–", "no"]
    assert list(table["error"])[::2] == [-0.25, -1.25]
    assert log.summarise() == "2 of 3 predictions made, 1 within their tolerance"


def test_the_summary_of_a_lesson_without_predictions_says_how_to_make_one(path):
    assert "replace None by a number" in open_log(path).summarise()
    assert PredictionLog("02", "quick", path).summarise().startswith("0 of 0")


def test_lessons_and_profiles_keep_their_own_predictions(path):
    for lesson, profile, value in (("02", "quick", 0.1), ("02", "full", 0.2), ("03", "quick", 0.3)):
        open_log(path, lesson, profile).predict(NAME, value, tolerance=0.1)
    open_log(path, "02", "full").record(NAME, 0.5)
    stored = {(row.lesson, row.profile): (row.value, row.result) for row in read_predictions(path)}
    assert stored == {("02", "quick"): (0.1, None), ("02", "full"): (0.2, 0.5), ("03", "quick"): (0.3, None)}


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", 1e12, [0.5]])
def test_a_prediction_is_one_finite_number(path, value):
    with pytest.raises(ValueError, match="one finite number"):
        open_log(path).predict(NAME, value, tolerance=0.1)
    assert not path.exists()


@pytest.mark.parametrize("value", [60, -60, 1.001])
def test_a_share_in_percent_is_refused(path, value):
    with pytest.raises(ValueError, match=r"from 0 to 1, so 60 % is 0\.6"):
        open_log(path).predict(NAME, value, tolerance=0.05)
    assert not path.exists()
    open_log(path).predict("pixels", value, tolerance=1)


def test_a_tolerance_is_positive(path):
    with pytest.raises(ValueError, match="positive"):
        open_log(path).predict(NAME, 0.5, tolerance=0)


def test_a_result_without_its_prediction_is_refused(path):
    with pytest.raises(ValueError, match=f"there are: {NAME}"):
        open_log(path).record("another name", 1)


def test_an_interrupted_write_keeps_the_stored_predictions(path, monkeypatch):
    log = open_log(path)
    log.predict(NAME, 0.5, tolerance=0.1)
    before = path.read_bytes()
    monkeypatch.setattr(predictions.json, "dumps", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        log.predict(NAME, 0.6, tolerance=0.1)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "many"}, "value is 'many'"),
        ({"name": 7}, "name is 7"),
        ({"result": "none"}, "result is 'none'"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_left_as_it_is(path, change, message):
    log = open_log(path)
    log.predict(NAME, 0.5, tolerance=0.1)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["predictions"][0] |= change
    path.write_text(json.dumps(document), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(DatasetError, match=message) as error:
        log.predict(NAME, 0.6, tolerance=0.1)
    assert str(path) in str(error.value)
    assert path.read_bytes() == before
