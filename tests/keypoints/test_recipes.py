"""From a recipe to a trained localiser of points."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from helpers import checkpoints, paths, runtime
from helpers.handout import ensure_handout
from helpers.keypoints.codecs import CoordinateCodec, Decoded, DSNTCodec, HeatmapCodec
from helpers.keypoints.dataset import KeypointDataset, mirror, prepare_images
from helpers.keypoints.metrics import compute_errors
from helpers.keypoints.model import HeatmapNet, RegressionNet
from helpers.keypoints.recipes import (
    ASSIGNMENT_HEATMAP,
    ASSIGNMENT_REGRESSION,
    SELECTION_SEED,
    TUNED_DSNT,
    TUNED_HEATMAP,
    TUNED_REGRESSION,
    KeypointTask,
    Recipe,
    build_network,
    compute_outputs,
    keep_stages,
    lesson_localizer,
    read_stages,
    repair_ladder,
    train_keypoints,
    train_variants,
)
from helpers.keypoints.scenes import FigureConfig

CPU = torch.device("cpu")
FIGURES = KeypointDataset.draw(12, seed=5)
TINY = replace(TUNED_DSNT, width=4, training=replace(TUNED_DSNT.training, epochs=3, batch_size=4))
ONCE = replace(TINY, training=replace(TINY.training, epochs=1))


def test_the_assignments_are_the_handouts_to_the_letter():
    for recipe in (ASSIGNMENT_HEATMAP, ASSIGNMENT_REGRESSION):
        config = recipe.training
        assert (config.optimizer, config.learning_rate, config.batch_size, config.epochs) == ("adam", 1e-3, 32, 30)
        assert (config.schedule, config.weight_decay) == ("constant", 0.0)
        assert (recipe.loss, recipe.width) == ("mse", 32)
        extras = ("exchangeable_hands", "empty_start", "coordinates", "mirrored", "fresh_figures")
        assert not any(getattr(recipe, name) for name in extras)
    assert ASSIGNMENT_HEATMAP.codec == HeatmapCodec(size=64, sigma=2.0, decoder="argmax")
    assert ASSIGNMENT_HEATMAP.skips
    assert ASSIGNMENT_REGRESSION.codec == CoordinateCodec()
    assert (ASSIGNMENT_REGRESSION.head, ASSIGNMENT_REGRESSION.dropout) == ("pooled", 0.5)


def epoch_of(recipe: Recipe, epoch: int) -> list:
    task = KeypointTask(recipe, FIGURES, FIGURES, CPU)
    return list(task.batches(epoch, 5, torch.Generator().manual_seed(epoch)))


def test_an_epoch_shows_every_figure_once_as_it_is_or_in_the_mirror():
    batches = epoch_of(replace(TINY, fresh_figures=False, mirrored=True), 1)
    assert [len(batch.images) for batch in batches] == [5, 5, 2]
    views = [(FIGURES.images, FIGURES.points), mirror(FIGURES.images, FIGURES.points)]
    seen, num_mirrored = set(), 0
    for image, points in (pair for batch in batches for pair in zip(batch.images, batch.points, strict=True)):
        for number, (images, all_points) in enumerate(views):
            same = (prepare_images(images) == image).flatten(1).all(1) & (all_points == points).flatten(1).all(1)
            seen.update(same.nonzero().flatten().tolist())
            num_mirrored += number * int(same.any())
    assert seen == set(range(12))
    assert 0 < num_mirrored < 12


def test_without_a_mirror_an_epoch_is_the_set_itself():
    batches = epoch_of(replace(TINY, fresh_figures=False), 1)
    shown = torch.cat([batch.points for batch in batches]).flatten(1)
    assert sorted(shown.tolist()) == sorted(FIGURES.points.flatten(1).tolist())
    assert shown.tolist() != FIGURES.points.flatten(1).tolist()


def test_figures_whose_mitten_marks_the_left_hand_are_not_mirrored():
    mittens = replace(TINY, figure=FigureConfig(tellable_hands=True))
    for contradiction in (replace(mittens, mirrored=True), replace(mittens, mirrored=True, fresh_figures=False)):
        with pytest.raises(ValueError, match="in the mirror it would mark the right one"):
            KeypointTask(contradiction, FIGURES, FIGURES, CPU)


def test_fresh_figures_differ_between_epochs_and_repeat_with_the_epoch():
    first, again, second = epoch_of(TINY, 1), epoch_of(TINY, 1), epoch_of(TINY, 2)
    assert torch.equal(first[0].images, again[0].images)
    assert not torch.equal(first[0].points, second[0].points)
    mittens = epoch_of(replace(TINY, figure=FigureConfig(tellable_hands=True)), 1)
    assert torch.equal(first[0].points, mittens[0].points)
    assert not torch.equal(first[0].images, mittens[0].images)


def test_an_interrupted_localizer_goes_on_to_the_same_weights(tmp_path):
    def interrupt(row, model):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole = train_keypoints(TINY, FIGURES, FIGURES, tmp_path / "whole", CPU)
    with pytest.raises(KeyboardInterrupt):
        train_keypoints(TINY, FIGURES, FIGURES, tmp_path / "stopped", CPU, on_epoch_end=interrupt)
    resumed = train_keypoints(TINY, FIGURES, FIGURES, tmp_path / "stopped", CPU)
    expected = whole.model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.model.state_dict().items())


def test_a_localizer_of_other_data_or_another_recipe_is_refused_by_name(tmp_path):
    train_keypoints(ONCE, FIGURES, FIGURES, tmp_path, CPU)
    with pytest.raises(checkpoints.CheckpointError, match="train_set is"):
        train_keypoints(ONCE, FIGURES.select(range(6)), FIGURES, tmp_path, CPU)
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.skips is True there and False here"):
        train_keypoints(replace(ONCE, skips=False), FIGURES, FIGURES, tmp_path, CPU)
    with pytest.raises(
        checkpoints.CheckpointError, match=r"recipe\.codec\.kind is 'DSNTCodec' there and 'HeatmapCodec'"
    ):
        train_keypoints(replace(ONCE, codec=HeatmapCodec(), loss="mse"), FIGURES, FIGURES, tmp_path, CPU)


def test_maps_can_be_read_another_way_without_training_anew(tmp_path):
    recipe = replace(ONCE, codec=HeatmapCodec(decoder="argmax"), loss="mse")
    first = train_keypoints(recipe, FIGURES, FIGURES, tmp_path, CPU)
    finer = replace(recipe, codec=HeatmapCodec(decoder="dark", exchangeable=True))
    again = train_keypoints(finer, FIGURES, FIGURES, tmp_path, CPU)
    assert again.history == first.history
    points = again.predict(FIGURES.images, recipe.codec).points
    assert torch.equal(points, first.predict(FIGURES.images).points)
    assert not torch.equal(points, again.predict(FIGURES.images).points)
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.codec\.sigma"):
        train_keypoints(replace(recipe, codec=HeatmapCodec(sigma=3.0)), FIGURES, FIGURES, tmp_path, CPU)


def test_an_epochs_row_does_not_depend_on_how_the_recipe_reads_its_maps(tmp_path):
    rows = []
    for name, codec in (("coarse", HeatmapCodec(decoder="argmax")), ("fine", HeatmapCodec(exchangeable=True))):
        recipe = replace(ONCE, codec=codec, loss="mse")
        (row,) = train_keypoints(recipe, FIGURES, FIGURES, tmp_path / name, CPU).history
        rows.append({column: value for column, value in row.items() if column != "seconds"})
    assert rows[0] == rows[1]
    assert rows[0].keys() == {"epoch", "loss", "pck", "pck@0.02", "error"}


RUNGS = repair_ladder(epochs=1)


@pytest.mark.parametrize("recipe", [*RUNGS.values(), TUNED_DSNT, TUNED_HEATMAP, TUNED_REGRESSION])
def test_every_recipe_trains_and_predicts_points_in_pixels(recipe, tmp_path):
    recipe = replace(recipe, width=4, training=replace(recipe.training, epochs=1, batch_size=6))
    localizer = train_keypoints(recipe, FIGURES, FIGURES.select(range(3)), tmp_path, CPU)
    decoded = localizer.predict(FIGURES.images)
    assert isinstance(decoded, Decoded)
    assert decoded.points.shape == (12, 5, 2)
    assert decoded.scores.shape == (12, 5)
    assert ((decoded.points >= 0) & (decoded.points <= 128)).all()


def changed_fields(below: Recipe, above: Recipe) -> set[str]:
    return {field.name for field in fields(Recipe) if getattr(below, field.name) != getattr(above, field.name)}


def test_rungs_of_the_ladder_change_one_thing_each():
    names = list(RUNGS)
    assert RUNGS[names[0]] == replace(ASSIGNMENT_REGRESSION, training=RUNGS[names[0]].training)
    assert changed_fields(RUNGS[names[0]], RUNGS[names[1]]) == {"training"}
    assert changed_fields(RUNGS[names[1]], RUNGS[names[2]]) == {"dropout"}
    base = RUNGS[names[2]]
    assert changed_fields(base, RUNGS["pooled, CoordConv"]) == {"coordinates"}
    assert changed_fields(base, RUNGS["flattened"]) == {"head"}
    for name in ("flattened, L1", "flattened, RLE"):
        assert changed_fields(RUNGS["flattened"], RUNGS[name]) == {"loss"}
    # A representation is head, codec and loss together, and for maps of values the start at empty ones.
    for name in ("SimCC", "integral", "heatmap", "DSNT"):
        assert changed_fields(base, RUNGS[name]) <= {"head", "codec", "loss", "empty_start"}
    assert {recipe.training.epochs for recipe in RUNGS.values()} == {1}


def test_only_decoders_are_heatmap_nets_and_all_others_cost_alike():
    networks = {name: build_network(recipe) for name, recipe in RUNGS.items()}
    assert {name for name, network in networks.items() if isinstance(network, HeatmapNet)} == {"heatmap", "DSNT"}
    weights = [
        sum(parameter.numel() for parameter in network.parameters())
        for network in networks.values()
        if isinstance(network, RegressionNet)
    ]
    assert len(weights) == 9
    assert max(weights) < 1.02 * 430_602
    assert min(weights) > 0.98 * 430_602


@pytest.mark.parametrize("recipe", [TUNED_DSNT, TUNED_HEATMAP, TUNED_REGRESSION], ids=["DSNT", "heatmap", "flattened"])
def test_two_figures_are_learned_by_heart_in_a_hundred_steps(recipe, tmp_path):
    figures = FIGURES.select(range(2))
    config = replace(recipe.training, epochs=100, batch_size=2, learning_rate=5e-3)
    recipe = replace(recipe, width=16, fresh_figures=False, training=config)
    localizer = train_keypoints(recipe, figures, figures, tmp_path, CPU)
    errors = compute_errors(localizer.predict(figures.images).points, figures.points, exchangeable_hands=True)
    assert errors.max() < 3.0
    assert errors.mean() < 1.0
    assert localizer.history[-1]["loss"] < 0.5 * localizer.history[0]["loss"]


def test_no_figure_that_selects_is_one_that_is_trained_on_or_reported(tmp_path):
    folder = ensure_handout(tmp_path / "handout")
    selecting = {tuple(row) for row in KeypointDataset.draw(200, SELECTION_SEED).points.flatten(1).tolist()}
    for split in ("train", "val"):
        reported = KeypointDataset.read(folder / "keypoints", split).points.flatten(1).tolist()
        assert not selecting & {tuple(row) for row in reported}


def test_variants_share_their_seeds_and_are_kept_for_the_next_call(tmp_path):
    variants = {"DSNT, 64": ONCE, "DSNT, 32": replace(ONCE, codec=DSNTCodec(size=32))}
    first = train_variants(variants, 2, FIGURES, FIGURES, tmp_path, CPU)
    kept = ["dsnt_32_seed0", "dsnt_32_seed1", "dsnt_64_seed0", "dsnt_64_seed1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert [localizer.recipe.training.seed for localizer in first["DSNT, 32"]] == [0, 1]
    again = train_variants(variants, 2, FIGURES, FIGURES, tmp_path, CPU)
    assert [one.history for one in again["DSNT, 32"]] == [one.history for one in first["DSNT, 32"]]


def test_a_lessons_localizer_is_trained_once_and_kept_for_every_lesson(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    run = runtime.start_run("06_keypoint_ablations", "smoke", seed=3)
    recipe = replace(TUNED_DSNT, width=4)
    first = lesson_localizer("DSNT, tuned", recipe, run, FIGURES)
    assert (tmp_path / "05_heatmap_vs_regression" / "smoke" / "dsnt_tuned_seed3" / checkpoints.BEST).exists()
    assert (first.recipe.training.epochs, first.recipe.training.seed) == (1, 3)
    assert lesson_localizer("DSNT, tuned", recipe, run, FIGURES).history == first.history


def test_stages_of_a_training_are_kept_for_when_it_is_loaded(tmp_path):
    recipe = replace(TINY, training=replace(TINY.training, epochs=2))
    for _ in range(2):  # the second time nothing is trained
        keep = keep_stages(FIGURES.images[:3], tmp_path / "stages")
        localizer = train_keypoints(recipe, FIGURES, FIGURES, tmp_path / "run", CPU, keep)
    stages = read_stages(tmp_path / "stages")
    assert list(stages) == [1, 2]
    last = torch.load(tmp_path / "run" / checkpoints.LAST, weights_only=True)
    localizer.model.load_state_dict(last["model"])
    torch.testing.assert_close(stages[2], compute_outputs(localizer.model, FIGURES.images[:3]))
    assert not torch.equal(stages[1], stages[2])
