"""One run of a grid: a process that executes one notebook and ends with its parent."""

import json
import os
import subprocess
import sys
import threading

import filelock
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell

from helpers import paths
from helpers.course import execution, lessons
from helpers.course.grid import run
from tests.course.tiny import is_running, make_notebook, make_parameters, wait_until

SAVE = """\
folder = pathlib.Path(os.environ["WORKBOOK_RUNS"], "tiny", os.environ["WORKBOOK_PROFILE"])
(folder / "results.json").write_text(json.dumps({"seed": seed, "metrics": {}}))"""


def write_job(source, folder, defaults="", **parameters):
    """Return the arguments of `run_job` for a notebook with `source` in its second cell."""
    first = make_parameters(f"profile = None\nseed = 0\n{defaults}")
    notebook = make_notebook(first, new_code_cell(f"import json, os, pathlib\n{source}"), new_code_cell(SAVE))
    parameters = lessons.read_parameters(notebook) | {"profile": "smoke"} | parameters
    digest = lessons.compute_digest(notebook, "smoke", parameters)
    shared = {"stem": "tiny", "variables": {}, "working_folder": "/not/on/this/host", "folder": str(folder)}
    return {"notebook": nbformat.writes(notebook), "parameters": parameters, "digest": digest, **shared}


def start(job, parent=None, **variables):
    """Return a process that executes `job`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.course.grid.run", str(parent or os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT), **variables},
    )
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    return process


def execute(job, **variables):
    """Return the exit status and the reason of a run of `job` in its own process."""
    process = start(job, **variables)
    reason = process.stdout.read().decode()
    return process.wait(), reason


@pytest.fixture
def environment(monkeypatch):
    """Restore the environment, which `run_job` changes, and leave standard output to pytest."""
    monkeypatch.setattr(run.os, "environ", dict(os.environ))
    monkeypatch.setattr(run, "print_into", lambda path: None)


def test_a_run_writes_notebook_log_and_results_and_only_its_reason_to_standard_output(tmp_path):
    job = write_job("print('in the notebook')\nos.system('echo beside it')", tmp_path)
    assert execute(job) == (0, "")
    assert execute(job) == (0, "")
    log = (tmp_path / "tiny.log").read_text()
    assert "3/3" in log
    assert "beside it" in log
    assert "up to date" in log.partition("\n\n")[2]  # the second time, below an empty line
    executed = nbformat.read(tmp_path / "tiny" / "smoke" / "tiny.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text.startswith("in the notebook\n")  # after the injected parameters

    failing = write_job("1 / 0", tmp_path / "failing", seed=1)
    assert execute(failing) == (0, "tiny failed in code cell 2 of 3: ZeroDivisionError: division by zero")
    assert "ZeroDivisionError" in (tmp_path / "failing" / "tiny.log").read_text()


def test_values_reach_the_notebook_as_they_are_and_defaults_stay_what_they_are(tmp_path):
    given = {
        "text": "a \"b\" 'c' \\n \n\t, 数字 $x$ {y} %s",
        "nested": {"a": [1, True, 1.5, None, "1", {"=b": []}]},
        "long": "x" * 10**5,
        "infinite": float("-inf"),
    }
    defaults = "\n".join(f"{name} = None" for name in given) + "\nsize: tuple = (1, 2)\nrate = 1 / 128"
    source = "assert json.loads(EXPECTED) == dict(text=text, nested=nested, long=long, infinite=infinite)\n"
    source = source.replace("EXPECTED", repr(json.dumps(given))) + "assert size == (1, 2) and rate == 1 / 128"
    assert execute(write_job(source, tmp_path, defaults, **given)) == (0, "")


def test_a_callers_settings_replace_those_of_this_host(tmp_path):
    source = "print(sorted(text for name, text in os.environ.items() if name.startswith('WORKBOOK_S')))"
    here = {"WORKBOOK_SVHN": "photos of this host", "WORKBOOK_SIZE": ""}
    job = write_job(source, tmp_path)
    assert execute(job, **here) == (0, "")  # the digest was computed without these variables
    (executed,) = tmp_path.rglob("tiny.ipynb")
    assert nbformat.read(executed, as_version=4).cells[2].outputs[0].text == "[]\n"
    differing = job | {"variables": {"WORKBOOK_SOME": "of the caller"}, "folder": str(tmp_path / "other")}
    assert "has other helpers" in execute(differing)[1]  # the digest was computed without this one, too


def test_a_worker_with_other_code_runs_nothing(tmp_path, environment):
    job = write_job("", tmp_path) | {"digest": "0" * 64}
    assert "has other helpers or another requirements.lock than the caller" in run.run_job(**job)
    assert not list(tmp_path.rglob("*.ipynb"))


def test_a_run_waits_for_another_process_that_executes_the_same_run(tmp_path, environment, monkeypatch):
    called = threading.Event()
    monkeypatch.setattr(execution, "run_notebook", lambda *arguments, **options: called.set())
    with filelock.FileLock(tmp_path / run.LOCK):
        thread = threading.Thread(target=lambda: run.run_job(**write_job("", tmp_path)))
        thread.start()
        assert not called.wait(0.3)
    thread.join()
    assert called.is_set()


def test_a_folder_that_cannot_be_written_is_the_reason(tmp_path, environment):
    (tmp_path / "file").write_text("a file where a folder should be")
    assert "Not a directory" in run.run_job(**write_job("", tmp_path / "file" / "run"))


@pytest.mark.parametrize("computing", ["import time; time.sleep(600)", "sum(range(10**12))"])
def test_a_run_and_its_kernel_end_when_the_parent_is_killed(computing, tmp_path):
    source = f"""\
