"""Drivers: how a check calls a student's function, and what it reads off the result.

A driver receives the student's function, the functions of the case's partners, and the inputs of the case. It returns a
value that can be made plain. It holds no solution: a student's copy contains it.
"""
