"""Named recipes: the report's settings, and variants that differ in one field."""

from __future__ import annotations

import pytest

from helpers import training
from helpers.digits.anchors import ANCHOR_SETS
from helpers.digits.loss import REPORT_SCHEDULE, BoxLossConfig
from helpers.digits.model import ModelConfig
from helpers.digits.recipes import QUICK, REPORT, describe_recipe, vary_anchors, vary_box_losses
from tests.digits.support import changed_fields


def test_the_report_has_the_settings_of_its_text():
    config = REPORT.training
    assert (config.optimizer, config.learning_rate, config.weight_decay) == ("adamw", 1e-4, 1e-4)
    assert (config.epochs, config.batch_size, config.schedule) == (15, 8, "cosine")
    assert config.learning_rate * training.learning_rate_factor("cosine", 1.0) == pytest.approx(1e-6)
    assert REPORT.model == ModelConfig()
    assert (REPORT.augmentation.colour, REPORT.augmentation.blur, REPORT.augmentation.zoom_out) == (0.3, 0.3, 0)
    assert REPORT.box_loss.term is None


def test_variants_of_anchors_differ_in_the_anchors_only_and_scale_with_the_input():
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


def test_variants_of_box_losses_differ_in_the_box_loss_only():
    variants = vary_box_losses(QUICK, REPORT_SCHEDULE, gain=2.0)
    assert list(variants) == ["smooth-L1", "IoU", "GIoU", "DIoU", "CIoU", "constant CIoU"]
    assert variants["smooth-L1"] == QUICK
    assert all(changed_fields(QUICK, variant) <= {"box_loss"} for variant in variants.values())
    assert variants["DIoU"].box_loss == BoxLossConfig("diou", REPORT_SCHEDULE, gain=2.0)
    assert changed_fields(variants["CIoU"].box_loss, variants["constant CIoU"].box_loss) == {"constant"}


def test_a_described_recipe_has_the_same_rows_for_every_recipe_in_texts_that_a_table_shows_completely():
    report, quick = describe_recipe(REPORT), describe_recipe(QUICK)
    assert list(report) == list(quick)
    assert max(len(text) for text in (*report.values(), *quick.values())) <= 50  # the default of pandas
    assert report["anchor sizes, √area (px of the input)"] == "4, 8, 12, 24, 48"
    assert quick["anchor sizes, √area (px of the input)"] == "5.12, 10.24, 15.36, 20.48, 30.72"
    assert (report["zooming out"], quick["zooming out"]) == ("not used", "probability 0.5, canvas × 1 to 2")
    assert report["largest share of positives in the sample"] == "0.25"
