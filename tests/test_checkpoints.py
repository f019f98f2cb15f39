"""Checkpoints: kill -9 at every kind of moment, damage of every kind, two processes, a read-only and a full disk."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers import checkpoints, files, paths
from helpers.checkpoints import BEST, LAST, LOG, CheckpointError, read_log
from tests.line import CONFIG, LineTask, TrainingProcess, build_network, run, without_seconds

ALWAYS, SELDOM = 0.0, math.inf
"""Seconds between two savings: after every epoch, or after the last alone."""
REMEDY = "train into another folder, or move this one away"


def read_state(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def write_state(path: Path, state: dict) -> None:
    """Write a checkpoint of any content with a right digest."""
    checkpoints.write_checkpoint(path, {}, state)  # the identity is that of `state`


@pytest.mark.parametrize(
    ("moment", "count", "save_every"),
    [
        pytest.param("step", 3, ALWAYS, id="in the first epoch, before anything is saved"),
        pytest.param("step", 7, ALWAYS, id="in the middle of the second epoch"),
        pytest.param("rename", 1, ALWAYS, id="while the first best model is being saved"),
        pytest.param("rename", 5, ALWAYS, id="between the second best model and its log"),
        pytest.param("rename", 6, ALWAYS, id="between the second log and its checkpoint"),
        pytest.param("rename", 9, ALWAYS, id="while the last checkpoint is being saved"),
        pytest.param("step", 7, SELDOM, id="after an epoch that was logged and not saved"),
        pytest.param("rename", 3, SELDOM, id="between the best model and the last log"),
        pytest.param("rename", 5, SELDOM, id="while the only checkpoint is being saved"),
    ],
)
def test_a_run_killed_with_signal_9_ends_with_the_weights_of_one_that_never_was(tmp_path, moment, count, save_every):
    _, expected = run(tmp_path / "whole")
    status, _, errors = TrainingProcess(tmp_path / "killed", moment, count, save_every).wait()
    assert status == -signal.SIGKILL, errors

    _, history = run(tmp_path / "killed")

    for name in (LAST, BEST):
        whole, resumed = (read_state(tmp_path / folder / name) for folder in ("whole", "killed"))
        assert whole["model"].keys() == resumed["model"].keys()
        assert all(torch.equal(whole["model"][key], resumed["model"][key]) for key in whole["model"])
    assert without_seconds(history) == without_seconds(expected)
    assert without_seconds(read_log(tmp_path / "killed" / LOG)) == without_seconds(expected)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted((BEST, LAST, LOG))


@pytest.mark.parametrize(("save_every", "times"), [(ALWAYS, 3), (SELDOM, 1)])
def test_the_state_is_saved_every_few_seconds_and_after_the_last_epoch(tmp_path, monkeypatch, save_every, times):
    written = []
    write = checkpoints.write_checkpoint
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", save_every)
    monkeypatch.setattr(
        checkpoints, "write_checkpoint", lambda path, *values: (written.append(path.name), write(path, *values))
    )
    run(tmp_path, task=LineTask(scores=[0.1, 0.2, 0.3]))
    assert written == [BEST, LAST] * times


def test_epochs_longer_than_the_interval_are_each_saved_and_shorter_ones_share_a_saving(tmp_path, monkeypatch):
    clock = iter([0.0, 8.0, 16.0, 24.0, 24.0, 30.0, 40.0])  # begin; epochs 1, 2, 3 and its saving; 4; 5
    written = []
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 20.0)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(checkpoints, "write_log", lambda *values: None)
    monkeypatch.setattr(
        checkpoints, "write_checkpoint", lambda path, identity, state: written.append((path.name, state.get("epoch")))
    )
    saver = checkpoints.Checkpoints(tmp_path, {}, epochs=9, monitor="score")
    network = build_network()
    optimizer = torch.optim.SGD(network.parameters())
    history = []
    for epoch, score in enumerate([0.5, 0.9, 0.1, 0.2, 0.3], start=1):
        history.append({"epoch": epoch, "score": score})
        saver.note(network, optimizer, history)
    assert written == [(BEST, 2), (LAST, None)]


def test_a_finished_run_is_loaded_and_not_repeated(tmp_path):
    network, history = run(tmp_path)
    written = (tmp_path / LAST).stat().st_mtime_ns
    again, loaded = run(tmp_path, on_epoch_end=lambda row, model: pytest.fail("an epoch was repeated"))
    assert loaded == history
    assert (tmp_path / LAST).stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_the_model_ends_with_the_weights_of_its_best_epoch(tmp_path):
    weights = {}
    keep = lambda row, model: weights.update({row["epoch"]: model[0].weight.detach().clone()})  # noqa: E731
    network, _ = run(tmp_path, task=LineTask(scores=[0.1, 0.9, 0.5]), on_epoch_end=keep)
    torch.testing.assert_close(network[0].weight, weights[2], rtol=0, atol=0)
    assert not torch.equal(weights[2], weights[3])


def test_of_equally_good_epochs_the_latest_is_the_best(tmp_path):
    weights = {}
    keep = lambda row, model: weights.update({row["epoch"]: model[0].weight.detach().clone()})  # noqa: E731
    network, _ = run(tmp_path, task=LineTask(scores=[0.9, 0.9, 0.5]), on_epoch_end=keep)
    torch.testing.assert_close(network[0].weight, weights[2], rtol=0, atol=0)
    assert not torch.equal(weights[1], weights[2])


def test_the_log_can_be_read_after_every_epoch(tmp_path):
    lengths = []
    task = LineTask()
    make_batches = task.batches

    def read_and_make_batches(epoch, *arguments):
        if epoch > 1:
            lengths.append(len(read_log(tmp_path / LOG)))
        return make_batches(epoch, *arguments)

    task.batches = read_and_make_batches
    run(tmp_path, task=task)
    assert [*lengths, len(read_log(tmp_path / LOG))] == [1, 2, 3]


def test_an_epoch_whose_callback_did_not_end_is_repeated_with_its_callback(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", ALWAYS)
    epochs = []

    def interrupt(row, model):
        epochs.append(row["epoch"])
        if epochs == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", on_epoch_end=interrupt)
    _, history = run(tmp_path / "stopped", on_epoch_end=interrupt)
    assert epochs == [1, 2, 2, 3]
    assert without_seconds(history) == without_seconds(run(tmp_path / "whole")[1])


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    run(tmp_path)
    other = dataclasses.replace(CONFIG, learning_rate=0.01)
    with pytest.raises(
        CheckpointError, match=rf"last\.pth.*training\.learning_rate is 0\.05 there and 0\.01 here; {REMEDY}"
    ):
        run(tmp_path, other)


def test_a_best_model_of_another_run_is_not_overwritten_where_the_last_state_was_removed(tmp_path):
    run(tmp_path)
    (tmp_path / LAST).unlink()
    before = (tmp_path / BEST).read_bytes()
    with pytest.raises(
        CheckpointError, match=rf"best_model\.pth.*learning_rate is 0\.05 there and 0\.01 here; {REMEDY}"
    ):
        run(tmp_path, dataclasses.replace(CONFIG, learning_rate=0.01))
    assert (tmp_path / BEST).read_bytes() == before


@pytest.mark.parametrize("name", [LAST, BEST])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is truncated or not a checkpoint"),
        (lambda path: path.write_bytes(b""), "is truncated or not a checkpoint"),
        (lambda path: path.write_text(json.dumps({"epoch": 3})), "is truncated or not a checkpoint"),
        (lambda path: torch.save(build_network(), path), "is truncated or not a checkpoint"),
        (lambda path: torch.save({"model": {}}, path), "is truncated or not a checkpoint of this version"),
        (lambda path: torch.save(torch.zeros(3), path), "is truncated or not a checkpoint of this version"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    ],
    ids=["truncated", "empty", "text", "pickle that could run code", "foreign dictionary", "tensor", "folder"],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_with_its_name_and_a_remedy(tmp_path, name, damage, message):
    run(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(CheckpointError, match=rf"{name} {message}.*{REMEDY}") as refusal:
        run(tmp_path)
    assert "delete" not in str(refusal.value)
    assert len(str(refusal.value).replace(str(tmp_path), "")) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in a folder are Unix's")
@pytest.mark.parametrize("name", [LAST, BEST])
def test_a_pipe_in_the_place_of_a_checkpoint_or_a_log_is_refused_and_not_waited_for(tmp_path, name):
    run(tmp_path)
    for file in (name, LOG):
        (tmp_path / file).unlink()
        os.mkfifo(tmp_path / file)
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read: it is no regular file; {REMEDY}"):
        run(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{LOG} cannot be read: it is no regular file; {REMEDY}"):
        read_log(tmp_path / LOG)


def test_a_pickle_that_could_run_code_is_refused_even_with_a_right_digest(tmp_path):
    run(tmp_path)
    buffer = io.BytesIO()
    torch.save(build_network(), buffer)
    digest = hashlib.blake2b(buffer.getvalue(), digest_size=32).hexdigest().encode()
    (tmp_path / LAST).write_bytes(buffer.getvalue() + checkpoints.FORMAT + digest + b"\n")
    with pytest.raises(CheckpointError, match=rf"last\.pth cannot be read by PyTorch \(UnpicklingError\); {REMEDY}"):
        run(tmp_path)


@pytest.mark.parametrize("name", [LAST, BEST])
def test_every_single_flipped_bit_is_noticed(tmp_path, name):
    run(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    identity = read_state(path)["identity"]
    num_bits = 8 * len(content)
    footer = range(num_bits - 8 * 120, num_bits)  # with the line that holds format and digest, bit by bit in steps
    positions = [*range(0, num_bits, num_bits // 200), *range(8 * 64), *footer[::5]]
    for position in positions:
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"{name} is (damaged|truncated)"):
            checkpoints.read_checkpoint(path, identity, torch.device("cpu"), {"model"})
    path.write_bytes(content)
    assert checkpoints.read_checkpoint(path, identity, torch.device("cpu"), {"model"})["identity"] == identity
    path.write_bytes(content[:-1] + b"\r")
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (LAST, lambda state: state.pop("optimizer"), "is incomplete: it lacks 'optimizer'"),
        (LAST, lambda state: state.pop("history"), "is incomplete: it lacks 'history'"),
        (LAST, lambda state: state.pop("model"), "is incomplete: it lacks 'model'"),
        (BEST, lambda state: state.pop("epoch"), "is incomplete: it lacks 'epoch'"),
        (LAST, lambda state: state["model"].pop("0.bias"), r"another network: 0\.bias is absent there and '\[8\]"),
        (BEST, lambda state: state["model"].pop("0.bias"), r"another network: 0\.bias is absent there and '\[8\]"),
        (BEST, lambda state: state["model"].update({"0.bias": torch.zeros(1)}), r"0\.bias is '\[1\] torch\.float32'"),
        (BEST, lambda state: state["model"].update(more=torch.zeros(1)), r"more is '\[1\].* there and absent here"),
        (BEST, lambda state: state.update(model=3), "another network"),
        (LAST, lambda state: state["optimizer"].pop("param_groups"), "holds the state of another optimizer"),
        (LAST, lambda state: state["optimizer"].update(param_groups=[]), "holds the state of another optimizer"),
        (LAST, lambda state: state["history"].pop(0), "damaged history: row 1 is of epoch 2"),
        (LAST, lambda state: state["history"][1].pop("agreement"), "damaged history: epoch 2 lacks 'agreement'"),
        (LAST, lambda state: state.update(history=5), "damaged history: it is no list"),
        (LAST, lambda state: state["history"].append({"epoch": 4, "agreement": 9.0}), "it has 4 of 3 epochs"),
        (LAST, lambda state: state["history"][1].update(agreement=math.nan), "'agreement' of epoch 2 is nan"),
        (LAST, lambda state: state.update(identity=torch.zeros(2)), r"holds an identity that is no JSON"),
        (BEST, lambda state: state.update(identity=[1]), r"holds an identity that is no JSON"),
        (BEST, lambda state: state["identity"].update(training={"rate": torch.zeros(2)}), r"identity that is no JSON"),
        (LAST, lambda state: state["model"].update({"0.bias": torch.zeros(8).to_sparse()}), "cannot be copied"),
        (BEST, lambda state: state.update(epoch=1), r"holds the weights of epoch 1, but by last\.pth.* epoch is 3"),
        (BEST, lambda state: state.update(epoch="x"), "holds the weights of epoch 'x', but"),
    ],
)
def test_what_a_checkpoint_lacks_or_contradicts_is_named(tmp_path, name, change, message):
    run(tmp_path, task=LineTask(scores=[0.1, 0.2, 0.3]))
    state = read_state(tmp_path / name)
    change(state)
    write_state(tmp_path / name, state)
    with pytest.raises(CheckpointError, match=rf"{name} .*{message}.*{REMEDY}"):
        run(tmp_path)


def test_a_best_model_that_the_last_state_contradicts_is_refused_before_an_epoch_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", ALWAYS)
    with pytest.raises(StopIteration):
        run(tmp_path, task=LineTask(scores=[0.1, 0.2]))
    state = read_state(tmp_path / BEST) | {"epoch": 1}
    write_state(tmp_path / BEST, state)
    task = LineTask()
    task.losses = lambda model, batch: pytest.fail("a step was trained")
    with pytest.raises(CheckpointError, match=r"best_model\.pth holds the weights of epoch 1, but by last\.pth.* is 2"):
        run(tmp_path, task=task)


def test_a_missing_best_model_is_named(tmp_path):
    run(tmp_path)
    (tmp_path / BEST).unlink()
    with pytest.raises(CheckpointError, match=rf"best_model\.pth is missing.*{REMEDY}"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"truncated or not a training log \(JSONDecodeError\)"),
        ('{"identity": {}, "history": [{"epoch": 1', r"truncated or not a training log \(JSONDecodeError\)"),
        ("[]", r"truncated or not a training log \(TypeError\)"),
        ('{"identity": {}}', r"truncated or not a training log \(KeyError\)"),
        ("[" * 100_000, r"truncated or not a training log \(RecursionError\)"),
        ('{"history": [1]}', "damaged history: it is no list of rows"),
        ('{"history": [{"epoch": 2}]}', "damaged history: row 1 is of epoch 2"),
        ('{"history": [{"epoch": 1, "loss": "a"}]}', "damaged history: 'loss' of epoch 1 is 'a', no number"),
    ],
)
def test_a_damaged_log_is_named(tmp_path, text, message):
    (tmp_path / LOG).write_text(text)
    with pytest.raises(CheckpointError, match=rf"training_log\.json .*{message}.*{REMEDY}"):
        read_log(tmp_path / LOG)


def test_a_log_of_other_bytes_or_none_at_all_is_named(tmp_path):
    (tmp_path / LOG).write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"training_log\.json is truncated or not.*UnicodeDecodeError"):
        read_log(tmp_path / LOG)
    with pytest.raises(CheckpointError, match=r"other\.json cannot be read: No such file.*; train"):
        read_log(tmp_path / "other.json")


def test_two_processes_in_one_folder_train_once_and_get_the_same_run(tmp_path):
    _, expected = run(tmp_path / "alone")
    folder = tmp_path / "shared"
    processes = [TrainingProcess(folder, pause=0.5) for _ in range(2)]
    outputs = [process.wait() for process in processes]
    assert [status for status, *_ in outputs] == [0, 0], outputs
    assert [printed for _, printed, _ in outputs] == [f"{without_seconds(expected)}\n"] * 2
    message = f"{folder}: another process trains in this folder; waiting"
    assert sum(message in errors for *_, errors in outputs) == 1
    assert sorted(path.name for path in folder.iterdir()) == sorted((BEST, LAST, LOG))


def test_a_process_that_waits_goes_on_with_the_run_of_a_killed_one_and_removes_its_leftovers(tmp_path):
    _, expected = run(tmp_path / "alone")
    folder = tmp_path / "shared"
    first = TrainingProcess(folder, pause=0.5)
    wait_until(lambda: (folder / LAST).exists())
    second = TrainingProcess(folder)
    leftover = folder / f".{LAST}.killed.partial"
    leftover.write_text("half")
    time.sleep(0.5)
    assert leftover.exists()  # while the first process runs, the file may be its file
    first.kill()
    first.wait()
    _, printed, errors = second.wait()
    assert printed == f"{without_seconds(expected)}\n", errors
    assert sorted(path.name for path in folder.iterdir()) == sorted((BEST, LAST, LOG))


def test_foreign_files_in_the_folder_stay(tmp_path):
    names = [".notes.partial", ".results.json.abc.partial", "thesis.txt"]
    for name in names:
        (tmp_path / name).write_text("irreplaceable")
    run(tmp_path)
    assert [(tmp_path / name).read_text() for name in names] == ["irreplaceable"] * 3


def wait_until(is_true, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)


READ_ONLY = """
import os, sys
from pathlib import Path
from tests.line import run, without_seconds
readable, unfinished = Path(sys.argv[1]), Path(sys.argv[2])
run(Path(sys.argv[3]))  # imports whatever is imported late
if os.getuid() == 0:
    os.setresuid(65534, 65534, 65534)
