"""Work in a fork: what it sends arrives, and nothing that it does to itself or leaves behind reaches this process."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from helpers.tasks import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot grade without a container")

LIMITS = {"seconds": 20.0, "memory": 1e9}


def test_values_arrive_in_order():
    def work(send):
        for number in range(3):
            send({"number": number})

    assert forks.run_in_child(work, **LIMITS) == forks.Reply([{"number": 0}, {"number": 1}, {"number": 2}], "")


def test_a_value_larger_than_a_pipe_arrives():
    reply = forks.run_in_child(lambda send: send("x" * 1_000_000), **LIMITS)
    assert len(reply.values[0]) == 1_000_000


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (lambda: os._exit(0), ""),
        (lambda: os._exit(3), "its process died"),
        (lambda: os.kill(os.getpid(), 9), "its process died"),
        (lambda: time.sleep(60), "it was still running after 0.5 s"),
    ],
)
def test_what_was_sent_before_the_end_is_kept(end, problem):
    def work(send):
        send(1)
        end()

    reply = forks.run_in_child(work, 0.5 if "0.5" in problem else 20.0, 1e9)
    assert (reply.values, reply.problem) == ([1], problem)


def test_an_exception_ends_the_child():
    def work(send):
        raise ValueError

    assert forks.run_in_child(work, **LIMITS).problem == "its process died"


def test_memory_is_limited():
    def work(send):
        held = bytearray(b"x" * 400_000_000)
        time.sleep(60)
        send(len(held))

    assert "GB of memory" in forks.run_in_child(work, 30.0, 2e8).problem


def test_too_much_is_not_read(monkeypatch):
    monkeypatch.setattr(forks, "LARGEST_REPLY", 1000)
    reply = forks.run_in_child(lambda send: send("x" * 10_000), **LIMITS)
    assert reply == forks.Reply([], "it returned more than 0.001 MB")


@pytest.mark.parametrize("line", [b"no json\n", b"[" * 100_000 + b"\n", b"incomplete"])
def test_what_is_no_json_ends_the_list(line):
    assert forks._parse(b"1\n" + line) == [1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a subreaper, which Linux has")
def test_processes_that_the_child_leaves_are_ended():
    code = """
import os, time
from helpers.tasks import forks
forks.adopt_orphans()
def work(send):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", "7303"], {})
        os._exit(0)
    time.sleep(0.2)
    send("done")
print(forks.run_in_child(work, 20.0, 1e9).values)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['done']"
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert ["sleep", "7303"] not in commands
