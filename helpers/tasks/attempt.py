"""Process in which a student's code runs for a grade. It holds no right answer: what it sends is judged elsewhere.

The program reads requests from standard input and writes replies to standard output, one JSON object per line:

    functions   build tasks: each function is run on given inputs, and what it returns is sent as plain values
    answers     exercises: the lesson's cells run, and the named answers of each solution cell are sent as plain values
    checks      the instructor's side of the exercises: the lesson's cells run, and check cells are run on answers that
                come from other processes

A student's cell always runs in a fork of its own. The program then kills every process that the cell has left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from helpers import paths
from helpers.tasks import forks

LARGEST_FILE = 1_000_000_000  # bytes that a process may write into one file
MISSING = "missing"

Request = Mapping[str, Any]


@dataclass(frozen=True)
class Channel:
    """The two ends that connect this process with the grader."""

    requests: BinaryIO
    replies: BinaryIO

    def receive(self) -> Request | None:
        """Return the next request, or None after the last one."""
        line = self.requests.readline()
        return json.loads(line) if line else None

    def send(self, reply: Mapping[str, Any]) -> None:
        """Send a reply."""
        self.replies.write(json.dumps(reply).encode() + b"\n")
        self.replies.flush()

    def close(self) -> None:
        """Close both ends in this process."""
        self.requests.close()
        self.replies.close()


def open_channel() -> Channel:
    """Return the channel of standard input and output; from here on, the process itself reads and prints nothing."""
    channel = Channel(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    return channel


def limit_process(memory: float, num_processes: int) -> None:
    """Limit what this process and its children may use, as a second line behind the grader's measurements."""
    import resource

    limits = {"RLIMIT_FSIZE": LARGEST_FILE, "RLIMIT_CORE": 0, "RLIMIT_AS": int(2 * memory + 8e9)}
    if num_processes:
        limits["RLIMIT_NPROC"] = num_processes  # counted per sandbox; without one, all processes of the user count
    for name, limit in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (limit, limit))
    with contextlib.suppress(OSError):
        os.nice(5)  # the grader must be able to watch


def main() -> None:
    """Serve the requests of one grader."""
    channel = open_channel()
    request = channel.receive()
    if request is None:
        return
    limit_process(request["memory"], request["num_processes"])
    forks.adopt_orphans()
    for source, place in request.get("copies", ()):
        shutil.copytree(source, paths.ROOT / place, dirs_exist_ok=True)
    programs = {"functions": run_functions, "answers": run_answers, "checks": serve_checks}
    programs[request["kind"]](channel, request)


# Build tasks


def run_functions(channel: Channel, request: Request) -> None:
    """Run each function of the request on its cases, in a fork each, and send what it returned."""
    import torch

    torch.set_num_threads(1)
    from helpers.tasks import running, solutions  # noqa: F401  imported once, before all forks

    for task in request["tasks"]:

        def work(send: forks.Send, task: Request = task) -> None:
            channel.close()
            _run_function(task, request["solutions"], send)

        reply = forks.run_in_child(work, request["seconds"], request["memory"])
        channel.send({"task": task["name"], "values": reply.values, "problem": reply.problem})


def _run_function(task: Request, others: Mapping[str, str], send: forks.Send) -> None:
    """Send the outcome of each case, or why there is no function.

    Args:
        others: cells of other tasks, whose functions take the place of the workbook's.
    """
    from helpers.tasks import running, solutions
    from helpers.tasks.cells import describe_error
    from helpers.tasks.compiled import CompiledCase
    from helpers.tasks.values import from_json, to_json

    for name, source in others.items():
        if name != task["name"]:
            with contextlib.suppress(BaseException):  # the other task's own result shows what is wrong with it
                solutions.use_solution(name, solutions.load_function(source, name))
    try:
        function = solutions.load_function(task["source"], task["name"])
    except BaseException as error:
        send({"problem": str(error) if isinstance(error, solutions.NoSolution) else describe_error(error)})
        return
    partners = {}
    for name, source in task["partners"].items():
        try:
            partners[name] = solutions.load_function(source, name)
        except BaseException:  # the partner's own task shows what is wrong with it
            continue
    for content in task["cases"]:
        case = CompiledCase(
            group="",
            title="",
            driver=content["driver"],
            partners=tuple(content["partners"]),
            inputs=from_json(content["inputs"]),
            keywords=from_json(content["keywords"]),
            tolerance=0.0,
            accepted=[],
            may_change_inputs=content["may_change_inputs"],
        )
        try:
            outcome = running.run_case(function, case, partners)
        except BaseException as error:  # SystemExit and its like
            send({"problem": describe_error(error)})
            return
        send(dict(vars(outcome)) | {"value": to_json(outcome.value)})


# Exercises


