"""Command line `workbook`: options, help texts, and one line for each error.

This is the only module that imports click. A command imports what it needs when it runs, so that `workbook --help`
appears at once. A mistake of the user (a missing file, a broken notebook, a folder without the right to write) ends a
command with one line on standard error and status 1, an unknown option with status 2, Ctrl-C with status 130.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from helpers import paths

ERRORS = frozenset({"CheckpointError", "DatasetError", "GridError", "LessonFailed"})
"""Names of the exceptions whose message tells the user what is wrong. Their modules are not imported for that."""
LONGEST_MESSAGE = 490  # characters of a line on standard error
PARTS = ("style", "types", "unit", "lessons", "browser")
NEEDED = {
    "student": "helpers/course/student_copy.py",
    "grade": "helpers/course/grading.py",
    "test": "tests",
    "study": "helpers/course/studies.py",
    "bench": "benchmarks",
}
"""What commands need that a student's copy lacks: there, they do not exist."""
PUBLISHING = "helpers/course/publishing.py"


def is_expected(error: BaseException) -> bool:
    """Return whether the cause of an exception is the user's files or input, and not a defect in the workbook."""
    if isinstance(error, BrokenPipeError) or getattr(error, "errno", None) == errno.EPIPE:
        return False  # the reader of a pipe has ended, as in `workbook run | head`: click ends silently
    return isinstance(error, OSError) or any(kind.__name__ in ERRORS for kind in type(error).__mro__)


def shorten(message: str) -> str:
    """Return a message as one line of at most `LONGEST_MESSAGE` characters; what is too long is cut in its middle."""
    line = " ".join(message.split())
    if len(line) <= LONGEST_MESSAGE:
        return line
    half = LONGEST_MESSAGE // 2 - 2
    return f"{line[:half]} … {line[-half:]}"


