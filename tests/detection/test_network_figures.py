"""Diagram of the detector: its numbers are those of the network."""

import torch

from helpers.detection.model import MultiScaleDetector
from helpers.detection.network_figures import draw_detector


def test_the_diagram_shows_the_shapes_of_the_network():
    texts = [text.get_text() for text in draw_detector().texts]
    network = MultiScaleDetector().eval()
    with torch.no_grad():
        features = network.features(torch.zeros(1, 3, 224, 224))
        maps = network(torch.zeros(1, 3, 224, 224))
    for level in features:
        _, channels, rows, columns = level.shape
        assert f"3 × 3, stride 2\n{rows} × {columns} × {channels}" in texts
    for level in maps:
        _, outputs, rows, columns = level.shape
        assert f"{rows} × {columns} cells\n× {outputs} numbers" in texts


def test_a_narrow_network_has_fewer_channels():
    texts = [text.get_text() for text in draw_detector(width=8, num_anchors=2).texts]
    assert "3 × 3, stride 1\n224 × 224 × 8" in texts
    assert "14 × 14 cells\n× 16 numbers" in texts
