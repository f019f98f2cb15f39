"""Training of recipes: batches, resumed and refused runs, and predictions of trained networks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from helpers import checkpoints, paths, runtime, training
from helpers.keypoints.codecs import CoordinateCodec, Decoded, DSNTCodec, HeatmapCodec
from helpers.keypoints.dataset import KeypointDataset, mirror, prepare_images
from helpers.keypoints.metrics import compute_errors
from helpers.keypoints.model import HeatmapNet, RegressionNet, RegressionVariant
from helpers.keypoints.recipes import TUNED_DSNT, TUNED_HEATMAP, TUNED_REGRESSION, Recipe, ablation
from helpers.keypoints.scenes import FigureConfig
from helpers.keypoints.training import (
    Task,
    build_network,
    compute_outputs,
    count_updates,
    lesson_model,
    make_stage_writer,
    read_stages,
    train,
)

CPU = torch.device("cpu")
FIGURES = KeypointDataset.draw(12, seed=5)
TINY = replace(TUNED_DSNT, width=4, training=replace(TUNED_DSNT.training, epochs=3, batch_size=4))
ONE_EPOCH = replace(TINY, training=replace(TINY.training, epochs=1))
STEPS = ablation(epochs=1)
train_figures = partial(train, train_set=FIGURES, selection_set=FIGURES, device=CPU)


def make_batches(recipe: Recipe, epoch: int) -> list:
    task = Task(recipe, FIGURES, FIGURES, CPU)
    return list(task.batches(epoch, 5, torch.Generator().manual_seed(epoch)))


# Batches


def test_an_epoch_has_every_figure_once_and_some_of_them_mirrored():
    batches = make_batches(replace(TINY, fresh_figures=False, mirrored=True), 1)
    assert [len(batch.images) for batch in batches] == [5, 5, 2]
    images, points = (torch.cat(column) for column in zip(*batches, strict=True))
    rows, num_mirrored = [], 0
    for is_mirrored, view in enumerate([(FIGURES.images, FIGURES.points), mirror(FIGURES.images, FIGURES.points)]):
        view_images, view_points = prepare_images(view[0]), view[1]
        for image, image_points in zip(images, points, strict=True):
            matches = (view_images == image).flatten(1).all(1) & (view_points == image_points).flatten(1).all(1)
            rows += matches.nonzero().flatten().tolist()
            num_mirrored += is_mirrored * int(matches.sum())
    assert sorted(rows) == list(range(12))
    assert 0 < num_mirrored < 12


def test_an_epoch_without_mirroring_is_the_training_set_in_another_order():
    batches = make_batches(replace(TINY, fresh_figures=False), 1)
    points = torch.cat([batch.points for batch in batches]).flatten(1)
    assert sorted(points.tolist()) == sorted(FIGURES.points.flatten(1).tolist())
    assert points.tolist() != FIGURES.points.flatten(1).tolist()


def test_mirroring_figures_with_a_marked_left_hand_is_refused():
    marked = replace(TINY, figure=FigureConfig(tellable_hands=True))
    for contradiction in (replace(marked, mirrored=True), replace(marked, mirrored=True, fresh_figures=False)):
        with pytest.raises(ValueError, match="in the mirror it would mark the right one"):
            Task(contradiction, FIGURES, FIGURES, CPU)


def test_fresh_figures_differ_between_epochs_and_are_equal_for_the_same_epoch():
    first, repeated, second = make_batches(TINY, 1), make_batches(TINY, 1), make_batches(TINY, 2)
    assert torch.equal(first[0].images, repeated[0].images)
    assert not torch.equal(first[0].points, second[0].points)


def test_fresh_figures_have_the_look_of_the_recipe():
    plain, marked = make_batches(TINY, 1), make_batches(replace(TINY, figure=FigureConfig(tellable_hands=True)), 1)
    assert torch.equal(plain[0].points, marked[0].points)
    assert not torch.equal(plain[0].images, marked[0].images)


# Networks


def test_only_decoders_are_heatmap_nets_and_all_regression_nets_have_as_many_weights():
    networks = {name: build_network(recipe) for name, recipe in STEPS.items()}
    assert {name for name, network in networks.items() if isinstance(network, HeatmapNet)} == {"heatmap", "DSNT"}
    weights = [
        sum(parameter.numel() for parameter in network.parameters())
        for network in networks.values()
        if isinstance(network, RegressionNet | RegressionVariant)
    ]
    assert len(weights) == 9
    assignment = [name for name, network in networks.items() if isinstance(network, RegressionNet)]
    assert assignment == ["pooled (assignment)", "pooled, one cycle", "pooled, no dropout"]
    assert max(weights) < 1.02 * 430_602
    assert min(weights) > 0.98 * 430_602


@pytest.mark.parametrize(
    ("head", "codec", "remedy"),
    [
        ("decoder", CoordinateCodec(), "use HeatmapCodec or DSNTCodec, not CoordinateCodec"),
        ("simcc", HeatmapCodec(), "use SimCCCodec, not HeatmapCodec"),
    ],
)
def test_a_head_that_does_not_fit_the_codec_is_refused(head, codec, remedy):
    with pytest.raises(ValueError, match=remedy):
        build_network(replace(TINY, head=head, codec=codec))


# Runs


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path):
    def interrupt(row, model):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    uninterrupted = train_figures(TINY, tmp_path / "uninterrupted")
    with pytest.raises(KeyboardInterrupt):
        train_figures(TINY, tmp_path / "interrupted", on_epoch_end=interrupt)
    resumed = train_figures(TINY, tmp_path / "interrupted")
    expected = uninterrupted.model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.model.state_dict().items())


def test_a_run_of_other_data_or_another_recipe_is_refused_with_the_difference(tmp_path):
    train_figures(ONE_EPOCH, tmp_path)
    with pytest.raises(checkpoints.CheckpointError, match="train_set is"):
        train_figures(ONE_EPOCH, tmp_path, train_set=FIGURES.select(range(6)))
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.skips is True there and False here"):
        train_figures(replace(ONE_EPOCH, skips=False), tmp_path)
    with pytest.raises(
        checkpoints.CheckpointError, match=r"recipe\.codec\.kind is 'DSNTCodec' there and 'HeatmapCodec'"
    ):
        train_figures(replace(ONE_EPOCH, codec=HeatmapCodec(), loss="mse"), tmp_path)


def test_another_decoder_loads_the_same_run_and_another_target_does_not(tmp_path):
    recipe = replace(ONE_EPOCH, codec=HeatmapCodec(decoder="argmax"), loss="mse")
    by_argmax = train_figures(recipe, tmp_path)
    jointly = train_figures(replace(recipe, codec=HeatmapCodec(decoder="dark", joint_hands=True)), tmp_path)
    assert jointly.history == by_argmax.history
    points = jointly.predict(FIGURES.images, recipe.codec).points
    assert torch.equal(points, by_argmax.predict(FIGURES.images).points)
    assert not torch.equal(points, jointly.predict(FIGURES.images).points)
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.codec\.sigma"):
        train_figures(replace(recipe, codec=HeatmapCodec(sigma=3.0)), tmp_path)


def test_validation_does_not_depend_on_the_decoder_of_the_recipe(tmp_path):
    rows = []
    for name, codec in (("argmax", HeatmapCodec(decoder="argmax")), ("joint", HeatmapCodec(joint_hands=True))):
        (row,) = train_figures(replace(ONE_EPOCH, codec=codec, loss="mse"), tmp_path / name).history
        rows.append({column: value for column, value in row.items() if column != "seconds"})
    assert rows[0] == rows[1]
    assert rows[0].keys() == {"epoch", "loss", "pck", "pck@0.02", "error"}


@pytest.mark.parametrize("recipe", [*STEPS.values(), TUNED_DSNT, TUNED_HEATMAP, TUNED_REGRESSION])
def test_every_recipe_trains_and_predicts_points_in_pixels(recipe, tmp_path):
    recipe = replace(recipe, width=4, training=replace(recipe.training, epochs=1, batch_size=6))
    trained = train_figures(recipe, tmp_path, selection_set=FIGURES.select(range(3)))
    decoded = trained.predict(FIGURES.images)
    assert isinstance(decoded, Decoded)
    assert decoded.points.shape == (12, 5, 2)
    assert decoded.scores.shape == (12, 5)
    assert ((decoded.points >= 0) & (decoded.points <= 128)).all()


@pytest.mark.parametrize("recipe", [TUNED_DSNT, TUNED_HEATMAP, TUNED_REGRESSION], ids=["DSNT", "heatmap", "flattened"])
def test_a_hundred_steps_overfit_two_figures(recipe, tmp_path, float32):
    figures = FIGURES.select(range(2))
    config = replace(recipe.training, epochs=100, batch_size=2, learning_rate=5e-3)
    recipe = replace(recipe, width=16, fresh_figures=False, training=config)
    trained = train_figures(recipe, tmp_path, train_set=figures, selection_set=figures)
    errors = compute_errors(trained.predict(figures.images).points, figures.points, permutation_invariant=True)
    assert errors.max() < 3.0  # px; DSNT, the largest, has 2.36 with one thread and 2.12 with two
    assert errors.mean() < 1.0
    assert trained.history[-1]["loss"] < 0.5 * trained.history[0]["loss"]


def test_variants_have_the_same_seeds_and_are_loaded_by_the_next_call(tmp_path):
    variants = {"DSNT, 64": ONE_EPOCH, "DSNT, 32": replace(ONE_EPOCH, codec=DSNTCodec(size=32))}
    first = training.train_variants(variants, 2, tmp_path, train_figures)
    folders = ["dsnt_32_seed0", "dsnt_32_seed1", "dsnt_64_seed0", "dsnt_64_seed1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == folders
    assert [trained.recipe.training.seed for trained in first["DSNT, 32"]] == [0, 1]
    second = training.train_variants(variants, 2, tmp_path, train_figures)
    for name in variants:  # seconds and all: loaded, not trained again
        assert [trained.history for trained in second[name]] == [trained.history for trained in first[name]]


def test_a_lessons_model_is_trained_once_and_loaded_by_other_lessons(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    run = runtime.start_run("06_keypoint_ablations", "smoke", seed=3)
    recipe = replace(TUNED_DSNT, width=4)
    first = lesson_model("DSNT, tuned", recipe, run, FIGURES)
    assert (tmp_path / "05_heatmap_vs_regression" / "smoke" / "dsnt_tuned_seed3" / checkpoints.BEST).exists()
    assert (first.recipe.training.epochs, first.recipe.training.seed) == (1, 3)
    assert lesson_model("DSNT, tuned", recipe, run, FIGURES).history == first.history


def test_stages_are_readable_after_a_run_that_was_loaded(tmp_path):
    recipe = replace(TINY, training=replace(TINY.training, epochs=2))
    for _ in range(2):  # the second call loads and trains nothing
        write_stage = make_stage_writer(FIGURES.images[:3], tmp_path / "stages")
        trained = train_figures(recipe, tmp_path / "run", on_epoch_end=write_stage)
    stages = read_stages(tmp_path / "stages")
    assert list(stages) == [1, 2]
    last = torch.load(tmp_path / "run" / checkpoints.LAST, weights_only=True)
    trained.model.load_state_dict(last["model"])
    torch.testing.assert_close(stages[2], compute_outputs(trained.model, FIGURES.images[:3]))
    assert not torch.equal(stages[1], stages[2])


def test_the_updates_of_a_training_are_its_batches():
    num_batches = sum(len(make_batches(ONE_EPOCH, epoch)) for epoch in (1, 2, 3))  # batches of 5
    recipe = replace(TINY, training=replace(TINY.training, batch_size=5))
    assert count_updates(recipe, len(FIGURES)) == num_batches == 9
