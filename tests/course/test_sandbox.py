"""The process that runs a student's code: its folder, its output, and its end."""

import json
from pathlib import Path

from helpers.course.sandbox import Limits
from helpers.paths import ROOT


def test_what_a_solution_prints_costs_nothing(attempt):
    flood = "for _ in range(50):\n    print('x' * 10**6)\nos.write(1, b'x' * 10**6)\nfirst = 1"
    assert [mark.points for mark in attempt(flood, limits=Limits(cell=60.0))] == [3, 4]


def test_a_process_that_a_solution_started_is_ended_with_it(attempt):
    loose = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nfirst = 1"
    assert [mark.points for mark in attempt(loose)] == [3, 4]  # the fixture looks for remaining processes


def test_an_attempt_has_a_folder_and_a_temporary_folder_of_its_own_at_smoke(tmp_path, attempt):
    report = tmp_path / "report.json"
    lines = ["import json, tempfile", "places = [os.getcwd(), tempfile.gettempdir(), os.environ['WORKBOOK_PROFILE']]"]
    first = "\n".join(
        [*lines, f"Path({str(report)!r}).write_text(json.dumps(places))", "Path('mine').touch()", "first = 1"]
    )
    assert attempt(first)[0].passed
    folder, temporary, profile = json.loads(report.read_text())
    assert Path(temporary) == Path(folder).parent / "tmp"
    assert profile == "smoke"
    assert not Path(folder).exists()
    assert not Path(folder).is_relative_to(ROOT)
