"""Predictions that are stored before a result is shown, and compared with it afterwards.

    data/predictions.json
        a record per prediction: lesson, profile, name, value, tolerance, and the result once it was shown

A lesson opens a `PredictionLog` after its run has started. A prediction without a value, the default in every lesson,
is only listed: nothing is asked, printed or stored, so runs without a reader go on.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path
from typing import SupportsFloat

import pandas as pd

from helpers import files, paths, records
from helpers.records import NUMBER, TEXT, Schema

FILE = paths.DATA / "predictions.json"

_NUMBER: Schema = NUMBER | {"description": f"a number of at most {records.LARGEST_NUMBER:g}"}
_FIELDS = {"lesson": TEXT, "profile": TEXT, "name": TEXT, "value": _NUMBER, "tolerance": _NUMBER}
SCHEMA: Schema = {
    "type": "object",
    "required": ["predictions"],
    "properties": {"predictions": records.list_of("prediction", _FIELDS, optional={"result": _NUMBER})},
}


@dataclass(frozen=True)
class Prediction:
    """One stored prediction."""

    lesson: str
    profile: str  # results of another profile are other results
    name: str
    value: float
    tolerance: float  # largest error of a prediction that counts as right, in the unit of the value
    result: float | None = None  # None until it was shown; from then on the prediction is locked

    @property
    def is_right(self) -> bool:
        """Whether the result is known and within the tolerance."""
        return self.result is not None and abs(self.value - self.result) <= self.tolerance


def read_predictions(path: Path) -> list[Prediction]:
    """Return the predictions in `path`; none where there is no such file.

    Raises:
        DatasetError: the file is broken; the message names it and the record.
    """
    if not path.exists():
        return []
    rows = records.read_document(path, SCHEMA)["predictions"]
    names = [*_FIELDS, "result"]
    return [Prediction(**{name: row[name] for name in names if name in row}) for row in rows]


def write_predictions(path: Path, predictions: list[Prediction]) -> None:
    """Write the file, whole or not at all."""
    rows = []
    for prediction in predictions:
        row = asdict(prediction)
        if prediction.result is None:
            del row["result"]
        rows.append(row)
    files.write_text(path, json.dumps({"predictions": rows}, indent=2, ensure_ascii=False) + "\n")


class PredictionLog:
    """The predictions of one lesson: `predict` before a result, `record` with it, `tabulate` at the end."""

    def __init__(self, lesson: str, profile: str, path: Path | None = None):
        """Open the log of a lesson.

        Args:
            lesson: stem of the notebook.
            profile: the profile of the run.
            path: the file of all predictions, `FILE` if None.
        """
        self._lesson = lesson
        self._profile = profile
        self._path = path or FILE
        self._tolerances: dict[str, float] = {}  # of each prediction that the lesson asks for, in its order
        self._results: dict[str, float] = {}  # shown since the log was opened

    def predict(self, name: str, value: object, tolerance: float) -> None:
        """Store a prediction, unless its result has been shown.

        Args:
            name: of the predicted number, with its unit.
            value: the prediction, a number; None predicts nothing.
            tolerance: largest error that counts as right.

        Raises:
            ValueError: the value is no finite number, or beyond 1 although the tolerance is below 1, as that of a
                share; or the tolerance is not positive.
        """
        if not tolerance > 0:
            raise ValueError(f"the tolerance of {name!r} is {tolerance!r}; it has to be positive")
        self._tolerances[name] = tolerance
        if value is None:
            return
        number = float(value) if isinstance(value, Real) else math.nan
        if not math.isfinite(number) or abs(number) > records.LARGEST_NUMBER:
            raise ValueError(f"the prediction of {name!r} is {value!r}; a prediction is one finite number")
        if tolerance < 1 < abs(number):  # a share, an AP, a PCK, or a difference of two of them
            raise ValueError(f"the prediction of {name!r} is {value!r}; it is a number from 0 to 1, so 60 % is 0.6")
        stored = self._find(name)
        if stored is not None and stored.result is not None:
            print(f"{name}: locked, because the result was shown. Your prediction is {stored.value:g}.")
        elif name in self._results:
            print(f"{name}: not stored, because the result was already shown in this session.")
        else:
            self._store(Prediction(self._lesson, self._profile, name, number, tolerance))
            print(f"{name}: {number:g} is stored. You can change it until the result is shown.")

    def record(self, name: str, result: SupportsFloat) -> None:
        """Record a result that the lesson shows; from then on its prediction is locked.

        The first result counts: a later run of the lesson changes no stored one.

        Args:
            name: as in `predict`.
            result: the measured or computed number.

        Raises:
            ValueError: the lesson asks for no prediction of this name.
        """
        if name not in self._tolerances:
            raise ValueError(f"no prediction is called {name!r}; there are: {', '.join(self._tolerances) or 'none'}")
        self._results[name] = float(result)
        prediction = self._find(name)
        if prediction is None:
            return
        if prediction.result is None:
            prediction = replace(prediction, result=float(result))
            self._store(prediction)
        verdict = "within" if prediction.is_right else "outside"
        numbers = f"predicted {prediction.value:g}, result {prediction.result:g}"
        print(f"{name}: {numbers}, {verdict} ± {prediction.tolerance:g}")

    def tabulate(self) -> pd.DataFrame:
        """Return a row per prediction of the lesson: prediction, tolerance, result, error and whether it was right.

        A prediction that was not made is NaN, and so is a result that was not shown.
        """
        rows = []
        for name, tolerance in self._tolerances.items():
            prediction = self._find(name)
            result = self._results.get(name, math.nan)
            value = math.nan
            if prediction is not None:
                value, tolerance = prediction.value, prediction.tolerance
                result = result if prediction.result is None else prediction.result
            right = "–" if math.isnan(value - result) else "yes" if abs(value - result) <= tolerance else "no"
            rows.append(
                {"name": name, "prediction": value, "tolerance": tolerance, "result": result}
                | {"error": value - result, "within tolerance": right}
            )
        return pd.DataFrame(rows, columns=["name", *_COLUMNS]).set_index("name").round(3)

    def summarise(self) -> str:
        """Return one sentence: how many predictions were made, and how many were within their tolerance."""
        verdicts = list(self.tabulate()["within tolerance"])
        made = len(verdicts) - verdicts.count("–")
        text = f"{made} of {len(verdicts)} predictions made, {verdicts.count('yes')} within their tolerance"
        return text if made else f"{text}: replace None by a number in a cell with `predict`, before its result"

    def _find(self, name: str) -> Prediction | None:
        """Return the stored prediction of this lesson and profile, or None."""
        for prediction in read_predictions(self._path):
            if (prediction.lesson, prediction.profile, prediction.name) == (self._lesson, self._profile, name):
                return prediction
        return None

    def _store(self, new: Prediction) -> None:
        """Write `new` in the place of the stored prediction of its name; those of other lessons are kept."""
        with files.hold_lock(self._path.with_suffix(".lock"), "waiting for another lesson that stores a prediction"):
            key = (new.lesson, new.profile, new.name)
            others = [
                prediction
                for prediction in read_predictions(self._path)
                if (prediction.lesson, prediction.profile, prediction.name) != key
            ]
            write_predictions(self._path, [*others, new])


_COLUMNS = ("prediction", "tolerance", "result", "error", "within tolerance")
