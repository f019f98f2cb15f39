"""One network with two inputs: merged detections, digits that are too tall, and training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from helpers.digits.anchors import Resize
from helpers.digits.batches import build_loader
from helpers.digits.dataset import prepare_images
from helpers.digits.model import MultiScaleConfig, build_digit_rcnn, detect
from helpers.digits.multi_scale import FineInput, MultiScaleRCNN, measure_heights, merge_detections
from helpers.digits.recipes import MULTI_SCALE, QUICK, REPORT, add_fine_input
from helpers.digits.training import train
from helpers.training import TrainingConfig
from tests.digits.support import changed_fields, seeded

CPU = torch.device("cpu")
COARSE = replace(QUICK.model, width=16, pyramid_width=16, head_width=16, num_proposals=(20, 20), num_regions=8)


def add_fine(tallest: float, shorter: int = 128) -> MultiScaleConfig:
    """Return the configuration of the small network of `COARSE` with a fine input."""
    return MultiScaleConfig(**vars(COARSE), fine=FineInput(Resize(shorter, 3 * shorter), tallest))


@pytest.fixture
def networks():
    """Return a network with one input, and the same network with two, from the tallest height of the fine input on."""

    def build(tallest: float, shorter: int = 128):
        torch.manual_seed(0)
        single = build_digit_rcnn(COARSE).eval()
        double = build_digit_rcnn(add_fine(tallest, shorter)).eval()
        double.load_state_dict(single.state_dict())
        return single, double

    return build


def make_output(*records: tuple) -> dict[str, torch.Tensor]:
    """Return detections as torchvision's networks do, from `(box, score, label)` each."""
    boxes, scores, labels = zip(*records, strict=True) if records else ((), (), ())
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


# Heights


def test_heights_by_hand():
    # 50 x 100 px become 64 x 128 px: a box of 25 px is 32 px high. The longer side limits 50 x 300 px to 32 x 192.
    boxes = torch.tensor([[3.0, 10, 13, 35], [0, 0, 5, 0]])
    assert measure_heights(boxes, (50, 100), Resize(64, 192)).tolist() == [32, 0]
    assert measure_heights(boxes, (50, 300), Resize(64, 192)).tolist() == [16, 0]


def test_the_heights_are_those_of_the_resized_boxes(dataset):
    resize = Resize(64, 192)
    for row in range(len(dataset)):
        image, target = dataset[row]
        size = (image.shape[1], image.shape[2])
        boxes = resize.boxes(target["boxes"], torch.tensor([size]).expand(len(target["boxes"]), 2))
        expected = boxes[:, 3] - boxes[:, 1]
        torch.testing.assert_close(measure_heights(target["boxes"], size, resize), expected)


# Merging


def test_a_merge_by_hand():
    coarse = make_output(((0, 0, 10, 20), 0.9, 1), ((40, 0, 50, 20), 0.3, 2))
    fine = make_output(((0, 0, 10, 19), 0.6, 1), ((0, 0, 10, 20), 0.5, 3), ((40, 0, 50, 20), 0.8, 2))
    merged = merge_detections(coarse, fine, 0.5, 100)
    # Label 1: the fine box overlaps the better coarse one. Label 2: the fine box is better. Label 3: another class.
    assert merged["labels"].tolist() == [1, 2, 3]
    assert merged["scores"].tolist() == pytest.approx([0.9, 0.8, 0.5])
    assert merge_detections(coarse, fine, 0.5, 2)["labels"].tolist() == [1, 2]