print(without_seconds(run(readable)[1]))
try:
    run(unfinished)
except OSError as error:
    print(error)
"""


@pytest.fixture
def public_folder():
    """A folder that a user without rights can enter, on a file system with permissions."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are Unix's")
def test_a_finished_run_is_loaded_from_a_folder_that_cannot_be_written(public_folder):
    _, expected = run(public_folder / "finished")
    (public_folder / "unfinished").mkdir()
    for name in ("finished", "unfinished"):
        (public_folder / name).chmod(0o555)
    public_folder.chmod(0o555)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [str(public_folder / "finished"), str(public_folder / "unfinished"), scratch]
        process = subprocess.run(
            [sys.executable, "-c", READ_ONLY, *arguments],
            env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert process.returncode == 0, process.stderr
    history, refusal = process.stdout.splitlines()
    assert history == str(without_seconds(expected))
    assert "Permission denied" in refusal
    assert str(public_folder / "unfinished") in refusal


def test_loading_a_finished_run_writes_nothing(tmp_path, monkeypatch):
    _, history = run(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    def refuse(*arguments, **keywords):
        raise AssertionError("something was written")

    for module, name in ((os, "replace"), (os, "mkdir"), (os, "unlink"), (tempfile, "mkstemp"), (files, "hold_lock")):
        monkeypatch.setattr(module, name, refuse)
    _, loaded = run(tmp_path)
    assert loaded == history
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of Linux that is always full")
@pytest.mark.parametrize("name", [BEST, LOG, LAST])
def test_a_full_disk_is_named_and_the_run_is_resumed_when_there_is_space(tmp_path, monkeypatch, name):
    _, expected = run(tmp_path / "alone")
    make = tempfile.mkstemp

    def make_on_a_full_disk(dir, prefix, suffix):
        handle, path = make(dir=dir, prefix=prefix, suffix=suffix)
        if prefix == f".{name}.":
            os.unlink(path)
            os.symlink("/dev/full", path)
        return handle, path

    monkeypatch.setattr(checkpoints, "SAVE_EVERY", ALWAYS)
    with monkeypatch.context() as full:
        full.setattr(tempfile, "mkstemp", make_on_a_full_disk)
        with pytest.raises(OSError, match=rf"the disk is full .*: free some space and run it again: .*/{name}'"):
            run(tmp_path / "full")
    assert not list((tmp_path / "full").glob(".*"))
    assert not (tmp_path / "full" / name).exists()
    _, history = run(tmp_path / "full")
    assert without_seconds(history) == without_seconds(expected)


def test_the_lock_is_free_after_an_error(tmp_path):
    task = LineTask()
    task.losses = lambda model, batch: {"loss": model(batch.inputs).sum() * math.nan}
    with pytest.raises(FloatingPointError):
        run(tmp_path, task=task)
    _, history = run(tmp_path)
    assert len(history) == 3
