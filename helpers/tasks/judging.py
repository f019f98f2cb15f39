"""Judging the outcomes of a task's cases: what passed, the first failing case, and which known mistake explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers.tasks.compiled import CompiledMistake, CompiledTask
from helpers.tasks.running import Outcome
from helpers.tasks.values import Failure, Plain, are_equal

UNWRITTEN = "NotImplementedError"
LARGEST_SET = 2
"""Known mistakes that are named together, where no single one explains all failing cases."""


@dataclass(frozen=True)
class FailedCase:
    """A case that did not pass, for the reader."""

    number: int  # position among the cases of the task
    expected: Plain
    outcome: Outcome


@dataclass(frozen=True)
class Diagnosis:
    """A known mistake that explains failing cases."""

    mistake: CompiledMistake
    is_certain: bool  # it agrees with the outcomes of all cases, passing ones included


@dataclass(frozen=True)
class Verdict:
    """Result of a check."""

    is_written: bool
    passed: dict[str, tuple[int, int]]  # group -> cases that passed, cases that ran
    failures: tuple[FailedCase, ...]
    diagnoses: tuple[Diagnosis, ...]
    convention: str  # of several right answers, the one that was recognised; "" if there is one only
    skipped: tuple[str, ...]  # names of the partners that are missing

    @property
    def is_passed(self) -> bool:
        """Whether the function is written and no case failed."""
        return self.is_written and not self.failures

    @property
    def share(self) -> float:
        """Share of the groups in which every case passed: the share of the points."""
        if not self.is_written or not self.passed:
            return 0.0
        complete = [passed == total for passed, total in self.passed.values()]
        return sum(complete) / len(complete)


def judge(task: CompiledTask, outcomes: Sequence[Outcome]) -> Verdict:
    """Return the verdict on the outcomes of all cases of `task`.

    Where the task accepts several conventions, the outcomes are compared with the convention that most cases agree
    with; one convention must hold in all cases.
    """
    agreements = [
        [is_right(outcome, case.accepted[number], case.tolerance) for case, outcome in _pair(task, outcomes)]
        for number in range(len(task.conventions))
    ]
    best = max(range(len(agreements)), key=lambda number: sum(agreements[number]))
    agrees = agreements[best]
    passed: dict[str, tuple[int, int]] = {}
    failures = []
    for number, (case, outcome) in enumerate(_pair(task, outcomes)):
        if outcome.is_skipped:
            continue
        num_passed, total = passed.get(case.group, (0, 0))
        passed[case.group] = (num_passed + agrees[number], total + 1)
        if not agrees[number]:
            failures.append(FailedCase(number, case.accepted[best], outcome))
    is_written = not looks_unwritten(outcomes) if failures else True
    diagnoses = diagnose(task, outcomes, failures) if is_written else ()
    skipped = {name for case, outcome in _pair(task, outcomes) if outcome.is_skipped for name in case.partners}
    return Verdict(
        is_written,
        {group: passed[group] for group in task.groups if group in passed},
        tuple(failures),
        tuple(diagnoses),
        task.conventions[best] if len(task.conventions) > 1 else "",
        tuple(sorted(skipped)),
    )


def _pair(task: CompiledTask, outcomes: Sequence[Outcome]):
    return list(zip(task.cases, outcomes, strict=True))


def is_right(outcome: Outcome, expected: Plain, tolerance: float) -> bool:
    """Return whether an outcome is the expected value, with the inputs unchanged; a skipped case is right."""
    return outcome.is_skipped or (not outcome.changed and are_equal(outcome.value, expected, tolerance))


def looks_unwritten(outcomes: Sequence[Outcome]) -> bool:
    """Return whether no case shows any work: the stub's own exception, nothing returned, or the input itself."""
    ran = [outcome for outcome in outcomes if not outcome.is_skipped]
    if any(isinstance(outcome.value, Failure) and outcome.value.kind == UNWRITTEN for outcome in ran):
        return True
    return all(outcome.value is None or outcome.is_input for outcome in ran)


def diagnose(task: CompiledTask, outcomes: Sequence[Outcome], failures: Sequence[FailedCase]) -> list[Diagnosis]:
    """Return the known mistakes that explain the failing cases.

    A mistake whose outputs agree with all outcomes is certain; all certain ones are returned, because the cases cannot
    tell them apart. Else the fewest mistakes that together explain most failing cases are returned, at most
    `LARGEST_SET`; a mistake that explains fewer than half of them is not named.
    """
    if not failures:
        return []
    certain = [mistake for mistake in task.mistakes if _agrees_everywhere(task, outcomes, mistake)]
    if certain:
        return [Diagnosis(mistake, True) for mistake in certain]
    unexplained = {failure.number for failure in failures}
    explained_by = {
        mistake.code: {number for number in unexplained if _agrees(task, outcomes, mistake, number)}
        for mistake in task.mistakes
    }
    named: list[Diagnosis] = []
    while unexplained and len(named) < LARGEST_SET:
        best = max(task.mistakes, key=lambda mistake: len(explained_by[mistake.code] & unexplained), default=None)
        if best is None or 2 * len(explained_by[best.code] & unexplained) < len(unexplained):
            break
        named.append(Diagnosis(best, False))
        unexplained -= explained_by[best.code]
    return named


def _agrees_everywhere(task: CompiledTask, outcomes: Sequence[Outcome], mistake: CompiledMistake) -> bool:
    return all(
        outcome.is_skipped or _agrees(task, outcomes, mistake, number) for number, outcome in enumerate(outcomes)
    )


def _agrees(task: CompiledTask, outcomes: Sequence[Outcome], mistake: CompiledMistake, number: int) -> bool:
    """Return whether the mistake gives the outcome of a case; a changed input is a failure of the kind Changed."""
    outcome = outcomes[number]
    expected = mistake.outputs[number]
    return are_equal(summarise_outcome(outcome), expected, task.cases[number].tolerance)


def summarise_outcome(outcome: Outcome) -> Plain:
    """Return the value of an outcome, together with the inputs that were changed, if any were."""
    return {"value": outcome.value, "changed": list(outcome.changed)} if outcome.changed else outcome.value
