"""The ablation study: its table, resumed studies, ceilings, and selections of rows."""

import math
from dataclasses import replace

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
    compare_errors,
    make_perfect_outputs,
    measure,
    measure_images,
    predict_points,
    read_table,
    select_rows,
    write_table,
)
from helpers.keypoints.codecs import CoordinateCodec, DSNTCodec, HeatmapCodec
from helpers.keypoints.dataset import KeypointDataset
from helpers.keypoints.recipes import TUNED_HEATMAP, remove_skips, use_dsnt, vary_targets
from helpers.keypoints.scenes import HANDS
from helpers.keypoints.training import train

CPU = torch.device("cpu")
FIGURES = KeypointDataset.draw(4, seed=5)
TINY = replace(
    TUNED_HEATMAP,
    width=4,
    fresh_figures=False,
    training=replace(TUNED_HEATMAP.training, epochs=1, batch_size=4),
)
VARIANTS = vary_targets(TINY, (32,), (1.0, 2.0))


DECODERS = ("argmax", "quarter", "dark", "local", "joint")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a finished study of VARIANTS."""
    folder = tmp_path_factory.mktemp("study")
    study(VARIANTS, folder)
    return folder


def study(variants, folder, num_seeds=1):
    return ablation_study(variants, num_seeds, FIGURES, FIGURES, FIGURES, folder, CPU)


def test_every_run_has_a_row_per_decoder_in_the_result_and_in_the_table(tmp_path):
    variants = {"a": VARIANTS["32 cells, sigma 1"], **use_dsnt(TINY, (16,))}
    rows = study(variants, tmp_path, num_seeds=2)
    runs = [(row["variant"], row["seed"], row["decoder"]) for row in rows]
    one_seed = [("a", decoder) for decoder in DECODERS] + [("16 cells, DSNT", "dsnt")]
    assert runs == [(variant, seed, decoder) for seed in (0, 1) for variant, decoder in one_seed]
    assert {row["epochs"] for row in rows} == {1}
    np.testing.assert_equal(read_table(tmp_path / TABLE), rows)  # NaN is NaN here


def test_seeds_are_counted_from_the_seed_of_the_recipe(tmp_path):
    recipe = VARIANTS["32 cells, sigma 1"]
    later = replace(recipe, training=replace(recipe.training, seed=3))
    rows = select_rows(study({"a": later}, tmp_path, num_seeds=2), decoder="dark")
    assert [row["seed"] for row in rows] == [3, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"a_seed3", "a_seed4", TABLE}


def test_a_row_has_the_metrics_of_its_networks_predictions(folder):
    name = "32 cells, sigma 2"
    rows = select_rows(read_table(folder / TABLE), variant=name)
    trained = train(
        VARIANTS[name],
        folder / "32_cells_sigma_2_seed0",
        train_set=FIGURES,
        selection_set=FIGURES,
        device=CPU,
    )
    for row, codec in (
        (rows[1], HeatmapCodec(32, 2.0, "quarter")),
        (rows[-1], HeatmapCodec(32, 2.0, joint_hands=True)),
    ):
        measured = measure(trained.predict(FIGURES.images, codec).points, FIGURES.points)
        assert {name: row[name] for name in measured} == measured
        assert (row["size"], row["sigma"], row["skips"]) == (32, 2.0, True)


def test_the_pck_of_head_and_feet_does_not_depend_on_the_hands():
    moved = FIGURES.points.clone()
    moved[:, HANDS] += 50.0
    moved[:2, 0] += 50.0  # two of the four heads
    assert measure(moved, FIGURES.points)["pck_head_feet@0.05"] == pytest.approx(10 / 12)


def test_the_points_of_a_study_give_the_columns_of_its_table_without_training(tmp_path, monkeypatch):
    rows = study(VARIANTS, tmp_path, num_seeds=2)
    log = checkpoints.read_log(tmp_path / "32_cells_sigma_1_seed1" / checkpoints.LOG)
    points = predict_points(VARIANTS, 2, FIGURES, FIGURES, FIGURES, tmp_path, CPU)
    assert checkpoints.read_log(tmp_path / "32_cells_sigma_1_seed1" / checkpoints.LOG) == log  # loaded
    assert set(points) == {(name, decoder) for name in VARIANTS for decoder in DECODERS}
    for (name, decoder), predicted in points.items():
        assert predicted.shape == (2, 4, 5, 2)
        run_rows = select_rows(rows, variant=name, decoder=decoder)
        for threshold, column in ((None, "error_head_feet"), (0.1, "pck_head_feet@0.1")):
            values = measure_images(predicted, FIGURES.points, threshold)
            assert values.shape == (4,)
            assert values.mean() == pytest.approx(average(run_rows, column))


def test_an_image_is_measured_by_its_head_and_feet_over_all_seeds():
    seeds = FIGURES.points.repeat(2, 1, 1, 1)
    seeds[:, :, HANDS] += 50.0
    seeds[0, 1, 0, 0] += 6.0  # one of two seeds, one of three points, 6 px
    np.testing.assert_allclose(measure_images(seeds, FIGURES.points), [0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(measure_images(seeds, FIGURES.points, 0.01), [1, 5 / 6, 1, 1])


def test_errors_are_compared_by_their_ratio_over_the_same_images():
    errors = np.array([1.0, 2.0, 4.0])
    ratio = compare_errors(errors, 2 * errors)
    assert (ratio.value, ratio.low, ratio.high) == (0.5, 0.5, 0.5)
    ratio = compare_errors(errors, errors[::-1])
    assert ratio.low < ratio.value == 1 < ratio.high


def test_the_error_of_empty_maps_is_the_integral_of_the_squared_gaussian(folder):
    for row in read_table(folder / TABLE):
        integral = math.pi * row["sigma"] ** 2 / 32**2
        assert row["mse_empty"] == pytest.approx(integral, rel=0.02)  # the border cuts some Gaussians


def test_a_stopped_study_keeps_its_rows_and_resumes_without_training_them_again(tmp_path, monkeypatch):
    run_folders = []

    def train_until_stopped(recipe, folder, **options):
        if len(run_folders) == 1:
            raise KeyboardInterrupt
        run_folders.append(folder)
        return train(recipe, folder, **options)

    monkeypatch.setattr(ablations, "train", train_until_stopped)
    with pytest.raises(KeyboardInterrupt):
        study(VARIANTS, tmp_path)
    first = read_table(tmp_path / TABLE)
    assert [row["decoder"] for row in first] == list(DECODERS)
    log = checkpoints.read_log(run_folders[0] / checkpoints.LOG)

    monkeypatch.undo()
    assert select_rows(study(VARIANTS, tmp_path), variant="32 cells, sigma 1") == first
    assert (
        checkpoints.read_log(run_folders[0] / checkpoints.LOG) == log
    )  # with the same seconds: loaded, not trained again
    assert len(read_table(tmp_path / TABLE)) == 10


def test_several_studies_share_one_table(folder):
    rows_before = read_table(folder / TABLE)
    new_rows = study(remove_skips({"b": VARIANTS["32 cells, sigma 1"]}), folder)
    study(VARIANTS, folder)
    table = read_table(folder / TABLE)
    assert sorted(map(str, table)) == sorted(map(str, rows_before + new_rows))


def test_a_run_of_another_recipe_is_refused(folder):
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.width is 4 there and 8 here"):
        study({name: replace(recipe, width=8) for name, recipe in VARIANTS.items()}, folder)


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("codec", [HeatmapCodec(), HeatmapCodec(decoder="argmax"), DSNTCodec()])
def test_perfect_outputs_are_decoded_to_within_the_resolution(codec, size):
    codec = replace(codec, size=size)
    points = FIGURES.points
    errors = (codec.decode(make_perfect_outputs(codec, points)).points - points).abs()
    assert errors.max() <= codec.resolution + 1e-3


ROWS = [
    {"variant": "a, b", "size": size, "sigma": sigma, "skips": True, "seed": seed, "pck": seed + size + sigma / 10}
    for sigma in (2.0, 1.0)
    for size in (64, 32)
    for seed in (1, 0)
]


def test_numbers_keep_all_their_digits_and_types_in_the_table(tmp_path):
    rows = [{**row, "skips": row["seed"] == 0, "pck": row["pck"] / 3} for row in ROWS]
    write_table(tmp_path / TABLE, rows)
    table = read_table(tmp_path / TABLE)
    assert table == rows
    assert [type(value) for value in table[0].values()] == [str, int, float, bool, int, float]


@pytest.mark.parametrize("name", ["NA", "nan", "2", 'with "quotes"', ""])
def test_a_variant_may_have_any_name_in_the_table(name, tmp_path):
    rows = [{**ROWS[0], "variant": name, "sigma": math.nan}]
    write_table(tmp_path / TABLE, rows)
    np.testing.assert_equal(read_table(tmp_path / TABLE), rows)


def test_a_missing_table_has_no_rows(tmp_path):
    assert read_table(tmp_path / "missing.csv") == []


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_table(tmp_path / TABLE, ROWS)

    def write_half(table, path, **options):
        path.write_text("variant,si")
        raise OSError("no space left on device")

    monkeypatch.setattr(ablations.pd.DataFrame, "to_csv", write_half)
    with pytest.raises(OSError, match="no space"):
        write_table(tmp_path / TABLE, ROWS[:1])
    assert read_table(tmp_path / TABLE) == ROWS
    assert [path.name for path in tmp_path.iterdir()] == [TABLE]


def test_rows_are_selected_and_averaged():
    assert {row["seed"] for row in select_rows(ROWS, size=32, sigma=1.0)} == {0, 1}
    assert average(select_rows(ROWS, size=32, sigma=1.0), "pck") == pytest.approx(32.6)
    with pytest.raises(ValueError, match="no row to average 'pck'"):
        average(select_rows(ROWS, size=16), "pck")


def test_a_column_is_arranged_by_seed_resolution_and_sigma():
    expected = [[[32.1, 32.2], [64.1, 64.2]], [[33.1, 33.2], [65.1, 65.2]]]
    np.testing.assert_allclose(arrange(ROWS, "pck"), expected)


def test_a_missing_combination_is_refused():
    with pytest.raises(KeyError):
        arrange(ROWS[1:], "pck")


def test_a_variant_without_maps_is_refused_before_any_training(tmp_path):
    with pytest.raises(ValueError, match="'coordinates': CoordinateCodec has no maps; use HeatmapCodec or DSNTCodec"):
        study(VARIANTS | {"coordinates": replace(TINY, codec=CoordinateCodec(), head="pooled")}, tmp_path)
    assert list(tmp_path.iterdir()) == []
