"""Recipes: the handout's values, and one change per ablation step."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

from helpers.detection.model import UNDILATED, Dilations
from helpers.detection.nms import InferenceConfig
from helpers.detection.recipes import (
    ASSIGNMENT,
    TUNED,
    Recipe,
    ablation,
    ablation_controls,
    describe,
    leave_one_out,
    list_changes,
)
from helpers.detection.scenes import SceneConfig


def test_the_assignment_has_exactly_the_values_of_the_handout():
    training = ASSIGNMENT.training
    assert (training.optimizer, training.learning_rate, training.momentum) == ("sgd", 1e-3, 0.9)
    assert (training.batch_size, training.epochs, training.schedule, training.weight_decay) == (16, 50, "constant", 0.0)
    assert ASSIGNMENT.dilations == UNDILATED
    assert (ASSIGNMENT.box_loss, ASSIGNMENT.objectness, ASSIGNMENT.width) == ("smooth-l1", "mined", 32)
    assert ASSIGNMENT.match_thresholds == (0.5, 0.3)
    assert ASSIGNMENT.fresh_scenes is None


def test_every_ablation_step_changes_one_field_and_the_last_is_tuned():
    steps = list(ablation(width=8, epochs=2).values())
    assert steps[0] == replace(ASSIGNMENT, width=8, training=replace(ASSIGNMENT.training, epochs=2))
    for before, after in itertools.pairwise(steps):
        changed = {field.name for field in fields(Recipe) if getattr(before, field.name) != getattr(after, field.name)}
        assert len(changed - {"objectness_prior"}) == 1  # the prior belongs to the optimiser
    learning_rate = steps[-1].training.learning_rate
    optimizer = replace(TUNED.training, epochs=2, learning_rate=learning_rate)
    assert steps[-1] == replace(TUNED, width=8, training=optimizer, inference=ASSIGNMENT.inference)


def test_a_narrow_network_has_a_learning_rate_higher_by_the_same_factor():
    rates = [ablation(width, epochs=2)["+ dilations"].training.learning_rate for width in (32, 8)]
    assert rates == [TUNED.training.learning_rate, 4 * TUNED.training.learning_rate]


def test_the_controls_leave_out_steps_of_the_ablation():
    steps = ablation(width=8, epochs=2)
    dilations_alone, undilated = ablation_controls(steps).values()
    assert replace(dilations_alone, dilations=ASSIGNMENT.dilations) == steps["+ AdamW, one cycle, batch 4"]
    assert undilated.dilations == ASSIGNMENT.dilations
    assert undilated.match_thresholds[1] < TUNED.match_thresholds[1]
    assert {recipe.training for recipe in (dilations_alone, undilated)} == {steps["+ dilations"].training}


def test_a_configuration_is_described_by_the_fields_that_differ_from_its_defaults():
    assert describe(Dilations(block3=2)) == "block3 2"
    assert describe(InferenceConfig(nms="soft", nms_threshold=0.85)) == "nms soft, nms threshold 0.85"
    assert describe(UNDILATED) == "plain"
    assert describe((0.5, 0.3)) == "(0.5, 0.3)"


def test_scenes_are_described_by_their_number_of_objects():
    assert describe(SceneConfig()) == "num objects (2, 5)"
    assert describe(SceneConfig(num_objects=(7, 7))) == "num objects (7, 7)"


def test_every_variant_of_leave_one_out_lacks_one_change_of_tuned():
    steps = ablation(width=8, epochs=2)
    tuned, start = steps["+ dilations"], steps["assignment"]
    variants = leave_one_out(width=8, epochs=2)
    changed = []
    for recipe in variants.values():
        fields = [name for name, value in vars(recipe).items() if value != vars(tuned)[name]]
        changed.append(fields)
        if "fresh_scenes" not in fields:
            assert all(vars(recipe)[name] == vars(start)[name] for name in fields)
    assert changed == [
        ["training", "objectness_prior"],
        ["box_loss"],
        ["objectness"],
        ["match_thresholds"],
        ["minimum_visibility"],
        ["fresh_scenes"],
        ["fresh_scenes"],
    ]
    assert variants["without fresh scenes"].fresh_scenes is None


def test_the_changes_between_two_recipes_are_listed_by_setting_in_words():
    assert list_changes(TUNED, TUNED) == []
    training = replace(ASSIGNMENT.training, learning_rate=8e-3)
    dilated = replace(ASSIGNMENT, training=training, dilations=Dilations(block3=2, block4=3, heads=(3, 4, 4)))
    assert list_changes(dilated, ASSIGNMENT) == [
        {"setting": "dilations", "before": "plain", "after": "block3 2, block4 3, heads (3, 4, 4)"},
        {"setting": "learning rate", "before": "0.001", "after": "0.008"},
    ]
