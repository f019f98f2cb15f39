"""Grading of a folder of submissions (command: `workbook grade`).

Of a submission only the solution cells count. They are put into the lesson's own source, so that every other cell, and
with them the checks and their hidden tests, is the instructor's, whatever came back. Each attempt then runs at `smoke`
in a process of its own, in a temporary copy of the workbook that holds the instructor's checkpoints, so that only what
the student wrote is trained. A task that hangs or kills its process is left out and the others run again without it.

    data/grades/
        points.csv   a row per submission: points per lesson, their sum, what could be reached, remarks
        tasks.csv    a row per submission and task: points, and what its check said

That is a fence against accidents, and no prison: an attempt may read what the user may read, and code that wants to
deceive a check in its own process can. For students whom you would not give an account, run it in a container.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from subprocess import DEVNULL
from uuid import uuid4

import psutil
import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbgrader.preprocessors import DeduplicateIds
from traitlets.config import Config

from helpers import files, paths, plotting
from helpers.course.lessons import (
    LessonFailed,
    find_code_cells,
    find_lessons,
    find_loaded,
    read_notebook,
    run_lesson,
    show,
)
from helpers.course.student import Lesson, Task, find_id

GRADES = paths.DATA / "grades"
INTERRUPTED = "not graded: interrupted"
LONGEST_REMARK = 300  # characters of an error message in a table
LARGEST_SUBMISSION = 50_000_000  # bytes of a notebook; outputs count, and some students keep films in them
LARGEST_MESSAGE = 10_000_000  # bytes of a kernel's answer: an error's text is in it
LARGEST_FILE = 1_000_000_000  # bytes that an attempt may write into one file
START_LIMIT = 120.0  # seconds until a kernel answers for the first time
LESSON_LIMIT = 1800.0  # seconds for one of the lesson's own cells: they are ours, and trusted to end
GRACE = 5.0  # seconds between a polite interruption and the end of the process

_MARK = "WORKBOOK_ATTEMPT"  # in the environment of everything that an attempt starts: by it they are found and ended
_FENCE = f"""
try:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, ({LARGEST_FILE}, {LARGEST_FILE}))
except ImportError:
    pass  # not on Windows
"""


@dataclass(frozen=True)
class Limits:
    """What one attempt may use."""

    cell: float = 120.0  # seconds for one solution or one check; then it is interrupted
    memory: float = 6e9  # bytes of all its processes together


DEFAULT_LIMITS = Limits()


@dataclass
class Submission:
    """What one student handed in."""

    name: str
    solutions: dict[str, dict[str, str]] = field(default_factory=dict)  # lesson -> identifier -> source
    remarks: dict[str, list[str]] = field(default_factory=dict)  # lesson, or "" -> what the instructor should know


@dataclass(frozen=True)
class Mark:
    """The result of one task of one submission."""

    submission: str
    lesson: str
    task: Task
    passed: bool
    remark: str = ""  # what was wrong

    @property
    def points(self) -> float:
        """What the task earned."""
        return self.task.points if self.passed else 0


class AttemptEnded(Exception):
    """An attempt's process died, hung or took too much; the message says which."""


def collect_submissions(folder: Path, lessons: Sequence[Lesson]) -> list[Submission]:
    """Returns the submissions in `folder`: each of its subfolders, and each notebook that lies in it by itself.

    A notebook is recognised by the identifiers of its task cells, so it may have any name and lie at any depth. What
    cannot be read, or stands twice, is told in the remarks of its submission.

    Raises:
        LessonFailed: there is nothing in `folder`, or no such folder.
    """
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    entries = [path for path in entries if not path.name.startswith(".")]
    entries = [path for path in entries if path.is_dir() or path.suffix == ".ipynb"]
    if not entries:
        raise LessonFailed(f"{folder} holds no submission: a subfolder per student, or a notebook each, is expected")
    return [_read_submission(path, lessons) for path in entries]


