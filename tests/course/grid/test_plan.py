"""Grids of runs, on real schedulers, workers, runners and kernels that really fail.

The cluster is a scheduler and two workers, each a process with a folder of its own: what one host has of another.
"""

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from unittest.mock import create_autospec

import nbformat
import psutil
import pytest
from distributed import Client, Future
from nbformat.v4 import new_code_cell, new_notebook

from helpers import paths
from helpers.course import cli, lessons
from helpers.course.grid import plan, worker

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
LONG = 300  # seconds that a busy machine may need for what takes two
SOURCES = (
    """\
profile = None
seed = 0
mode = "finish\"""",
    """\
import json, os, pathlib, time
folder = pathlib.Path(os.environ["WORKBOOK_RUNS"], "tiny", os.environ["WORKBOOK_PROFILE"])
notes = pathlib.Path(NOTES)
print("begun")""",
    """\
note = {"mode": mode, "seed": seed, "kernel": os.getpid(), "runner": os.getppid(), "folder": str(folder)}
note["threads"] = os.environ.get("OMP_NUM_THREADS")
with open(notes / "begun", "a") as file:
    print(json.dumps(note), file=file)
if mode == "wait":
    while not (notes / "go on").exists():
        time.sleep(0.05)
if not (notes / "mended").exists():
    if mode == "raise":
        raise ValueError("two is not three")
    if mode == "die":
        os.kill(os.getpid(), 9)
    if mode == "fill":
        (folder / "large").write_bytes(bytes(10**7))""",
    """\
metrics = {"constant": 1.0, "answer": seed + len(mode) / 10}
results = {"profile": os.environ["WORKBOOK_PROFILE"], "seed": seed, "device": "CPU", "metrics": metrics}
(folder / "results.json").write_text(json.dumps(results))""",
)


def write_notebook(folder):
    """Returns a notebook that notes each of its beginnings in `folder` and fails as its parameter `mode` says."""
    cells = [new_code_cell(source.replace("NOTES", repr(str(folder)))) for source in SOURCES]
    cells[0].metadata["tags"] = ["parameters"]
    path = folder / "tiny.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def read_notes(folder):
    """Returns a note for each time that a run began, in their order."""
    path = folder / "begun"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(condition, what):
    """Returns what `condition` returns, once that is true."""
    deadline = time.monotonic() + LONG
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} within {LONG} s"
        time.sleep(0.05)
    return value


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def read_table(runs):
    (path,) = (runs / "grids").glob("*.csv")
    with open(path, encoding="utf-8") as file:
        return {(row["mode"], row["seed"]): row for row in csv.DictReader(file)}


