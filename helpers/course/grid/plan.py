"""Grids: a notebook run over all combinations of parameter values, on a Dask cluster.

A run is named by the digest of everything that it depends on, and finished runs are not repeated: after any accident
the same command completes what is missing. Without the address of a scheduler, this machine is the cluster. Its
processes accept connections from this machine only, and only with a certificate that exists in their memory alone, so
that no other user can run code through them.

    data/runs/grids/
        <lesson>_<parameters>_<digest>.csv   table of a grid: a row per run, rewritten when a run ends
        <lesson>_<parameters>_<digest>.png   its figure: one metric over the parameters
        <name>/                              one run: see `helpers.course.grid.run`
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import logging
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import dask.config
import matplotlib
import nbformat
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, Security, as_completed
from distributed.system import MEMORY_LIMIT
from matplotlib.figure import Figure
from tqdm import tqdm

from helpers import files, paths, plotting
from helpers.course import lessons
from helpers.course.grid import run, worker
from helpers.course.grid.values import read_value, show_short, show_text, show_value, split_values
from helpers.course.grid.worker import Job, Outcome

NAME_DIGITS = 16  # of a digest; enough to distinguish a million runs
READABLE_LENGTH = 100  # characters of the lesson and its parameters in the name of a table
RUN_MEMORY = 4e9  # bytes that one run may need; limits the default number of local workers
CONNECT_SECONDS = 20.0  # time limit for the connection to a scheduler
PART_BYTES = 2**24  # fetched at a time
FETCH_ATTEMPTS = 3
REPLACE_SECONDS = 5.0  # between two checks that there are enough local workers
LOCAL_CONFIG = {"distributed": {"scheduler": {"worker-ttl": None}, "deploy": {"lost-worker-timeout": "2 minutes"}}}
"""No limit for heartbeats, because a laptop may have slept; two minutes to restart a worker on a busy machine."""
TEXT_COLUMNS = ("run", "state", "reason", "device")
COLUMNS = (*TEXT_COLUMNS, "run_seconds")
TableRow = dict[str, Any]
"""A line of the table: COLUMNS, the parameters and the metrics of a run."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LOCALHOST = "127.0.0.1"
TLS_VARIABLES = tuple(f"DASK_DISTRIBUTED__COMM__TLS__{name}" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY"))
SHOWN_VALUE = 40  # characters of a value in a message or figure


class GridError(Exception):
    """The requested grid is not possible; the message has the cause and the remedy."""


@dataclass(frozen=True)
class Grid:
    """The runs of one command."""

    path: Path  # of the notebook, absolute
    given: Mapping[str, tuple[Any, ...]]  # values of each parameter of the command, and the profile
    jobs: tuple[Job, ...]

    @property
    def stem(self) -> str:
        """The notebook's file name without its ending."""
        return self.path.stem

    def describe(self) -> str:
        """Return the parameters and their values in words."""
        return " ".join(
            f"{name}={','.join(show_short(value, SHOWN_VALUE) for value in values)}"
            for name, values in self.given.items()
        )

    def find_table(self) -> Path:
        """Return the path of the results table.

        Grids of different notebooks or of different values, such as 1, True and "1", have different paths, also where
        file names ignore case.
        """
        path = self.path.relative_to(paths.ROOT) if self.path.is_relative_to(paths.ROOT) else self.path
        identity = repr((path.as_posix(), list(self.given.items())))
        digest = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:NAME_DIGITS]
        given = "_".join(f"{name}={','.join(map(show_value, values))}" for name, values in self.given.items())
        readable = re.sub(r"[^\w=,.+-]+", "-", f"{self.stem}_{given}", flags=re.ASCII)[:READABLE_LENGTH]
        return paths.RUNS / paths.GRIDS / f"{readable}_{digest}.csv"

    def find_executed(self, job: Job) -> Path:
        """Return the path of a run's executed notebook; its results are in the same folder."""
        return worker.find_folder(job.name) / self.stem / job.parameters["profile"] / f"{self.stem}.ipynb"

    def is_finished(self, job: Job) -> bool:
        """Return whether the complete files of a run, as it was planned, are on this host."""
        return lessons.is_run(self.find_executed(job), job.digest, job.parameters.get("seed", 0))