def _read_submission(entry: Path, lessons: Sequence[Lesson]) -> Submission:
    """Returns what lies in one entry of the folder of submissions."""
    submission = Submission(entry.name)
    notebook_paths = [entry] if entry.is_file() else sorted(entry.rglob("*.ipynb"))
    for path in notebook_paths:
        place = path.relative_to(entry.parent if entry.is_file() else entry)
        if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in place.parts):
            continue  # .ipynb_checkpoints
        try:
            cells = _read_cells(path)
        except Exception as error:  # whatever a broken file makes nbformat raise, it is this file's fault alone
            stem = next((lesson.stem for lesson in lessons if lesson.stem == path.stem), "")
            reason = f"{type(error).__name__}: {error}"
            if isinstance(error, LessonFailed):
                reason = str(error).removeprefix(f"{path}: ")
            _add(submission.remarks, stem, f"{place} is no notebook ({_cut(reason, 80)})")
            continue
        _take(submission, place, cells, lessons)
    return submission


def _add(remarks: dict[str, list[str]], lesson: str, remark: str) -> None:
    remarks.setdefault(lesson, []).append(remark)


def _read_cells(path: Path) -> list[tuple[str | None, str]]:
    """Returns identifier and source of each code cell; of cells with one identifier nbgrader keeps the last one's."""
    if path.stat().st_size > LARGEST_SUBMISSION:
        raise ValueError(f"over {LARGEST_SUBMISSION / 1e6:.0f} MB")
    notebook = read_notebook(path, keep_outputs=False)
    notebook, _ = DeduplicateIds().preprocess(notebook, {})
    return [(find_id(cell), str(cell.source)) for cell in find_code_cells(notebook)]


def _take(submission: Submission, place: Path, cells: list[tuple[str | None, str]], lessons: Sequence[Lesson]) -> None:
    """Adds the solutions of one notebook to its submission, or says why not."""
    known = dict(cells)
    shared = {lesson.stem: sum(task.solution in known for task in lesson.tasks) for lesson in lessons}
    lesson = max(lessons, key=lambda lesson: (shared[lesson.stem], lesson.stem == place.stem))
    if not shared[lesson.stem] and lesson.stem != place.stem:
        return _add(submission.remarks, "", f"{place} belongs to none of the lessons asked for")
    solutions = {task.solution: known[task.solution] for task in lesson.tasks if task.solution in known}
    if submission.solutions.setdefault(lesson.stem, solutions) != solutions:
        submission.solutions[lesson.stem] = {}
        return _add(submission.remarks, lesson.stem, f"{place} is a second, different notebook: none is graded")
    for task in lesson.tasks:
        if task.solution not in known:
            _add(submission.remarks, lesson.stem, f"the solution cell of task {task.number} is gone")
    ours = {
        (find_id(cell), str(cell.source)) for own in (lesson.copy, lesson.notebook) for cell in find_code_cells(own)
    }
    for task in lesson.tasks:
        if (task.check, known.get(task.check)) not in ours:
            remark = f"the check cell of task {task.number} was edited or is gone; the original was run"
            _add(submission.remarks, lesson.stem, remark)
    sources = {source for _, source in ours} | {""}
    if other := sum(source.strip() not in sources and name not in known.keys() - {None} for name, source in cells):
        _add(submission.remarks, lesson.stem, f"cells that are not ours and were not run: {other}")
    return None


def make_workbook(folder: Path, stem: str) -> None:
    """Copies into `folder` what lesson `stem` needs of the workbook: the helpers, the data, and trained models.

    A copy, not a link: what a student's code does to it does not reach the next one's.
    """
    rubbish = shutil.ignore_patterns("__pycache__", "try_it", "figures", "*.ipynb", "results.json")
    shutil.copytree(paths.ROOT / "helpers", folder / "helpers", ignore=rubbish)
    lesson = next((path for path in find_lessons() if path.stem == stem), None)
    needed = [] if lesson is None else [lesson, find_loaded(lesson, find_lessons())]
    runs = [paths.RUNS / path.stem / "smoke" for path in needed if path is not None]
    for data in (paths.HANDOUT, paths.DATA / "house_numbers", *runs):
        if data.exists():
            shutil.copytree(data, folder / data.relative_to(paths.ROOT), ignore=rubbish)
    (folder / "notebooks").mkdir()
    (folder / "tmp").mkdir()