def run_answers(channel: Channel, request: Request) -> None:
    """Run the cells of a lesson; send the named answers of each solution cell, which runs in a fork."""
    from helpers.tasks import values  # noqa: F401  imported once, before all forks
    from helpers.tasks.cells import run_cell, start_shell

    shell = start_shell()
    problem = ""
    for cell in request["cells"]:
        if "task" not in cell:
            error = run_cell(shell, cell["source"])
            problem = problem or error
            continue

        def work(send: forks.Send, cell: Request = cell) -> None:
            channel.close()
            error = run_cell(shell, cell["source"])
            send({"error": error} if error else {"answers": read_answers(shell.user_ns, cell["names"])})

        reply = forks.run_in_child(work, request["seconds"], request["memory"])
        channel.send({"task": cell["task"], "values": reply.values, "problem": reply.problem, "lesson": problem})


def read_answers(namespace: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return each named answer as {"value": JSON of a plain value} or {"problem": why it is none}."""
    from helpers.tasks.cells import describe_error
    from helpers.tasks.values import NotPlain, to_json, to_plain

    answers = {}
    for name in names:
        try:
            answers[name] = {"value": to_json(to_plain(namespace[name]))}
        except KeyError:
            answers[name] = {"problem": MISSING}
        except NotPlain as error:
            answers[name] = {"problem": f"not a plain value but {error}"}
        except Exception as error:
            answers[name] = {"problem": f"not a plain value ({describe_error(error)})"}
    return answers


def serve_checks(channel: Channel, request: Request) -> None:
    """Run the cells of a lesson with its own solutions, then run check cells on the answers of each request.

    At each check a fork of this process stays as it is: a check always finds the variables of its place in the lesson.
    """
    from helpers.tasks import values  # noqa: F401  imported once, before all forks
    from helpers.tasks.cells import run_cell, start_shell

    shell = start_shell()
    problems, places = [], {}
    for cell in request["cells"]:
        error = run_cell(shell, cell["source"])
        if error:
            problems.append(error)
        if "check" in cell:
            places[cell["task"]] = _start_place(cell, shell.user_ns, lambda source: run_cell(shell, source), request)
            if error := run_cell(shell, cell["check"]):
                problems.append(f"task {cell['task']} refuses the lesson's own solution: {error}")
    channel.send({"ready": True, "problems": problems})
    while (answers := channel.receive()) is not None:
        place = places[answers["task"]]
        place.send(answers)
        channel.send(place.receive() or {"error": "the check's process died"})


def _start_place(cell: Request, namespace: dict[str, Any], run: Callable[[str], str], request: Request) -> Channel:
    """Return the channel to a fork of this process that runs the check of `cell` on given answers."""
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return Channel(ours.makefile("rb"), ours.makefile("wb"))
    try:
        ours.close()
        forks.adopt_orphans()
        channel = Channel(theirs.makefile("rb"), theirs.makefile("wb"))
        while (answers := channel.receive()) is not None:

            def work(send: forks.Send, answers: Request = answers) -> None:
                set_answers(namespace, answers["answers"])
                send({"error": run(cell["check"])})

            files = _list_files()
            reply = forks.run_in_child(work, request["seconds"], request["memory"])
            for path in _list_files() - files:  # a check that trains starts from the same files for each student
                path.unlink(missing_ok=True)
            channel.send(reply.values[0] if reply.values else {"error": f"the check ended: {reply.problem}"})
    finally:
        os._exit(0)


def _list_files() -> set[Path]:
    return {path for path in paths.RUNS.rglob("*") if path.is_file()}


def set_answers(namespace: dict[str, Any], answers: Mapping[str, Any]) -> None:
    """Put the JSON of plain values into a namespace, in the types of the values that they replace."""
    from helpers.tasks.values import from_json

    for name, value in answers.items():
        namespace[name] = adapt(from_json(value), namespace.get(name))


def adapt(value: Any, example: Any) -> Any:
    """Return a plain value in the type of an example, as far as that loses nothing.

    Arrays become tensors unless the example is an array; lists become tuples, and texts that are keys become numbers,
    where the example has these.
    """
    import numpy as np

    from helpers.tasks.values import to_inputs

    if isinstance(value, np.ndarray):
        return value if isinstance(example, np.ndarray | np.generic) else to_inputs(value)
    if isinstance(value, list):
        is_sequence = isinstance(example, list | tuple)
        items = [
            adapt(item, example[min(number, len(example) - 1)] if is_sequence and len(example) else None)
            for number, item in enumerate(value)
        ]
        return tuple(items) if isinstance(example, tuple) else items
    if isinstance(value, dict):
        keys = {str(key): key for key in example} if isinstance(example, dict) else {}
        some = next(iter(example.values()), None) if isinstance(example, dict) else None
        return {
            keys.get(key, key): adapt(item, example[keys[key]] if key in keys else some) for key, item in value.items()
        }
    return value


if __name__ == "__main__":
    sys.exit(main())
