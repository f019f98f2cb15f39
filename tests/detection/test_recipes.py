"""From a recipe to a trained detector."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import pytest
import torch

from helpers import checkpoints
from helpers.detection.anchors import generate_anchors
from helpers.detection.dataset import ShapeDetectionDataset
from helpers.detection.inference import InferenceConfig
from helpers.detection.matching import match_anchors_to_targets
from helpers.detection.metrics import evaluate_detections
from helpers.detection.model import Dilations
from helpers.detection.recipes import (
    ASSIGNMENT,
    SELECTION_SEED,
    TUNED,
    DetectorTask,
    Recipe,
    find_controls,
    ladder,
    mirror_boxes,
    train_detector,
    train_variants,
)
from helpers.detection.scenes import SceneConfig

CPU = torch.device("cpu")
SCENES = ShapeDetectionDataset.draw(12, seed=5)
TINY = replace(TUNED, width=4, flips=True, training=replace(TUNED.training, epochs=3, batch_size=4))


def test_the_assignment_is_the_handouts_to_the_letter():
    recipe = ASSIGNMENT.training
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum) == ("sgd", 1e-3, 0.9)
    assert (recipe.batch_size, recipe.epochs, recipe.schedule, recipe.weight_decay) == (16, 50, "constant", 0.0)
    assert ASSIGNMENT.dilations == Dilations()
    assert (ASSIGNMENT.box_loss, ASSIGNMENT.objectness, ASSIGNMENT.width) == ("smooth-l1", "mined", 32)
    assert not ASSIGNMENT.flips
    assert ASSIGNMENT.match_thresholds == (0.5, 0.3)
    assert ASSIGNMENT.fresh_scenes is None


def test_a_mirrored_box_holds_the_mirrored_shape_to_the_pixel():
    lonely = next(
        image
        for image in range(len(SCENES))
        if (SCENES.visibility[image] == 1).sum() == (SCENES.labels[image] >= 0).sum()
    )
    image, boxes = SCENES.images[lonely], SCENES.boxes[lonely][SCENES.labels[lonely] >= 0]
    mirrored = image.flip(1)
    for original, box in zip(boxes, mirror_boxes(boxes, width=224), strict=True):
        x1, y1, x2, y2 = original.int().tolist()
        mirrored_x1, _, mirrored_x2, _ = box.int().tolist()
        # The handout's corners are pixel indices, both included.
        assert torch.equal(
            image[y1 : y2 + 1, x1 : x2 + 1].flip(1), mirrored[y1 : y2 + 1, mirrored_x1 : mirrored_x2 + 1]
        )
        assert (box[2:] - box[:2]).tolist() == (original[2:] - original[:2]).tolist()


def test_mirroring_twice_changes_nothing():
    torch.testing.assert_close(mirror_boxes(mirror_boxes(SCENES.boxes, 224), 224), SCENES.boxes, rtol=0, atol=0)


def epoch_of(task: DetectorTask, epoch: int) -> list:
    return list(task.batches(epoch, 5, torch.Generator().manual_seed(epoch)))


def test_an_epoch_shows_every_image_once_as_it_is_or_in_the_mirror():
    task = DetectorTask(replace(TINY, fresh_scenes=None), SCENES, SCENES, CPU)
    batches = epoch_of(task, 1)
    assert [len(batch.images) for batch in batches] == [5, 5, 2]
    originals = SCENES.images.permute(0, 3, 1, 2).float() / 255
    seen, num_mirrored = set(), 0
    for image, boxes in (
        (image, boxes) for batch in batches for image, boxes in zip(batch.images, batch.boxes, strict=True)
    ):
        as_is = (originals == image).flatten(1).all(1)
        mirrored = (originals.flip(3) == image).flatten(1).all(1)
        row = int((as_is | mirrored).nonzero())
        seen.add(row)
        num_mirrored += int(mirrored[row])
        expected = mirror_boxes(SCENES.boxes[row], 224) if mirrored[row] else SCENES.boxes[row]
        torch.testing.assert_close(boxes, expected, rtol=0, atol=0)
    assert seen == set(range(12))
    assert 0 < num_mirrored < 12


def test_a_batch_carries_the_matches_of_the_boxes_it_shows():
    everything = replace(TINY, minimum_visibility=0.0)
    for recipe in (everything, replace(everything, fresh_scenes=None)):
        task = DetectorTask(recipe, SCENES, SCENES, CPU)
        for batch in epoch_of(task, 2):
            matches = match_anchors_to_targets(task.anchors, batch.boxes, batch.labels, *recipe.match_thresholds)
            assert torch.equal(batch.index.long(), matches.index)
            assert (batch.index >= 0).any()


def test_hidden_objects_are_neither_learned_nor_learned_against():
    scenes = ShapeDetectionDataset.draw(60, seed=641)
    hidden = (scenes.visibility < 0.1) & (scenes.labels >= 0)
    assert hidden.any()
    task = DetectorTask(replace(TINY, fresh_scenes=None, flips=False, minimum_visibility=0.1), scenes, SCENES, CPU)
    for batch in epoch_of(task, 1):
        rows = [int((scenes.boxes == boxes).flatten(1).all(1).nonzero()[0]) for boxes in batch.boxes]
        owners = batch.index.long().clamp(min=0)
        learned = (batch.index >= 0) & torch.gather(hidden[rows], 1, owners)
        assert not learned.any()


def test_fresh_scenes_differ_between_epochs_and_repeat_with_the_epoch():
    task = DetectorTask(TINY, SCENES, SCENES, CPU)
    first, again, second = epoch_of(task, 1), epoch_of(task, 1), epoch_of(task, 2)
    assert torch.equal(first[0].images, again[0].images)
    assert not torch.equal(first[0].images, second[0].images)
    looks = replace(TINY, fresh_scenes=SceneConfig(palette="shared"))
    assert not torch.equal(first[0].images, epoch_of(DetectorTask(looks, SCENES, SCENES, CPU), 1)[0].images)


def test_an_interrupted_detector_goes_on_to_the_same_weights(tmp_path):
    def interrupt(row, model):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole = train_detector(TINY, SCENES, SCENES, tmp_path / "whole", CPU)
    with pytest.raises(KeyboardInterrupt):
        train_detector(TINY, SCENES, SCENES, tmp_path / "stopped", CPU, on_epoch_end=interrupt)
    resumed = train_detector(TINY, SCENES, SCENES, tmp_path / "stopped", CPU)
    expected = whole.model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.model.state_dict().items())


def test_a_detector_of_other_data_or_another_recipe_is_refused_by_name(tmp_path):
    recipe = replace(TINY, training=replace(TINY.training, epochs=1))
    train_detector(recipe, SCENES, SCENES, tmp_path, CPU)
    with pytest.raises(checkpoints.CheckpointError, match="train_set is"):
        train_detector(recipe, SCENES.select(range(6)), SCENES, tmp_path, CPU)
    with pytest.raises(checkpoints.CheckpointError, match=r"recipe\.box_loss is 'giou' there and 'smooth-l1' here"):
        train_detector(replace(recipe, box_loss="smooth-l1"), SCENES, SCENES, tmp_path, CPU)


def test_suppression_can_change_without_training_anew(tmp_path):
    recipe = replace(TINY, training=replace(TINY.training, epochs=1))
    first = train_detector(recipe, SCENES, SCENES, tmp_path, CPU)
    other = replace(recipe, inference=InferenceConfig(nms="hard", nms_threshold=0.3))
    again = train_detector(other, SCENES, SCENES, tmp_path, CPU)
    assert again.history == first.history
    assert again.recipe.inference.nms_threshold == 0.3


def test_two_scenes_are_learned_by_heart_in_sixty_steps(tmp_path):
    scenes = ShapeDetectionDataset.draw(40, seed=2)
    clear = [image for image in range(40) if scenes.visibility[image][scenes.labels[image] >= 0].min() > 0.6][:2]
    scenes = scenes.select(clear)
    recipe = replace(
        TUNED,
        width=8,
        flips=False,
        fresh_scenes=None,
        training=replace(TUNED.training, epochs=60, batch_size=2, learning_rate=5e-3),
    )
    detector = train_detector(recipe, scenes, scenes, tmp_path, CPU)
    assert evaluate_detections(scenes, detector.detect(scenes.images))["ap50"] > 0.95
    assert detector.history[-1]["loss"] < 0.5 * detector.history[0]["loss"]


def test_no_scene_that_selects_is_one_that_is_reported():
    handout = ShapeDetectionDataset.draw(1200, seed=641)
    selection = ShapeDetectionDataset.draw(200, seed=SELECTION_SEED)
    rows = {tuple(row) for row in handout.boxes.flatten(1).tolist()}
    assert not rows & {tuple(row) for row in selection.boxes.flatten(1).tolist()}
    assert torch.cat(generate_anchors()).shape == (12348, 4)


def test_every_rung_of_the_ladder_changes_one_thing_and_the_last_is_tuned():
    rungs = list(ladder(width=8, epochs=2).values())
    assert rungs[0] == replace(ASSIGNMENT, width=8, training=replace(ASSIGNMENT.training, epochs=2))
    for below, above in itertools.pairwise(rungs):
        changed = {field.name for field in fields(Recipe) if getattr(below, field.name) != getattr(above, field.name)}
        assert len(changed - {"objectness_prior"}) == 1  # the prior goes with the optimiser
    learning_rate = rungs[-1].training.learning_rate
    optimizer = replace(TUNED.training, epochs=2, learning_rate=learning_rate)
    assert rungs[-1] == replace(TUNED, width=8, training=optimizer, inference=ASSIGNMENT.inference)


def test_controls_answer_what_the_order_of_the_rungs_hides():
    rungs = ladder(width=8, epochs=2)
    alone, specified = find_controls(rungs).values()
    assert replace(alone, dilations=ASSIGNMENT.dilations) == rungs["+ AdamW, one cycle, batch 4"]
    assert specified.dilations == ASSIGNMENT.dilations
    assert specified.match_thresholds[1] < TUNED.match_thresholds[1]
    assert {recipe.training for recipe in (alone, specified)} == {rungs["+ dilations"].training}


def test_variants_share_their_seeds_and_are_kept_for_the_next_call(tmp_path):
    recipe = replace(TINY, training=replace(TINY.training, epochs=1))
    variants = {"GIoU, soft": recipe, "smooth": replace(recipe, box_loss="smooth-l1")}
    first = train_variants(variants, 2, SCENES, SCENES, tmp_path, CPU)
    kept = ["giou_soft_seed0", "giou_soft_seed1", "smooth_seed0", "smooth_seed1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert [detector.recipe.training.seed for detector in first["smooth"]] == [0, 1]
    again = train_variants(variants, 2, SCENES, SCENES, tmp_path, CPU)
    assert [detector.history for detector in again["smooth"]] == [detector.history for detector in first["smooth"]]
