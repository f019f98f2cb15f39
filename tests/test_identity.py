"""Identities: equal digests mean no differences, and each difference is named."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers import paths
from helpers.identity import describe_differences, differences, digest, digest_file, normalise

BASE = {"training": {"epochs": 3, "rate": 0.05}, "scales": ((16, 24), (32, 48)), "start": None}


def test_the_digest_depends_on_values_and_not_on_the_order_of_keys_or_on_tuples():
    assert digest(BASE) == digest(dict(reversed(BASE.items())))
    assert digest(BASE) == digest(BASE | {"scales": [[16, 24], [32, 48]]})
    assert digest({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"  # of {"a":1}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"training": {"epochs": 4, "rate": 0.05}}, "training.epochs is 3 there and 4 here"),
        ({"training": {"epochs": 3}}, "training.rate is 0.05 there and absent here"),
        ({"training": 3}, "training is {'epochs': 3, 'rate': 0.05} there and 3 here"),
        ({"scales": [[16, 24], [32, 64]]}, "scales[1][1] is 48 there and 64 here"),
        ({"scales": [[16, 24]]}, "scales is [[16, 24], [32, 48]] there and [[16, 24]] here"),
        ({"start": "ab"}, "start is None there and 'ab' here"),
        ({"photos": None}, "photos is absent there and None here"),
        ({"training": {"epochs": 3.0, "rate": 0.05}}, "training.epochs is 3 there and 3.0 here"),
    ],
)
def test_a_difference_is_named_by_its_path_and_both_values(change, line):
    assert list(differences(BASE, BASE | change)) == [line]
    assert digest(BASE) != digest(BASE | change)
    assert describe_differences(BASE, BASE | change) == line


@pytest.mark.parametrize("pair", [(1, True), (0, False), (1, 1.0), ("1", 1), (None, "None"), ([], {}), ("", None)])
def test_values_that_python_or_a_printout_confuses_are_different(pair):
    stored, expected = ({"value": value} for value in pair)
    assert digest(stored) != digest(expected)
    assert len(list(differences(stored, expected))) == 1


def test_equal_identities_have_no_differences():
    assert list(differences(BASE, normalise(BASE))) == []
    assert describe_differences(BASE, BASE) == ""


def test_long_values_are_cut_to_the_part_that_differs():
    (line,) = differences({"text": "a" * 200 + "x" + "b" * 200}, {"text": "a" * 200 + "y" + "b" * 200})
    assert len(line) < 140
    assert "x" in line.split(" there and ")[0].removeprefix("text is")
    assert "y" in line.split(" there and ")[1]


def test_many_differences_fit_one_short_line():
    stored, expected = {str(number): 1 for number in range(1000)}, {str(number): 2 for number in range(1000)}
    line = describe_differences(stored, expected)
    assert len(line) < 320
    assert line.startswith("0 is 1 there and 2 here; 1 is 1 there and 2 here")
    assert line.count(" is ") + int(line.split("; and ")[1].split()[0]) == 1000
    assert len(describe_differences({"n" * 1000: "v" * 1000}, {"n" * 1000: "w" * 1000})) < 320


def test_a_value_that_is_no_json_is_refused():
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest({"path": {1, 2}})


def test_a_file_stands_in_an_identity_by_its_content(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.py").write_text("x = 1")
    assert digest_file(tmp_path / "a.py") == digest_file(tmp_path / "b.py")
    (tmp_path / "b.py").write_text("x = 2")
    assert digest_file(tmp_path / "a.py") != digest_file(tmp_path / "b.py")
    assert len(digest_file(tmp_path / "a.py")) == 16


def test_the_module_needs_the_standard_library_only():
    heavy = "{'torch', 'numpy', 'filelock'}"
    program = f"import sys; from helpers import identity; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"
