"""Digits of house numbers and Faster R-CNN: detection (lesson 7) and box losses (lesson 8)."""
