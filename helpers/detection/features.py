"""Learned features: how well single channels separate concepts, and principal components as colours.

Shape letters: M images, C channels, K concepts, h w feature map.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor


def rank_channels(features: Float[Tensor, "M C h w"], concepts: Bool[Tensor, "M K h w"]) -> Float[np.ndarray, "K C"]:
    """Return how well each channel alone separates the cells of each concept from all other cells.

    The measure is the area under the ROC curve: the probability that a cell of the concept has a higher value than
    another cell, where ties count half. 0.5 is chance, 1 is perfect, 0 is perfect with the opposite sign.

    Args:
        features: one value per channel and cell.
        concepts: which cells belong to each concept; every concept has at least one cell and lacks at least one.
    """
    values = features.movedim(1, -1).flatten(0, 2).cpu().numpy()  # [cells, C]
    belongs = concepts.movedim(1, -1).flatten(0, 2).cpu().numpy().T.astype(np.float64)  # [K, cells]
    inside = belongs.sum(axis=1, keepdims=True)  # [K, 1], number of cells
    outside = belongs.shape[1] - inside
    ranks = rankdata(values, axis=0)  # [cells, C]; 1 is the lowest value
    # If the inside cells have the lowest values, their ranks are 1 to `inside`. Each rank above that is one pair of an
    # inside and an outside cell in which the inside cell is higher.
    lowest_sum = inside * (inside + 1) / 2
    return (belongs @ ranks - lowest_sum) / (inside * outside)


def colour_features(features: Float[Tensor, "M C h w"]) -> Float[np.ndarray, "M h w 3"]:
    """Return the three principal components of the features as red, green and blue from 0 to 1.

    Cells with similar features get similar colours. The components are those of all images together; each is stretched
    so that one cell in fifty saturates at either end. A colour has no meaning of its own, and colours of two calls
    cannot be compared.
    """
    cells = features.movedim(1, -1).flatten(0, 2).double()  # [cells, C]
    cells = cells - cells.mean(dim=0)
    _, axes = torch.linalg.eigh(cells.T @ cells)  # in rising order of the variance
    projected = cells @ axes[:, -3:].flip(1)
    low, high = projected.quantile(torch.tensor([0.02, 0.98], dtype=torch.float64, device=cells.device), dim=0)
    stretched = ((projected - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    num_images, _, height, width = features.shape
    return stretched.unflatten(0, (num_images, height, width)).cpu().numpy()
