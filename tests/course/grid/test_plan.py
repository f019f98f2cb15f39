"""Grids of runs, with real schedulers, workers, runs and kernels, and real failures.

The cluster is a scheduler and two workers, connected by TLS with certificate files. Each worker has its own folder, as
if it were another host.
"""

import contextlib
import csv
import json
import math
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from types import SimpleNamespace
from unittest.mock import create_autospec

import dask
import nbformat
import psutil
import pytest
from distributed import Client, Future, LocalCluster, Security
from nbformat.v4 import new_code_cell, new_notebook

from helpers import paths
from helpers.course import cli, lessons
from helpers.course.grid import plan, worker
from tests.course import tiny
from tests.course.tiny import PATIENCE, is_running, wait_until

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
note = {"mode": mode, "seed": seed, "kernel": os.getpid(), "run": os.getppid(), "folder": str(folder)}
note["threads"] = os.environ.get("OMP_NUM_THREADS")
with open(notes / "begun", "a") as file:
    print(json.dumps(note), file=file)
if mode == "wait":
    while not (notes / "go on").exists():
        time.sleep(0.05)
if not (notes / "fixed").exists():
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
    """Write a notebook that records its starts in `folder` and fails as parameter `mode` selects; return its path."""
    cells = [new_code_cell(source.replace("NOTES", repr(str(folder)))) for source in SOURCES]
    cells[0].metadata["tags"] = ["parameters"]
    return tiny.write_notebook(folder / "tiny.ipynb", *cells)


def read_notes(folder):
    """Return the record of each start of a run, in order."""
    path = folder / "begun"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_table(runs):
    (path,) = (runs / "grids").glob("*.csv")
    with open(path, encoding="utf-8") as file:
        return {(row["mode"], row["seed"]): row for row in csv.DictReader(file)}