def test_merged_detections_are_sorted_and_no_two_of_a_class_overlap_in_either_order():
    generator = seeded(3)
    outputs = []
    for _ in range(2):
        corners = torch.rand(60, 2, generator=generator) * 30
        boxes = torch.cat([corners, corners + 5 + torch.rand(60, 2, generator=generator) * 20], dim=1)
        scores = torch.rand(60, generator=generator)
        outputs.append({"boxes": boxes, "scores": scores, "labels": torch.randint(1, 4, (60,), generator=generator)})
    merged = merge_detections(*outputs, 0.5, 100)
    assert (merged["scores"].diff() <= 0).all()
    same_class = merged["labels"][:, None] == merged["labels"]
    overlaps = (box_iou(merged["boxes"], merged["boxes"]) > 0.5) & same_class
    assert overlaps.sum() == len(merged["boxes"])  # each with itself
    swapped = merge_detections(outputs[1], outputs[0], 0.5, 100)
    assert swapped["scores"].tolist() == merged["scores"].tolist()


def test_an_input_without_detections_adds_nothing():
    coarse, nothing = make_output(((0, 0, 10, 20), 0.9, 1)), make_output()
    for merged in (merge_detections(coarse, nothing, 0.5, 100), merge_detections(nothing, coarse, 0.5, 100)):
        assert merged["boxes"].tolist() == [[0, 0, 10, 20]]
    assert merge_detections(nothing, nothing, 0.5, 100)["boxes"].shape == (0, 4)


# The network


def test_without_digits_for_the_fine_input_the_detections_are_those_of_the_coarse_input_alone(networks, dataset):
    single, double = networks(tallest=0)
    images = [dataset[row][0] for row in range(3)]
    for expected, merged in zip(detect(single, images), detect(double, images), strict=True):
        torch.testing.assert_close(merged.boxes, expected.boxes)
        torch.testing.assert_close(merged.scores, expected.scores)
        assert merged.labels.tolist() == expected.labels.tolist()


def test_of_the_fine_input_only_low_boxes_remain_and_they_are_those_of_a_network_with_that_input(networks, dataset):
    single, double = networks(tallest=20)
    fine_only = build_digit_rcnn(replace(COARSE, resize=Resize(128, 384))).eval()
    fine_only.load_state_dict(single.state_dict())
    for row in range(4):
        image = dataset[row][0]
        size = (image.shape[1], image.shape[2])
        coarse, fine = detect(single, [image])[0], detect(fine_only, [image])[0]
        rows = measure_heights(fine.boxes, size, Resize(128, 384)) <= 20
        small = {"boxes": fine.boxes[rows], "scores": fine.scores[rows], "labels": fine.labels[rows]}
        expected = merge_detections(coarse._asdict(), small, 0.5, 100)
        merged = detect(double, [image])[0]
        torch.testing.assert_close(merged.boxes, expected["boxes"])
        torch.testing.assert_close(merged.scores, expected["scores"])


def test_the_transform_is_that_of_the_coarse_input_before_and_after_each_call(networks, dataset):
    _, double = networks(tallest=64)
    assert isinstance(double, MultiScaleRCNN)
    detect(double, [dataset[0][0]])
    assert (tuple(double.transform.min_size), double.transform.max_size) == ((64,), 192)
    with pytest.raises(AssertionError):
        double.train()([torch.rand(3, 40, 90)], None)  # torchvision: no targets in training mode
    assert (tuple(double.transform.min_size), double.transform.max_size) == ((64,), 192)


@pytest.mark.parametrize(("tallest", "num_sizes"), [(1000.0, 2), (0.0, 2)])
def test_in_training_a_batch_has_one_of_both_inputs_and_tall_digits_are_removed_in_the_fine_one(
    networks, dataset, monkeypatch, tallest, num_sizes
):
    _, double = networks(tallest)
    calls = []

    def record(images, targets):
        calls.append((double.transform.min_size[0], [len(target["boxes"]) for target in targets]))
        return {}

    monkeypatch.setattr("torchvision.models.detection.FasterRCNN.forward", lambda self, *inputs: record(*inputs))
    images, targets = next(iter(build_loader(dataset, 4)))
    before = [target["boxes"].clone() for target in targets]
    torch.manual_seed(0)
    for _ in range(20):
        double.train()(prepare_images(images, CPU), targets)
    counts = [len(boxes) for boxes in before]
    assert {size for size, _ in calls} == {64, 128}
    for size, numbers in calls:
        assert numbers == (counts if size == 64 or tallest else [0] * len(counts))
    for target, boxes in zip(targets, before, strict=True):
        assert torch.equal(target["boxes"], boxes)  # the caller's targets stay


