"""Adapters: how a student's function takes the place of functions of the workbook.

A task's contract is the simple one of the assignment, for one image; the workbook's own functions take batches. Each
module has one function per task, with the name of the task. It receives the student's function and returns the
replacements, by the full name of what they replace: `{"helpers.detection.boxes.compute_iou": function}`. An empty dict
replaces nothing. An adapter holds no solution: a student's copy contains it. It calls none of the functions that it
replaces: the copy lacks their bodies.
"""