@contextlib.contextmanager
def running(*arguments, **variables):
    """Yield a Python process, which is killed at the end."""
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT), "PYTHONUNBUFFERED": "1", **variables}
    process = subprocess.Popen([sys.executable, "-m", *map(str, arguments)], env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def write_certificates(folder):
    """Write one certificate and its key, which serve all three roles, and return Dask's settings for a client."""
    security = Security.temporary()
    (folder / "cert.pem").write_text(security.tls_ca_file)
    (folder / "key.pem").write_text(security.tls_client_key)
    return {
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(folder / "cert.pem"),
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": str(folder / "cert.pem"),
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": str(folder / "key.pem"),
    }


def use_certificates(variables):
    """Return a context in which this process has the settings that Dask reads from `variables` when it starts."""
    names = [name.removeprefix("DASK_").lower().replace("__", ".").replace("_", "-") for name in variables]
    return dask.config.set(dict(zip(names, variables.values(), strict=True)))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start a scheduler and two workers with separate folders; yield its address and the workers' folders.

    The options are those of `docs/running.md`. The client in this process has the certificates, too.
    """
    certificates = tmp_path_factory.mktemp("certificates")
    client_variables = write_certificates(certificates)
    cert, key = certificates / "cert.pem", certificates / "key.pem"
    tls = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    with contextlib.ExitStack() as stack, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tls://127.0.0.1:{free.getsockname()[1]}"
        free.close()
        local = ("--host", "127.0.0.1", "--no-dashboard", *tls)
        port = address.rpartition(":")[2]
        stack.enter_context(running("distributed.cli.dask_scheduler", *local, "--protocol", "tls", "--port", port))
        folders = {}
        for name in ("first", "second"):
            folder = tmp_path_factory.mktemp(name)
            process = running(
                "distributed.cli.dask_worker",
                *(address, *local, "--nthreads", "1", "--no-nanny", "--local-directory", folder),
                WORKBOOK_RUNS=str(folder),
            )
            folders[stack.enter_context(process).pid] = folder
        stack.enter_context(use_certificates(client_variables))
        yield SimpleNamespace(address=address, folders=folders, client_variables=client_variables)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Return the caller's folder of runs."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


@contextlib.contextmanager
def small_disk(folder):
    """Mount a disk of 200 kB at `folder`."""
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
    """A call of the command in a thread of this process, so that the test can act meanwhile."""

    def __init__(self, *arguments):
        self.status = None
        self.thread = threading.Thread(target=self.run, args=(list(map(str, arguments)),), daemon=True)
        self.thread.start()

    def run(self, arguments):
        self.status = cli.main(["grid", *arguments])

    def wait(self):
        self.thread.join(PATIENCE)
        return self.status


def test_two_hosts_share_a_grid_and_a_failure_costs_only_its_own_run(cluster, runs, tmp_path, capsys):
    path = write_notebook(tmp_path)
    grid = [path, "-p", "profile=smoke", "-p", "mode=raise,finish,die,wait", "-p", "seed=1"]
    call = Call(*grid, "--scheduler", cluster.address)
    (waiting,) = wait_until(lambda: [note for note in read_notes(tmp_path) if note["mode"] == "wait"], "a run waits")
    wait_until(lambda: len(read_notes(tmp_path)) == 4, "the other host begins all others")
    worker_pid = psutil.Process(waiting["run"]).ppid()
    assert worker_pid in cluster.folders
    os.kill(worker_pid, signal.SIGKILL)
    wait_until(
        lambda: not is_running(waiting["kernel"]) and not is_running(waiting["run"]),
        "run and kernel end with their worker",
    )
    (tmp_path / "go on").touch()
    assert call.wait() == 1

    # two runs finished, that of the killed worker on the other host; the table has the reasons of the others
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

    # the files of each worker's disk are here; an unfinished notebook has a different name
    for row in table.values():
        folder_of_run = runs / "grids" / row["run"]
        state = "" if row["state"] == "finished" else ".unfinished"
        executed = nbformat.read(folder_of_run / "tiny" / "smoke" / f"tiny{state}.ipynb", as_version=4)
        assert any("begun" in output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
        assert (folder_of_run / "tiny" / "smoke" / "results.json").exists() == (state == "")
        assert "4/4" in (log := (folder_of_run / "tiny.log").read_text()) or row["reason"] in log
        assert sum((folder / "grids" / row["run"]).exists() for folder in cluster.folders.values()) >= 1
    assert all(len(list((folder / "grids").iterdir())) >= 1 for folder in cluster.folders.values())
    assert (figure := next((runs / "grids").glob("*.png"))).read_bytes().startswith(b"\x89PNG")
    assert figure.stem.startswith("tiny_profile=smoke_mode=raise,finish,die,wait_seed=1_")

    # the same call executes only the missing runs
    (tmp_path / "fixed").touch()
    before = len(beginnings)
    assert cli.main(["grid", *map(str, grid), "--scheduler", cluster.address]) == 0
    assert sorted(note["mode"] for note in read_notes(tmp_path)[before:]) == ["die", "raise"]
    assert {row["state"] for row in read_table(runs).values()} == {"finished"}
    assert not list(runs.rglob("*.unfinished.ipynb"))

    # and a complete grid needs no cluster
    assert cli.main(["grid", *map(str, grid), "--scheduler", "tcp://127.0.0.1:1"]) == 0


def test_the_death_of_a_worker_repeats_no_finished_run(runs, tmp_path, monkeypatch):
    def execute(job):
        """Finish with an error at once for seed 1, and for seed 2 when the test allows it."""
        seed = job.parameters["seed"]
        wait_until(lambda: seed == 1 or (tmp_path / "go on").exists())
        return worker.Outcome(f"seed {seed}", "here", {})

    monkeypatch.setattr(worker, "execute", execute)
    grid = plan.plan_grid(write_notebook(tmp_path), ["seed=1,2"])
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with Client(processes=False, **options) as client:
        outcomes = plan.run_jobs(client, grid, grid.jobs)
        job, reason = next(outcomes)
        assert reason == "seed 1"
        wait_until(lambda: not [key for key in client.futures if job.name in key], "the scheduler forgets it", 30)
        (tmp_path / "go on").touch()
        assert [reason for _, reason in outcomes] == ["seed 2"]


def test_a_full_disk_fails_its_run_with_the_reason_and_keeps_what_was_written(cluster, runs, tmp_path):
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
    unfinished = nbformat.read(runs / "grids" / full.name / "tiny/smoke/tiny.unfinished.ipynb", as_version=4)
    assert unfinished.cells[2].outputs[0].text == "begun\n"

    (tmp_path / "fixed").touch()
    assert cli.main(["grid", *arguments]) == 0
    assert [note["mode"] for note in read_notes(tmp_path)].count("finish") == 1


def test_a_killed_local_worker_is_replaced_and_ctrl_c_stops_everything_and_the_same_call_resumes(
    cluster, runs, tmp_path
):
    path = write_notebook(tmp_path)
    grid = [path, "-p", "profile=smoke", "-p", "mode=finish,wait", "-p", "seed=3"]
    # Dask gives up the worker before it has restarted, as on a busy machine
    impatient = {"DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1ms"}
    with running("helpers.course.cli", "grid", *grid, "--workers", "1", WORKBOOK_RUNS=str(runs), **impatient) as caller:
        _, waiting = wait_until(lambda: (notes := read_notes(tmp_path))[1:] and notes, "both runs begin")
        psutil.Process(waiting["run"]).parent().kill()
        wait_until(lambda: len(read_notes(tmp_path)) == 3, "the run begins anew")
        children = psutil.Process(caller.pid).children(recursive=True)
        sockets = [connection for process in (psutil.Process(caller.pid), *children) for connection in listen(process)]
        os.killpg(caller.pid, signal.SIGINT)  # as a terminal does
        assert caller.wait(PATIENCE) == 130
    assert len(sockets) > 3
    assert {address.ip for address in sockets} == {"127.0.0.1"}
    wait_until(lambda: not any(map(is_running, children)), "every process ends")
    assert {note["threads"] for note in read_notes(tmp_path)} == {str(plan.CPU_COUNT)}  # one worker: all cores
    assert {mode: row["state"] for (mode, _), row in read_table(runs).items()} == {
        "finish": "finished",
        "wait": "missing",
    }
    (unfinished,) = runs.rglob("*.unfinished.ipynb")
    assert nbformat.read(unfinished, as_version=4).cells[2].outputs[0].text == "begun\n"

    (tmp_path / "go on").touch()
    assert cli.main(["grid", *map(str, grid), "--scheduler", cluster.address]) == 0  # on another host
    assert [note["mode"] for note in read_notes(tmp_path)] == ["finish", "wait", "wait", "wait"]


def listen(process):
    """Return the addresses at which a process accepts connections."""
    with contextlib.suppress(psutil.NoSuchProcess):
        connections = process.net_connections(kind="inet")
        return [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]
    return []


def test_nothing_keeps_running_when_the_caller_is_killed_and_the_same_call_completes_the_grid(runs, tmp_path):
    grid = [write_notebook(tmp_path), "-p", "profile=smoke", "-p", "mode=finish,wait", "-p", "seed=4"]
    with running("helpers.course.cli", "grid", *grid, "--workers", "1", WORKBOOK_RUNS=str(runs)) as caller:
        wait_until(lambda: len(read_notes(tmp_path)) == 2, "both runs begin")
        children = psutil.Process(caller.pid).children(recursive=True)
        caller.kill()
        wait_until(lambda: not any(map(is_running, children)), "every process ends")
    (tmp_path / "go on").touch()
    assert cli.main(["grid", *map(str, grid)]) == 0
    assert [note["mode"] for note in read_notes(tmp_path)] == ["finish", "wait", "wait"]


def test_the_runs_of_a_killed_caller_stop_on_the_hosts_of_a_cluster(cluster, runs, tmp_path):
    grid = [write_notebook(tmp_path), "-p", "profile=smoke", "-p", "mode=wait", "-p", "seed=5"]
    options = ("--scheduler", cluster.address)
    variables = {"WORKBOOK_RUNS": str(runs), **cluster.client_variables}
    with running("helpers.course.cli", "grid", *grid, *options, **variables) as caller:
        (waiting,) = wait_until(lambda: read_notes(tmp_path), "the run begins")
        caller.kill()
        wait_until(lambda: not is_running(waiting["kernel"]) and not is_running(waiting["run"]), "the run has stopped")


def test_no_other_user_of_this_machine_can_reach_the_processes_of_a_local_grid():
    """A client without the certificate, or with another one, is refused at each port; dashboards only show pages."""
    with plan.connect(None, 1, 1) as client:
        assert client.submit(os.getpid).result() != os.getpid()
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        plain = {"address": address.replace("tls", "tcp")}
        wrong_certificate = {"address": address, "security": Security.temporary()}
        for options in (plain, wrong_certificate):
            with pytest.raises(OSError, match=r"closed|certificate"), Client(**options, timeout=2):
                pass
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        ports = {socket_address.port for process in processes for socket_address in listen(process)}
        assert len(ports) >= 3
        for port in ports:
            assert not accepts_an_outsider(port), f"port {port} accepts a client without certificate"
        assert client.submit(sum, [1, 2]).result() == 3  # these attempts disturb nothing
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as unprotected:
        assert accepts_an_outsider(int(unprotected.scheduler_address.rpartition(":")[2]))  # the check can fail


def accepts_an_outsider(port):
    """Return whether a process accepts Dask's messages at `port`, without encryption or without our certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for wrap in (lambda plain: plain, context.wrap_socket):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as plain:
            connection = wrap(plain)
            connection.settimeout(0.5)
            received = connection.recv(8)  # a Dask server sends its handshake first
            if received and not received.startswith((b"HTTP", b"\x15")):  # \x15: an alert of TLS
                return True
    return False


def test_a_cluster_with_tls_names_what_is_missing(cluster, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "CONNECT_SECONDS", 2)
    grid = [str(write_notebook(tmp_path)), "-p", "profile=smoke"]
    with use_certificates(dict.fromkeys(cluster.client_variables)):
        assert cli.main(["grid", *grid, "--scheduler", cluster.address]) == 1
        assert "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, " in capsys.readouterr().err
        assert cli.main(["grid", *grid, "--scheduler", cluster.address.replace("tls", "tcp")]) == 1
        assert "is it running, without TLS?" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    with use_certificates(write_certificates(tmp_path / "other")):
        assert cli.main(["grid", *grid, "--scheduler", cluster.address]) == 1
        assert "with the same certificates?" in capsys.readouterr().err
    missing = tmp_path / "none.pem"
    with dask.config.set({"distributed.comm.tls.ca-file": str(missing)}):
        assert cli.main(["grid", *grid, "--scheduler", cluster.address]) == 1
        assert capsys.readouterr().err
    assert not runs.exists()


DEFAULTS = {"profile": None, "seed": 0, "sigma": 2, "data_dir": None}


def test_values_of_a_parameter_are_separated_by_commas_or_given_one_by_one():
    given = plan.read_grid(["sigma=1,2.5,x,True,None", "seed=7", "sigma=[1,2]", "sigma=1,x"], DEFAULTS)
    assert given == {"sigma": (1, 2.5, "x", True, None, [1, 2]), "seed": (7,)}
    assert [type(value) for value in given["sigma"]] == [int, float, str, bool, type(None), list]


def test_a_value_that_is_given_twice_is_one_run_and_equal_values_of_different_types_are_several():
    assert plan.read_grid(["seed=1,1,2", "seed=2"], DEFAULTS) == {"seed": (1, 2)}
    assert len(plan.read_grid(['sigma=1,1.0,True,"1",[1],nan,nan'], DEFAULTS)["sigma"]) == 6


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["sede=1"], "no parameter 'sede'; it has profile, seed, sigma, data_dir"),
        (["seed"], "lacks a value"),
        (["seed=1,"], "lacks a value"),
        (["seed=1, ,2"], "lacks a value"),
        (["sigma=[1,2"], "a ] is missing"),
        (["sigma=[a,b]"], "not a JSON or Python literal"),
        (["sigma=a\udcff"], "not valid Unicode"),
        (["profile=fast"], "profile is 'fast'; choose one of smoke, quick, full"),
        (["seed=0,x"], "seed is 'x'; choose a whole number from 0 to 4294967295"),
        (["seed=-1"], "the seed is -1; choose a whole number"),
        (['sigma={"a":1,"a":2}'], "the key 'a' comes twice"),
        (["seed=1.5"], "seed is 1.5; choose a whole number"),
        (["seed=True"], "seed is True; choose a whole number"),
        ([f"seed={'x' * 10**5}"], "seed is 'xxx"),
        ([f"{'x' * 10**5}=1"], "no parameter 'xxx"),
    ],
)
def test_a_mistake_is_refused_in_a_short_message_before_anything_starts(texts, message, tmp_path, capsys, runs):
    notebook = new_notebook(cells=[new_code_cell("\n".join(f"{name} = {value!r}" for name, value in DEFAULTS.items()))])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    arguments = [word for text in texts for word in ("-p", text)]
    assert cli.main(["grid", str(tmp_path / "tiny.ipynb"), *arguments]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed) < 500
    assert not runs.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_workers": 0}, "at least 1"), ({"num_workers": 1, "scheduler": "tcp://x"}, "not both")],
)
def test_impossible_workers_are_refused(options, message, tmp_path):
    with pytest.raises(plan.GridError, match=message):
        plan.run_grid(write_notebook(tmp_path), [], **options)


