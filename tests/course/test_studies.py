"""Studies: several recipes from several seeds, resumed after an interruption, and their records."""

import json
from dataclasses import dataclass, field, replace

import pytest
import torch

from helpers import paths, published, records, runtime
from helpers.course import studies
from helpers.training import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=2, batch_size=4))
    width: int = 1


VARIANTS = {"narrow": Recipe(), "wide": Recipe(width=2)}


class Trainer:
    """Stands for a training: notes what it was asked for, and fails at the wished call."""

    def __init__(self, fail_at: int = 0):
        self.calls = []
        self.fail_at = fail_at

    def prepare(self, device):
        return self.measure

    def measure(self, recipe, folder):
        self.calls.append((recipe.width, recipe.training.seed, folder.name))
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        history = [{"epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2)]
        return studies.Measured(history, 10, {"ap": recipe.width / 10 + recipe.training.seed / 100})


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that defines study "test" with a trainer and these variants, in temporary folders."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(studies, "FOLDER", tmp_path / "studies")

    def define(trainer, variants=VARIANTS, num_seeds=2):
        study = studies.Study("Does width help?", num_seeds, lambda: variants, trainer.prepare)
        monkeypatch.setitem(studies.STUDIES, "test", study)
        return trainer

    return define


def test_all_variants_are_trained_from_one_seed_before_the_next(start):
    trainer = start(Trainer())
    studies.run_study("test")
    assert [(width, seed) for width, seed, _ in trainer.calls] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert {folder for *_, folder in trainer.calls} == {
        "narrow_seed0",
        "narrow_seed1",
        "wide_seed0",
        "wide_seed1",
    }


def test_an_interrupted_study_goes_on_with_what_is_missing(start):
    start(Trainer(fail_at=3))
    with pytest.raises(KeyboardInterrupt):
        studies.run_study("test")
    assert studies.describe("test") == "test: 2 of 4 trainings. Does width help?"
    trainer = start(Trainer())
    studies.run_study("test")
    assert [(width, seed) for width, seed, _ in trainer.calls] == [(1, 1), (2, 1)]
    again = start(Trainer())
    studies.run_study("test")
    assert again.calls == []


def test_a_record_of_another_recipe_is_replaced_and_of_another_variant_removed(start):
    start(Trainer())
    studies.run_study("test")
    changed = {"narrow": replace(VARIANTS["narrow"], width=3)}
    trainer = start(Trainer(), changed)
    studies.run_study("test", num_seeds=1)
    assert [(width, seed) for width, seed, _ in trainer.calls] == [(3, 0)]
    runs = published.read_runs("test")
    assert runs[["variant", "seed", "ap"]].to_numpy().tolist() == [["narrow", 0, 0.3], ["narrow", 1, 0.11]]


def test_trainings_in_another_number_format_are_not_mixed(start, monkeypatch):
    start(Trainer())
    monkeypatch.setattr(runtime, "choose_precision", lambda device: torch.bfloat16)
    studies.run_study("test", num_seeds=1)
    monkeypatch.setattr(runtime, "choose_precision", lambda device: torch.float32)
    trainer = start(Trainer())
    with pytest.raises(records.DatasetError, match=r"narrow, seed 0 was trained in bfloat16.* trains in float32"):
        studies.run_study("test")
    assert trainer.calls == []


def test_a_record_has_the_updates_and_where_it_was_made(start):
    start(Trainer())
    path = studies.run_study("test")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["command"] == "workbook study test"
    run = document["runs"][0]
    assert (run["epochs"], run["images"], run["updates"]) == (2, 10, 6)  # two epochs of 4 + 4 + 2 images
    assert {"device", "precision", "torch", "python", "commit", "seconds", "recipe"} <= run.keys()
    histories = published.read_histories("test")
    assert histories[histories.variant == "wide"][["seed", "epoch", "loss"]].to_numpy().tolist() == [
        [0, 1, 1.0],
        [0, 2, 0.5],
        [1, 1, 1.0],
        [1, 2, 0.5],
    ]


def test_every_study_has_a_lesson_distinct_recipes_and_a_baseline():
    for name, study in studies.STUDIES.items():
        variants = study.variants()
        assert len(list((paths.ROOT / "notebooks").glob(f"{name[:2]}_*.ipynb"))) == 1
        assert len({str(recipe) for recipe in variants.values()}) == len(variants) > 1
        if name != "03_curves":  # shows two trainings and compares nothing
            assert len({recipe.training.epochs for recipe in variants.values()}) == 1, "not the same budget"
