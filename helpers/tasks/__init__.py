"""Build tasks: the functions that a student writes, their checks, and the lessons that run on the student's code."""
