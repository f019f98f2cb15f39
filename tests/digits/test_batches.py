"""Batches of house numbers: which images they hold, who may decode them, and how they are augmented."""

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


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert_close(one, other)


def list_ids(batches):
    return [target["image_id"].item() for _, targets in batches for target in targets]


@pytest.mark.parametrize("batch_size", [1, 5, 24, 100])
@pytest.mark.parametrize("seed", [None, 0])
def test_every_image_comes_once_with_its_own_truth(dataset, batch_size, seed):
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


def test_the_batches_are_a_function_of_the_generator_alone_whatever_the_workers(dataset):
    augment = build_augmentation(AugmentationConfig(zoom_out=0.5))
    torch.manual_seed(1)
    alone = list(build_loader(dataset, 5, seeded(3), augment=augment))
    torch.manual_seed(2)
    for num_workers in (1, 2):
        assert_same(list(build_loader(dataset, 5, seeded(3), num_workers, augment)), alone)
    other = list(build_loader(dataset, 5, seeded(4), augment=augment))
    assert list_ids(other) != list_ids(alone)


def test_augmentation_leaves_the_global_generator_as_it_was(dataset):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    list(build_loader(dataset, 5, seeded(0), augment=build_augmentation(AugmentationConfig(1.0, 1.0, 1.0))))
    assert_close(torch.rand(1), expected)


def test_a_loader_gives_the_same_epoch_each_time_it_is_asked(dataset):
    loader = build_loader(dataset, 5, seeded(0), augment=build_augmentation())
    assert_same(list(loader), list(loader))


def test_a_broken_image_stops_a_worker_with_its_name(folder):
    read = DigitDataset.read(folder, "train")
    (folder / "train" / "9.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"9\.png: no PNG image"):
        list(build_loader(read, 4, seeded(0), num_workers=1))


def measure_padding(groups, sizes):
    """Returns the padded area of all batches as a multiple of the images'; each is brought to one height first."""
    widths = sizes[:, 1] / sizes[:, 0]
    return sum(len(group) * widths[group].max() for group in groups) / widths.sum()


def test_batches_of_one_shape_need_little_padding_and_differ_from_epoch_to_epoch():
    rng = np.random.default_rng(0)
    heights = rng.integers(20, 200, 1500)
    sizes = np.stack([heights, (heights * rng.uniform(1.0, 3.5, 1500)).astype(int)], axis=1)
    shuffled = torch.randperm(1500, generator=seeded(0)).numpy()
    careless = [shuffled[start : start + 16] for start in range(0, 1500, 16)]
    groups, others = group_by_shape(sizes, 16, seeded(0)), group_by_shape(sizes, 16, seeded(1))
    assert measure_padding(careless, sizes) > 1.4
    assert measure_padding(groups, sizes) < 1.1
    assert measure_padding(group_by_shape(sizes, 16), sizes) < 1.01
    assert {frozenset(group.tolist()) for group in groups}.isdisjoint(frozenset(group.tolist()) for group in others)


def test_batches_are_not_sorted_by_shape(dataset):
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 200, (640, 2))
    ratios = [float((sizes[group, 0] / sizes[group, 1]).mean()) for group in group_by_shape(sizes, 16, seeded(0))]
    assert ratios != sorted(ratios)


def test_no_images_are_no_batches(dataset):
    assert list(build_loader(dataset.select([]), 4)) == []


def test_augmentation_without_a_generator_is_refused(dataset):
    with pytest.raises(ValueError, match="pass a generator"):
        build_loader(dataset, 4, augment=build_augmentation())


def test_zooming_out_moves_boxes_with_their_pixels(dataset):
    augment = build_augmentation(AugmentationConfig(colour=0.0, blur=0.0, zoom_out=1.0))
    grown = 0
    for images, targets in build_loader(dataset, 6, seeded(0), augment=augment):
        for image, target in zip(images, targets, strict=True):
            original, truth = dataset[target["image_id"].item() - 1]
            (x1, y1, x2, y2), (a1, b1, a2, b2) = target["boxes"][0].int().tolist(), truth["boxes"][0].int().tolist()
            assert_close(image[:, y1:y2, x1:x2], original[:, b1:b2, a1:a2])
            assert_close(target["labels"], truth["labels"])
            assert type(image) is type(target["boxes"]) is torch.Tensor
            grown += image.shape[2] > original.shape[2]
    assert grown > 20


def test_colour_and_blur_change_pixels_and_nothing_else(dataset):
    for config in (AugmentationConfig(colour=1.0, blur=0.0), AugmentationConfig(colour=0.0, blur=1.0)):
        changed = 0
        for images, targets in build_loader(dataset, 6, seeded(0), augment=build_augmentation(config)):
            for image, target in zip(images, targets, strict=True):
                original, truth = dataset[target["image_id"].item() - 1]
                changed += not torch.equal(image, original)
                assert image.shape == original.shape
                assert_close(target, truth)
        assert changed > 16  # of 24: the weakest blur changes no byte of a soft picture


def test_without_probability_nothing_changes(dataset):
    augment = build_augmentation(AugmentationConfig(0.0, 0.0, 0.0))
    assert_same(list(build_loader(dataset, 6, seeded(0), augment=augment)), list(build_loader(dataset, 6, seeded(0))))


def test_any_transform_of_torchvision_augments(dataset):
    for images, targets in build_loader(dataset, 6, seeded(0), augment=v2.RandomHorizontalFlip(p=1.0)):
        for image, target in zip(images, targets, strict=True):
            original, truth = dataset[target["image_id"].item() - 1]
            assert_close(image, original.flip(-1))
            assert_close(target["boxes"][:, 0], original.shape[2] - truth["boxes"][:, 2])
