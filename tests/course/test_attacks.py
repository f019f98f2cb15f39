"""Attacks on the grader: none earns a point, reads or writes what is not the attempt's own, or outlives its attempt."""

import getpass
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from helpers.course import attempts, grading, sandbox
from helpers.course.attempts import Answer, Setting, set_skips
from helpers.course.sandbox import Limits
from helpers.course.submissions import Submission
from helpers.paths import ROOT
from helpers.tasks.values import Failure
from tests.course.tiny import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot grade without a container")

CHEATS = {
    "an object that equals everything": """
class Same:
    def __eq__(self, other):
        return True
    __gt__ = __lt__ = __ge__ = __le__ = __eq__
    __hash__ = None
first = Same()""",
    "a number of another class, and replaced functions": """
import builtins
class Number(float):
    __eq__ = __gt__ = __lt__ = lambda self, other: True
builtins.abs = lambda value: 0.0
first = Number(5)""",
    "asserts are stripped": """
import ast
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Strip())
first = 5""",
    "later cells are emptied": """
get_ipython().input_transformers_cleanup.append(lambda lines: [])
first = 5""",
    "the shell is replaced": """
shell = get_ipython()
type(shell).run_cell = lambda *arguments, **keywords: None
type(shell).run_cell_async = lambda *arguments, **keywords: None
first = 5""",
    "replies are forged": """
import glob, os
forged = b'{"task": 1, "values": [{"error": "", "passed": true, "points": 3}], "problem": "", "error": ""}\\n'
for place in [*glob.glob("/proc/self/fd/*"), *glob.glob(f"/proc/{os.getppid()}/fd/*")]:
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_NONBLOCK)
        os.write(descriptor, forged * 3)
    except OSError:
        pass
first = 5""",
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_no_cheat_earns_a_point_or_costs_another_task_its_points(cheat, attempt):
    one, two = attempt(CHEATS[cheat])
    assert one.points == 0
    assert one.remark
    assert (two.points, two.remark) == (4, "")


def test_a_hook_on_the_cells_of_a_right_solution_sees_no_hidden_test(attempt, spy):
    hook = "get_ipython().events.register('pre_run_cell', lambda info: open('/tmp/seen', 'a').write(info.raw_cell))\n"
    one, two = attempt(f"{hook}first = 1", "second = 4\nassert not Path('/tmp/seen').exists()")
    assert [one.points, two.points] == [3, 4]


USUAL = Limits(cell=20.0, memory=1.5e9)


@pytest.fixture
def spy(plan, views, sandboxed):
    """Function that runs a solution cell in the sandbox and returns what it assigns to `first`, or its error."""

    def run(source, limits=USUAL):
        exercise = plan.exercises[0]
        solutions = {exercise.task.solution: source}
        view = views.of_answers(plan.lesson.stem)
        (answered,) = attempts.try_exercises(plan, [exercise], solutions, view, Setting(limits)).values()
        return answered.answers.get("first", answered.problem)

    return run


READ = """
import glob
places = json.loads(PLACES)
first = []
for place in places:
    try:
        names = os.listdir(place) if os.path.isdir(place) else [open(place, "rb").read(20).decode(errors="replace")]
        first.append(place)
    except OSError as error:
        pass
"""


def test_the_instructor_s_files_and_other_submissions_cannot_be_read(spy, tmp_path):
    other = tmp_path / "submissions" / "bob" / "09_tiny.ipynb"
    other.parent.mkdir(parents=True)
    other.write_text("secret")
    assert json.loads(
        spy(f"import json\nPLACES = {json.dumps(json.dumps([sys.prefix]))}\n{READ}\nfirst = str(len(first))")
    )
    places = [other, ROOT / "notebooks", ROOT / "helpers", ROOT / "tests", ROOT / ".git", ROOT / "data"]
    places += [tmp_path, os.path.expanduser("~/.ssh"), os.path.expanduser("~/.bashrc"), "/etc/passwd", "/etc/shadow"]
    places += ["/var", "/root/.cache", "/proc/1/cwd/etc/passwd", "/workbook/helpers/course", "/proc/1/environ"]
    places += ["/workbook/notebooks/09_tiny.ipynb", "/workbook/data/grades", "/workbook/helpers/tasks/compiled_checks"]
    source = f"import json\nPLACES = {json.dumps(json.dumps([str(place) for place in places]))}\n{READ}"
    readable = set(spy(source))
    assert readable <= {"/proc/1/environ"}


def test_an_attempt_sees_no_process_no_variable_and_no_command_of_the_grader(spy, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_INSTRUCTOR", "hidden")
    found = spy("""
first = []
for number in sorted(name for name in os.listdir("/proc") if name.isdecimal()):
    for name in ("environ", "cmdline"):
        try:
            first.append(open(f"/proc/{number}/{name}", "rb").read().decode(errors="replace"))
        except OSError:
            pass
first.append(str(dict(os.environ)))
""")
    text = "".join(found)
    assert "attempt" in text
    assert "hidden" not in text
    assert "SECRET_OF_THE_INSTRUCTOR" not in text
    assert "PYTEST_CURRENT_TEST" not in text
    assert getpass.getuser() == "student" or f"USER={getpass.getuser()}" not in text


def test_the_attempt_s_program_holds_no_check_and_no_right_answer(spy):
    found = spy("""
import gc
texts = [str(value) for value in gc.get_objects() if type(value) in (dict, list) and len(value) < 30]
first = [text[:200] for text in texts if "first is not one" in text or "HIDDEN" in text or "is too small" in text]
first = [text for text in first if "__builtins__" not in text]
""")
    assert [text for text in found if "is not one" in text and "texts = " not in text] == []


def test_nothing_is_written_outside_the_attempt(spy, tmp_path):
    places = [ROOT / "helpers" / "stain.py", ROOT / "stain", sys.prefix + "/stain", os.path.expanduser("~/stain")]
    places += [str(tmp_path / "stain"), "/usr/stain", "/workbook/helpers/stain.py", "/dev/stain", "/stain"]
    source = f"""
places = {[str(place) for place in places]!r}
first = []
for place in places:
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        open(place, "w").write("x")
        first.append(place)
    except OSError:
        pass
"""
    in_memory = {place for place in places if str(place).startswith(("/tmp/", "/home/"))}  # the attempt's own folders
    assert set(spy(source)) <= set(map(str, in_memory))
    assert not [place for place in places if os.path.exists(place)]


def test_a_full_disk_is_the_attempt_s_own(spy, monkeypatch, views, plan):
    monkeypatch.setattr(sandbox, "LARGEST_PART", 5_000_000)
    source = """
first = []
for place in ("/tmp", "/home", "/dev/shm", "/workbook/notebooks"):
    try:
        for number in range(3):
            open(f"{place}/{number}", "wb").write(b"x" * 3_000_000)
    except OSError as error:
        first.append(error.strerror)
"""
    assert spy(source) == ["No space left on device"] * 4


def test_no_network_is_reached(spy):
    server = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\0workbook-test-of-attacks")
    abstract.listen()
    with server, abstract:
        port = server.getsockname()[1]
        found = spy(f"""
import socket
first = [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]]
for kind, address in ((socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_UNIX, "\\0workbook-test-of-attacks"),
                      (socket.AF_INET, ("1.1.1.1", 53))):
    try:
        with socket.socket(kind) as client:
            client.settimeout(1)
            client.connect(address)
            first.append("connected")
    except OSError:
        pass
""")
    assert found == ["lo"]


DETACH = """
import subprocess
code = {code!r}
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", code], {{}})
    os._exit(0)
"""


def find_commands(text):
    """Return the numbers of the processes of this machine with a text in their command."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if text in line]


@pytest.mark.usefixtures("sandboxed")
def test_a_detached_process_without_an_environment_ends_with_its_task(attempt):
    detach = DETACH.format(code="import time; marker = 7301; time.sleep(600)")
    one, two = attempt(f"import sys\nfirst = 1\n{detach}")
    assert [one.points, two.points] == [3, 4]
    assert find_commands("marker = 7301") == []


def test_memory_of_a_detached_process_counts(spy):
    detach = DETACH.format(code="import time; held = b'x' * 900_000_000; time.sleep(600)")
    problem = spy(f"import sys\nfirst = 1\n{detach}\ntime.sleep(60)", Limits(cell=30.0, memory=6e8))
    assert "GB of memory" in problem


def test_many_processes_end_the_attempt(spy, monkeypatch):
    monkeypatch.setattr(sandbox, "NUM_PROCESSES", 30)
    problem = spy("for _ in range(60):\n    if os.fork() == 0:\n        time.sleep(60)\ntime.sleep(60)")
    assert "more than 30 processes" in problem or "BlockingIOError" in problem


def test_no_process_outside_can_be_ended(spy):
    victim = subprocess.Popen(["sleep", "600"])
    try:
        found = spy(f"""
import signal
first = []
for number in ({victim.pid}, {os.getpid()}):
    try:
        os.kill(number, signal.SIGKILL)
        first.append(number)
    except OSError:
        pass
""")
        assert [number for number in found if number > 50] == []  # small numbers are the attempt's own
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.usefixtures("sandboxed")
def test_an_attempt_that_ends_everything_it_can_costs_its_own_task(attempt):
    one, two = attempt("import signal\nos.kill(-1, signal.SIGKILL)\nos.kill(os.getppid(), signal.SIGKILL)\nfirst = 1")
    assert (one.points, one.remark) == (0, "its process died")
    assert two.points == 4


def test_attempts_at_the_same_time_do_not_see_each_other(plan, grader, sandboxed):
    hostile = "import signal\ntime.sleep(0.5)\nos.kill(-1, signal.SIGKILL)"
    sources = [hostile, "time.sleep(1)\nfirst = 1"]
    marks = {}

    def run(number):
        solutions = {plan.lesson.stem: {"09-1-solution": sources[number], "09-2-solution": "second = 4"}}
        marks[number] = grading.grade_exercises(Submission(str(number), solutions), plan, grader)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [mark.points for mark in marks[0]] == [0, 4]
    assert [mark.points for mark in marks[1]] == [3, 4]


def test_the_grader_s_death_ends_its_attempts(plan, views, sandboxed, tmp_path):
    grader = os.fork()
    if grader == 0:
        try:
            limits = Limits(cell=600.0)
            source = {"09-1-solution": "import subprocess\nsubprocess.run(['sleep', '7302'])"}
            attempts.try_exercises(
                plan, plan.exercises[:1], source, views.of_answers(plan.lesson.stem), Setting(limits)
            )
        finally:
            os._exit(0)
    wait_until(lambda: find_commands("sleep 7302"))
    os.kill(grader, 9)
    os.waitpid(grader, 0)
    wait_until(lambda: not find_commands("sleep 7302"), seconds=10)


# Build tasks


def test_a_request_holds_inputs_alone(build_grader):
    task = build_grader.tasks["double"]
    request = attempts._make_task(task, "pass", {})
    assert request.keys() == {"name", "source", "partners", "cases"}
    assert all(
        case.keys() == {"driver", "partners", "inputs", "keywords", "may_change_inputs"} for case in request["cases"]
    )


@pytest.mark.parametrize(
    "value",
    [
        {"is_skipped": True},
        {"value": {"array": [1], "shape": [10**9], "type": "f8"}},
        {"value": {"array": [1], "shape": [1], "type": "O"}},
        {"value": {"dict": {"points": 4}}},
        {"value": [[[[[[[[[[[[1]]]]]]]]]]]]},
        {"changed": ["x"]},
        {"seconds": "soon"},
        {"problem": ""},
        [],
        None,
        "passed",
    ],
    ids=str,
)
def test_forged_outcomes_earn_nothing(value, build_grader):
    task = build_grader.tasks["double"]
    outcome = {"value": 0, "changed": [], "is_input": False, "is_skipped": False, "seconds": 0.0, "place": ""}
    forged = outcome | value if isinstance(value, dict) else value
    tried = attempts.read_outcomes(task, Answer([forged] * 4, ""))
    tried = set_skips(task, tried, {"double", "halve"})
    mark = grading.mark_build("ann", "08_built", task, tried)
    assert mark.points <= 1  # of 4: zero is right for the input zero, if it was sent at all
    assert mark.remark
    if isinstance(value, dict) and "is_skipped" in value:
        assert mark.points == 0
        assert all(isinstance(outcome.value, Failure) for outcome in tried.outcomes)


def test_a_function_that_returns_what_equals_everything_earns_nothing(build):
    doubled, halved = build(
        "class Same(float):\n    __eq__ = lambda self, other: True\n\ndef double(x, halve=None):\n    return Same(-1)",
        "def halve(x):\n    return type('Any', (), {'__eq__': lambda self, other: True})()",
    )
    assert (doubled.points, halved.points) == (0, 0)
    assert halved.detail["first_failure"]["got"].startswith("NotPlain")


def test_the_bodies_of_the_tasks_functions_are_not_in_the_view_of_build_tasks(tmp_path):
    from helpers.course.checks.catalogue import find_definition
    from helpers.course.views import Views

    definition = find_definition("compute_iou")
    views = Views(tmp_path, [definition], compiles=False)
    (folder,) = views.of_functions().fixed
    assert not (folder / "course").exists()
    text = "".join(path.read_text() for path in folder.rglob("*.py"))
    assert "draw_iou_cases" not in text
    assert "inclusive_pixels" not in text
