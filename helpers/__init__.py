"""Modules behind the workbook: what lessons import, and what runs the course.

The modules in this folder are shared by the packages `detection`, `keypoints` and `digits`, which do not import each
other. `course` runs, grades and reports lessons; no lesson imports it. `tests/test_structure.py` holds the exact rules.
"""