def test_a_notebook_that_is_missing_or_broken_or_has_a_column_of_the_table_is_refused(tmp_path):
    with pytest.raises(lessons.LessonFailed, match="there is no such notebook"):
        plan.plan_grid(tmp_path / "none.ipynb", [])
    for text in ("", "{", "[]", "{}", "\0", '{"nbformat": 4, "cells": 3}'):
        (tmp_path / "broken.ipynb").write_text(text)
        with pytest.raises(lessons.LessonFailed, match=r"broken\.ipynb"):
            plan.plan_grid(tmp_path / "broken.ipynb", [])
    for name, message in {"state": "column 'state'", "seed": "seed is '<draw\\(\\)>'"}.items():
        cell = new_code_cell(f"{name} = draw()", metadata={"tags": ["parameters"]})
        nbformat.write(new_notebook(cells=[cell]), tmp_path / "tiny.ipynb")
        with pytest.raises(plan.GridError, match=message):
            plan.plan_grid(tmp_path / "tiny.ipynb", [])


def test_different_values_and_different_notebooks_never_share_a_table(tmp_path, runs):
    path = write_notebook(tmp_path)
    texts = ["a b", "a/b", "a-b", "A B", "1", "1.0", "True", '"1"', '"True"', "None", '"None"', '""', "[1]", '"[1]"']
    texts += ["x" * 500, "x" * 501, "数", "字", "nan", "1,2", "2,1", '"1,2"', "..", "CON"]
    tables = [plan.plan_grid(path, [f"mode={text}"]).find_table() for text in texts]
    (tmp_path / "copy").mkdir()
    tables.append(plan.plan_grid(write_notebook(tmp_path / "copy"), ["mode=1"]).find_table())
    assert len({table.name.casefold() for table in tables}) == len(tables)
    for table in tables:
        assert table.parent == runs / "grids"
        assert len(os.fsencode(table.name)) < 200  # of 255, and a partial file has a longer name
    assert plan.plan_grid(path, ["mode=a b"]).find_table() == tables[0]