class Workbook(click.Group):
    """Group of commands that end with one line on standard error when the user can remove the cause."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command of a context."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            click.echo(f"\n{str(interruption) or 'interrupted'}", err=True)
            raise click.exceptions.Exit(130) from None
        except Exception as error:
            if ctx.params["debug"] or not is_expected(error):
                raise
            click.echo(shorten(str(error)) or type(error).__name__, err=True)
            raise click.exceptions.Exit(1) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name that is not valid text must not stop a message
            stream.reconfigure(errors="backslashreplace")
    try:
        return workbook.main(arguments, prog_name="workbook", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("\ninterrupted", err=True)
        return 130


@click.group(cls=Workbook, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error. Stands before the command.")
def workbook(debug: bool) -> None:
    """Commands of the workbook in object localisation.

    \b
    Examples:
      workbook run                 make the data and run every lesson
      workbook run 03 --profile smoke
      workbook progress            list the build tasks, solved and open
      workbook --debug report      show where an error comes from
    """


def profile_option(purpose: str) -> Callable:
    """Return the option `--profile`; `purpose` is its help text."""
    return click.option(
        "--profile",
        type=click.Choice(paths.PROFILES),
        default="quick",
        envvar=paths.PROFILE_VARIABLE,
        show_default=True,
        show_envvar=True,
        help=purpose,
    )


lessons_argument = click.argument("lessons", nargs=-1, metavar="[NN]...")


@workbook.command(short_help="Make the data, run the lessons and show their results.")
@lessons_argument
@profile_option("Budget: smoke runs every line and learns nothing, quick takes minutes, full is the assignment's.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random choices.")
@click.option("--force", is_flag=True, help="Run lessons again that are up to date.")
@click.option("--jobs", type=click.IntRange(1), help="Lessons at a time.  [default: 2 with two cores and 5 GB free]")
@click.option("--publish", is_flag=True, help="Copy notebooks and figures into the repository (quick, seed 0).")
def run(
    lessons: tuple[str, ...],
    profile: paths.Profile,
    seed: int,
    force: bool,
    jobs: int | None,
    publish: bool = False,  # a student's copy lacks the option
) -> None:
    """Run the lessons NN (numbers or names), or all, and show their results.

    Makes the assignment's data first. Lessons that do not depend on each other run side by side: 04 waits for 03,
    and 08 for 07. A lesson computes with one thread, however many lessons run at a time, so its numbers do not
    depend on --jobs; set OMP_NUM_THREADS for another number of threads. A finished lesson is not run again until its
    notebook, the code, the profile or the seed changes.

    \b
    Examples:
      workbook run
      workbook run 03 04 --profile smoke --jobs 1
    """
    import time

    from helpers import handout
    from helpers.course import schedule, summary
    from helpers.course.lessons import FIGURES, find_lessons, read_settings

    if publish and (profile, seed) != ("quick", 0):
        raise click.UsageError("only runs at profile quick and seed 0 are published")
    if publish and (variables := sorted(read_settings())):  # photos that may not be given away, for example
        raise click.UsageError(f"unset {', '.join(variables)}: a published run is made without them")

    def publish_if_asked(path: Path, executed: Path) -> None:
        if publish:
            from helpers.course import publishing

            publishing.publish(executed, path, FIGURES)

    started = time.perf_counter()
    lesson_paths = find_lessons(lessons)
    handout.ensure_handout()
    request = schedule.Request(profile, {"seed": seed} if seed else {}, force)
    try:
        executed = schedule.run_lessons(lesson_paths, request, jobs or schedule.choose_jobs(), publish_if_asked)
    except KeyboardInterrupt:
        hint = "interrupted; the same command continues: finished lessons and saved epochs are kept"
        raise KeyboardInterrupt(hint) from None
    click.echo(summary.summarise(executed))
    click.echo(f"\nlessons: {len(executed)}, {time.perf_counter() - started:.0f} s")


@workbook.command(short_help="Check style and types; run all tests and every lesson.")
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[PART]...")
@click.pass_context
def test(context: click.Context, parts: tuple[str, ...]) -> None:
    """Check style and types, and run the unit tests, every lesson as a test, and the explorers in a browser.

    PART chooses among style, types, unit, lessons and browser. Every part runs, whether others fail or not; the last
    lines name the programs that failed, and the command that runs their part alone. In a browser two lessons are
    open at a time.

    \b
    Examples:
      workbook test
      workbook test style unit
    """
    python = [sys.executable, "-m"]
    groups = ["-n", "2", "--dist", "loadgroup"]  # those of tests/conftest.py
    programs = {
        "style": [[*python, "ruff", "check", "."], [*python, "ruff", "format", "--check", "."]],
        "types": [[*python, "basedpyright"]],
        "unit": [[*python, "pytest", "tests", "--ignore", "tests/test_browser.py", *groups, "--no-loadscope-reorder"]],
        "lessons": [[*python, "pytest", "--nbval", "notebooks", "-n", "2", "--dist", "loadfile"]],
        # last: it loads what the lessons trained
        "browser": [[*python, "pytest", "-rs", "tests/test_browser.py", *groups]],
    }
    failed: list[str] = []
    for part in [part for part in PARTS if not parts or part in parts]:
        if part == "lessons":
            remove_smoke_runs()
        for program in programs[part]:
            name = " ".join(program[2:])
            click.echo(f"{part}: {name}")
            if call(program, OMP_NUM_THREADS="1"):
                failed.append(f"failed: {part}, {name} (workbook test {part})")
    if failed:
        click.echo("\n".join(failed), err=True)
        context.exit(1)


def remove_smoke_runs() -> None:
    """Remove the files of smoke runs, so that lessons under test train their models with the present code."""
    for folder in paths.RUNS.glob("*/smoke"):
        shutil.rmtree(folder, ignore_errors=True)


def call(program: Sequence[str], **variables: str) -> int:
    """Run a program in the workbook's folder and return its exit status.

    Ctrl-C goes to the program, which can clean up; the command ends after it.
    """
    process = subprocess.Popen(program, cwd=paths.ROOT, env={**os.environ, **variables})
    is_interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            is_interrupted = True
    if is_interrupted:
        raise KeyboardInterrupt
    return status


@workbook.command(short_help="Open the notebooks in JupyterLab.")
@click.pass_context
def lab(context: click.Context) -> None:
    """Open the notebooks in JupyterLab, on this machine only.

    \b
    Example:
      workbook lab
    """
    options = ["--ServerApp.ip=127.0.0.1", "--LabApp.default_url=/lab/tree/notebooks"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    context.exit(call([sys.executable, "-m", "jupyterlab", *options]))


@workbook.command(short_help="Register a Jupyter kernel that sees one GPU.")
@click.option("--gpu", type=click.IntRange(0), default=0, show_default=True, help="Number of the GPU.")
@click.pass_context
def kernel(context: click.Context, gpu: int) -> None:
    """Register a Jupyter kernel that sees one GPU alone: workbook-gpu0 for GPU 0.

    \b
    Example:
      workbook kernel --gpu 1
      papermill notebooks/03_detector_training.ipynb out.ipynb -k workbook-gpu1 -p profile full
    """
    options = ["--sys-prefix", "--name", f"workbook-gpu{gpu}", "--display-name", f"Workbook, GPU {gpu}"]
    options += ["--env", "CUDA_DEVICE_ORDER", "PCI_BUS_ID", "--env", "CUDA_VISIBLE_DEVICES", str(gpu)]
    context.exit(call([sys.executable, "-m", "ipykernel", "install", *options]))


@workbook.command(short_help="Draw the assignment's two datasets into data/handout/.")
@click.option("--house-numbers", is_flag=True, help="Draw the house numbers of lesson 7 as well.")
def data(house_numbers: bool) -> None:
    """Draw the assignment's two datasets into data/handout/, unless they are complete.

    \b
    Example:
      workbook data
    """
    import time

    from helpers import handout
    from helpers.digits import drawn

    makers = [(handout.is_complete, handout.ensure_handout, paths.HANDOUT)]
    makers += [(drawn.is_complete, drawn.ensure_drawn, drawn.HOUSE_NUMBERS)] if house_numbers else []
    for is_complete, ensure, folder in makers:
        started = time.perf_counter()
        is_made = is_complete(folder)
        ensure(folder)
        state = "complete already" if is_made else f"drawn and written in {time.perf_counter() - started:.1f} s"
        click.echo(f"{folder}: {state}")


@workbook.command(short_help="List the build tasks, solved and open.")
def progress() -> None:
    """List all build tasks with points, difficulty and time, and whether each is solved.

    \b
    Example:
      workbook progress
    """
    from helpers.tasks import tasks
    from helpers.tasks.progress import show_table

    click.echo(show_table(tasks.progress()))


@workbook.command(short_help="Write a students' workbook into data/student/.")
@lessons_argument
@click.option(
    "--with-solutions-of",
    metavar="NN,NN",
    default="",
    help="Lessons whose deadline has passed: the references of their build tasks are included.",
)
def student(lessons: tuple[str, ...], with_solutions_of: str) -> None:
    """Write a complete workbook for students into data/student/: without solutions, hidden tests and outputs.

    It holds the lessons NN, or all, and the checks of all build tasks. The functions that the tasks ask for have no
    body in it.

    \b
    Examples:
      workbook student
      workbook student 03 04 --with-solutions-of 01,02
    """
    from helpers.course import student_copy
    from helpers.course.lessons import show

    given = [number.strip() for number in with_solutions_of.split(",") if number.strip()]
    copy = student_copy.write_student_copy(lessons, given)
    for lesson in copy.lessons:
        points = sum(task.points for task in lesson.build_tasks)
        build_tasks = f"{len(lesson.build_tasks)} build tasks, {points:g} points"
        exercises = f"{len(lesson.tasks)} exercises, {lesson.points:g} points"
        written = f"{len(lesson.questions)} written answers, {lesson.written_points:g} points"
        click.echo(f"{lesson.stem}: {build_tasks}; {exercises}; {written}")
    click.echo(f"{show(copy.folder)}: {len(copy.open_tasks)} build tasks are open, {len(copy.given_tasks)} are given")


@workbook.command(short_help="Grade a folder of submissions.")
@click.argument("folder", type=click.Path(path_type=Path))
@lessons_argument
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds for one cell of a student.",
)
@click.pass_context
def grade(context: click.Context, folder: Path, lessons: tuple[str, ...], limit: float) -> None:
    """Grade the submissions in FOLDER: a subfolder per student, or a notebook or a zip archive each.

    Solutions run in a sandbox (Linux with bubblewrap), and their answers are judged outside. Writes points.csv,
    tasks.csv, canvas.csv, moodle.csv, results/, a page of feedback per submission and class.html into data/grades/.
    Without lessons NN, all that were handed in are graded.

    \b
    Example:
      workbook grade submissions/ 03 04
    """
    from helpers.course import grading

    try:
        is_complete = grading.grade(folder, lessons, grading.Limits(cell=limit))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; no table was written") from None
    if not is_complete:
        raise KeyboardInterrupt("interrupted; submissions that were not graded have a remark in the tables")


@workbook.command(short_help="Write an HTML and a PDF report per assignment.")
@profile_option("Of the runs to report, where they are up to date; else the saved outputs are reported.")
def report(profile: paths.Profile) -> None:
    """Write an HTML and a PDF report per assignment into data/reports/, from the executed lessons.

    \b
    Example:
      workbook report --profile full
    """
    from helpers.course import report as reports

    reports.write_reports(profile)


@workbook.command(short_help="Build the workbook as a web site into data/site/.")
@click.option(
    "--repository",
    metavar="ADDRESS",
    default="",
    envvar="WORKBOOK_REPOSITORY",
    show_envvar=True,
    help="Of the repository on GitHub; with it, lessons have buttons for Colab and Binder.",
)
@click.option("--with-answers", is_flag=True, help="Add the answers to the exercises, for instructors.")
def site(repository: str, with_answers: bool) -> None:
    """Build the workbook as a web site into data/site/: lessons with their saved outputs, guides, glossary, API.

    Nothing is executed. The site opens from disk, and needs neither a server nor a network. Solutions of build tasks
    are folded. Answers to exercises are left out, unless you ask for them.

    \b
    Examples:
      workbook site
      workbook site --repository https://github.com/someone/workbook
      workbook site --with-answers
    """
    from helpers.course import site as sites

    sites.write_site(repository, with_answers)


@workbook.command(short_help="Run the long comparisons behind the published tables.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--seeds", type=click.IntRange(1), help="How many seeds to run now.  [default: all of the study's]")
@click.option("--list", "only_list", is_flag=True, help="List the studies and how much of each is done.")
def study(names: tuple[str, ...], seeds: int | None, only_list: bool) -> None:
    """Run what is missing of the studies NAME (all without a name), and write results/NAME.json.

    Each trains several recipes from several seeds: minutes to hours on one core. Results are written after each
    training, and the same command, given again after any accident, completes what is missing.

    \b
    Examples:
      workbook study --list
      workbook study 07_anchors --seeds 1
    """
    from helpers.course import studies

    for name in names:
        if name not in studies.STUDIES:
            raise click.UsageError(f"there is no study {name!r}; choose from {', '.join(studies.STUDIES)}")
    for name in names or studies.STUDIES:
        if only_list:
            click.echo(studies.describe(name))
        else:
            click.echo(f"written to {studies.run_study(name, seeds)}")


@workbook.command(short_help="Run a notebook over a grid of parameters.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-p",
    "parameters",
    metavar="NAME=VALUE,VALUE",
    multiple=True,
    help="A parameter of the notebook and its values, as in seed=0,1 or profile=smoke; several make a grid.",
)
@click.option("--workers", type=click.IntRange(1), help="Local workers.  [default: as many as cores and memory allow]")
@click.option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster to use instead, such as tcp://10.0.0.1:8786.")
@click.option(
    "--metric",
    metavar="NAME",
    help="That the figure shows; an unknown one ends the grid after its first run.  [default: the first that differs]",
)
@click.pass_context
def grid(
    context: click.Context,
    notebook: Path,
    parameters: tuple[str, ...],
    workers: int | None,
    scheduler: str | None,
    metric: str | None,
) -> None:
    """Run NOTEBOOK over all combinations of parameters; write a table and a figure into data/runs/grids/.

    The same command, given again after any accident, completes what is missing.

    \b
    Examples:
      workbook grid notebooks/06_keypoint_ablations.ipynb -p sigma=1,2,3,4 -p seed=0,1,2
      workbook grid notebooks/03_detector_training.ipynb -p seed=0,1 --workers 1
    """
    from helpers.course.grid import plan

    try:
        if not plan.run_grid(notebook, parameters, scheduler=scheduler, num_workers=workers, metric=metric):
            context.exit(1)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command completes what is missing") from None


@workbook.command(short_help="Measure the claims about speed.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_context
def bench(context: click.Context, names: tuple[str, ...]) -> None:
    """Measure the claims about speed, all or those with a NAME, and print them with the values to reach.

    \b
    Examples:
      workbook bench
      workbook bench training_step digits
    """
    from helpers import handout

    handout.ensure_handout()
    context.exit(call([sys.executable, "-m", "benchmarks", *names]))


@workbook.command(short_help="Convert SVHN to the assignment's layout.")
@click.argument("digit_struct", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--valid",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the images that becomes the split `valid`.",
)
def svhn(digit_struct: Path, images: Path, out: Path, valid: float) -> None:
    """Convert SVHN's DIGIT_STRUCT (digitStruct.mat) and its folder IMAGES to the split OUT in the assignment's layout.

    \b
    Example:
      workbook svhn train/digitStruct.mat train data/svhn/train --valid 0.1
    """
    from helpers.digits import svhn as conversion

    struct = conversion.read_digit_struct(digit_struct)
    counts = conversion.convert(struct, images, out.absolute(), valid)
    for split, (num_images, num_digits) in counts.items():
        click.echo(f"{split}: {num_images} images, {num_digits} digits")
    num_omitted = len(struct.digits) - sum(num_digits for _, num_digits in counts.values())
    if num_omitted:
        click.echo(f"left out: {num_omitted} boxes that are empty, mostly outside or within the corner pixel")


@workbook.command(short_help="Fine-tune lesson 7's detector on photos.")
@click.argument("folder", type=click.Path(path_type=Path))
@profile_option("Budget; quick takes the first 256 photos.")
def photos(folder: Path, profile: paths.Profile) -> None:
    """Measure lesson 7's detector on the photos in FOLDER/train, before and after fine-tuning on half of them.

    Each half is predicted by the detector that was fine-tuned on the other. Writes pred.json and pred.csv into the
    folder of runs.

    \b
    Example:
      workbook photos data/svhn
    """
    from helpers import runtime
    from helpers.digits import fine_tuning

    run_of_lesson = runtime.start_run("07_digit_detection", profile)
    photo_set = fine_tuning.read_photos(run_of_lesson, folder)
    comparison = fine_tuning.compare_fine_tuning(run_of_lesson, photo_set)
    click.echo(f"{len(photo_set)} photos, {len(comparison[fine_tuning.GAIN])} halves of them evaluated")
    click.echo(fine_tuning.format_comparison(comparison))
    click.echo("Predictions for each photo, by the detector that was not trained on it, checked:")
    click.echo(f"{run_of_lesson.folder / fine_tuning.FOLDER}: pred.json and pred.csv")


@workbook.command(short_help="Write pred.json and pred.csv for a test split.")
@click.argument("folder", type=click.Path(path_type=Path))
@profile_option("Budget of the training, if lesson 7 has not trained the detector yet.")
def submission(folder: Path, profile: paths.Profile) -> None:
    """Write pred.json and pred.csv for the images of FOLDER/test, which need no annotations.

    The detector is lesson 7's, trained on FOLDER/train; FOLDER/valid chooses how detections become numbers.

    \b
    Example:
      WORKBOOK_RUNS=data/runs_photos workbook submission data/svhn --profile full
    """
    from helpers import runtime
    from helpers.digits import submission as submissions
    from helpers.digits.metrics import NO_NUMBER

    run_of_lesson = runtime.start_run("07_digit_detection", profile)
    numbers = submissions.write_submission(run_of_lesson, folder)
    click.echo(f"{len(numbers)} images, {numbers.count(NO_NUMBER)} of them without a number")
    click.echo(f"{run_of_lesson.folder / submissions.FOLDER}: pred.json and pred.csv, checked")


@workbook.command(short_help="Check a pred.json, and a pred.csv made of it.")
@click.argument("images", type=click.Path(path_type=Path))
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("numbers", type=click.Path(path_type=Path), required=False)
def check(images: Path, predictions: Path, numbers: Path | None) -> None:
    """Check PREDICTIONS (pred.json), and NUMBERS (pred.csv) if given, for the split whose images lie in IMAGES.

    \b
    Example:
      workbook check data/svhn/test pred.json pred.csv
    """
    from helpers.digits import reading
    from helpers.digits.dataset import DigitDataset
    from helpers.digits.metrics import NO_NUMBER

    split = DigitDataset.read_unlabelled(images.parent, images.name)
    detections = reading.read_predictions(predictions, split)
    num_detections = sum(len(image_detections.scores) for image_detections in detections)
    click.echo(f"{predictions}: {num_detections} detections in {len(detections)} images")
    if numbers is not None:
        texts = reading.check_numbers(numbers, split.image_ids, detections)
        click.echo(f"{numbers}: {len(texts)} images, {texts.count(NO_NUMBER)} of them without a number")


def remove_missing_commands() -> None:
    """Remove the commands and the option of which this copy of the workbook lacks a part."""
    for name, needed in NEEDED.items():
        if not (paths.ROOT / needed).exists():
            del workbook.commands[name]
    if not (paths.ROOT / PUBLISHING).exists():
        run.params = [parameter for parameter in run.params if parameter.name != "publish"]


remove_missing_commands()

if __name__ == "__main__":
    sys.exit(main())
