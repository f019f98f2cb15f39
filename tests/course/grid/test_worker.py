"""Runs that can be stopped, and the files that they leave; `test_batch` proves the same on a cluster."""

import contextlib
import json
import os

import nbformat
import psutil
import pytest
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
    """Returns a run that says that it has begun, and then sleeps."""
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


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_run_that_nobody_wants_stops_with_its_kernel_and_keeps_its_notebook(runs):
    job = make_job(0)
    begun = worker.find_folder(job.name) / "begun"
    runner = worker.Runner()
    with pytest.raises(worker.Stopped):
        runner.run(job, is_wanted=lambda: not begun.exists())
    assert runner.process.wait(60) is not None
    assert is_gone(int(begun.read_text()))
    unfinished = worker.find_folder(job.name) / "tiny" / "smoke" / "tiny.unfinished.ipynb"
    assert nbformat.read(unfinished, as_version=4).metadata.papermill.end_time  # written on the way out


def test_a_runner_that_is_killed_is_the_reason_and_takes_its_kernel_with_it(runs):
    job = make_job(1)
    begun = worker.find_folder(job.name) / "begun"
    runner = worker.Runner()
    polls = []

    def kill_when_begun():
        polls.append(begun.exists())
        if polls.count(True) == 2:  # by then the runner's children are known
            runner.process.kill()
        return True

    reason = runner.run(job, kill_when_begun)
    assert reason == "tiny: the process that ran it died, killed by SIGKILL; out of memory?"
    kernel = int(begun.read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(kernel).wait(10)
    assert is_gone(kernel)


def test_files_are_listed_but_for_what_serves_only_who_goes_on(runs):
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


def test_a_job_travels_as_json():
    job = make_job(2)
    assert worker.Job(**json.loads(json.dumps(worker.asdict(job)))) == job
