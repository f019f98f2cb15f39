"""Mutated files: each is refused by name in one short line, or read completely."""

import collections
import random

import numpy as np
import pytest

from benchmarks import fuzzing
from helpers import coco
from helpers.records import DatasetError

NUM_FILES = 330
READERS = {reader.name: reader for reader in fuzzing.list_readers()}
HARMLESS = [
    (name, mutation)
    for name, reader in READERS.items()
    for mutation in fuzzing.HARMLESS
    if mutation in fuzzing.MUTATIONS[reader.kind]
]


@pytest.fixture
def folder(tmp_path):
    fuzzing.write_sound_set(tmp_path)
    return tmp_path


def test_mutated_files_are_refused_by_name_or_read_whole(tmp_path):
    before = fuzzing.measure_memory()
    outcomes = list(fuzzing.fuzz(tmp_path, NUM_FILES, seed=1))
    assert [outcome for outcome in outcomes if outcome.verdict not in ("refused", "read")] == []
    verdicts = collections.Counter((outcome.reader, outcome.verdict) for outcome in outcomes)
    assert all(verdicts[name, "refused"] > 0 for name in READERS)
    assert fuzzing.measure_memory() - before < fuzzing.LARGEST_GROWTH


@pytest.mark.parametrize(("name", "mutation"), HARMLESS)
def test_a_harmless_change_changes_nothing_that_is_read(folder, name, mutation):
    reader = READERS[name]
    sound = reader.read(folder)
    for seed in range(4):
        outcome = fuzzing.try_mutation(reader, mutation, random.Random(seed), folder, sound)
        assert (outcome.verdict, outcome.detail) == ("read", "")


def test_a_reader_that_takes_shares_for_pixels_is_noticed(folder, monkeypatch):
    monkeypatch.setattr(coco, "are_shares", lambda boxes: np.zeros(len(boxes), bool))
    for name in ("coco boxes", "handout boxes", "digit dataset", "pred.json"):
        reader = READERS[name]
        sound = reader.read(folder)
        outcomes = [
            fuzzing.try_mutation(reader, fuzzing.scale_numbers, random.Random(seed), folder, sound)
            for seed in range(30)
        ]
        assert "AssertionError: boxes are no shares" in {outcome.detail for outcome in outcomes}, name


def outcome_of(folder, read, name="pred.csv", mutation=fuzzing.cut_off):
    reader = fuzzing.Reader("reader", name, read, lambda content: fuzzing.require(content != "bad", "it is bad"), "csv")
    return fuzzing.try_mutation(reader, mutation, random.Random(0), folder, "sound").verdict


def test_each_way_to_break_the_law_is_noticed(folder):
    def refuse(message):
        def read(folder):
            raise DatasetError(message.format(folder / "pred.csv"))

        return read

    def fail(folder):
        raise KeyError("a")

    assert outcome_of(folder, refuse("{}: broken")) == "refused"
    assert outcome_of(folder, refuse("broken")) == "message without the file"
    assert outcome_of(folder, refuse("{}: broken\n")) == "message that is too long"
    assert outcome_of(folder, refuse("{}: broken"), mutation=fuzzing.mark_byte_order) == "harmless, but refused"
    assert outcome_of(folder, fail) == "another exception"
    assert outcome_of(folder, lambda folder: "bad") == "another exception"
    assert outcome_of(folder, lambda folder: object()) == "a second reading differs"
    assert outcome_of(folder, lambda folder: "else", mutation=fuzzing.mark_byte_order) == "harmless, but read otherwise"
    assert outcome_of(folder, lambda folder: "sound") == "read"
    assert (folder / "pred.csv").read_text().startswith("image_id")  # sound again
