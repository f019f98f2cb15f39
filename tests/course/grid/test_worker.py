"""Runs that can be stopped, and their files; `test_plan` proves the same on a cluster."""

import contextlib
import json
import os

import nbformat
import psutil
import pytest
from distributed import Reschedule
from nbformat.v4 import new_code_cell, new_notebook

from helpers import paths
from helpers.course import lessons
from helpers.course.grid import worker

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


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
    cells = [new_code_cell("profile = None\nseed = 0", metadata={"tags": ["parameters"]}), new_code_cell(source)]
    notebook = new_notebook(cells=cells, metadata=KERNEL)
    digest = lessons.compute_digest(notebook, "smoke", parameters)
    return worker.Job(digest[:16], "tiny", nbformat.writes(notebook), parameters, {}, digest, "")


def is_running(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


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
        if polls.count(True) == 2:  # by then the worker knows the kernel
            psutil.Process(int(begun.read_text())).parent().kill()
        return True

    reason = worker.run_process(job, kill_when_begun)
    assert reason == "tiny: the process of this run was killed by SIGKILL (out of memory?)"
    kernel = int(begun.read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(kernel).wait(10)
    assert not psutil.pid_exists(kernel) or not is_running(psutil.Process(kernel))


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


def test_a_job_is_unchanged_by_json():
    job = make_job(2)
    assert worker.Job(**json.loads(json.dumps(worker.asdict(job)))) == job
