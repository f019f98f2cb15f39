"""The digit wing: house numbers and Faster R-CNN (lesson 7 detects them, lesson 8 compares its box losses)."""