def test_both_inputs_give_finite_losses_and_gradients(networks, dataset):
    for tallest in (0.0, 64.0):  # 0: the fine input sees images without a digit
        _, double = networks(tallest)
        images, targets = next(iter(build_loader(dataset, 4)))
        torch.manual_seed(0)
        for _ in range(4):
            losses = double.train()(prepare_images(images, CPU), targets)
            total = losses["loss_objectness"] + losses["loss_rpn_box_reg"] + losses["class"] + losses["smooth-l1"]
            total.backward()
            assert all(torch.isfinite(parameter.grad).all() for parameter in double.parameters())


# The recipe


@pytest.mark.parametrize("recipe", [QUICK, REPORT], ids=["quick", "report"])
def test_a_fine_input_has_twice_the_sides_and_is_for_digits_that_fill_half_of_it(recipe):
    changed = add_fine_input(recipe)
    assert changed_fields(recipe, changed) == {"training", "model", "augmentation"}
    assert changed.model.fine.resize.shorter == 2 * recipe.model.resize.shorter
    assert changed.model.fine.resize.longer == 2 * recipe.model.resize.longer
    assert changed.model.fine.tallest == changed.model.fine.resize.shorter / 2
    assert {name: value for name, value in vars(changed.model).items() if name != "fine"} == vars(recipe.model)
    assert changed_fields(recipe.training, changed.training) - {"batch_size"} == {"epochs", "learning_rate"}
    assert changed.training.batch_size == (8 if recipe is QUICK else 2)


def test_the_detector_is_fine_tuned_from_one_with_a_single_input_and_loaded_again(train_set, valid_set, tmp_path):
    tiny = replace(QUICK, model=COARSE, training=TrainingConfig(epochs=1, batch_size=4, learning_rate=1e-3))
    parts = {"train_set": train_set, "selection_set": valid_set, "device": CPU}
    start = train(tiny, tmp_path / "start", **parts)
    recipe = replace(MULTI_SCALE, model=add_fine(64), training=tiny.training)
    detector = train(recipe, tmp_path / "fine", **parts, start=start.model)
    assert isinstance(detector.model, MultiScaleRCNN)
    assert any(
        not torch.equal(first, second)
        for first, second in zip(start.model.parameters(), detector.model.parameters(), strict=True)
    )
    loaded = train(recipe, tmp_path / "fine", **parts, start=start.model)
    assert loaded.history == detector.history
    for expected, again in zip(detector.detect(valid_set), loaded.detect(valid_set), strict=True):
        torch.testing.assert_close(again.boxes, expected.boxes)


def test_a_rebuilt_detector_has_the_same_weights_with_other_inputs(train_set, valid_set, tmp_path):
    tiny = replace(QUICK, model=COARSE, training=TrainingConfig(epochs=1, batch_size=4, learning_rate=1e-3))
    start = train(tiny, tmp_path, train_set=train_set, selection_set=valid_set, device=CPU)
    double = start.rebuild(add_fine(0))
    assert changed_fields(start.recipe, double.recipe) == {"model"}
    for detector in (double, double.rebuild(COARSE)):
        for expected, detections in zip(start.detect(valid_set), detector.detect(valid_set), strict=True):
            torch.testing.assert_close(detections.boxes, expected.boxes)
            torch.testing.assert_close(detections.scores, expected.scores)
    with pytest.raises(RuntimeError, match="size mismatch"):
        start.rebuild(replace(COARSE, head_width=8))
