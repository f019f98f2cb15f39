"""Runs that can be stopped, and their files; `test_plan` proves the same on a cluster."""

import contextlib
import json
import os
import platform
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from distributed import Reschedule, Status
from nbformat.v4 import new_code_cell

from helpers import paths
from helpers.course import lessons
from helpers.course.grid import worker
from tests.course.tiny import is_running, make_notebook, make_parameters


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    monkeypatch.setenv(paths.RUNS_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    return tmp_path


def make_job(seed):
    """Return a run that writes the process id of its kernel and then sleeps."""
    source = """\
import os, pathlib, time
begun = pathlib.Path(os.environ["WORKBOOK_RUNS"], "begun")
begun.with_suffix(".part").write_text(str(os.getpid()))
begun.with_suffix(".part").rename(begun)
print("begun", flush=True)
time.sleep(600)"""
    parameters = {"profile": "smoke", "seed": seed}
    notebook = make_notebook(make_parameters(), new_code_cell(source))
    digest = lessons.compute_digest(notebook, "smoke", parameters)
    return worker.Job(digest[:16], "tiny", nbformat.writes(notebook), parameters, {}, digest, "")


def test_a_cancelled_run_stops_with_its_kernel_and_keeps_its_notebook(runs):
    job = make_job(0)
    begun = worker.find_folder(job.name) / "begun"
    processes = []

    def is_wanted():
        if begun.exists():
            processes.append(psutil.Process(int(begun.read_text())))
            processes.append(processes[0].parent())
        return not begun.exists()

    with pytest.raises(Reschedule):
        worker.run_process(job, is_wanted)
    assert not any(is_running(process) for process in processes)
    unfinished = worker.find_folder(job.name) / "tiny" / "smoke" / "tiny.unfinished.ipynb"
    assert nbformat.read(unfinished, as_version=4).metadata.papermill.end_time  # written after the stop


def test_a_run_that_is_cancelled_while_it_starts_leaves_nothing_running(runs):
    before = psutil.Process().children(recursive=True)
    with pytest.raises(Reschedule):
        worker.run_process(make_job(3), lambda: False)
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= {child.pid for child in before}


def test_a_run_that_is_killed_gives_the_reason_and_its_kernel_is_killed(runs):
    job = make_job(1)
    begun = worker.find_folder(job.name) / "begun"
    polls = []

    def kill_when_begun():
        polls.append(begun.exists())
        if polls.count(True) == 2:  # by then the worker has listed the kernel
            psutil.Process(int(begun.read_text())).parent().kill()
        return True

    reason = worker.run_process(job, kill_when_begun)
    assert reason == "tiny: the process of this run was killed by SIGKILL (out of memory?)"
    kernel = int(begun.read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(kernel).wait(10)
    assert not is_running(kernel)


def test_a_run_that_cannot_start_gives_the_last_line_of_its_error(runs, monkeypatch, tmp_path):
    job = make_job(4)
    monkeypatch.setattr(worker.paths, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("raise ImportError('no module torch')")
    reason = worker.run_process(job, lambda: True)
    assert reason == "tiny: the process of this run ended with status 1: ImportError: no module torch"


def test_all_files_are_listed_except_those_that_only_resuming_needs(runs):
    folder = worker.find_folder("abc")
    (folder / "model").mkdir(parents=True)
    for name in ("tiny.log", "model/best_model.pth", "model/last.pth", ".lock", "model/.results.json.x1.partial"):
        (folder / name).write_text("1234")
    os.utime(folder / "tiny.log", ns=(5, 7 * 10**9))
    listed = worker.list_files("abc")
    assert set(listed) == {"tiny.log", "model/best_model.pth"}
    assert listed["tiny.log"] == (4, 7 * 10**9)
    assert worker.list_files("nothing") == {}


def test_a_file_is_read_in_parts(runs):
    folder = worker.find_folder("abc")
    folder.mkdir(parents=True)
    (folder / "tiny.log").write_bytes(b"0123456789")
    assert [worker.read_part("abc", "tiny.log", offset, 4) for offset in (0, 4, 8)] == [b"0123", b"4567", b"89"]


class FakeWorker:
    """Worker of Dask with one task, in the state that a test sets."""

    def __init__(self):
        self.status = Status.running
        self.state = SimpleNamespace(tasks={"key": SimpleNamespace(state="executing")})

    def get_current_task(self):
        return "key"


def test_a_task_returns_reason_host_and_files_of_its_run(runs, monkeypatch):
    job = make_job(5)
    folder = worker.find_folder(job.name)
    folder.mkdir(parents=True)
    (folder / "tiny.log").write_text("1234")
    monkeypatch.setattr(worker, "get_worker", FakeWorker)
    monkeypatch.setattr(worker, "run_process", lambda job, is_wanted: f"{job.stem} failed, wanted: {is_wanted()}")
    outcome = worker.execute(job)
    assert outcome.reason == "tiny failed, wanted: True"
    assert outcome.host == platform.node()
    assert outcome.files["tiny.log"][0] == 4


@pytest.mark.parametrize("change", ["cancelled", "forgotten", "closing", "closed", "failed"])
def test_a_run_is_no_longer_wanted_when_its_task_is_cancelled_or_its_worker_closes(change, runs, monkeypatch):
    fake = FakeWorker()
    wanted = []

    def run_process(job, is_wanted):
        wanted.append(is_wanted())
        if change == "cancelled":
            fake.state.tasks["key"].state = "cancelled"
        elif change == "forgotten":
            fake.state.tasks.clear()
        else:
            fake.status = Status[change]
        wanted.append(is_wanted())
        return ""

    monkeypatch.setattr(worker, "get_worker", lambda: fake)
    monkeypatch.setattr(worker, "run_process", run_process)
    worker.execute(make_job(6))
    assert wanted == [True, False]


def test_a_job_is_unchanged_by_json():
    job = make_job(2)
    assert worker.Job(**json.loads(json.dumps(worker.asdict(job)))) == job
