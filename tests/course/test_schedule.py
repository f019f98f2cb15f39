"""Order of lessons, side by side and in turn, with real kernels where processes matter."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers import handout, paths
from helpers.course import cli, lessons, schedule
from helpers.course.schedule import Outcome, Request, Schedule
from tests.course.tiny import find_messages, is_running, make_parameters, wait_until, write_notebook

ALL = [Path(f"{number:02d}_lesson.ipynb") for number in range(1, 9)]
SAVE = """\
import json, os, pathlib, threading
folder = pathlib.Path(os.environ["WORKBOOK_RUNS"], STEM, os.environ["WORKBOOK_PROFILE"])
metrics = {"threads": int(os.environ["OMP_NUM_THREADS"]), "seed": seed}
text = json.dumps({"profile": "smoke", "seed": seed, "device": "CPU", "metrics": metrics})
written = (folder / "results.json").write_text(text)"""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """An empty folder in the place of the workbook's lessons; runs go beside it."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(lessons, "NOTEBOOKS", folder)
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setenv(paths.RUNS_VARIABLE, str(tmp_path / "runs"))  # for the lessons' processes
    monkeypatch.setenv(paths.PROFILE_VARIABLE, "smoke")
    monkeypatch.delenv(schedule.THREADS, raising=False)
    monkeypatch.setattr(handout, "ensure_handout", lambda: paths.HANDOUT)
    return folder


def write_lesson(folder, stem, source):
    save = new_code_cell(f"STEM = {stem!r}\n{SAVE}")
    cells = [new_markdown_cell(f"# {stem}"), make_parameters(), new_code_cell(source), save]
    write_notebook(folder / f"{stem}.ipynb", *cells)


def run_all(plan, jobs, failing=()):
    """Return the order in which lessons start, when `jobs` run at a time and the first to start ends first."""
    started, running = [], []
    while True:
        while len(running) < jobs and (path := plan.start_next(loaded_first=jobs > 1)) is not None:
            started.append(path.stem[:2])
            running.append(path)
        if not running:
            return started
        path = running.pop(0)
        plan.end(path, Outcome(None, f"{path.stem} failed") if path.stem[:2] in failing else Outcome(path))


def test_lessons_run_in_turn_in_the_order_of_their_numbers():
    assert run_all(Schedule(ALL), 1) == ["01", "02", "03", "04", "05", "06", "07", "08"]


def test_side_by_side_lessons_that_others_load_start_first():
    assert run_all(Schedule(ALL), 2) == ["03", "07", "01", "02", "04", "05", "06", "08"]


@pytest.mark.parametrize("jobs", [1, 2, 3, 8])
@pytest.mark.parametrize("chosen", [ALL, ALL[2:4], ALL[3:6], ALL[::-1], ALL[7:]])
def test_a_lesson_starts_after_the_lesson_that_it_loads_has_ended(jobs, chosen):
    plan, ended = Schedule(chosen), []
    running = []
    while True:
        while len(running) < jobs and (path := plan.start_next(loaded_first=jobs > 1)) is not None:
            loaded = lessons.find_loaded(path, chosen)
            assert loaded is None or loaded in ended
            running.append(path)
        if not running:
            break
        ended.append(running.pop())
        plan.end(ended[-1], Outcome(ended[-1]))
    assert sorted(ended) == sorted(chosen)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_lesson_stops_those_that_load_it_and_no_other(jobs):
    plan = Schedule(ALL)
    started = run_all(plan, jobs, failing=["03", "08"])
    assert sorted(started) == ["01", "02", "03", "05", "06", "07", "08"]
    assert plan.describe_failures() == (
        "3 of 8 lessons did not finish: 03_lesson failed; 04_lesson did not run: it loads the models of 03_lesson; "
        "08_lesson failed"
    )


def test_the_table_of_what_a_lesson_loads_is_what_the_lessons_call():
    """Oracle: notebooks that call a package's function `lesson_…`, and the lesson that this function trains for."""
    trained_in = {}
    for package in ("detection", "keypoints", "digits"):
        for name in ("recipes.py", "training.py"):
            path = lessons.HELPERS / package / name
            source = path.read_text(encoding="utf-8") if path.exists() else ""
            for number in re.findall(r'"(\d\d)_[a-z_]+"', source):
                trained_in[package] = number
    assert trained_in == {"detection": "03", "keypoints": "05", "digits": "07"}
    loads = {}
    for path in lessons.find_lessons():
        source = "\n".join(cell.source for cell in lessons.find_code_cells(lessons.read_notebook(path)))
        for package in re.findall(r"^from helpers\.(detection|keypoints|digits)\b", source, re.MULTILINE):
            if re.search(r"\blesson_\w+\(", source) and trained_in[package] != path.stem[:2]:
                loads[path.stem[:2]] = trained_in[package]
    assert loads == lessons.LOADS