begun = pathlib.Path({str(tmp_path / "begun")!r})
begun.with_suffix(".part").write_text(f"{{os.getpid()}} {{os.getppid()}}")
begun.with_suffix(".part").rename(begun)
print("begun", flush=True)
{computing}"""
    job = write_job(source, tmp_path)
    program = """\
import os, subprocess, sys, time
arguments = [sys.executable, "-m", "helpers.course.grid.run", str(os.getpid())]
subprocess.Popen(arguments, stdin=sys.stdin, start_new_session=True)
time.sleep(600)"""
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, env=environment) as parent:
        parent.stdin.write(json.dumps(job).encode())
        parent.stdin.close()
        wait_until(lambda: (tmp_path / "begun").exists())
        kernel, process = (psutil.Process(int(pid)) for pid in (tmp_path / "begun").read_text().split())
        parent.kill()
    wait_until(lambda: not is_running(kernel))
    wait_until(lambda: not is_running(process))
    unfinished = nbformat.read(tmp_path / "tiny" / "smoke" / "tiny.unfinished.ipynb", as_version=4)
    assert unfinished.metadata.papermill.end_time  # written after the stop


def test_a_run_whose_parent_died_before_it_started_does_not_execute_its_notebook(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    process = start(write_job("import time; time.sleep(600)", tmp_path), parent=parent.pid)
    assert process.wait(60) != 0
    assert not list(tmp_path.rglob("results.json"))


def test_the_visible_gpus_are_those_of_the_environment_or_of_the_driver(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-3f")
    assert run.find_gpus() == ["2", "GPU-3f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert run.find_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run.find_gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: Fast (UUID: GPU-1a)'\necho 'GPU 1: Fast (UUID: GPU-2b)'")
    program.chmod(0o755)
    assert run.find_gpus() == ["GPU-1a", "GPU-2b"]


def test_each_of_two_runs_has_its_own_gpu_and_a_third_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # restored at the end, although the code under test changes it
    taken = []

    def take():
        with run.reserve_gpu(["0", "1"]):
            taken.append(os.environ["CUDA_VISIBLE_DEVICES"])

    with run.reserve_gpu(["0", "1"]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
        with run.reserve_gpu(["0", "1"]):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
            third = threading.Thread(target=take)
            third.start()
            third.join(0.5)
            assert taken == []
        third.join()
    assert taken == ["1"]
    with run.reserve_gpu([]):
        pass  # no GPU: nothing to wait for