def test_a_table_shows_none_and_types_and_only_an_absent_value_is_empty(tmp_path):
    rows = [
        {"run": "a", "sigma": None, "mode": "=1+1", "state": "failed", "reason": "=x, y"},
        {"run": "b", "sigma": "None", "mode": "a,\nb", "state": "finished", "reason": "", "ap": 0.5, "=ap": -1},
        {"run": "c", "sigma": -1, "mode": [1, None], "state": "finished", "reason": "", "ap": float("nan")},
        {"run": "d", "sigma": "-1", "mode": True, "state": "missing", "reason": ""},
    ]
    plan.write_table(tmp_path / "table.csv", rows)
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines() == [
        "run,sigma,mode,state,reason,ap,'=ap",
        'a,None,"""=1+1""",failed,"\'=x, y",,',
        'b,"""None""","""a,\\nb""",finished,,0.5,-1',
        'c,-1,"[1, null]",finished,,nan,',
        'd,"""-1""",True,missing,,,',
    ]


def test_a_figure_shows_values_of_any_kind_apart(tmp_path, runs, monkeypatch):
    values = ["$\\foo$", None, True, "1", "[1]", "{}", "x" * 300, "x" * 301, "nan"]
    given = [f"mode={','.join(map(plan.show_value, values))},[1],nan,{{}}", "profile=smoke"]
    grid = plan.plan_grid(write_notebook(tmp_path), given)
    rows = [
        {"run": job.name, **job.parameters, "state": "finished", "text": "=1", "huge": 10**400, "answer": number}
        for number, job in enumerate(grid.jobs)
    ]
    labels = []
    plot_grid = plan.plotting.plot_grid
    monkeypatch.setattr(
        plan.plotting,
        "plot_grid",
        lambda rows, *rest: (labels.extend(row["mode"] for row in rows), plot_grid(rows, *rest))[1],
    )
    assert plan.draw_figure(tmp_path / "figure.png", grid, rows, None) == "answer"
    assert len(set(labels)) == len(grid.jobs) == 12
    assert max(map(len, labels)) <= plan.SHOWN_VALUE
    with pytest.raises(plan.GridError, match="no metric 'text'; they have answer"):
        plan.draw_figure(tmp_path / "figure.png", grid, rows, "text")


