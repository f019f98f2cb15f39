"""Solutions: cells that stand alone, and functions that take the place of the workbook's."""

import sys
from types import ModuleType

import pytest

from helpers.tasks import solutions
from helpers.tasks.solutions import NoSolution, load_function, read_cell


@pytest.fixture
def workbook(monkeypatch):
    """Two modules of the workbook, of which one has imported a function of the other by name, and an adapter."""
    home, user, adapters = (ModuleType(f"helpers.{name}") for name in ("made_up", "made_up_user", "adapter"))
    home.area = user.area = lambda width, height: width * height
    user.measure = lambda: user.area(2, 3)
    adapters.area = lambda written: {"helpers.made_up.area": lambda width, height: float(written(width, height))}
    for module in (home, user):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(solutions, "find_adapter", lambda name: getattr(adapters, name, None))
    yield home, user
    solutions.restore_originals()


def test_a_solution_takes_the_functions_place_in_all_modules_and_can_be_taken_back(workbook):
    home, user = workbook
    original = home.area
    assert solutions.use_solution("area", lambda width, height: 100) == ("helpers.made_up.area",)
    assert user.measure() == 100.0
    assert solutions.get_original("helpers.made_up.area") is original
    solutions.use_solution("area", lambda width, height: 200)  # solved again
    assert user.measure() == 200.0
    solutions.restore_originals()
    assert user.measure() == 6
    assert home.area is original is solutions.get_original("helpers.made_up.area")


def test_a_task_without_an_adapter_replaces_nothing(workbook):
    assert solutions.use_solution("unknown", len) == ()


def test_a_cell_stands_alone():
    function = load_function(
        "import math\n\ndef f(x):\n    return math.sqrt(helper(x))\n\ndef helper(x):\n    return x\n", "f"
    )
    assert function(4) == 2
    with pytest.raises(NameError, match="math"):
        load_function("def f(x):\n    return math.sqrt(x)\n", "f")(4)


def test_a_class_and_a_dataclass_can_be_solutions():
    source = "from dataclasses import dataclass\n\n@dataclass\nclass Box:\n    width: 'float' = 1.0\n"
    assert load_function(source, "Box")().width == 1.0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:\n", "SyntaxError"),
        ("raise ValueError('no')\n", "ValueError: no"),
        ("g = 3\n", "defines no function or class f"),
        ("f = 3\n", "defines no function or class f"),
    ],
)
def test_a_cell_that_defines_nothing_is_refused_with_the_reason(source, reason):
    with pytest.raises(NoSolution, match=reason):
        load_function(source, "f")


def test_the_cell_of_a_function_is_read_with_everything_in_it():
    source = "import math\n\n\ndef f(x):\n    return math.pi\n"
    assert read_cell(load_function(source, "f")) == source
    source = "class Net:\n    def forward(self):\n        return 1\n"
    assert read_cell(load_function(source, "Net")) == source
    with pytest.raises(NoSolution, match="not known"):
        read_cell(len)


def test_solutions_are_saved_and_read_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(solutions, "SOLUTIONS", tmp_path)
    solutions.save_solution("f", "def f(): ...")
    assert solutions.read_solutions() == {"f": "def f(): ...\n"}
