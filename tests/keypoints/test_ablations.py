"""One table of networks that differ in one thing."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from helpers import checkpoints
from helpers.keypoints import ablations
from helpers.keypoints.ablations import (
    TABLE,
    ablation_study,
    arrange,
    average,
    learn_by_expectation,
    measure,
    perfect_outputs,
    read_table,
    remove_skips,
    select_rows,
    vary_targets,
    write_table,
)
from helpers.keypoints.codecs import DSNTCodec, HeatmapCodec
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.recipes import TUNED_HEATMAP, Recipe, train_keypoints
from helpers.keypoints.scenes import HANDS

CPU = torch.device("cpu")
FIGURES = KeypointDataset.draw(4, seed=5)
TINY = replace(
    TUNED_HEATMAP,
    width=4,
    fresh_figures=False,
    training=replace(TUNED_HEATMAP.training, epochs=1, batch_size=4),
)
TWO = vary_targets(TINY, (32,), (1.0, 2.0))


DECODERS = ("argmax", "quarter", "dark", "local", "joint")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns the folder of a finished study of TWO."""
    folder = tmp_path_factory.mktemp("study")
    study(TWO, folder)
    return folder


def study(variants, folder, num_seeds=1):
    return ablation_study(variants, num_seeds, FIGURES, FIGURES, FIGURES, folder, CPU)


def changed_fields(one: Recipe, other: Recipe) -> set[str]:
    return {field.name for field in fields(Recipe) if getattr(one, field.name) != getattr(other, field.name)}


def test_the_grid_is_the_assignments_and_changes_nothing_but_the_target():
    grid = vary_targets(TINY)
    targets = [(recipe.codec.size, recipe.codec.sigma) for recipe in grid.values()]
    assert targets == [(size, sigma) for size in (32, 64, 128) for sigma in (1, 2, 3, 4)]
    assert all(changed_fields(TINY, recipe) <= {"codec"} for recipe in grid.values())


def test_without_skips_nothing_else_changes():
    for name, recipe in remove_skips(TWO).items():
        assert changed_fields(TWO[name.removesuffix(", no skips")], recipe) == {"skips"}


def test_dsnt_changes_the_representation_only():
    for recipe in learn_by_expectation(TINY, (16, 32)).values():
        assert changed_fields(TINY, recipe) == {"codec", "loss", "empty_start"}


def test_every_run_has_a_row_per_decoder_and_the_table_holds_them_all(tmp_path):
    variants = {"a": TWO["32 cells, sigma 1"], **learn_by_expectation(TINY, (16,))}
    rows = study(variants, tmp_path, num_seeds=2)
    readings = [(row["variant"], row["seed"], row["decoder"]) for row in rows]
    one_seed = [("a", decoder) for decoder in DECODERS] + [("16 cells, DSNT", "dsnt")]
    assert readings == [(variant, seed, decoder) for seed in (0, 1) for variant, decoder in one_seed]
    assert {row["epochs"] for row in rows} == {1}
    np.testing.assert_equal(read_table(tmp_path / TABLE), rows)  # NaN is NaN here


def test_seeds_are_counted_from_the_recipes_own(tmp_path):
    recipe = TWO["32 cells, sigma 1"]
    later = replace(recipe, training=replace(recipe.training, seed=3))
    rows = select_rows(study({"a": later}, tmp_path, num_seeds=2), decoder="dark")
    assert [row["seed"] for row in rows] == [3, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"a_seed3", "a_seed4", TABLE}


def test_a_row_says_what_the_network_really_reaches(folder):
    name = "32 cells, sigma 2"
    rows = select_rows(read_table(folder / TABLE), variant=name)
    localizer = train_keypoints(TWO[name], FIGURES, FIGURES, folder / "32_cells_sigma_2_seed0", CPU)
    for row, codec in (
        (rows[1], HeatmapCodec(32, 2.0, "quarter")),
        (rows[-1], HeatmapCodec(32, 2.0, exchangeable=True)),
    ):
        measured = measure(localizer.predict(FIGURES.images, codec).points, FIGURES.points)
        assert {name: row[name] for name in measured} == measured
        assert (row["size"], row["sigma"], row["skips"]) == (32, 2.0, True)