class Attempt:
    """A kernel that runs cells for one attempt, in a folder of its own, watched from outside."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Starts the kernel.

        Args:
            folder: a workbook as `make_workbook` makes it; the lesson's paths and imports begin there.

        Raises:
            AttemptEnded: it does not answer.
        """
        self.limits, self._mark = limits, uuid4().hex
        temporary = {name: str(folder / "tmp") for name in ("TMPDIR", "TEMP", "TMP", "IPYTHONDIR")}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WORKBOOK_")}
        environment |= temporary | {_MARK: self._mark, paths.PROFILE_VARIABLE: "smoke", "MPLBACKEND": "agg"}
        environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        encryption = Config(KernelManager={"transport_encryption": "auto"})  # or each start prints a warning
        self._manager = KernelManager(kernel_name="python3", config=encryption)
        self._context = zmq.Context()
        self._context.maxmsgsize = LARGEST_MESSAGE  # an error can carry all of the memory in its text
        self._client: BlockingKernelClient = self._manager.client(context=self._context)
        try:
            self._manager.start_kernel(cwd=str(folder / "notebooks"), env=environment, stdout=DEVNULL, stderr=DEVNULL)
            self._client.load_connection_info(self._manager.get_connection_info())
            # Only answers are read. What a cell prints is published to nobody, and so costs nothing.
            self._client.start_channels(iopub=False, stdin=False, hb=False)
            self._wait(self._client.kernel_info(), START_LIMIT)
            self.run(_FENCE, START_LIMIT)
        except Exception as error:
            self.close()
            raise AttemptEnded(f"no kernel: {error}") from error

    def run(self, source: str, limit: float) -> str:
        """Returns "" when the cell ran to its end, or else the error that stopped it.

        Raises:
            AttemptEnded: the process died, took too much memory, or would not be interrupted after `limit` seconds.
        """
        message = self._client.execute(source, allow_stdin=False, stop_on_error=False)
        try:
            content = self._wait(message, limit)
        except TimeoutError:
            self._manager.interrupt_kernel()
            try:
                self._wait(message, GRACE)
            except TimeoutError:
                raise AttemptEnded(f"it was still running after {limit:g} s, and would not be interrupted") from None
            return f"it was still running after {limit:g} s"
        if content["status"] == "ok":
            return ""
        return _cut(f"{content.get('ename', 'Error')}: {content.get('evalue', content['status'])}")

    def _wait(self, message: str, limit: float) -> dict:
        """Returns the kernel's answer to a message."""
        deadline = time.monotonic() + limit
        while True:
            try:
                reply = self._client.get_shell_msg(timeout=min(0.5, max(0.01, deadline - time.monotonic())))
                if reply["parent_header"].get("msg_id") == message:
                    return reply["content"]
            except Empty:
                if not self._manager.is_alive():
                    raise AttemptEnded("its process died") from None
                if (size := self._measure_memory()) > self.limits.memory:
                    raise AttemptEnded(f"it took {size / 1e9:.1f} GB of memory") from None
                if time.monotonic() > deadline:
                    raise TimeoutError from None

    def _measure_memory(self) -> int:
        """Returns the bytes that the attempt's processes hold together."""
        size = 0
        for process in self._find_processes():
            try:
                size += process.memory_info().rss
            except psutil.Error:
                continue
        return size

    def _find_processes(self) -> list[psutil.Process]:
        """Returns the kernel and all that it started, even what has cut itself loose from it."""
        return [process for process in psutil.process_iter() if _read_environment(process).get(_MARK) == self._mark]

    def close(self) -> None:
        """Ends the kernel and everything that it started."""
        self._client.stop_channels()
        self._context.destroy(linger=0)
        for process in self._find_processes():
            try:
                process.kill()
            except psutil.Error:
                continue
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)


