"""Progress: a row per task, and sums."""

from helpers.course.checks import catalogue
from helpers.tasks import progress, solutions, tasks
from helpers.tasks.compiled import CompiledTask


def make_task(name, number, points):
    return CompiledTask(name, number, "Title", points, 2, (10, 20), "", (), (), (), ())


TASKS = [make_task("first", "1.1", 2), make_task("second", "1.2", 1.5), make_task("third", "2.1", 3)]


def test_a_row_has_number_name_points_difficulty_minutes_and_state_and_the_last_one_the_sums():
    table = progress.make_table(TASKS, solved={"second"}, given={"third"})
    assert table.index.tolist() == ["1.1", "1.2", "2.1", "all"]
    assert table["name"].tolist() == ["first", "second", "third", ""]
    assert table["points"].tolist() == ["2", "1.5", "3", "6.5"]
    assert table["minutes"].tolist() == ["10 to 20"] * 3 + ["30 to 60"]
    assert table["state"].tolist() == ["open", "solved", "given", "1 of 3 solved, 1.5 points"]
    assert set(table["difficulty (1 to 5)"][:3]) == {2}


def test_a_solved_task_that_was_given_later_stays_solved():
    assert progress.make_table(TASKS, {"first"}, {"first"})["state"].iloc[0] == "solved"


def test_the_terminal_shows_a_line_per_task_below_the_names_of_the_columns():
    lines = progress.show_table(progress.make_table(TASKS, set(), set())).splitlines()
    assert len(lines) == 1 + len(TASKS) + 1
    assert lines[0].split()[:3] == ["task", "name", "points"]
    assert lines[1].split()[:3] == ["1.1", "first", "2"]


def test_a_table_without_tasks_has_the_sums_alone():
    assert progress.make_table([], set(), set())["points"].tolist() == ["0"]


def test_the_workbooks_own_tasks_are_listed_with_those_whose_solution_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(solutions, "SOLUTIONS", tmp_path)
    assert "solved" not in tasks.progress()["state"].tolist()
    (tmp_path / "compute_iou.py").write_text("def compute_iou(boxes, others): ...\n")
    table = tasks.progress().set_index("name")
    assert table.loc["compute_iou", "state"] == "solved"
    assert len(table) == len(catalogue.list_definitions()) + 1
