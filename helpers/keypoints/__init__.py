"""The keypoint wing: stick figures and their five joints (lesson 1 draws them)."""