def _read_environment(process: psutil.Process) -> dict[str, str]:
    """Returns the environment with which a process was started; nothing for one that is not ours to look at."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def grade_lesson(
    submission: Submission,
    lesson: Lesson,
    limits: Limits = DEFAULT_LIMITS,
    workbook: Callable[[Path, str], None] = make_workbook,
) -> list[Mark]:
    """Returns the marks of one submission in one lesson.

    Args:
        workbook: fills the empty folder in which the lesson of this name is attempted.
    """
    handed_in = submission.solutions.get(lesson.stem, {})
    said = {task.number: "not handed in" for task in lesson.tasks if task.solution not in handed_in}
    stubs = {name: source.strip() for name, source in lesson.stubs.items()}
    untouched = [name for name, source in handed_in.items() if source.strip() == stubs[name]]
    said |= {task.number: "left as it was" for task in lesson.tasks if task.solution in untouched}
    while left := [task for task in lesson.tasks if task.number not in said]:
        with tempfile.TemporaryDirectory(prefix="workbook_", ignore_cleanup_errors=True) as name:
            folder = Path(name).resolve()
            workbook(folder, lesson.stem)
            found, culprit, reason = _run_tasks(lesson, left, handed_in, folder, limits)
        if culprit is None:
            said |= found | {task.number: reason for task in left if task.number not in found}
        else:
            said[culprit.number] = reason  # and the others once more, without it
    return [Mark(submission.name, lesson.stem, task, not said[task.number], said[task.number]) for task in lesson.tasks]


def _run_tasks(
    lesson: Lesson, tasks: Sequence[Task], solutions: Mapping[str, str], folder: Path, limits: Limits
) -> tuple[dict[int, str], Task | None, str]:
    """Runs the lesson with solutions of some of its tasks; cells of the other tasks are left out.

    Returns:
        What each check said, by number of its task, "" if it passed; the task that ended the process too early, None if
        none did; and how it ended, or why a task's check was not reached.
    """
    by_name = {name: task for task in tasks for name in (task.solution, task.check)}
    others = {name for task in lesson.tasks for name in (task.solution, task.check)} - by_name.keys()
    found: dict[int, str] = {}
    begun: Task | None = None
    failed = ""
    try:
        with contextlib.closing(Attempt(folder, limits)) as attempt:
            for cell in find_code_cells(lesson.notebook):
                name = find_id(cell)
                if name in others:
                    continue
                begun = by_name.get(name, begun)
                if name not in by_name:
                    error = attempt.run(cell.source, LESSON_LIMIT)
                    if error and begun is None:
                        return found, None, f"not graded: the lesson itself failed: {error}"
                elif name == begun.solution:
                    failed = attempt.run(solutions[name], limits.cell)
                else:
                    error = attempt.run(cell.source, limits.cell)
                    found[begun.number] = error and (failed or error)
    except AttemptEnded as error:
        return found, begun, str(error)
    return found, None, "not reached"


def _cut(text: str, length: int = LONGEST_REMARK) -> str:
    """Returns `text` as one line of at most `length` characters."""
    text = " ".join(text[: 10 * length].split())
    return text if len(text) <= length else text[: length - 1] + "…"


def grade_folder(
    folder: Path,
    lessons: Sequence[Lesson],
    limits: Limits = DEFAULT_LIMITS,
    workbook: Callable[[Path, str], None] | None = None,
) -> tuple[list[Submission], list[Mark]]:
    """Returns all submissions in `folder` and their marks, one core per attempt; a line tells of each as it is done.

    After Ctrl-C those that have not been graded have no points, and the remark `INTERRUPTED`.
    """
    submissions = collect_submissions(folder, lessons)

    def grade(pair: tuple[Submission, Lesson]) -> list[Mark]:
        submission, lesson = pair
        started = time.perf_counter()
        try:
            marks = grade_lesson(submission, lesson, limits, workbook or make_workbook)
        except Exception as error:  # a fault of the grader costs one row, too, and shows there
            reason = _cut(f"not graded: {type(error).__name__}: {error}")
            marks = [Mark(submission.name, lesson.stem, task, False, reason) for task in lesson.tasks]
        points = f"{sum(mark.points for mark in marks):g} of {lesson.points:g}"
        print(f"  {submission.name}  {lesson.stem}  {points}  {time.perf_counter() - started:.0f} s", flush=True)
        return marks

    pairs = [(one, lesson) for one in submissions for lesson in lessons]
    pool = ThreadPoolExecutor(os.cpu_count())
    graded = [pool.submit(grade, pair) for pair in pairs]
    with contextlib.suppress(KeyboardInterrupt):  # it waits for the attempts that run, and starts no other
        wait(graded)
    pool.shutdown(cancel_futures=True)
    marks = []
    for (submission, lesson), future in zip(pairs, graded, strict=True):
        missing = [Mark(submission.name, lesson.stem, task, False, INTERRUPTED) for task in lesson.tasks]
        marks += missing if future.cancelled() else future.result()
    return submissions, marks


def tabulate(submissions: Sequence[Submission], lessons: Sequence[Lesson], marks: Sequence[Mark]) -> list[dict]:
    """Returns a row per submission: its name, points per lesson, their sum, what could be reached, and remarks."""
    rows = []
    for one in submissions:
        own = [mark for mark in marks if mark.submission == one.name]
        row: dict = {"submission": one.name}
        for lesson in lessons:
            row[lesson.stem[:2]] = sum(mark.points for mark in own if mark.lesson == lesson.stem)
        remarks = [f"{stem[:2]} {text}".strip() for stem, texts in sorted(one.remarks.items()) for text in texts]
        sums = {"points": sum(mark.points for mark in own), "of": sum(lesson.points for lesson in lessons)}
        rows.append(row | sums | {"remarks": "; ".join(remarks)})
    return rows


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes rows as a CSV file that a spreadsheet reads as text: a name that begins like a formula is quoted."""
    rows, text = list(rows), io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({key: _defuse(value) for key, value in row.items()} for row in rows)
    files.write_text(path, text.getvalue())


