"""Batches of house numbers: their images, order and padding, decoding by workers, and augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torchvision.transforms import v2

from helpers.digits.batches import AugmentationConfig, build_augmentation, build_loader, group_by_shape
from helpers.digits.dataset import DigitDataset
from helpers.records import DatasetError
from helpers.training import Batches
from tests.digits.support import seeded


def assert_equal_batches(batches, expected_batches):
    """Fail unless both lists have equal images and targets in the same order."""
    assert len(batches) == len(expected_batches)
    for batch, expected in zip(batches, expected_batches, strict=True):
        assert_close(batch, expected)


def list_ids(batches):
    return [target["image_id"].item() for _, targets in batches for target in targets]


@pytest.mark.parametrize("batch_size", [1, 5, 24, 100])
@pytest.mark.parametrize("seed", [None, 0])
def test_every_image_occurs_once_with_its_target(dataset, batch_size, seed):
    loader = build_loader(dataset, batch_size, None if seed is None else seeded(seed))
    assert isinstance(loader, Batches)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-24 // batch_size)
    assert sorted(list_ids(batches)) == list(range(1, 25))
    for images, targets in batches:
        for image, target in zip(images, targets, strict=True):
            expected_image, expected_target = dataset[target["image_id"].item() - 1]
            assert_close(image, expected_image)
            assert_close(target, expected_target)


def test_a_worker_that_is_spawned_and_not_forked_gives_the_same_batches(dataset):
    """Windows and macOS start a worker as a new process, which gets everything that it needs as a pickle."""
    augment = build_augmentation()
    loader = build_loader(dataset, 5, seeded(3), num_workers=1, augment=augment)
    loader._loader.multiprocessing_context = "spawn"
    assert_equal_batches(list(loader), list(build_loader(dataset, 5, seeded(3), augment=augment)))


def test_the_batches_depend_on_the_generator_alone_for_any_number_of_workers(dataset):
    augment = build_augmentation(AugmentationConfig(zoom_out=0.5))
    torch.manual_seed(1)
    without_workers = list(build_loader(dataset, 5, seeded(3), augment=augment))
    torch.manual_seed(2)
    for num_workers in (1, 2):
        assert_equal_batches(list(build_loader(dataset, 5, seeded(3), num_workers, augment)), without_workers)
    other_seed = list(build_loader(dataset, 5, seeded(4), augment=augment))
    assert list_ids(other_seed) != list_ids(without_workers)


def test_augmentation_does_not_change_the_global_generator(dataset):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    list(build_loader(dataset, 5, seeded(0), augment=build_augmentation(AugmentationConfig(1.0, 1.0, 1.0))))
    assert_close(torch.rand(1), expected)


def test_a_loader_gives_the_same_epoch_at_every_iteration(dataset):
    loader = build_loader(dataset, 5, seeded(0), augment=build_augmentation())
    assert_equal_batches(list(loader), list(loader))


def test_a_damaged_image_stops_a_worker_with_the_name_of_the_image(folder):
    read = DigitDataset.read(folder, "train")
    (folder / "train" / "9.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"9\.png: no PNG image"):
        list(build_loader(read, 4, seeded(0), num_workers=1))


def measure_padding(groups, sizes):
    """Return the padded area of all batches as a multiple of the images' area, with all images at one height."""
    widths = sizes[:, 1] / sizes[:, 0]
    return sum(len(group) * widths[group].max() for group in groups) / widths.sum()


def test_batches_need_little_padding_and_differ_between_epochs():
    rng = np.random.default_rng(0)
    heights = rng.integers(20, 200, 1500)
    sizes = np.stack([heights, (heights * rng.uniform(1.0, 3.5, 1500)).astype(int)], axis=1)
    shuffled = torch.randperm(1500, generator=seeded(0)).numpy()
    unsorted_groups = [shuffled[start : start + 16] for start in range(0, 1500, 16)]
    groups, next_groups = group_by_shape(sizes, 16, seeded(0)), group_by_shape(sizes, 16, seeded(1))
    assert measure_padding(unsorted_groups, sizes) > 1.4
    assert measure_padding(groups, sizes) < 1.1
    assert measure_padding(group_by_shape(sizes, 16), sizes) < 1.01
    assert {frozenset(group.tolist()) for group in groups}.isdisjoint(
        frozenset(group.tolist()) for group in next_groups
    )


def test_the_order_of_the_batches_is_random():
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 200, (640, 2))
    ratios = [float((sizes[group, 0] / sizes[group, 1]).mean()) for group in group_by_shape(sizes, 16, seeded(0))]
    assert ratios != sorted(ratios)


def test_an_empty_dataset_has_no_batches(dataset):
    assert list(build_loader(dataset.select([]), 4)) == []


def test_augmentation_without_a_generator_is_refused(dataset):
    with pytest.raises(ValueError, match="pass a generator"):
        build_loader(dataset, 4, augment=build_augmentation())


def test_zooming_out_moves_boxes_and_pixels_together(dataset):
    augment = build_augmentation(AugmentationConfig(colour=0.0, blur=0.0, zoom_out=1.0))
    num_enlarged = 0
    for images, targets in build_loader(dataset, 6, seeded(0), augment=augment):
        for image, target in zip(images, targets, strict=True):
            original, truth = dataset[target["image_id"].item() - 1]
            (x1, y1, x2, y2), (a1, b1, a2, b2) = target["boxes"][0].int().tolist(), truth["boxes"][0].int().tolist()
            assert_close(image[:, y1:y2, x1:x2], original[:, b1:b2, a1:a2])
            assert_close(target["labels"], truth["labels"])
            assert type(image) is type(target["boxes"]) is torch.Tensor
            num_enlarged += image.shape[2] > original.shape[2]
    assert num_enlarged > 20


def test_colour_and_blur_change_pixels_and_no_target(dataset):
    for config in (AugmentationConfig(colour=1.0, blur=0.0), AugmentationConfig(colour=0.0, blur=1.0)):
        num_changed = 0
        for images, targets in build_loader(dataset, 6, seeded(0), augment=build_augmentation(config)):
            for image, target in zip(images, targets, strict=True):
                original, truth = dataset[target["image_id"].item() - 1]
                num_changed += not torch.equal(image, original)
                assert image.shape == original.shape
                assert_close(target, truth)
        assert num_changed > 16  # of 24: the weakest blur changes no byte of an image without sharp edges


def test_probabilities_of_0_change_nothing(dataset):
    augment = build_augmentation(AugmentationConfig(0.0, 0.0, 0.0))
    assert_equal_batches(
        list(build_loader(dataset, 6, seeded(0), augment=augment)), list(build_loader(dataset, 6, seeded(0)))
    )


def test_any_transform_of_torchvision_can_augment(dataset):
    for images, targets in build_loader(dataset, 6, seeded(0), augment=v2.RandomHorizontalFlip(p=1.0)):
        for image, target in zip(images, targets, strict=True):
            original, truth = dataset[target["image_id"].item() - 1]
            assert_close(image, original.flip(-1))
            assert_close(target["boxes"][:, 0], original.shape[2] - truth["boxes"][:, 2])
