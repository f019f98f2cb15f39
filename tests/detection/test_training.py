"""Training: from a recipe to a trained detector, resumed, loaded and refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from helpers import checkpoints, paths, training
from helpers.detection.anchors import flatten_predictions
from helpers.detection.dataset import ShapeDetectionDataset, prepare_images
from helpers.detection.inference import detect, predict
from helpers.detection.matching import list_positives, match_anchors_to_targets
from helpers.detection.metrics import evaluate_detections
from helpers.detection.nms import InferenceConfig
from helpers.detection.recipes import SELECTION_SEED, TUNED, VALIDATION
from helpers.detection.scenes import SceneConfig
from helpers.detection.training import TRAINED_IN, Task, lesson_model, train
from helpers.runtime import Run

CPU = torch.device("cpu")
SCENES = ShapeDetectionDataset.draw(12, seed=5)
TINY = replace(TUNED, width=4, training=replace(TUNED.training, epochs=3, batch_size=4))
ONE_EPOCH = replace(TINY, training=replace(TINY.training, epochs=1))
train_on_scenes = partial(train, train_set=SCENES, selection_set=SCENES, device=CPU)


def draw_epoch(task: Task, epoch: int) -> list:
    return list(task.batches(epoch, 5, torch.Generator().manual_seed(epoch)))


def test_an_epoch_has_every_image_of_the_train_set_once_in_another_order():
    task = Task(replace(TINY, fresh_scenes=None), SCENES, SCENES, CPU)
    batches = draw_epoch(task, 1)
    rows = []
    for boxes in torch.cat([batch.boxes for batch in batches]):
        rows += (SCENES.boxes == boxes).flatten(1).all(1).nonzero().flatten().tolist()
    assert sorted(rows) == list(range(12))
    assert rows != sorted(rows)


@pytest.mark.parametrize("fresh_scenes", [None, SceneConfig()], ids=["the train set", "fresh scenes"])
def test_a_batch_is_matched_by_the_thresholds_of_the_recipe(fresh_scenes):
    recipe = replace(TINY, minimum_visibility=0.0, fresh_scenes=fresh_scenes)
    task = Task(recipe, SCENES, SCENES, CPU)
    for batch in draw_epoch(task, 2):
        matches = match_anchors_to_targets(task.anchors, batch.boxes, batch.labels, *recipe.match_thresholds)
        assert torch.equal(batch.index.long(), matches.index)
        assert (batch.index >= 0).any()


def test_hidden_objects_are_excluded_from_training():
    scenes = ShapeDetectionDataset.draw(60, seed=641)
    hidden = (scenes.visibility < 0.1) & (scenes.labels >= 0)
    assert hidden.any()
    task = Task(replace(TINY, fresh_scenes=None, minimum_visibility=0.1), scenes, SCENES, CPU)
    for batch in draw_epoch(task, 1):
        rows = [int((scenes.boxes == boxes).flatten(1).all(1).nonzero()[0]) for boxes in batch.boxes]
        matched_objects = batch.index.long().clamp(min=0)
        is_trained = (batch.index >= 0) & torch.gather(hidden[rows], 1, matched_objects)
        assert not is_trained.any()


def test_fresh_scenes_differ_between_epochs_and_repeat_with_the_epoch():
    task = Task(TINY, SCENES, SCENES, CPU)
    first, again, second = draw_epoch(task, 1), draw_epoch(task, 1), draw_epoch(task, 2)
    assert torch.equal(first[0].images, again[0].images)
    assert not torch.equal(first[0].images, second[0].images)
    looks = replace(TINY, fresh_scenes=SceneConfig(palette="shared"))
    assert not torch.equal(first[0].images, draw_epoch(Task(looks, SCENES, SCENES, CPU), 1)[0].images)


def test_an_interrupted_detector_resumes_to_the_same_weights(tmp_path):
    def interrupt(row, model):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    uninterrupted = train_on_scenes(TINY, tmp_path / "uninterrupted")
    with pytest.raises(KeyboardInterrupt):
        train_on_scenes(TINY, tmp_path / "stopped", on_epoch_end=interrupt)
    resumed = train_on_scenes(TINY, tmp_path / "stopped")
    expected = uninterrupted.model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.model.state_dict().items())


def test_a_checkpoint_of_other_data_or_another_recipe_is_refused_by_name(tmp_path):
    train_on_scenes(ONE_EPOCH, tmp_path)
    with pytest.raises(checkpoints.CheckpointError, match="train_set is"):
        train(ONE_EPOCH, tmp_path, train_set=SCENES.select(range(6)), selection_set=SCENES, device=CPU)
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.box_loss is 'giou' there and 'smooth-l1' here"):
        train_on_scenes(replace(ONE_EPOCH, box_loss="smooth-l1"), tmp_path)


def test_suppression_can_change_without_training(tmp_path):
    trained = train_on_scenes(ONE_EPOCH, tmp_path)
    strict = replace(ONE_EPOCH, inference=InferenceConfig(nms="hard", nms_threshold=0.3))
    loaded = train_on_scenes(strict, tmp_path)
    assert loaded.history == trained.history
    assert loaded.recipe.inference.nms_threshold == 0.3


def test_validation_reports_the_losses_and_the_precision_of_the_selection_set(tmp_path):
    scenes = ShapeDetectionDataset.draw(60, seed=6)  # two forward passes of unequal size
    detector = train(ONE_EPOCH, tmp_path, train_set=SCENES, selection_set=scenes, device=CPU)
    (row,) = detector.history
    hidden = scenes.hide(ONE_EPOCH.minimum_visibility)
    task = Task(ONE_EPOCH, SCENES, scenes, CPU)
    matches = match_anchors_to_targets(
        task.anchors, hidden.boxes, hidden.labels, *ONE_EPOCH.match_thresholds, hidden.ignored
    )
    total = 0.0
    for rows in (slice(0, 50), slice(50, 60)):
        with torch.no_grad():
            maps = predict(detector.model, prepare_images(scenes.images[rows]))
        losses = task.criterion(
            flatten_predictions(maps, 3),
            task.anchors,
            matches.index[rows],
            list_positives(matches.index[rows]),
            scenes.boxes[rows],
            scenes.labels[rows],
        )
        total += losses["loss"].item() * len(scenes.images[rows])
    assert row["validation_loss"] == pytest.approx(total / 60, rel=1e-5)
    names = ("objectness", "class", "box")
    terms = [row[f"validation_{name}"] for name in names]
    assert row["validation_loss"] == pytest.approx(terms[0] + terms[1] + 2 * terms[2], rel=1e-5)
    assert (
        row["ap50"]
        == evaluate_detections(scenes, detect(detector.model, task.anchors, scenes.images, VALIDATION))["ap50"]
    )


def test_two_scenes_are_memorised_in_sixty_steps(tmp_path, float32):
    scenes = ShapeDetectionDataset.draw(40, seed=2)
    clear = [image for image in range(40) if scenes.visibility[image][scenes.labels[image] >= 0].min() > 0.6][:2]
    scenes = scenes.select(clear)
    recipe = replace(
        TUNED,
        width=8,
        fresh_scenes=None,
        training=replace(TUNED.training, epochs=60, batch_size=2, learning_rate=5e-3),
    )
    detector = train(recipe, tmp_path, train_set=scenes, selection_set=scenes, device=CPU)
    assert evaluate_detections(scenes, detector.detect(scenes.images))["ap50"] > 0.95
    assert detector.history[-1]["loss"] < 0.5 * detector.history[0]["loss"]


def test_no_scene_that_selects_is_one_that_is_reported():
    handout = ShapeDetectionDataset.draw(1200, seed=641)
    selection = ShapeDetectionDataset.draw(200, seed=SELECTION_SEED)
    rows = {tuple(row) for row in handout.boxes.flatten(1).tolist()}
    assert not rows & {tuple(row) for row in selection.boxes.flatten(1).tolist()}


def test_variants_share_their_seeds_and_are_loaded_by_the_next_call(tmp_path):
    variants = {"GIoU, soft": ONE_EPOCH, "smooth": replace(ONE_EPOCH, box_loss="smooth-l1")}
    first = training.train_variants(variants, 2, tmp_path, train_on_scenes)
    folders = ["giou_soft_seed0", "giou_soft_seed1", "smooth_seed0", "smooth_seed1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == folders
    assert [detector.recipe.training.seed for detector in first["smooth"]] == [0, 1]
    second = training.train_variants(variants, 2, tmp_path, train_on_scenes)
    assert [detector.history for detector in second["smooth"]] == [detector.history for detector in first["smooth"]]


def test_all_lessons_share_the_detector_of_lesson_3(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    train_set = ShapeDetectionDataset.draw(40, seed=5)
    recipe = replace(TINY, fresh_scenes=None)
    runs = [Run(lesson, "smoke", 1, CPU, tmp_path / lesson / "smoke") for lesson in (TRAINED_IN, "04_scale_analysis")]
    trained, loaded = (lesson_model("tiny", recipe, run, train_set) for run in runs)
    assert trained.recipe.training.seed == 1
    assert len(trained.history) == 1  # epochs of the profile, not of the recipe
    assert loaded.history == trained.history  # with its seconds: it was loaded
    assert (tmp_path / TRAINED_IN / "smoke" / "tiny_seed1" / "training_log.json").is_file()