def read_grid(texts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each parameter in texts like `sigma=1,2` or `sizes=[1,2]`; texts of one name add up.

    Args:
        defaults: the notebook's parameters with their default values.

    Raises:
        GridError: a parameter is unknown, or one of its values is empty or cannot be read.
    """
    given: dict[str, list[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        shown = show_text(repr(text), 100)
        if name not in defaults:
            names = show_text(", ".join(defaults) or "none", 200)
            raise GridError(f"the notebook has no parameter {show_text(repr(name), 100)}; it has {names}")
        try:
            parts = split_values(values)
            if not all(part.strip() for part in parts):
                raise GridError(f'{shown} lacks a value: write {name}=value or {name}=value,value, and "" for no text')
            given.setdefault(name, []).extend(read_value(part) for part in parts)
        except ValueError as error:
            raise GridError(f"{shown} cannot be read: {error}") from None
    # equal values of different types are different runs: 1, 1.0 and True
    return {name: tuple({repr(value): value for value in values}.values()) for name, values in given.items()}


def plan_grid(path: Path, texts: Sequence[str]) -> Grid:
    """Return the runs of the notebook in `path` over all combinations of the values in `texts`.

    The profile is the parameter `profile`, or else that of the environment, as for a notebook that is run by hand.

    Raises:
        LessonFailed: the notebook or its parameters cannot be read.
        GridError: `texts` do not describe a grid of it.
    """
    notebook = lessons.read_notebook(path, keep_outputs=False)
    defaults = lessons.read_parameters(notebook, path)
    if clashes := sorted(defaults.keys() & set(COLUMNS)):
        raise GridError(f"{path}: the table already has a column {clashes[0]!r}; rename the parameter")
    given = read_grid(texts, defaults)
    given.setdefault("profile", (paths.default_profile(),))
    for profile in given["profile"]:
        if profile not in paths.PROFILES:
            shown = show_text(repr(profile), SHOWN_VALUE)
            raise GridError(f"the profile is {shown}; choose one of {', '.join(paths.PROFILES)}")
    for seed in given.get("seed", (defaults.get("seed", 0),)):
        if isinstance(seed, bool) or not paths.is_seed(seed):
            raise GridError(f"{show_text(f'the seed is {seed!r}', SHOWN_VALUE)}; {paths.SEED_REMEDY}")
    combinations = (dict(zip(given, values, strict=True)) for values in itertools.product(*given.values()))
    shared = {"stem": path.stem, "notebook": nbformat.writes(notebook), "variables": lessons.read_settings()}
    shared["working_folder"] = str(path.absolute().parent)
    jobs = []
    for combination in combinations:
        parameters = defaults | combination
        digest = lessons.compute_digest(notebook, parameters["profile"], parameters)
        jobs.append(Job(digest[:NAME_DIGITS], parameters=parameters, digest=digest, **shared))
    return Grid(path.absolute(), given, tuple(jobs))


def run_jobs(client: Client, grid: Grid, jobs: Sequence[Job]) -> Generator[tuple[Job, str], None, None]:
    """Yield each of `jobs` when it ends, with the reason why it did not finish, or "".

    The files that a worker wrote to its own disk have been copied here by then. If a worker dies, Dask gives its run to
    another one.
    """
    futures = {_submit(client, job): job for job in jobs}
    attempts: Counter[str] = Counter()
    try:
        completed = as_completed(futures)
        for future in completed:
            job = futures.pop(future)
            try:
                outcome = future.result()
            except KilledWorker as error:
                yield job, f"{job.stem}: each of its workers died, the last one at {error.last_worker.address}"
                continue
            except Exception as error:
                yield job, f"{job.stem}: the cluster lost this run, {type(error).__name__}: {error}"
                continue
            reason = outcome.reason
            try:
                fetch(client, future, job, outcome)
            except Exception as error:  # any effect of a dying worker or a full disk
                attempts[job.name] += 1
                if attempts[job.name] < FETCH_ATTEMPTS:  # its worker still has the files, or another one runs it again
                    repeated = _submit(client, job)
                    futures[repeated] = job
                    completed.add(repeated)
                    continue
                reason = f"{job.stem}: cannot be copied from {outcome.host}, {type(error).__name__}: {error}"
            del future  # Dask keeps the outcome on its worker no longer, else it repeats the run if that worker dies
            if not reason and not grid.is_finished(job):
                reason = f"{job.stem}: finished on {outcome.host}, but its files are not complete on this host"
            yield job, reason
    finally:
        if futures:
            client.cancel(list(futures), force=True)


def _submit(client: Client, job: Job) -> Future:
    """Return the future of a run. Its key is the run's name, so two callers of one cluster share the run."""
    return client.submit(worker.execute, job, key=f"{job.stem}-{job.name}", pure=False)


def fetch(client: Client, future: Future, job: Job, outcome: Outcome) -> None:
    """Copy the files of a run that this host lacks from the disk of its worker.

    The executed notebook is copied last: if it exists, all other files do.

    Raises:
        ConnectionError: the worker is gone.
        Exception: it goes meanwhile, or a file cannot be read there or written here.
    """
    folder = worker.find_folder(job.name)
    present = worker.list_files(job.name)
    missing = sorted(
        (path for path in outcome.files if present.get(path) != tuple(outcome.files[path])), key=_is_notebook
    )
    if not missing:
        return
    # Dask annotates the results of both calls as coroutines; for a client that is not asynchronous they are dicts.
    hosts = cast(dict[str, list[str]], client.who_has([future]))
    address = next((address for addresses in hosts.values() for address in addresses), None)
    if address is None:
        raise ConnectionError(f"the worker on {outcome.host} is gone")
    for path in missing:
        size, modified = outcome.files[path]
        with files.replace_when_complete(folder / path) as partial, open(partial, "wb") as file:
            for offset in range(0, size, PART_BYTES):
                # raises an error if the worker is gone
                reply = client.run(worker.read_part, job.name, path, offset, PART_BYTES, workers=[address])
                file.write(cast(dict[str, bytes], reply)[address])
        os.utime(folder / path, ns=(modified, modified))
    if not outcome.reason:
        for unfinished in folder.rglob("*.unfinished.ipynb"):  # of an earlier attempt
            unfinished.unlink()


def _is_notebook(path: str) -> bool:
    return path.endswith(".ipynb")


def describe_run(grid: Grid, job: Job, reason: str = "") -> TableRow:
    """Return the table's row of a run: name, parameters and state, and the metrics of a finished run.

    Args:
        reason: why it failed.

    Raises:
        LessonFailed: the results of a finished run are damaged.
    """
    row = {"run": job.name, **job.parameters, "state": "failed" if reason else "missing", "reason": show_text(reason)}
    if not reason and grid.is_finished(job):
        executed = grid.find_executed(job)
        results = lessons.read_results(executed.with_name(lessons.RESULTS))
        seconds = round(lessons.read_metadata(executed).get("papermill", {}).get("duration", 0.0), 1)
        row |= {"state": "finished", "run_seconds": seconds, "device": show_text(results.device)}
        for name, value in results.metrics.items():
            row[f"metric {name}" if name in row else name] = value
    return row


def write_table(path: Path, rows: Sequence[TableRow]) -> None:
    """Write `rows` as CSV, complete or not at all.

    Values are written as `show_value` shows them: None as None, the text "1" in quotes. A cell is empty only if the run
    does not have the value.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([show_text(name) for name in columns])
    for row in rows:
        writer.writerow([_show_cell(row, column) for column in columns])
    files.write_text(path, text.getvalue())


def _show_cell(row: TableRow, column: str) -> str:
    if column in TEXT_COLUMNS or column not in row:
        return show_text(row.get(column, ""))
    return show_value(row[column])


def find_varied(grid: Grid) -> list[str]:
    """Return the parameters with several values, without the seed: other seeds are repetitions of a run."""
    return [name for name, values in grid.given.items() if len(values) > 1 and name != "seed"]


def is_number(value: Any) -> bool:
    """Return whether `value` is a finite number that a figure can show."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # False for NaN


def choose_metric(rows: Sequence[TableRow], metrics: Sequence[str], varied: Sequence[str]) -> str:
    """Return the first of `metrics` that differs between runs of the same seed, or else the first.

    A notebook saves its headline numbers first, but a metric that the parameters do not change shows nothing.
    """
    for metric in metrics:
        by_seed: dict[Any, set[float]] = {}
        for row in rows:
            by_seed.setdefault(row.get("seed"), set()).add(row[metric])
        if varied and any(len(values) > 1 for values in by_seed.values()):
            return metric
    return metrics[0]


def check_metric(grid: Grid, rows: Sequence[TableRow], metric: str | None) -> None:
    """Refuse a metric that is a number in none of the finished runs.

    NaN is accepted here: a run that diverges must not stop the others.

    Raises:
        GridError: there are finished runs, and none has this metric.
    """
    finished = [row for row in rows if row["state"] == "finished"]
    named = {name: value for row in finished for name, value in row.items() if type(value) in (int, float)}
    metrics = [name for name in named if name not in {*grid.jobs[0].parameters, *COLUMNS}]
    if finished and metric is not None and metric not in metrics:
        raise GridError(_describe_unknown_metric(metric, metrics))


def _describe_unknown_metric(metric: str, metrics: Sequence[str]) -> str:
    names = show_text(", ".join(metrics) or "none", 300)
    return f"the runs have no metric {show_text(repr(metric), 100)}; they have {names}"


def draw_figure(path: Path, grid: Grid, rows: Sequence[TableRow], metric: str | None) -> str:
    """Write the grid's figure and return the metric that it shows, or "" if there is nothing to draw.

    Raises:
        GridError: the runs have no such metric, or it is not a number in all of them.
    """
    finished = [row for row in rows if row["state"] == "finished"]
    if not finished:
        return ""
    not_metrics = {*grid.jobs[0].parameters, *COLUMNS}
    numeric = [name for name in finished[0] if all(is_number(row.get(name)) for row in finished)]
    metrics = [name for name in numeric if name not in not_metrics]
    if metric is not None and metric not in metrics:
        raise GridError(_describe_unknown_metric(metric, metrics))
    if not metrics:
        return ""
    varied = find_varied(grid)
    chosen = metric or choose_metric(finished, metrics, varied)
    plotting.use_style()
    figure = Figure(figsize=(6.5, 3.6), dpi=110)
    with matplotlib.rc_context({"text.parse_math": False}):  # a value may contain dollar signs
        ax = plotting.plot_grid(_show_parameters(finished, varied), varied, chosen, figure.add_subplot())
        count = f"{len(finished)} runs" if len(finished) == len(rows) else f"{len(finished)} of {len(rows)} runs"
        ax.set_title(f"{grid.stem}, {'/'.join(grid.given['profile'])}: {count}")
        with files.replace_when_complete(path) as partial:
            figure.savefig(partial, bbox_inches="tight", format="png")
    return chosen


def _show_parameters(rows: Sequence[TableRow], varied: Sequence[str]) -> list[TableRow]:
    """Return `rows` with short, distinct texts as the values of each varied parameter that is not numeric."""
    labels: dict[str, dict[str, str]] = {}
    for name in varied:
        if all(is_number(row[name]) for row in rows):
            continue
        shown = dict.fromkeys(show_value(row[name]) for row in rows)
        labels[name] = {text: _shorten(text, number) for number, text in enumerate(shown, start=1)}
    return [row | {name: texts[show_value(row[name])] for name, texts in labels.items()} for row in rows]


def _shorten(text: str, number: int) -> str:
    """Return `text`, or its start and `number` if it is long, so that different long texts stay different."""
    return text if len(text) <= SHOWN_VALUE else f"{text[: SHOWN_VALUE - 5]}… ({number})"


@contextlib.contextmanager
def connect(scheduler: str | None, num_workers: int | None, num_runs: int) -> Iterator[Client]:
    """Yield a client of the cluster at the address `scheduler`, or of a temporary one on this machine.

    A local worker has its share of the cores and executes one run at a time. By default there is one for each GPU, or
    else as many as cores and memory allow, but not more than there are runs.

    Raises:
        GridError: there is no cluster at this address, or its certificates are not those of Dask's configuration here.
    """
    if scheduler is not None:
        with _connect_to(scheduler) as client:
            yield client
        return
    allowed = len(run.find_gpus()) or min(CPU_COUNT, int(MEMORY_LIMIT // RUN_MEMORY)) or 1
    count = min(num_workers or allowed, num_runs)
    cores = max(1, CPU_COUNT // count)
    dask.config.update_defaults(LOCAL_CONFIG)
    with ignore_sigint():  # workers inherit this: Ctrl-C reaches this process only, which then ends them
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host=LOCALHOST,
            protocol="tls://",
            security=Security.temporary(),  # without it every user of this machine could run code through the scheduler
            dashboard_address=f"{LOCALHOST}:0",
            memory_limit=0,  # it would limit the worker alone, and runs are other processes
            silence_logs=logging.CRITICAL,
            env={name: str(cores) for name in THREADS},
        )
    with cluster, _replace_dead_workers(cluster, count), Client(cluster) as client:
        print(f"workers: {count}, cores each: {cores} · dashboard {client.dashboard_link}", flush=True)
        yield client


def _connect_to(scheduler: str) -> Client:
    """Return a client of the cluster at the address `scheduler`, with the certificates of Dask's configuration."""
    is_encrypted = scheduler.startswith("tls://")
    try:
        security = Security(require_encryption=True) if is_encrypted else Security()
        if is_encrypted and not (security.tls_ca_file and security.tls_client_cert):
            raise GridError(f"no certificates for {scheduler}: set {', '.join(TLS_VARIABLES)} to their files")
        client = Client(scheduler, timeout=CONNECT_SECONDS, security=security)
    except (OSError, ValueError) as error:
        remedy = "is it running, with the same certificates?" if is_encrypted else "is it running, without TLS?"
        raise GridError(f"no cluster at {scheduler}, {remedy} {show_text(str(error), 300)}") from None
    info = client.scheduler_info(n_workers=-1)
    print(f"cluster at {scheduler} · dashboard {client.dashboard_link if info['services'] else 'none'}", flush=True)
    if not is_encrypted:
        print("not encrypted: anyone who reaches this address can run code as the user of its workers", flush=True)
    if not info["workers"]:
        print("it has no worker yet: the runs start when a worker connects", flush=True)
    return client


@contextlib.contextmanager
def _replace_dead_workers(cluster: LocalCluster, count: int) -> Iterator[None]:
    """Keep the cluster at `count` workers: Dask gives up a worker that does not restart quickly."""
    is_over = threading.Event()

    def scale() -> None:
        while not is_over.wait(REPLACE_SECONDS):
            cluster.scale(count)

    thread = threading.Thread(target=scale, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def ignore_sigint() -> Iterator[None]:
    """Ignore Ctrl-C, and let processes that are started meanwhile ignore it; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def run_grid(
    notebook: Path,
    parameters: Sequence[str],
    *,
    scheduler: str | None = None,
    num_workers: int | None = None,
    metric: str | None = None,
) -> bool:
    """Run a notebook over all combinations of parameter values; return whether all runs are finished.

    Progress, failures and the places of table and figure are printed.

    Args:
        parameters: texts like `sigma=1,2` or `sizes=[1,2]`; see `read_grid`.
        scheduler: address of a Dask cluster; None starts a temporary one on this machine.
        num_workers: on this machine; None takes as many as cores and memory allow, or one per GPU.
        metric: that the figure shows; None takes the first that the parameters change.

    Raises:
        GridError: a mistake of the caller; nothing has been run. Which metrics there are is known from a finished run,
            so without one, an unknown `metric` ends the grid when its first run has finished.
        LessonFailed: the notebook cannot be read, or the results of a finished run are damaged.
    """
    if num_workers is not None and scheduler is not None:
        raise GridError("a cluster has its own workers: give a number of workers or a scheduler, not both")
    if num_workers is not None and num_workers < 1:
        raise GridError(f"the number of workers is {num_workers}; at least 1 is needed")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the table has the reasons of failed runs
    grid = plan_grid(notebook, parameters)
    rows = {job.name: describe_run(grid, job) for job in grid.jobs}
    missing = [job for job in grid.jobs if rows[job.name]["state"] != "finished"]
    counts = f"runs: {len(rows)}, finished before: {len(rows) - len(missing)}"
    print(f"{grid.stem} · {show_text(grid.describe())} · {counts}", flush=True)
    table = grid.find_table()
    check_metric(grid, list(rows.values()), metric)  # with a finished run, an error before the first new one
    if missing:
        with connect(scheduler, num_workers, len(missing)) as client:
            write_table(table, list(rows.values()))  # a folder that cannot be written is an error before the first run
            _run_missing(client, grid, missing, rows, metric)
    states = [row["state"] for row in rows.values()]
    print(f"finished {states.count('finished')}, failed {states.count('failed')}")
    try:
        write_table(table, list(rows.values()))
        print(f"table   {lessons.show(table)}")
        if shown := draw_figure(table.with_suffix(".png"), grid, list(rows.values()), metric):
            print(f"figure  {lessons.show(table.with_suffix('.png'))}: {shown}")
    except OSError as error:
        print(f"the table or its figure could not be written: {error}", file=sys.stderr)
        return False
    return states.count("finished") == len(states)


def _run_missing(
    client: Client, grid: Grid, missing: Sequence[Job], rows: dict[str, TableRow], metric: str | None
) -> None:
    """Execute the missing runs, show their progress, and update their rows and the table as they end.

    Raises:
        GridError: a finished run has no such metric; the remaining runs are stopped.
    """
    before = len(rows) - len(missing)
    with (
        tqdm(total=len(rows), initial=before, desc="runs", unit="run") as bar,
        contextlib.closing(run_jobs(client, grid, missing)) as ended,
    ):
        for job, reason in ended:
            rows[job.name] = describe_run(grid, job, reason)
            if reason:
                bar.write(_describe_failure(grid, job, rows[job.name]["reason"]))
            bar.set_postfix(failed=sum(row["state"] == "failed" for row in rows.values()))
            bar.update()
            with contextlib.suppress(OSError):  # a full disk may have space again after the next run
                write_table(grid.find_table(), list(rows.values()))
            check_metric(grid, list(rows.values()), metric)  # not only when the last run has ended


def _describe_failure(grid: Grid, job: Job, reason: str) -> str:
    """Return the parameters of a failed run, its reason and its log."""
    parameters = ", ".join(f"{name} {show_short(job.parameters[name], SHOWN_VALUE)}" for name in grid.given)
    return f"failed with {parameters}: {reason}\n  {lessons.show(worker.find_folder(job.name) / f'{job.stem}.log')}"
