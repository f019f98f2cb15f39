"""Modules of the workbook, in four layers: shared modules, packages of the lessons, build tasks, and the course.

Shared modules:
    paths, files, records, identity     locations, whole files, checked input, identity of results (without PyTorch)
    coco, images, generated             annotation files, PNG images, generated folders (without PyTorch)
    runtime, training, checkpoints      runs of lessons, training loop, resumable state
    cuda_graphs, average_precision      recorded training steps, COCO metrics
    plotting, explorers                 figures, controls above a figure

Packages: `detection`, `keypoints` and `digits` import shared modules and not each other. `handout` draws the
datasets of the first two.

Build tasks: `tasks` shows a function, checks it, and uses the student's function in its place.

Course: `course` runs, grades and reports lessons; no lesson imports it. `tests/test_structure.py` checks these rules.
"""