def test_an_unknown_metric_ends_a_grid_after_its_first_run_and_then_before_it(tmp_path, runs, capsys):
    path = write_notebook(tmp_path)
    arguments = ["grid", str(path), "-p", "profile=smoke", "-p", "seed=1,2,3", "--workers", "1", "--metric", "anser"]
    for num_runs in (1, 1):
        assert cli.main(arguments) == 1
        assert "the runs have no metric 'anser'; they have constant, answer" in capsys.readouterr().err
        assert sum(row["state"] == "finished" for row in read_table(runs).values()) == num_runs
    assert len({note["seed"] for note in read_notes(tmp_path)}) < 3
    num_starts = len(read_notes(tmp_path))
    assert cli.main([*arguments[:-1], "answer"]) == 0
    assert num_starts <= len(read_notes(tmp_path)) <= num_starts + 2
    assert {row["state"] for row in read_table(runs).values()} == {"finished"}


def test_a_metric_that_is_nan_in_a_run_does_not_stop_the_others(tmp_path, runs):
    grid = plan.plan_grid(write_notebook(tmp_path), ["seed=1,2"])
    rows = [{"state": "finished", "seed": 1, "answer": math.nan}, {"state": "missing", "seed": 2}]
    plan.check_metric(grid, rows, "answer")
    for metric in ("seed", "state", "text"):
        with pytest.raises(plan.GridError, match=f"no metric '{metric}'; they have answer"):
            plan.check_metric(grid, [rows[0] | {"text": "one"}], metric)
    plan.check_metric(grid, rows[1:], "anything")


