"""From a recipe to a trained detector, and from its boxes to the assignment's two files."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from helpers import paths, runtime, training
from helpers.average_precision import TWELVE
from helpers.digits import recipes
from helpers.digits.anchors import ANCHOR_SETS, FITTED_ANCHORS, Resize
from helpers.digits.batches import AugmentationConfig
from helpers.digits.dataset import DigitDataset
from helpers.digits.drawn import DrawnConfig, ensure_drawn
from helpers.digits.loss import REPORT_SCHEDULE, BoxLossConfig
from helpers.digits.metrics import measure_accuracy, true_numbers
from helpers.digits.model import ModelConfig
from helpers.digits.reading import (
    check_numbers,
    choose_reading,
    read_numbers,
    read_predictions,
    write_numbers,
    write_predictions,
)
from helpers.digits.recipes import (
    QUICK,
    REPORT,
    DigitTask,
    Recipe,
    build_digit_rcnn,
    lesson_digits,
    train_digits,
    train_variants,
    vary_anchors,
    vary_box_losses,
)

CPU = torch.device("cpu")
RESIZE = Resize(32, 96)
TINY = replace(
    QUICK,
    training=replace(QUICK.training, epochs=2, batch_size=4),
    model=replace(
        QUICK.model,
        resize=RESIZE,
        anchors=FITTED_ANCHORS.on_one_level().scaled_to(RESIZE),
        num_proposals=(50, 50),
        num_regions=16,
        width=4,
        pyramid_width=8,
        head_width=16,
    ),
)
ONCE = replace(TINY, training=replace(TINY.training, epochs=1))


@pytest.fixture(scope="module")
def house_numbers(tmp_path_factory):
    return ensure_drawn(tmp_path_factory.mktemp("drawn") / "house_numbers", DrawnConfig(5, 12, 6, 6))


@pytest.fixture(scope="module")
def train_set(house_numbers) -> DigitDataset:
    return DigitDataset.read(house_numbers, "train")


@pytest.fixture(scope="module")
def valid_set(house_numbers) -> DigitDataset:
    return DigitDataset.read(house_numbers, "valid")


def test_the_report_is_its_authors_to_the_letter():
    config = REPORT.training
    assert (config.optimizer, config.learning_rate, config.weight_decay) == ("adamw", 1e-4, 1e-4)
    assert (config.epochs, config.batch_size, config.schedule) == (15, 8, "cosine")
    assert config.learning_rate * training.learning_rate_factor("cosine", 1.0) == pytest.approx(1e-6)
    assert REPORT.model == ModelConfig()
    assert (REPORT.augmentation.colour, REPORT.augmentation.blur, REPORT.augmentation.zoom_out) == (0.3, 0.3, 0)
    assert REPORT.box_loss.term is None


def changed_fields(first, second) -> set[str]:
    return {field.name for field in fields(first) if getattr(first, field.name) != getattr(second, field.name)}


def test_variants_of_anchors_differ_in_nothing_else_and_stay_as_large_in_the_image():
    for recipe in (QUICK, REPORT):
        variants = vary_anchors(recipe)
        assert list(variants) == ["report", "default", "fitted"]
        for name, variant in variants.items():
            assert changed_fields(recipe, variant) <= {"model"}
            assert changed_fields(recipe.model, variant.model) <= {"anchors"}
            anchors = variant.model.anchors
            assert sum(anchors.sizes, ()) == sum(ANCHOR_SETS[name].sizes, ())
            assert anchors.scale == recipe.model.resize.shorter / 800
            assert len(anchors.sizes) == len(recipe.model.anchors.sizes)
    assert vary_anchors(REPORT)["report"] == REPORT


def test_variants_of_box_losses_differ_in_nothing_else():
    variants = vary_box_losses(TINY, REPORT_SCHEDULE, gain=2.0)
    assert list(variants) == ["smooth-L1", "IoU", "GIoU", "DIoU", "CIoU", "constant CIoU"]
    assert variants["smooth-L1"] == TINY
    assert all(changed_fields(TINY, variant) <= {"box_loss"} for variant in variants.values())
    assert variants["DIoU"].box_loss == BoxLossConfig("diou", REPORT_SCHEDULE, gain=2.0)
    assert changed_fields(variants["CIoU"].box_loss, variants["constant CIoU"].box_loss) == {"constant"}


def build_task(recipe: Recipe, dataset: DigitDataset) -> tuple[DigitTask, torch.nn.Module]:
    torch.manual_seed(0)
    network = build_digit_rcnn(recipe.model, recipe.box_loss.term)
    return DigitTask(recipe, dataset, dataset, CPU), network


def test_losses_are_torchvisions_four_and_their_sum(train_set):
    task, network = build_task(TINY, train_set)
    batch = next(iter(task.batches(1, 4, torch.Generator().manual_seed(0))))
    losses = task.losses(network, batch)
    assert list(losses) == ["loss", "objectness", "proposal", "class", "box"]
    assert losses["loss"].item() == pytest.approx(sum(value.item() for value in list(losses.values())[1:]))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("epoch", "share"), [(6, 1.0), (7, 0.9), (15, 0.5), (30, 0.5)])
def test_a_constant_term_weakens_smooth_l1_by_the_reports_schedule(train_set, epoch, share):
    plain, constant = (
        measure_box_gradient(replace(TINY, box_loss=box_loss), train_set, epoch)
        for box_loss in (BoxLossConfig(), BoxLossConfig("diou", REPORT_SCHEDULE, constant=True))
    )
    torch.testing.assert_close(constant, share * plain)


def measure_box_gradient(recipe: Recipe, dataset: DigitDataset, epoch: int) -> torch.Tensor:
    task, network = build_task(recipe, dataset)
    batch = next(iter(task.batches(epoch, 4, torch.Generator().manual_seed(0))))
    torch.manual_seed(1)  # for the sample of regions
    task.losses(network, batch)["box"].backward()
    return network.roi_heads.box_predictor.bbox_pred.weight.grad


def test_validation_is_coco_s_twelve_numbers(train_set):
    task, network = build_task(TINY, train_set)
    assert tuple(task.validate(network.eval())) == TWELVE
    assert task.monitor in TWELVE


def test_an_interrupted_detector_goes_on_to_the_same_weights_though_a_worker_decodes(
    train_set, valid_set, tmp_path, monkeypatch
):
    def interrupt(row, model):
        raise KeyboardInterrupt

    whole = train_digits(TINY, train_set, valid_set, tmp_path / "whole", CPU)
    monkeypatch.setattr(recipes, "count_workers", lambda device: 1)
    with pytest.raises(KeyboardInterrupt):
        train_digits(TINY, train_set, valid_set, tmp_path / "stopped", CPU, on_epoch_end=interrupt)
    resumed = train_digits(TINY, train_set, valid_set, tmp_path / "stopped", CPU)
    expected = whole.model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.model.state_dict().items())
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_a_detector_of_other_data_or_another_recipe_is_refused_by_name(train_set, valid_set, tmp_path):
    train_digits(ONCE, train_set, valid_set, tmp_path, CPU)
    with pytest.raises(training.CheckpointError, match="train_set is"):
        train_digits(ONCE, train_set.select(range(6)), valid_set, tmp_path, CPU)
    with pytest.raises(training.CheckpointError, match=r"recipe\.box_loss\.term is None there and 'giou' here"):
        train_digits(replace(ONCE, box_loss=BoxLossConfig("giou")), train_set, valid_set, tmp_path, CPU)


def test_a_lessons_detector_is_kept_for_the_next_lesson(train_set, valid_set, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    run = runtime.Run("07_digit_detection", "smoke", 3, CPU, tmp_path)
    first = lesson_digits("main", TINY, run, train_set, valid_set)
    assert (tmp_path / "07_digit_detection" / "smoke" / "main_seed3" / training.BEST).exists()
    assert (first.recipe.training.epochs, first.recipe.training.seed) == (1, 3)
    assert lesson_digits("main", TINY, run, train_set, valid_set).history == first.history


def test_fine_tuning_starts_from_the_weights_it_is_given_and_remembers_them(train_set, valid_set, tmp_path):
    first = train_digits(ONCE, train_set, valid_set, tmp_path / "first", CPU)
    still = replace(ONCE, training=replace(ONCE.training, learning_rate=0.0))
    tuned = train_digits(still, train_set, valid_set, tmp_path / "tuned", CPU, start=first.model)
    for own, other in zip(tuned.model.parameters(), first.model.parameters(), strict=True):
        assert torch.equal(own, other)
    with pytest.raises(training.CheckpointError, match=r"start is '\w+' there and None here"):
        train_digits(still, train_set, valid_set, tmp_path / "tuned", CPU)


def test_detections_come_in_the_order_of_the_dataset(train_set, tmp_path):
    detector = train_digits(ONCE, train_set, train_set, tmp_path, CPU)
    order = [3, 11, 0, 7]
    found = detector.detect(train_set.select(sorted(order)))
    shuffled = detector.detect(train_set.select(order))
    for place, row in enumerate(order):
        expected = found[sorted(order).index(row)]
        assert len(expected.scores) > 0
        assert all(torch.equal(*columns) for columns in zip(shuffled[place], expected, strict=True))


def test_variants_share_their_seeds_and_are_kept_for_the_next_call(train_set, valid_set, tmp_path):
    variants = {"smooth-L1": ONCE, "CIoU": replace(ONCE, box_loss=BoxLossConfig("ciou"))}
    first = train_variants(variants, 2, train_set, valid_set, tmp_path, CPU)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ciou_seed0",
        "ciou_seed1",
        "smooth_l1_seed0",
        "smooth_l1_seed1",
    ]
    assert [detector.recipe.training.seed for detector in first["CIoU"]] == [0, 1]
    again = train_variants(variants, 2, train_set, valid_set, tmp_path, CPU)
    assert [one.history for one in again["CIoU"]] == [one.history for one in first["CIoU"]]


def test_what_full_trains_runs_end_to_end_without_the_weights_that_have_to_be_fetched(
    train_set, valid_set, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    run = runtime.Run("07_digit_detection", "full", 0, CPU, tmp_path)
    # Smaller images, fewer regions and an epoch of two steps are budget; the code is what a connected machine runs.
    small = replace(
        REPORT,
        training=replace(REPORT.training, epochs=1, batch_size=2),
        model=replace(REPORT.model, weights=None, resize=Resize(64, 128), num_proposals=(50, 50), num_regions=16),
    )
    recipe, whole = (vary_anchors(own)["fitted"] for own in (small, REPORT))
    assert changed_fields(recipe, whole) == {"training", "model"}
    assert changed_fields(recipe.training, whole.training) == {"epochs", "batch_size"}
    budget = {"resize", "anchors", "num_proposals", "num_regions"}
    assert changed_fields(recipe.model, whole.model) == {"weights"} | budget
    assert replace(recipe.model.anchors, scale=1.0) == whole.model.anchors
    images, chooser = train_set.select(range(4)), valid_set.select(range(2))
    detector = lesson_digits("main", recipe, run, images, chooser)
    assert len(detector.history) == 1
    write_predictions(tmp_path / "pred.json", chooser.image_ids, detector.detect(chooser))
    assert len(read_predictions(tmp_path / "pred.json", chooser)) == 2


def test_two_house_numbers_are_learned_by_heart_and_read_from_the_file(train_set, tmp_path):
    images = train_set.select(range(2))
    recipe = replace(
        QUICK,
        training=replace(QUICK.training, epochs=8, batch_size=2, learning_rate=5e-3),
        model=replace(QUICK.model, width=16, pyramid_width=32, head_width=64, num_regions=32),
        augmentation=AugmentationConfig(0, 0, 0),
    )
    repeated = train_set.select([0, 1] * 40)
    detector = train_digits(recipe, repeated, images, tmp_path, CPU)
    write_predictions(tmp_path / "pred.json", images.image_ids, detector.detect(images))
    found, numbers = read_predictions(tmp_path / "pred.json", images), true_numbers(images.file)
    write_numbers(tmp_path / "pred.csv", images.image_ids, read_numbers(found, choose_reading(found, numbers)))
    assert measure_accuracy(check_numbers(tmp_path / "pred.csv", images.image_ids), numbers) == 1.0
