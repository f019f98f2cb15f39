"""The process that runs the notebooks of a grid: one job after another, until its input ends."""

import json
import os
import subprocess
import sys
import threading

import filelock
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers import paths
from helpers.course import lessons
from helpers.course.grid import runner

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
SAVE = """\
folder = pathlib.Path(os.environ["WORKBOOK_RUNS"], "tiny", os.environ["WORKBOOK_PROFILE"])
(folder / "results.json").write_text(json.dumps({"seed": seed, "metrics": {}}))"""


def write_job(source, seed=0):
    """Returns a job, as it travels, of a notebook with `source` in its second cell."""
    cells = [new_code_cell("profile = None\nseed = 0", metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(f"import json, os, pathlib\n{source}"), new_code_cell(SAVE)]
    notebook = new_notebook(cells=cells, metadata=KERNEL)
    parameters = {"profile": "smoke", "seed": seed}
    digest = lessons.compute_digest(notebook, "smoke", parameters)
    text = nbformat.writes(notebook)
    shared = {"stem": "tiny", "variables": {}, "working_folder": "/not/on/this/host"}
    return {"name": digest[:16], "notebook": text, "parameters": parameters, "digest": digest, **shared}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    return tmp_path / "grids"


def test_a_process_runs_one_job_after_another_and_ends_with_its_input(tmp_path):
    jobs = [write_job("print('in the notebook')\nos.system('echo beside it')"), write_job("1 / 0", seed=1)]
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT), paths.RUNS_VARIABLE: str(tmp_path)}
    lines = "".join(json.dumps(job) + "\n" for job in [*jobs, jobs[0]])
    process = subprocess.Popen(
        [sys.executable, "-c", "from helpers.course.grid.runner import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    process.stdin.write(lines)
    process.stdin.flush()
    reasons = [json.loads(process.stdout.readline())["reason"] for _ in range(3)]
    process.stdin.close()
    assert process.wait(60) == 0
    assert reasons == ["", "tiny failed in code cell 2 of 3: ZeroDivisionError: division by zero", ""]
    logs = [(tmp_path / "grids" / job["name"] / "tiny.log").read_text() for job in jobs]
    assert "3/3" in logs[0]
    assert "beside it" in logs[0]
    assert "up to date" in logs[0]  # the third time
    assert "ZeroDivisionError" in logs[1]
    executed = tmp_path / "grids" / jobs[0]["name"] / "tiny" / "smoke" / "tiny.ipynb"
    assert "in the notebook\n" in executed.read_text().replace("\\n", "\n")


def test_a_worker_with_other_code_runs_nothing(runs):
    job = write_job("") | {"digest": "0" * 64}
    assert "has other helpers or another requirements.lock than the caller" in runner.run_job(**job)
    assert not list(runs.rglob("*.ipynb"))


def test_a_callers_settings_hold_for_its_run_alone(runs, monkeypatch):
    seen = {}

    def run_notebook(*arguments, **options):
        seen.update(lessons.read_settings(), runs=os.environ[paths.RUNS_VARIABLE])

    monkeypatch.setattr(lessons, "run_notebook", run_notebook)
    monkeypatch.setenv("WORKBOOK_SVHN", "photos of this host")
    before = dict(os.environ)
    job = write_job("") | {"variables": {"WORKBOOK_OTHER": "of the caller"}}
    runner.run_job(**job)
    assert seen == {}  # the digest was computed without the variable
    monkeypatch.setenv("WORKBOOK_OTHER", "of the caller")
    monkeypatch.delenv("WORKBOOK_SVHN")
    digest = lessons.compute_digest(nbformat.reads(job["notebook"], 4), "smoke", job["parameters"])
    monkeypatch.delenv("WORKBOOK_OTHER")
    monkeypatch.setenv("WORKBOOK_SVHN", "photos of this host")
    assert runner.run_job(**job | {"digest": digest}) == ""
    assert seen == {"WORKBOOK_OTHER": "of the caller", "runs": str(runs / job["name"])}
    assert dict(os.environ) == before


def test_a_run_waits_for_another_process_that_has_it(runs, monkeypatch):
    called = threading.Event()
    monkeypatch.setattr(lessons, "run_notebook", lambda *arguments, **options: called.set())
    job = write_job("")
    (runs / job["name"]).mkdir(parents=True)
    with filelock.FileLock(runs / job["name"] / runner.LOCK):
        thread = threading.Thread(target=lambda: runner.run_job(**job))
        thread.start()
        assert not called.wait(0.3)
    thread.join()
    assert called.is_set()


def test_a_folder_that_cannot_be_written_is_a_reason(runs):
    runs.write_text("a file where a folder should be")
    assert "Not a directory" in runner.run_job(**write_job(""))


def test_the_visible_gpus_are_those_of_the_environment_or_of_the_driver(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-3f")
    assert runner.find_gpus() == ["2", "GPU-3f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert runner.find_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runner.find_gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: Fast (UUID: GPU-1a)'\necho 'GPU 1: Fast (UUID: GPU-2b)'")
    program.chmod(0o755)
    assert runner.find_gpus() == ["GPU-1a", "GPU-2b"]


def test_each_of_two_runs_has_a_gpu_of_its_own_and_a_third_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(runner.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # undone in the end, whatever is made of it meanwhile
    taken = []

    def take():
        with runner._take_one(["0", "1"]):
            taken.append(os.environ["CUDA_VISIBLE_DEVICES"])

    with runner._take_one(["0", "1"]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
        with runner._take_one(["0", "1"]):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
            third = threading.Thread(target=take)
            third.start()
            third.join(0.5)
            assert taken == []
        third.join()
    assert taken == ["1"]
    with runner._take_one([]):
        pass  # no GPU: nothing to wait for
