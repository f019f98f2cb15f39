"""The catalogue of build tasks: right answers pass, and each known mistake is recognised as itself."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.course.checks import catalogue
from helpers.course.checks.definition import compile_task
from helpers.tasks.judging import judge
from helpers.tasks.running import run_cases

DEFINITIONS = catalogue.list_definitions()
TESTS = [importlib.import_module(f"tests.course.checks.test_{m.__name__.split('.')[-1]}") for m in catalogue.MODULES]
ORACLES = {name: function for module in TESTS for name, function in module.ORACLES.items()}
VARIATIONS = {name: functions for module in TESTS for name, functions in module.VARIATIONS.items()}
HIDDEN_SEED = 7

each_definition = pytest.mark.parametrize("definition", DEFINITIONS, ids=[task.name for task in DEFINITIONS])
MISTAKES = [(task, mistake) for task in DEFINITIONS for mistake in task.mistakes]


def check(definition, function, task=None, partners=None):
    task = task or catalogue.compile_visible(definition.name)
    return judge(task, run_cases(function, task.cases, {**definition.partners, **(partners or {})}))


def describe(verdict):
    return [(failure.number, failure.expected, failure.outcome.value) for failure in verdict.failures]


def test_every_module_that_defines_tasks_is_in_the_catalogue():
    folder = Path(catalogue.__file__).parent
    names = {path.stem for path in folder.glob("*.py") if "\nDEFINITIONS = " in path.read_text(encoding="utf-8")}
    assert set(catalogue.NAMES) == names


def test_names_numbers_and_codes_are_unique():
    for values in (
        [task.name for task in DEFINITIONS],
        [task.number for task in DEFINITIONS],
        [mistake.code for _, mistake in MISTAKES],
    ):
        assert len(values) == len(set(values))


@each_definition
def test_the_reference_and_an_independent_implementation_pass_all_visible_and_hidden_cases(definition):
    hidden = compile_task(replace(definition, mistakes=()), HIDDEN_SEED)
    assert len(hidden.cases) == len(catalogue.compile_visible(definition.name).cases)
    for task in (None, hidden):
        answers = [(definition.reference, {}), (ORACLES[definition.name], {})]
        answers += [(answer, definition.find_partners(name)) for name, answer in definition.conventions.items()]
        for function, partners in answers:
            verdict = check(definition, function, task, partners)
            assert verdict.is_passed, describe(verdict)
            assert not verdict.diagnoses


@pytest.mark.parametrize(
    ("name", "variation"), [(name, variation) for name, variations in VARIATIONS.items() for variation in variations]
)
def test_a_legitimate_variation_passes(name, variation):
    verdict = check(catalogue.find_definition(name), VARIATIONS[name][variation])
    assert verdict.is_passed, describe(verdict)


@pytest.mark.parametrize(
    ("definition", "mistake"), MISTAKES, ids=[f"{task.name}-{mistake.code}" for task, mistake in MISTAKES]
)
def test_a_mistake_fails_and_is_recognised_as_itself(definition, mistake):
    verdict = check(definition, mistake.function, partners=mistake.partners)
    assert verdict.is_written
    assert verdict.failures
    allowed = next((names for names in definition.indistinguishable if mistake.code in names), {mistake.code})
    named = {diagnosis.mistake.code for diagnosis in verdict.diagnoses}
    assert named == allowed
    assert all(diagnosis.is_certain for diagnosis in verdict.diagnoses)


@each_definition
def test_the_stub_holds_the_contract_and_no_code_and_is_not_written_yet(definition):
    task = catalogue.compile_visible(definition.name)
    namespace = {}
    exec(task.stub, namespace)
    verdict = check(definition, namespace[definition.name])
    assert not verdict.is_written
    assert not verdict.is_passed
    assert "Example" in task.stub
    assert "return " not in task.stub.split('"""')[-1]


@each_definition
def test_a_task_says_how_hard_it_is_and_helps_in_stages(definition):
    assert 1 <= definition.difficulty <= 5
    assert definition.minutes[0] < definition.minutes[1]
    assert 2 <= len(definition.hints) <= 4
    assert definition.points > 0
    assert len(definition.mistakes) >= 1
