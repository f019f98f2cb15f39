"""Grids: a notebook run over all combinations of parameters, on a Dask cluster.

Command: `workbook grid NOTEBOOK -p name=value,value`.

A run is named by the digest of everything that it depends on, and finished runs are not repeated: the same command,
given again after any accident, completes what is missing. Where nothing else is said, this machine is the cluster, and
nothing outside it can reach it; on a machine that others use too, mind that their processes can.

    data/runs/grids/
        <lesson>_<parameters>.csv   the table of a grid: a row per run, written anew as runs finish
        <lesson>_<parameters>.png   its figure: one metric over the parameters
        <name>/                     one run: see `helpers.course.grid.runner`
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import logging
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import nbformat
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.system import MEMORY_LIMIT
from matplotlib.figure import Figure
from papermill.cli import _resolve_type as read_value  # that `-p` means here what it means there
from tqdm import tqdm

from helpers import files, paths, plotting
from helpers.course import lessons
from helpers.course.grid import runner, worker
from helpers.course.grid.worker import Job, Outcome

NAME_DIGITS = 16  # of a digest: names of a million runs still differ
RUN_MEMORY = 4e9  # bytes that a run may need; more runs than fit into the memory are not begun by default
CONNECT = 20.0  # seconds in which a scheduler must answer
PART = 2**24  # bytes fetched at a time
FETCHES = 3  # tries
MEND = 5.0  # seconds between two looks after the local workers
PATIENCE = {"distributed": {"scheduler": {"worker-ttl": None}, "deploy": {"lost-worker-timeout": "2 minutes"}}}
"""With workers on this machine: it may have slept, so silence tells nothing; and while busy, it starts them slowly."""
OWN_COLUMNS = ("run", "state", "reason", "run_seconds", "device")
Row = dict[str, Any]
"""A line of the table: these columns, the run's parameters and its metrics."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LOCALHOST = "127.0.0.1"


class GridError(Exception):
    """What was asked for cannot be a grid of this notebook; the message says what can."""


@dataclass(frozen=True)
class Grid:
    """The runs that a call asks for."""

    stem: str  # of the notebook
    given: Mapping[str, tuple[Any, ...]]  # what the caller says of each parameter, and the profile
    jobs: tuple[Job, ...]

    def describe(self) -> str:
        """Returns the given values, as they name the grid's table."""
        return "_".join(f"{name}={','.join(map(str, values))}" for name, values in self.given.items())

    def find_table(self) -> Path:
        """Returns the path of the results table."""
        name = re.sub(r"[^\w=,.+-]+", "-", f"{self.stem}_{self.describe()}")
        if len(name) > 120:  # a file name has its limits
            names = "".join(job.name for job in self.jobs)
            name = f"{name[:100]}…{hashlib.sha256(names.encode()).hexdigest()[:8]}"
        return paths.RUNS / paths.GRIDS / f"{name}.csv"

    def find_executed(self, job: Job) -> Path:
        """Returns the path of a run's executed notebook; its results lie beside it."""
        return worker.find_folder(job.name) / self.stem / job.parameters["profile"] / f"{self.stem}.ipynb"

    def is_finished(self, job: Job) -> bool:
        """Returns whether a run is here, whole, as it was planned: code may have been edited since."""
        return lessons.is_run(self.find_executed(job), job.digest, job.parameters.get("seed", 0))