def test_head_and_feet_are_measured_without_the_hands():
    moved = FIGURES.points.clone()
    moved[:, HANDS] += 50.0
    moved[:2, 0] += 50.0  # two of the four heads
    assert measure(moved, FIGURES.points)["pck_head_feet@0.05"] == pytest.approx(10 / 12)


def test_an_empty_map_scores_the_integral_of_the_squared_gaussian(folder):
    for row in read_table(folder / TABLE):
        assert row["mse_empty"] == pytest.approx(math.pi * row["sigma"] ** 2 / 32**2, rel=0.02)  # of the border


def test_a_stopped_study_goes_on_where_it_was(tmp_path, monkeypatch):
    trained = []

    def train_until_stopped(recipe, train_set, selection_set, folder, device):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(folder)
        return train_keypoints(recipe, train_set, selection_set, folder, device)

    monkeypatch.setattr(ablations, "train_keypoints", train_until_stopped)
    with pytest.raises(KeyboardInterrupt):
        study(TWO, tmp_path)
    first = read_table(tmp_path / TABLE)
    assert [row["decoder"] for row in first] == list(DECODERS)
    log = checkpoints.read_log(trained[0] / checkpoints.LOG)

    monkeypatch.undo()
    assert select_rows(study(TWO, tmp_path), variant="32 cells, sigma 1") == first
    assert checkpoints.read_log(trained[0] / checkpoints.LOG) == log  # seconds and all: loaded, not trained anew
    assert len(read_table(tmp_path / TABLE)) == 10


def test_several_studies_share_one_table(folder):
    before = read_table(folder / TABLE)
    without = study(remove_skips({"b": TWO["32 cells, sigma 1"]}), folder)
    study(TWO, folder)
    table = read_table(folder / TABLE)
    assert sorted(map(str, table)) == sorted(map(str, before + without))


def test_a_run_that_was_made_otherwise_is_refused(folder):
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.width is 4 there and 8 here"):
        study({name: replace(recipe, width=8) for name, recipe in TWO.items()}, folder)


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("codec", [HeatmapCodec(), HeatmapCodec(decoder="argmax"), DSNTCodec()])
def test_perfect_outputs_decode_to_the_points(codec, size):
    codec = replace(codec, size=size)
    points = FIGURES.points
    errors = (codec.decode(perfect_outputs(codec, points)).points - points).abs()
    assert errors.max() <= codec.resolution + 1e-3


ROWS = [
    {"variant": "a, b", "size": size, "sigma": sigma, "skips": True, "seed": seed, "pck": seed + size + sigma / 10}
    for sigma in (2.0, 1.0)
    for size in (64, 32)
    for seed in (1, 0)
]


def test_numbers_keep_all_their_digits_in_the_table(tmp_path):
    rows = [{**row, "pck": row["pck"] / 3} for row in ROWS]
    write_table(tmp_path / TABLE, rows)
    assert read_table(tmp_path / TABLE) == rows
    assert read_table(tmp_path / "missing.csv") == []


def test_rows_are_selected_and_averaged():
    assert {row["seed"] for row in select_rows(ROWS, size=32, sigma=1.0)} == {0, 1}
    assert average(select_rows(ROWS, size=32, sigma=1.0), "pck") == pytest.approx(32.6)
    with pytest.raises(ValueError, match="no row to average 'pck'"):
        average(select_rows(ROWS, size=16), "pck")


def test_a_column_is_arranged_by_seed_resolution_and_sigma():
    expected = [[[32.1, 32.2], [64.1, 64.2]], [[33.1, 33.2], [65.1, 65.2]]]
    np.testing.assert_allclose(arrange(ROWS, "pck"), expected)
