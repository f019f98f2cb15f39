"""Keypoint localisation: stick figures, heatmap and coordinate regression, PCK, and their ablations."""