def test_a_missing_cluster_is_named(tmp_path, runs, capsys, monkeypatch):
    monkeypatch.setattr(plan, "CONNECT_SECONDS", 0.2)
    assert cli.main(["grid", str(write_notebook(tmp_path)), "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "no cluster at tcp://127.0.0.1:1" in capsys.readouterr().err


def test_the_name_of_a_run_depends_on_what_changes_its_results_and_on_nothing_else(tmp_path, monkeypatch):
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
    assert name("profile=quick") in names  # an output is not part of the identity
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
    assert grid.find_table().name.startswith("tiny_mode=b,a_seed=1,2_profile=quick_")


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


def test_a_table_that_cannot_be_written_fails_the_call_and_not_the_runs(tmp_path, runs, capsys, monkeypatch):
    path = write_notebook(tmp_path)
    monkeypatch.setattr(plan, "describe_run", lambda grid, job, reason="": {"run": job.name, "state": "finished"})
    runs.mkdir()
    (runs / "grids").write_text("a file where a folder should be")
    assert cli.main(["grid", str(path), "-p", "profile=smoke"]) == 1
    assert "could not be written" in capsys.readouterr().err


def finish_run(grid, results):
    """Write the files of a finished run of the first job, with this text as its results; return their path."""
    executed = grid.find_executed(grid.jobs[0])
    executed.parent.mkdir(parents=True)
    record = {"workbook": {"digest": grid.jobs[0].digest}, "papermill": {"duration": 1.25}}
    nbformat.write(new_notebook(metadata=record), executed)
    executed.with_name("results.json").write_text(results)
    return executed.with_name("results.json")


def test_a_finished_run_has_its_seconds_device_and_metrics_in_its_row(tmp_path, runs):
    grid = plan.plan_grid(write_notebook(tmp_path), ["profile=smoke"])
    finish_run(grid, '{"seed": 0, "device": "CPU", "metrics": {"answer": 4.5, "mode": 1}}')
    row = plan.describe_run(grid, grid.jobs[0])
    assert (row["state"], row["run_seconds"], row["device"]) == ("finished", 1.2, "CPU")
    assert (row["answer"], row["mode"], row["metric mode"]) == (4.5, "finish", 1)


@pytest.mark.parametrize("text", ["", "[1]", '{"metrics": [1]}', '{"seed": "0"}', '{"metrics": {}, "device": 3}'])
def test_a_run_with_damaged_results_is_missing_and_if_they_become_damaged_later_they_are_named(
    text, tmp_path, runs, monkeypatch, capsys
):
    path = write_notebook(tmp_path)
    grid = plan.plan_grid(path, ["profile=smoke"])
    results = finish_run(grid, text)
    assert plan.describe_run(grid, grid.jobs[0])["state"] == "missing"
    monkeypatch.setattr(lessons, "is_run", lambda *arguments: True)
    assert cli.main(["grid", str(path), "-p", "profile=smoke"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(str(results))
    assert printed.count("\n") == 1
    assert len(printed) < 500


def test_a_folder_of_runs_that_cannot_be_written_ends_the_command_before_the_first_run(tmp_path, runs, capsys):
    runs.write_text("a file where a folder should be")
    assert cli.main(["grid", str(write_notebook(tmp_path)), "-p", "profile=smoke", "--workers", "1"]) == 1
    printed = capsys.readouterr().err
    assert str(runs) in printed
    assert printed.count("\n") == 1
    assert read_notes(tmp_path) == []


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


@pytest.mark.parametrize("hosts", [{"key": []}, {}])
def test_a_worker_that_is_gone_before_its_files_are_fetched_is_named(hosts, tmp_path, runs):
    job = plan.plan_grid(write_notebook(tmp_path), []).jobs[0]
    client, future = create_autospec(Client, instance=True), create_autospec(Future, instance=True)
    client.who_has.return_value = hosts
    with pytest.raises(ConnectionError, match="the worker on there is gone"):
        plan.fetch(client, future, job, worker.Outcome("", "there", {"tiny.log": (5, 10**18)}))
    client.run.assert_not_called()