def read_grid(texts: Sequence[str], known: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Returns the values of each parameter in texts like `sigma=1,2`, each value read as papermill reads one.

    Args:
        known: the notebook's own parameters.

    Raises:
        GridError: a parameter is unknown, named twice, or has no value or an empty one.
    """
    given: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if name not in known:
            raise GridError(f"the notebook has no parameter {name!r}; it has {', '.join(known) or 'none'}")
        if name in given:
            raise GridError(f"the parameter {name!r} is given twice: separate its values by commas")
        if not sign or not all(values.split(",")):
            raise GridError(f"{text!r} lacks a value: write {name}=value or {name}=value,value")
        read = [read_value(value) for value in values.split(",")]
        given[name] = tuple({repr(value): value for value in read}.values())  # 1 and True are two, although equal
    return given


def plan_grid(path: Path, texts: Sequence[str]) -> Grid:
    """Returns the runs of the notebook in `path` over all combinations of the values in `texts`.

    The budget is the parameter `profile`, or else the environment's, as for a notebook that is run by hand.

    Raises:
        lessons.LessonFailed: the notebook cannot be read.
        GridError: `texts` are not a grid of it.
    """
    notebook = lessons.read_notebook(path, keep_outputs=False)
    try:
        known = lessons.read_parameters(notebook)
    except lessons.LessonFailed as error:
        raise GridError(f"{path}: {error}") from None
    if taken := known.keys() & set(OWN_COLUMNS):
        raise GridError(f"the table has a column {taken.pop()!r} of its own: give the parameter another name")
    given = read_grid(texts, known)
    given.setdefault("profile", (paths.default_profile(),))
    for profile in given["profile"]:
        if profile not in paths.PROFILES:
            raise GridError(f"the profile is {profile!r}; choose of {', '.join(paths.PROFILES)}")
    for seed in given.get("seed", ()):
        if not paths.is_seed(seed):
            raise GridError(f"the seed is {seed!r}; {paths.SEED_REMEDY}")
    combinations = (dict(zip(given, values, strict=True)) for values in itertools.product(*given.values()))
    shared = {"stem": path.stem, "notebook": nbformat.writes(notebook), "variables": lessons.read_settings()}
    jobs = []
    for combination in combinations:
        parameters = known | combination
        digest = lessons.compute_digest(notebook, parameters["profile"], parameters)
        place = str(path.absolute().parent)
        jobs.append(Job(digest[:NAME_DIGITS], parameters=parameters, digest=digest, working_folder=place, **shared))
    return Grid(path.stem, given, tuple(jobs))


def run_jobs(client: Client, grid: Grid, jobs: Sequence[Job]) -> Iterator[tuple[Job, str]]:
    """Yields each of `jobs` as it ends, with the reason why it did not finish, empty when it did.

    What a worker made on a disk of its own is here by then. Dask gives a run whose worker died to another one.
    """
    client.register_plugin(worker.Runners())
    futures = {_submit(client, job): job for job in jobs}
    fetched: Counter[str] = Counter()
    try:
        ended = as_completed(futures)
        for future in ended:
            job = futures.pop(future)
            try:
                outcome = future.result()
            except KilledWorker as error:
                yield job, f"{job.stem}: its worker died each time, last the one at {error.last_worker.address}"
                continue
            except Exception as error:
                yield job, f"{job.stem}: the cluster lost it, {type(error).__name__}: {error}"
                continue
            reason = outcome.reason
            try:
                fetch(client, future, job, outcome)
            except Exception as error:  # whatever a dying worker or a full disk causes
                fetched[job.name] += 1
                if fetched[job.name] < FETCHES:  # the worker has it still, or another one makes it again
                    again = _submit(client, job)
                    futures[again] = job
                    ended.add(again)
                    continue
                reason = f"{job.stem}: could not be fetched from {outcome.host}, {type(error).__name__}: {error}"
            if not reason and not grid.is_finished(job):
                reason = f"{job.stem}: finished on {outcome.host}, but its files have not come here whole"
            yield job, reason
    finally:
        if futures:
            client.cancel(list(futures), force=True)


def _submit(client: Client, job: Job) -> Future:
    """Returns the future of a run. Its key is the run's name: two callers of one cluster share it."""
    return client.submit(worker.execute, job, key=f"{job.stem}-{job.name}", pure=False)


def fetch(client: Client, future: Future, job: Job, outcome: Outcome) -> None:
    """Copies a run's files from its worker's disk into this host's folder of the same run, unless they are there.

    The executed notebook comes last: where it is, everything is.

    Raises:
        Exception: the worker is gone, or a file could not be read there or written here.
    """
    folder = worker.find_folder(job.name)
    here = worker.list_files(job.name)
    missing = sorted((path for path in outcome.files if here.get(path) != tuple(outcome.files[path])), key=_is_executed)
    if not missing:
        return
    addresses = next(iter(client.who_has([future]).values()))
    for path in missing:
        size, changed = outcome.files[path]
        with files.replace_when_complete(folder / path) as partial, open(partial, "wb") as file:
            for offset in range(0, size, PART):
                parts = client.run(worker.read_part, job.name, path, offset, PART, workers=addresses[:1])
                file.write(*parts.values())
        os.utime(folder / path, ns=(changed, changed))
    if not outcome.reason:
        for stale in folder.rglob("*.unfinished.ipynb"):  # of an earlier try
            stale.unlink()


def _is_executed(path: str) -> bool:
    return path.endswith(".ipynb")


def describe_run(grid: Grid, job: Job, reason: str = "") -> Row:
    """Returns the table's row of a run: its name, parameters and state, and what it measured if it is finished.

    Args:
        reason: why it failed.
    """
    row = {"run": job.name, **job.parameters, "state": "failed" if reason else "missing"}
    row["reason"] = " ".join(reason.split())  # on one line
    if not reason and grid.is_finished(job):
        executed = grid.find_executed(job)
        results, notebook = (
            json.loads(path.read_text(encoding="utf-8")) for path in (executed.with_name("results.json"), executed)
        )
        seconds = round(notebook["metadata"]["papermill"]["duration"], 1)
        row |= {"state": "finished", "run_seconds": seconds, "device": results.get("device", "")}
        row |= {f"metric {name}" if name in row else name: value for name, value in results.get("metrics", {}).items()}
    return row


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Writes `rows` as CSV, whole or not at all; a column that a row has not is empty there."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())


def find_varied(grid: Grid) -> list[str]:
    """Returns the parameters with several values, but for the seed: runs that differ in it alone tell the spread."""
    return [name for name, values in grid.given.items() if len(values) > 1 and name != "seed"]


def choose_metric(rows: Sequence[Row], metrics: Sequence[str], varied: Sequence[str]) -> str:
    """Returns the first of `metrics` that differs between runs of the same seed, or else the first.

    A notebook saves its headline numbers first, but one that a parameter cannot change says nothing about it.
    """
    for metric in metrics:
        by_seed: dict[Any, set[float]] = {}
        for row in rows:
            by_seed.setdefault(row.get("seed"), set()).add(row[metric])
        if varied and any(len(values) > 1 for values in by_seed.values()):
            return metric
    return metrics[0]


def draw_figure(path: Path, grid: Grid, rows: Sequence[Row], metric: str | None) -> str:
    """Writes the grid's figure and returns the metric that it shows, "" where no run has finished: nothing is drawn.

    Raises:
        GridError: the runs have no such metric.
    """
    finished = [row for row in rows if row["state"] == "finished"]
    if not finished:
        return ""
    known = {*grid.jobs[0].parameters, *OWN_COLUMNS}
    metrics = [name for name in finished[0] if name not in known and all(name in row for row in finished)]
    if metric is not None and metric not in metrics:
        raise GridError(f"the runs have no metric {metric!r}; they have {', '.join(metrics)}")
    if not metrics:
        return ""
    varied = find_varied(grid)
    chosen = metric or choose_metric(finished, metrics, varied)
    plotting.use_style()
    figure = Figure(figsize=(6.5, 3.6), dpi=110)
    ax = plotting.plot_grid(finished, varied, chosen, figure.add_subplot())
    count = f"{len(finished)} runs" if len(finished) == len(rows) else f"{len(finished)} of {len(rows)} runs"
    ax.set_title(f"{grid.stem}, {'/'.join(grid.given['profile'])}: {count}")
    with files.replace_when_complete(path) as partial:
        figure.savefig(partial, bbox_inches="tight", format="png")
    return chosen


@contextlib.contextmanager
def connect(scheduler: str | None, num_workers: int | None, num_runs: int) -> Iterator[Client]:
    """Yields a client of the cluster at the address `scheduler`, or of one made for the occasion on this machine.

    A local worker has its share of the cores and one run at a time. By default there is one for each GPU, or else as
    many as cores and memory allow, and none without a run.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT)
        except (OSError, ValueError) as error:
            raise GridError(f"no cluster at {scheduler}: {error}") from None
        with client:
            info = client.scheduler_info(n_workers=-1)
            print(
                f"cluster at {scheduler} · dashboard {client.dashboard_link if info['services'] else 'none'}",
                flush=True,
            )
            if not info["workers"]:
                print("it has no worker yet: the runs begin when one comes", flush=True)
            yield client
        return
    allowed = len(runner.find_gpus()) or min(CPU_COUNT, int(MEMORY_LIMIT // RUN_MEMORY)) or 1
    count = min(num_workers or allowed, num_runs)
    cores = max(1, CPU_COUNT // count)
    dask.config.update_defaults(PATIENCE)
    with _deaf_to_interrupts():  # workers inherit it: Ctrl-C is for this process, which then ends them
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host=LOCALHOST,
            dashboard_address=f"{LOCALHOST}:0",
            memory_limit=0,  # it would be the worker's alone, and its runs are other processes
            silence_logs=logging.CRITICAL,
            env={name: str(cores) for name in THREADS},
        )
    with cluster, _mend(cluster, count), Client(cluster) as client:
        print(f"workers: {count}, cores each: {cores} · dashboard {client.dashboard_link}", flush=True)
        yield client


@contextlib.contextmanager
def _mend(cluster: LocalCluster, count: int) -> Iterator[None]:
    """Keeps the cluster at `count` workers: by itself it gives up one that died and comes back slowly."""
    ended = threading.Event()

    def mend() -> None:
        while not ended.wait(MEND):
            cluster.scale(count)

    thread = threading.Thread(target=mend, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ignores Ctrl-C meanwhile, as far as this thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def run_grid(grid: Grid, scheduler: str | None, num_workers: int | None, metric: str | None) -> int:
    """Returns 0 when every run of the grid is finished and in the table, else 1; prints what happens."""
    rows = {job.name: describe_run(grid, job) for job in grid.jobs}
    missing = [job for job in grid.jobs if rows[job.name]["state"] != "finished"]
    before = len(rows) - len(missing)
    print(f"{grid.stem} · {grid.describe()} · runs: {len(rows)}, finished before: {before}", flush=True)
    table = grid.find_table()
    if missing:
        with (
            connect(scheduler, num_workers, len(missing)) as client,
            tqdm(total=len(rows), initial=before, desc="runs", unit="run") as bar,
            contextlib.closing(run_jobs(client, grid, missing)) as ended,
        ):
            for job, reason in ended:
                rows[job.name] = describe_run(grid, job, reason)
                if reason:
                    log = worker.find_folder(job.name) / f"{job.stem}.log"
                    which = ", ".join(f"{name} {job.parameters[name]}" for name in grid.given)
                    bar.write(f"failed with {which}: {reason}\n  {lessons.show(log)}")
                bar.set_postfix(failed=sum(row["state"] == "failed" for row in rows.values()))
                bar.update()
                with contextlib.suppress(OSError):  # a full disk: it may have room again for the next one
                    write_table(table, list(rows.values()))
    states = [row["state"] for row in rows.values()]
    print(f"finished {states.count('finished')}, failed {states.count('failed')}")
    try:
        write_table(table, list(rows.values()))
        print(f"table   {lessons.show(table)}")
        if shown := draw_figure(table.with_suffix(".png"), grid, list(rows.values()), metric):
            print(f"figure  {lessons.show(table.with_suffix('.png'))}: {shown}")
    except OSError as error:
        print(f"the table or its figure could not be written: {error}", file=sys.stderr)
        return 1
    return int(states.count("finished") < len(states))
