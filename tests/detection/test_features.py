"""Learned features: the rank of channels by counting pairs, and colours of principal components."""

import numpy as np
import pytest
import torch

from helpers.detection.features import colour_features, rank_channels


def test_a_channel_that_is_high_on_a_concept_alone_separates_it_perfectly():
    concept = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    concept[:, :, 0] = True
    value = concept.float()
    ranks = rank_channels(torch.cat([value, -value, torch.ones_like(value)], dim=1), concept)
    np.testing.assert_allclose(ranks, [[1.0, 0.0, 0.5]])


def test_the_rank_of_a_channel_is_the_probability_of_a_right_pair():
    generator = torch.Generator().manual_seed(0)
    features = torch.randint(0, 4, (2, 3, 4, 4), generator=generator).float()  # with ties
    concepts = torch.rand(2, 2, 4, 4, generator=generator) < 0.4
    ranks = rank_channels(features, concepts)
    for concept in range(2):
        for channel in range(3):
            values, inside = features[:, channel].flatten(), concepts[:, concept].flatten()
            pairs = values[inside][:, None] - values[~inside]
            expected = (pairs > 0).double().mean() + (pairs == 0).double().mean() / 2
            assert ranks[concept, channel] == pytest.approx(expected.item())


def test_cells_with_equal_features_get_equal_colours_and_others_other_ones():
    features = torch.zeros(1, 8, 6, 6)
    features[0, :, :, 3:] = torch.arange(8.0)[:, None, None]
    picture = colour_features(features)
    assert picture.shape == (1, 6, 6, 3)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert np.ptp(picture[0, :, :3], axis=(0, 1)).max() == np.ptp(picture[0, :, 3:], axis=(0, 1)).max() == 0
    assert np.abs(picture[0, 0, 0] - picture[0, 0, 5]).max() == 1