@contextlib.contextmanager
def running(*arguments, **variables):
    """Yields a process of Python; it is killed in the end."""
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT), "PYTHONUNBUFFERED": "1", **variables}
    process = subprocess.Popen([sys.executable, "-m", *map(str, arguments)], env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, each on a disk of its own: its address, and the workers' folders."""
    with contextlib.ExitStack() as stack, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        free.close()
        local = ("--host", "127.0.0.1", "--no-dashboard")
        port = address.rpartition(":")[2]
        stack.enter_context(running("distributed.cli.dask_scheduler", *local, "--port", port))
        folders = {}
        for name in ("first", "second"):
            folder = tmp_path_factory.mktemp(name)
            process = running(
                "distributed.cli.dask_worker",
                *(address, *local, "--nthreads", "1", "--no-nanny", "--local-directory", folder),
                WORKBOOK_RUNS=str(folder),
            )
            folders[stack.enter_context(process).pid] = folder
        yield SimpleNamespace(address=address, folders=folders)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The caller's own folder."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


@contextlib.contextmanager
def small_disk(folder):
    """Makes `folder` a disk of 200 kB."""
    folder.mkdir(parents=True)
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("making a small disk needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Call:
    """A call of the command in a thread, so that the test can meddle meanwhile; in this process, to save its start."""

    def __init__(self, *arguments):
        self.status = None
        self.thread = threading.Thread(target=self.run, args=(list(map(str, arguments)),), daemon=True)
        self.thread.start()

    def run(self, arguments):
        self.status = cli.main(["grid", *arguments])

    def wait(self):
        self.thread.join(LONG)
        return self.status


def test_two_hosts_share_a_grid_and_its_accidents_cost_only_the_runs_that_have_them(cluster, runs, tmp_path, capsys):
    path = write_notebook(tmp_path)
    grid = [path, "-p", "profile=smoke", "-p", "mode=raise,finish,die,wait", "-p", "seed=1"]
    call = Call(*grid, "--scheduler", cluster.address)
    (waiting,) = wait_until(lambda: [note for note in read_notes(tmp_path) if note["mode"] == "wait"], "a run waits")
    wait_until(lambda: len(read_notes(tmp_path)) == 4, "the other host begins all others")
    victim = psutil.Process(waiting["runner"]).ppid()
    assert victim in cluster.folders
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: is_gone(waiting["kernel"]) and is_gone(waiting["runner"]), "nothing survives its worker")
    (tmp_path / "go on").touch()
    assert call.wait() == 1

    # the others finished, the worker's run on the other host, and the table says why two did not
    table = read_table(runs)
    assert {mode: row["state"] for (mode, _), row in table.items()} == {
        "raise": "failed",
        "finish": "finished",
        "die": "failed",
        "wait": "finished",
    }
    assert "failed in code cell 3 of 4: ValueError: two is not three" in table["raise", "1"]["reason"]
    assert "the kernel died in code cell 3 of 4" in table["die", "1"]["reason"]
    assert float(table["wait", "1"]["answer"]) == 1.4
    beginnings = [note["mode"] for note in read_notes(tmp_path)]
    assert {mode: beginnings.count(mode) for mode in beginnings} == {"raise": 1, "finish": 1, "die": 1, "wait": 2}
    printed = capsys.readouterr().out
    assert "finished 2, failed 2" in printed
    assert "mode raise, seed 1: tiny failed in code cell 3 of 4: ValueError" in printed

    # what each worker had on its own disk lies here, whole or under the name of what is not
    for row in table.values():
        own = runs / "grids" / row["run"]
        state = "" if row["state"] == "finished" else ".unfinished"
        executed = nbformat.read(own / "tiny" / "smoke" / f"tiny{state}.ipynb", as_version=4)
        assert any("begun" in output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
        assert (own / "tiny" / "smoke" / "results.json").exists() == (state == "")
        assert "4/4" in (log := (own / "tiny.log").read_text()) or row["reason"] in log
        assert sum((folder / "grids" / row["run"]).exists() for folder in cluster.folders.values()) >= 1
    assert all(len(list((folder / "grids").iterdir())) >= 1 for folder in cluster.folders.values())
    assert (figure := next((runs / "grids").glob("*.png"))).read_bytes().startswith(b"\x89PNG")
    assert figure.stem == "tiny_profile=smoke_mode=raise,finish,die,wait_seed=1"

    # the same call again runs exactly what is missing
    (tmp_path / "mended").touch()
    before = len(beginnings)
    assert cli.main(["grid", *map(str, grid), "--scheduler", cluster.address]) == 0
    assert sorted(note["mode"] for note in read_notes(tmp_path)[before:]) == ["die", "raise"]
    assert {row["state"] for row in read_table(runs).values()} == {"finished"}
    assert not list(runs.rglob("*.unfinished.ipynb"))

    # and then nothing, not even a cluster
    assert cli.main(["grid", *map(str, grid), "--scheduler", "tcp://127.0.0.1:1"]) == 0


def test_a_full_disk_fails_its_run_which_says_so_and_keeps_what_found_room(cluster, runs, tmp_path):
    texts = ["profile=smoke", "mode=fill,finish", "seed=2"]
    path = write_notebook(tmp_path)
    full = next(job for job in plan.plan_grid(path, texts).jobs if job.parameters["mode"] == "fill")
    arguments = [str(path), *(word for text in texts for word in ("-p", text)), "--scheduler", cluster.address]
    with contextlib.ExitStack() as stack:
        for folder in cluster.folders.values():
            stack.enter_context(small_disk(folder / "grids" / full.name))
        assert cli.main(["grid", *arguments]) == 1
    table = read_table(runs)
    assert "No space left on device" in table["fill", "2"]["reason"]
    assert table["finish", "2"]["state"] == "finished"
    kept = nbformat.read(runs / "grids" / full.name / "tiny/smoke/tiny.unfinished.ipynb", as_version=4)
    assert kept.cells[2].outputs[0].text == "begun\n"

    (tmp_path / "mended").touch()
    assert cli.main(["grid", *arguments]) == 0
    assert [note["mode"] for note in read_notes(tmp_path)].count("finish") == 1


def test_here_a_killed_worker_is_replaced_and_ctrl_c_stops_everything_and_the_same_call_goes_on(
    cluster, runs, tmp_path
):
    path = write_notebook(tmp_path)
    grid = [path, "-p", "profile=smoke", "-p", "mode=finish,wait", "-p", "seed=3"]
    # as if the machine were so busy that Dask gives up a worker before it has come back
    impatient = {"DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1ms"}
    with running("helpers.course.cli", "grid", *grid, "--workers", "1", WORKBOOK_RUNS=str(runs), **impatient) as caller:
        _, waiting = wait_until(lambda: (notes := read_notes(tmp_path))[1:] and notes, "both runs begin")
        psutil.Process(waiting["runner"]).parent().kill()
        wait_until(lambda: len(read_notes(tmp_path)) == 3, "the run begins anew")
        family = psutil.Process(caller.pid).children(recursive=True)
        sockets = [connection for process in (psutil.Process(caller.pid), *family) for connection in listen(process)]
        os.killpg(caller.pid, signal.SIGINT)  # as a terminal does
        assert caller.wait(LONG) == 130
    assert len(sockets) > 3
    assert {address.ip for address in sockets} == {"127.0.0.1"}
    wait_until(lambda: all(is_gone(process.pid) for process in family), "nothing is left running")
    assert {note["threads"] for note in read_notes(tmp_path)} == {str(plan.CPU_COUNT)}  # one worker: all cores
    assert {mode: row["state"] for (mode, _), row in read_table(runs).items()} == {
        "finish": "finished",
        "wait": "missing",
    }
    (unfinished,) = runs.rglob("*.unfinished.ipynb")
    assert nbformat.read(unfinished, as_version=4).cells[2].outputs[0].text == "begun\n"

    (tmp_path / "go on").touch()
    assert cli.main(["grid", *map(str, grid), "--scheduler", cluster.address]) == 0  # wherever it goes on
    assert [note["mode"] for note in read_notes(tmp_path)] == ["finish", "wait", "wait", "wait"]


def listen(process):
    """Returns the addresses at which a process can be reached."""
    with contextlib.suppress(psutil.NoSuchProcess):
        connections = process.net_connections(kind="inet")
        return [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]
    return []


KNOWN = {"profile": None, "seed": 0, "sigma": 2, "data_dir": None}


def test_values_are_read_as_papermill_reads_them():
    given = plan.read_grid(["sigma=1,2.5,x,True,None", "seed=7"], KNOWN)
    assert given == {"sigma": (1, 2.5, "x", True, None), "seed": (7,)}
    assert [type(value) for value in given["sigma"]] == [int, float, str, bool, type(None)]


def test_a_value_that_is_given_twice_is_one_run():
    assert plan.read_grid(["seed=1,1,2"], KNOWN) == {"seed": (1, 2)}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["sede=1"], "no parameter 'sede'; it has profile, seed, sigma, data_dir"),
        (["seed=1", "seed=2"], "given twice"),
        (["seed"], "lacks a value"),
        (["seed=1,"], "lacks a value"),
        (["profile=fast"], "profile is 'fast'; choose of smoke, quick, full"),
        (["seed=0,x"], "seed is 'x'; choose a whole number from 0 to 4294967295"),
        (["seed=1.5"], "seed is 1.5; choose a whole number"),
    ],
)
def test_what_is_no_grid_is_refused_before_anything_starts(texts, message, tmp_path, capsys, runs):
    notebook = new_notebook(cells=[new_code_cell("\n".join(f"{name} = {value!r}" for name, value in KNOWN.items()))])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    arguments = [word for text in texts for word in ("-p", text)]
    assert cli.main(["grid", str(tmp_path / "tiny.ipynb"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not runs.exists()


def test_a_notebook_that_is_not_there_or_has_a_column_of_the_table_is_refused(tmp_path):
    with pytest.raises(lessons.LessonFailed, match="there is no such notebook"):
        plan.plan_grid(tmp_path / "none.ipynb", [])
    cell = new_code_cell("state = 1", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "tiny.ipynb")
    with pytest.raises(plan.GridError, match="column 'state' of its own"):
        plan.plan_grid(tmp_path / "tiny.ipynb", [])


def test_a_cluster_that_is_not_there_is_said_to_be_so(tmp_path, runs, capsys, monkeypatch):
    monkeypatch.setattr(plan, "CONNECT", 0.2)
    assert cli.main(["grid", str(write_notebook(tmp_path)), "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "no cluster at tcp://127.0.0.1:1" in capsys.readouterr().err


def test_a_run_is_named_by_all_that_it_depends_on_and_by_nothing_else(tmp_path, monkeypatch):
    path = write_notebook(tmp_path)

    def name(*texts):
        (job,) = plan.plan_grid(path, texts).jobs
        return job.name

    names = {name("profile=quick")}
    assert names == {name("seed=0", "profile=quick", "mode=finish")}  # the notebook's own values, given or not
    names |= {name("profile=full"), name("profile=quick", "seed=1")}
    monkeypatch.setenv("WORKBOOK_SVHN", "/photos")
    names.add(name("profile=quick"))
    monkeypatch.delenv("WORKBOOK_SVHN")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="42")]
    nbformat.write(notebook, path)
    assert name("profile=quick") in names  # an output is no source
    notebook.cells[1].source += " "
    nbformat.write(notebook, path)
    names.add(name("profile=quick"))
    monkeypatch.setattr(lessons, "HELPERS", tmp_path)  # other code
    names.add(name("profile=quick"))
    assert len(names) == 6


def test_the_grid_is_every_combination_in_the_order_of_the_command(tmp_path, runs):
    grid = plan.plan_grid(write_notebook(tmp_path), ["mode=b,a", "seed=1,2", "profile=quick"])
    combinations = [(job.parameters["mode"], job.parameters["seed"]) for job in grid.jobs]
    assert combinations == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]
    assert grid.find_table() == runs / "grids" / "tiny_mode=b,a_seed=1,2_profile=quick.csv"
    long = plan.plan_grid(write_notebook(tmp_path), [f"seed={','.join(map(str, range(99)))}"])
    assert len(long.find_table().name) < 130


def test_a_run_stays_finished_when_code_is_edited_while_others_run(tmp_path, runs, monkeypatch):
    path = write_notebook(tmp_path)
    grid = plan.plan_grid(path, ["profile=smoke"])
    (job,) = grid.jobs
    executed = grid.find_executed(job)
    executed.parent.mkdir(parents=True)
    notebook = new_notebook(metadata={"workbook": {"digest": job.digest}})
    nbformat.write(notebook, executed)
    executed.with_name("results.json").write_text('{"seed": 0}')
    monkeypatch.setattr(lessons, "HELPERS", tmp_path)  # other code
    assert grid.is_finished(job)
    assert not grid.is_finished(plan.plan_grid(path, ["profile=smoke"]).jobs[0])  # that is another run


def test_a_table_has_every_column_of_any_row(tmp_path):
    plan.write_table(tmp_path / "table.csv", [{"run": "a", "reason": "x, y"}, {"run": "b", "ap": 0.5}])
    assert (tmp_path / "table.csv").read_text() == 'run,reason,ap\na,"x, y",\nb,,0.5\n'


def test_the_figure_shows_the_first_metric_that_a_parameter_changes_at_equal_seed():
    rows = [
        {"seed": seed, "sigma": sigma, "noise": seed / 7, "error": seed + sigma, "last": sigma}
        for seed in (0, 1)
        for sigma in (1, 2)
    ]
    metrics = ["noise", "error", "last"]
    assert plan.choose_metric(rows, metrics, ["sigma"]) == "error"
    assert plan.choose_metric(rows, metrics[:1], ["sigma"]) == "noise"
    assert plan.choose_metric(rows, metrics, []) == "noise"


def test_a_table_that_finds_no_room_fails_the_call_and_not_the_runs(tmp_path, runs, capsys, monkeypatch):
    path = write_notebook(tmp_path)
    monkeypatch.setattr(plan, "describe_run", lambda grid, job, reason="": {"run": job.name, "state": "finished"})
    runs.mkdir()
    (runs / "grids").write_text("a file where a folder should be")
    assert cli.main(["grid", str(path), "-p", "profile=smoke"]) == 1
    assert "could not be written" in capsys.readouterr().err


def test_a_file_is_fetched_only_where_it_is_not_already(tmp_path, runs):
    job = plan.plan_grid(write_notebook(tmp_path), []).jobs[0]
    folder = worker.find_folder(job.name)
    folder.mkdir(parents=True)
    (folder / "tiny.log").write_text("here")
    client, future = create_autospec(Client, instance=True), create_autospec(Future, instance=True)
    plan.fetch(client, future, job, worker.Outcome("", "here", worker.list_files(job.name)))
    client.run.assert_not_called()

    client.who_has.return_value = {"key": ["tcp://there"]}
    client.run.return_value = {"tcp://there": b"other"}
    plan.fetch(client, future, job, worker.Outcome("", "there", {"tiny.log": (5, 10**18)}))
    assert (folder / "tiny.log").read_text() == "other"
    assert worker.list_files(job.name) == {"tiny.log": (5, 10**18)}
