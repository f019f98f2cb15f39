"""The process that runs a student's code: what starts, what it sees, and how it ends. Attacks are in test_attacks."""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from helpers.course import sandbox
from helpers.course.attempts import Setting, try_exercises
from helpers.course.sandbox import AttemptEnded, Limits, Stopped, View, open_process
from helpers.paths import ROOT
from tests.course.tiny import is_running

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot grade without a container")


def test_a_machine_without_bubblewrap_is_described(monkeypatch):
    sandbox.find_sandbox.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    try:
        kind, reason = sandbox.find_sandbox()
        assert kind == sandbox.PLAIN
        assert "apt install bubblewrap" in reason
        assert "WARNING: no sandbox, because bubblewrap is not installed" in sandbox.describe_missing_sandbox()
    finally:
        sandbox.find_sandbox.cache_clear()


def test_a_bubblewrap_that_does_not_start_is_described(monkeypatch):
    def refuse(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "bwrap: setting up uid map: Permission denied")

    sandbox.find_sandbox.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/usr/bin/bwrap")
    monkeypatch.setattr(sandbox.subprocess, "run", refuse)
    try:
        kind, reason = sandbox.find_sandbox()
        assert (kind, reason) == (
            sandbox.PLAIN,
            "bubblewrap does not start: bwrap: setting up uid map: Permission denied",
        )
    finally:
        sandbox.find_sandbox.cache_clear()


@pytest.fixture(params=["sandboxed", "plain"])
def any_kind(request):
    """Run a test in the sandbox and as a plain process."""
    request.getfixturevalue(request.param)
    return request.param


def learn(plan, views, source, limits=None):
    """Return the answer `first` of a solution cell, or the problem."""
    exercise = plan.exercises[0]
    setting = Setting(limits or Limits(cell=20.0, memory=2e9))
    view = views.of_answers(plan.lesson.stem)
    (answered,) = try_exercises(plan, [exercise], {exercise.task.solution: source}, view, setting).values()
    return answered.answers.get("first", answered.problem)


def test_an_attempt_has_a_folder_and_a_temporary_folder_of_its_own_at_smoke(any_kind, plan, views):
    source = """
import tempfile
from helpers import paths
Path("mine").touch()
Path(tempfile.gettempdir(), "mine").touch()
first = [os.getcwd(), tempfile.gettempdir(), os.environ["WORKBOOK_PROFILE"], os.environ["HOME"], str(paths.ROOT)]
"""
    folder, temporary, profile, home, root = learn(plan, views, source)
    assert profile == "smoke"
    assert folder == f"{root}/notebooks"
    if any_kind == "sandboxed":
        assert (root, temporary, home) == ("/workbook", "/tmp", "/home")
    else:
        assert temporary == home == f"{root}/tmp"
        assert not Path(root).exists()  # removed at the end
    assert not Path(root).is_relative_to(ROOT)


def test_what_a_solution_prints_costs_nothing(any_kind, plan, views):
    flood = (
        "for _ in range(50):\n    print('x' * 10**6)\nos.write(1, b'x' * 10**6)\nos.write(2, b'x' * 10**6)\nfirst = 1"
    )
    assert learn(plan, views, flood) == 1


def test_files_that_may_change_are_copies(any_kind, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "last.txt").write_text("weights")
    view = View({ROOT / "helpers" / "tasks": "helpers/tasks"}, {tmp_path / "model": "data/runs/model"})
    view = View({**view.fixed, **{ROOT / "helpers": "helpers"}}, view.copied)
    cell = "text = open('../data/runs/model/last.txt').read()\nopen('../data/runs/model/last.txt', 'w').write('new')"
    request = {"kind": "answers", "memory": 1e9, "seconds": 9.0, "num_processes": 0}
    with open_process(view, Limits()) as process:
        request |= {"copies": process.copies, "cells": [{"task": 1, "source": cell, "names": ["text"]}]}
        process.send(request)
        assert process.receive(60)["values"] == [{"answers": {"text": {"value": "weights"}}}]
    assert (tmp_path / "model" / "last.txt").read_text() == "weights"


@pytest.fixture
def process(sandboxed, views):
    with open_process(views.of_functions(), Limits()) as process:
        yield process


def test_a_process_that_is_told_to_stop_is_not_waited_for(process):
    threading.Timer(0.3, process.stop.set).start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        process.receive(60)
    assert time.monotonic() - started < 10


def test_a_process_that_does_not_reply_is_named(process):
    with pytest.raises(AttemptEnded, match="still running after"):
        process.receive(0.3)


def test_a_program_that_fails_is_named_with_its_error(process):
    process.send({"memory": 1e9, "num_processes": 0, "kind": "unknown"})
    with pytest.raises(AttemptEnded, match="its process died"):
        process.receive(60)


def test_a_process_that_does_not_read_its_inputs_is_named_with_the_remedy(any_kind, views, monkeypatch):
    monkeypatch.setattr(sandbox, "START_LIMIT", 0.2)
    with open_process(views.of_functions(), Limits()) as process:
        for waiting in process.find_processes():
            waiting.suspend()
        with pytest.raises(AttemptEnded, match=r"did not read its inputs within 0\.2 s.*grade it again"):
            process.send({"filler": "x" * 10**6})  # more than a pipe holds


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"no json\n", "not JSON"), (b"[" * 100_000 + b"\n", "not JSON"), (b"[]\n", "not a JSON object")],
)
def test_a_reply_that_is_no_object_is_refused(data, message, process):
    process._waiting += data
    with pytest.raises(AttemptEnded, match=message):
        process.receive(1)


def test_a_reply_that_is_too_long_is_refused(process, monkeypatch):
    monkeypatch.setattr(sandbox, "LARGEST_LINE", 1000)
    process._waiting += b"x" * 2000
    with pytest.raises(AttemptEnded, match=r"more than 0\.001 MB"):
        process.receive(1)


def test_at_the_end_no_process_is_left(any_kind, views):
    with open_process(views.of_functions(), Limits()) as process:
        processes = process.find_processes()
        assert processes
    assert not any(map(is_running, processes))


def test_a_sandbox_outlives_the_thread_that_asked_for_it(sandboxed, views):
    started = []
    thread = threading.Thread(target=lambda: started.append(sandbox.Process(views.of_functions(), Limits())))
    thread.start()
    thread.join()
    time.sleep(0.3)
    try:
        assert any(map(is_running, started[0].find_processes()))
    finally:
        started[0].close()


def test_the_environment_of_an_attempt_is_its_own(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    environment = sandbox.build_environment(Path("/workbook"))
    assert "SECRET" not in environment
    assert environment["USER"] == "student"


def test_a_copy_of_the_workbook_among_the_packages_is_hidden(tmp_path, monkeypatch):
    (tmp_path / "site-packages" / "helpers").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    for function in (sandbox.find_installed_copies, sandbox.find_environment):
        function.cache_clear()
    try:
        command = sandbox.build_command(View({}, {}))
        place = command.index(str(tmp_path / "site-packages" / "helpers"))
        assert command[place - 1] == "--tmpfs"
    finally:
        for function in (sandbox.find_installed_copies, sandbox.find_environment):
            function.cache_clear()