def test_by_default_two_lessons_run_at_a_time_where_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr(schedule.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    memory = {"available": 8e9}
    monkeypatch.setattr(schedule.psutil, "virtual_memory", lambda: type("Memory", (), memory))
    assert schedule.choose_jobs() == 2
    memory["available"] = 3e9
    assert schedule.choose_jobs() == 1
    memory["available"] = 8e9
    monkeypatch.setattr(schedule.os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert schedule.choose_jobs() == 1


def test_side_by_side_every_line_has_its_lessons_number_and_the_results_are_those_of_one_at_a_time(notebooks, capfd):
    for stem in ("01_first", "02_second"):
        write_lesson(notebooks, stem, "import os\nos.system('echo from outside')")
    results = {}
    for jobs in ("2", "1"):
        assert cli.main(["run", "--profile", "smoke", "--seed", "4", "--jobs", jobs, "--force"]) == 0
        printed = capfd.readouterr()
        assert find_messages(printed.err) == []
        written = sorted(paths.RUNS.glob("*/smoke/results.json"))
        results[jobs] = [json.loads(path.read_text())["metrics"] for path in written]
        lines = printed.out[: printed.out.index("01_first · smoke · seed 4 · CPU")].splitlines()
        if jobs == "2":
            assert lines[0] == "lessons at a time: 2, OMP_NUM_THREADS 1"
            assert {line[:2] for line in lines[1:] if line} == {"01", "02"}
            for number in ("01", "02"):
                cells = [line.split()[1] for line in lines if line.startswith(f"{number}  ") and line.endswith(" s")]
                assert [cell for cell in cells if "/" in cell] == ["1/3", "2/3", "3/3"]
        assert "lessons: 2, " in printed.out
    assert results["1"] == results["2"] == [{"threads": 1, "seed": 4}] * 2
    assert schedule.THREADS not in os.environ


def test_the_number_of_threads_can_be_set_and_is_the_same_for_every_number_of_lessons(notebooks, monkeypatch):
    monkeypatch.setenv(schedule.THREADS, "3")
    write_lesson(notebooks, "01_first", "1")
    write_lesson(notebooks, "02_second", "1")
    chosen = lessons.find_lessons()
    for jobs in (1, 2):
        executed = schedule.run_lessons(chosen, Request("smoke", force=True), jobs)
        assert [path.stem for path in executed] == ["01_first", "02_second"]
        results = [json.loads(path.with_name("results.json").read_text()) for path in executed]
        assert [result["metrics"]["threads"] for result in results] == [3, 3]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_cell_that_fails_is_shown_and_ends_the_command_with_one_line(notebooks, capfd, jobs):
    write_lesson(notebooks, "03_third", "1 / 0")
    write_lesson(notebooks, "04_fourth", "1")
    write_lesson(notebooks, "05_fifth", "1")
    assert cli.main(["run", "--profile", "smoke", "--jobs", jobs]) == 1
    printed = capfd.readouterr()
    assert len(find_messages(printed.err)) == 1
    assert "2 of 3 lessons did not finish: 03_third failed in code cell 2 of 3" in printed.err
    assert "04_fourth did not run: it loads the models of 03_third" in printed.err
    assert "Traceback" not in printed.err
    assert "Traceback (most recent call last)" in printed.out  # of the cell, as part of the lesson's lines
    assert [path.parts[-3] for path in paths.RUNS.glob("*/smoke/results.json")] == ["05_fifth"]


def test_a_line_is_written_when_it_is_complete():
    stream = io.StringIO()
    lines = schedule.WholeLines(stream)
    print("  1/3  Section", end="", file=lines, flush=True)
    assert stream.getvalue() == ""
    print("  0.1 s", file=lines)
    print("a\nb", end="", file=lines)
    assert stream.getvalue() == "  1/3  Section  0.1 s\na\n"


def test_a_process_that_is_killed_fails_its_lesson(notebooks, capfd):
    write_lesson(notebooks, "01_first", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    write_lesson(notebooks, "02_second", "1")
    assert cli.main(["run", "--profile", "smoke", "--jobs", "2"]) == 1
    printed = capfd.readouterr()
    assert len(find_messages(printed.err)) == 1
    assert "01_first: its process ended early" in printed.err
    assert [path.parts[-3] for path in paths.RUNS.glob("*/smoke/results.json")] == ["02_second"]


PROGRAM = """\
import sys
from pathlib import Path
from helpers import handout
from helpers.course import cli, lessons
lessons.NOTEBOOKS = Path(sys.argv[1])
handout.ensure_handout = lambda: None
sys.exit(cli.main(["run", "--profile", "smoke", "--jobs", sys.argv[2]]))"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C otherwise")
@pytest.mark.parametrize(("jobs", "how"), [("1", "Ctrl-C"), ("2", "Ctrl-C"), ("2", "kill")])
def test_ctrl_c_ends_the_command_with_one_line_and_leaves_nothing_running(notebooks, jobs, how):
    for stem in ("01_first", "02_second"):
        source = "import os, pathlib, time\nnoted = pathlib.Path(NOTES, str(os.getpid())).touch()\ntime.sleep(300)"
        write_lesson(notebooks, stem, source.replace("NOTES", repr(str(notebooks))))
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(notebooks), jobs]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: len([path for path in notebooks.iterdir() if path.name.isdecimal()]) == int(jobs))
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= int(jobs)
        if how == "kill":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        started = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - started < schedule.PATIENCE + 5
    wait_until(lambda: not any(map(is_running, children)), "every process ends", 30)
    if how == "Ctrl-C":
        assert process.returncode == 130
        hint = "interrupted; the same command continues: finished lessons and saved epochs are kept"
        assert [line for line in find_messages(errors) if line] == [hint]