def _defuse(value: object) -> object:
    """Returns a text so that no spreadsheet takes it for a formula: students choose the names of their files."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def grade(folder: Path, numbers: Sequence[str] = (), limits: Limits = DEFAULT_LIMITS) -> bool:
    """Grade `folder`, write both tables into `GRADES`, print them, and return whether every submission was graded.

    Args:
        numbers: of the lessons; none means all that were handed in.

    Raises:
        LessonFailed: there is nothing to grade, or a lesson's own source cannot be read or does not pass.
    """
    notebook_paths = find_lessons(numbers)
    lessons = [Lesson.read(path) for path in notebook_paths]
    handed_in = {stem for submission in collect_submissions(folder, lessons) for stem in submission.solutions}
    lessons = [lesson for lesson in lessons if lesson.stem in handed_in or numbers]
    # The instructor's own run shows that the solutions pass, and leaves the checkpoints of the lesson.
    for path in notebook_paths:
        if path.stem in {lesson.stem for lesson in lessons}:
            run_lesson(path, paths.RUNS / path.stem / "smoke", "smoke")
    print(f"grading {folder}", flush=True)
    submissions, marks = grade_folder(folder, lessons, limits)
    rows = tabulate(submissions, lessons, marks)
    write_table(GRADES / "points.csv", rows)
    write_table(
        GRADES / "tasks.csv",
        (
            {"submission": mark.submission, "lesson": mark.lesson, "task": mark.task.number}
            | {"points": mark.points, "of": mark.task.points, "remark": mark.remark}
            for mark in marks
        ),
    )
    numbers_by_name = {
        row["submission"]: {key: row[key] for key in row if key not in ("submission", "remarks")} for row in rows
    }
    print(f"\n{plotting.format_table(numbers_by_name, decimals=0)}\n")
    print("\n".join(f"{row['submission']}: {row['remarks']}" for row in rows if row["remarks"]))
    print(f"written to {show(GRADES)}: points.csv, tasks.csv")
    return not any(mark.remark == INTERRUPTED for mark in marks)
