"""Named recipes: the assignment's values, and ablations that change one thing per step."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from helpers.handout import ensure_handout
from helpers.keypoints.codecs import CoordinateCodec, HeatmapCodec
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.recipes import (
    ASSIGNMENT_HEATMAP,
    ASSIGNMENT_REGRESSION,
    SELECTION_SEED,
    TUNED_HEATMAP,
    Recipe,
    ablation,
    remove_skips,
    use_dsnt,
    vary_targets,
)

STEPS = ablation(epochs=1)


def find_changed_fields(first: Recipe, second: Recipe) -> set[str]:
    return {field.name for field in fields(Recipe) if getattr(first, field.name) != getattr(second, field.name)}


def test_the_assignments_recipes_have_the_handouts_values():
    for recipe in (ASSIGNMENT_HEATMAP, ASSIGNMENT_REGRESSION):
        config = recipe.training
        assert (config.optimizer, config.learning_rate, config.batch_size, config.epochs) == ("adam", 1e-3, 32, 30)
        assert (config.schedule, config.weight_decay) == ("constant", 0.0)
        assert (recipe.loss, recipe.width) == ("mse", 32)
        extras = ("permutation_invariant", "empty_start", "coordinates", "mirrored", "fresh_figures")
        assert not any(getattr(recipe, name) for name in extras)
    assert ASSIGNMENT_HEATMAP.codec == HeatmapCodec(size=64, sigma=2.0, decoder="argmax")
    assert ASSIGNMENT_HEATMAP.skips
    assert ASSIGNMENT_REGRESSION.codec == CoordinateCodec()
    assert (ASSIGNMENT_REGRESSION.head, ASSIGNMENT_REGRESSION.dropout) == ("pooled", 0.5)


def test_each_ablation_step_changes_one_thing():
    names = list(STEPS)
    assert STEPS[names[0]] == replace(ASSIGNMENT_REGRESSION, training=STEPS[names[0]].training)
    assert find_changed_fields(STEPS[names[0]], STEPS[names[1]]) == {"training"}
    assert find_changed_fields(STEPS[names[1]], STEPS[names[2]]) == {"dropout"}
    base = STEPS[names[2]]
    assert find_changed_fields(base, STEPS["pooled, CoordConv"]) == {"coordinates"}
    assert find_changed_fields(base, STEPS["flattened"]) == {"head"}
    for name in ("flattened, L1", "flattened, Laplace NLL"):
        assert find_changed_fields(STEPS["flattened"], STEPS[name]) == {"loss"}
    # A representation is head, codec and loss together, and for maps of values also the empty start.
    for name in ("SimCC", "integral", "heatmap", "DSNT"):
        assert "head" in find_changed_fields(base, STEPS[name]) <= {"head", "codec", "loss", "empty_start"}


@pytest.mark.parametrize("epochs", [1, 7])
def test_all_ablation_steps_have_the_given_epochs(epochs):
    assert {recipe.training.epochs for recipe in ablation(epochs).values()} == {epochs}


def test_the_targets_are_the_assignments_grid_and_nothing_else_changes():
    grid = vary_targets(TUNED_HEATMAP)
    targets = [(recipe.codec.size, recipe.codec.sigma) for recipe in grid.values()]
    assert targets == [(size, sigma) for size in (32, 64, 128) for sigma in (1, 2, 3, 4)]
    assert all(find_changed_fields(TUNED_HEATMAP, recipe) == {"codec"} for recipe in grid.values())


def test_removing_skips_changes_nothing_else():
    variants = vary_targets(TUNED_HEATMAP, (32,), (1.0, 2.0))
    without_skips = remove_skips(variants)
    assert list(without_skips) == ["32 cells, sigma 1, no skips", "32 cells, sigma 2, no skips"]
    for name, recipe in variants.items():
        assert find_changed_fields(recipe, without_skips[f"{name}, no skips"]) == {"skips"}


def test_dsnt_changes_the_representation_only():
    variants = use_dsnt(TUNED_HEATMAP, (16, 32))
    assert [recipe.codec.size for recipe in variants.values()] == [16, 32]
    for recipe in variants.values():
        assert find_changed_fields(TUNED_HEATMAP, recipe) == {"codec", "loss", "empty_start"}


def test_no_selection_figure_is_trained_on_or_reported(tmp_path):
    folder = ensure_handout(tmp_path / "handout")
    selection = {tuple(row) for row in KeypointDataset.draw(200, SELECTION_SEED).points.flatten(1).tolist()}
    for split in ("train", "val"):
        rows = KeypointDataset.read(folder / "keypoints", split).points.flatten(1).tolist()
        assert not selection & {tuple(row) for row in rows}
