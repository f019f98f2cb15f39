"""Parameter values as text: what `-p` reads and what the table shows."""

import csv
import io
import math

import papermill
import pytest
from click.testing import CliRunner
from papermill.cli import papermill as command

from helpers.course.grid import values
from tests.course.tiny import make_parameters, write_notebook

VALUES = [
    *[0, 1, -1, 1.0, -0.5, 1e22, math.inf, -math.inf, math.nan, True, False, None, 10**30],
    *["", " ", "1", "1.0", "-1", "nan", "inf", "True", "true", "None", "null", "1_000", "x", "a b", "a/b", "A", "a"],
    *[
        "=1+1",
        "+1x",
        "-x",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "a;=1+1",
        "a\n=1",
        'say "a"',
        "it's",
        "'a'",
        '"a"',
        "a,b",
        "(a",
        "[1",
    ],
    *["naïve 数字", "\x1b[31mred", "\u2028", "\u202e", "C:\\new", "$x$", "x" * 10**5, "#", "...", "1j", "b'a'"],
    *[[], [1, 2], ["1", 1, True, 1.0, None], {"a": {"b": [1, {"c": None}]}}, {}, [math.nan], ["=1"], {"=1": "\x1b"}],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_a_shown_value_is_read_as_the_same_value(value):
    shown = values.show_value(value)
    assert repr(values.read_value(shown)) == repr(value)
    assert values.split_values(f"{shown},{shown}") == [shown, shown]


def test_different_values_are_never_shown_alike():
    shown = [values.show_value(value) for value in VALUES]
    assert len(set(shown)) == len(VALUES)
    assert all(shown)


def test_no_shown_text_is_a_formula_in_a_spreadsheet_or_a_command_to_a_terminal():
    texts = [value for value in VALUES if isinstance(value, str | list | dict)]
    for text in map(values.show_value, texts):
        assert text[:1] not in tuple("=+-@\t\r\n")
        assert text.isprintable()
        file = io.StringIO()
        csv.writer(file).writerow([text, text])
        cells = file.getvalue().split(";")  # as a spreadsheet with this separator splits the line
        assert len(cells) == 1 or file.getvalue().startswith('"')


def test_negative_numbers_stay_numbers():
    assert values.show_value(-1) == values.show_short(-1, 40) == "-1"
    assert values.show_short("x" * 1000, 40) == "x" * 39 + "…"
    assert values.show_value(-0.5) == "-0.5"
    assert values.show_value("-1") == '"-1"'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("True", True), ("False", False), ("None", None), ("1", 1), (" 1 ", 1), ("-1", -1), ("007", 7)],
        *[
            ("1_000", 1000),
            ("2.5", 2.5),
            ("1e-3", 0.001),
            ("inf", math.inf),
            ("x", "x"),
            ("a b", "a b"),
            ("it's", "it's"),
        ],
        *[
            ("true", True),
            ("null", None),
            ("[1,2]", [1, 2]),
            ("(1,2)", [1, 2]),
            ("(1,)", [1]),
            ("['a', None]", ["a", None]),
        ],
        *[('{"a": [1.5]}', {"a": [1.5]}), ("'1'", "1"), ('"a,b"', "a,b"), ('""', ""), ("...", "..."), ("1j", "1j")],
    ],
)
def test_a_value_is_a_number_or_a_json_or_python_literal_or_else_text(text, value):
    assert repr(values.read_value(text)) == repr(value)


@pytest.mark.parametrize(
    "text", ["True", "False", "None", "1", "-1", "+1", "007", "1_0", ".5", "1e3", "nan", "-inf", "x", "a b"]
)
def test_a_plain_value_means_what_it_means_to_papermill_itself(text, tmp_path):
    """Oracle: the command papermill, which writes the value that it has read into the notebook."""
    cell = make_parameters("x = 0")
    write_notebook(tmp_path / "in.ipynb", cell)
    arguments = [str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), "--prepare-only", "-p", "x", text]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    written = papermill.iorw.load_notebook_node(str(tmp_path / "out.ipynb")).metadata.papermill.parameters["x"]
    assert repr(written) == repr(values.read_value(text))


@pytest.mark.parametrize("text", ["[1", "[a,b]", "{1, 2}", "{1: 2}", "(a)", "[1j]", "[" * 10**5 + "]" * 10**5])
def test_brackets_that_are_no_literal_are_refused_with_a_remedy(text):
    with pytest.raises(ValueError, match="put texts in quotes"):
        values.read_value(text)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "{'a': 1, 'a': None}", '[{"b": {"a": 1, "a": 1}}]'])
def test_a_key_that_comes_twice_is_refused(text):
    with pytest.raises(ValueError, match="the key 'a' comes twice; keep one of the two"):
        values.read_value(text)


def test_a_text_that_is_not_unicode_is_refused():
    with pytest.raises(ValueError, match="not valid Unicode"):
        values.read_value("a\udcff")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2", ["1", "2"]),
        ("", [""]),
        ("1,", ["1", ""]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ('{"a,]": [1, 2]},x', ['{"a,]": [1, 2]}', "x"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        (r'"a\",b",c', [r'"a\",b"', "c"]),
        (r'"a\\",c', [r'"a\\"', "c"]),
        ("it's,that's", ["it's", "that's"]),
        ("a),b", ["a)", "b"]),
    ],
)
def test_commas_inside_brackets_and_quotes_do_not_separate(text, parts):
    assert values.split_values(text) == parts


@pytest.mark.parametrize(("text", "missing"), [("[1,2", "]"), ("'a,b", "'"), ("f(1,2", r"\)"), ("[(1]", r"\)")])
def test_an_open_bracket_or_quote_is_refused(text, missing):
    with pytest.raises(ValueError, match=f"a {missing} is missing"):
        values.split_values(text)


def test_a_message_is_one_short_line_and_no_formula():
    assert values.show_text("a\r\n b\x1b[31m") == "a b [31m"
    assert values.show_text("=1+1") == "'=1+1"
    assert values.show_text("x" * 1000) == "x" * 499 + "…"
