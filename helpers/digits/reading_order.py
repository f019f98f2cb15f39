"""Reading order of digits.

One rule serves both the true numbers and the numbers read from detections. It uses the places of the boxes only, so a
number never depends on the order of the records in a file.

The rule was compared with the annotation of SVHN's train split, which has 28,265 numbers of several digits. It gives
another number for 5 of them. A rule that groups the digits into lines and reads the upper line first gives another
number for 89: the annotation follows the left edges even where digits stand above one another.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Num
from torch import Tensor


def order_digits(
    boxes: Num[np.ndarray, "N 4"] | Num[Tensor, "N 4"],
    digits: Int[np.ndarray, " N"] | Int[Tensor, " N"] | None = None,
) -> list[int]:
    """Return the rows of the boxes in reading order: by left edge, and of equal left edges the upper box first.

    Law: the order in which the boxes are given has no effect. Boxes that also share their upper edge are ordered by
    right edge, then lower edge, and equal boxes by `digits`.

    Args:
        boxes: (x1, y1, x2, y2), pixels, on the CPU.
        digits: digit or label of each box; needed only where two boxes are equal.
    """
    left, upper, right, lower = np.asarray(boxes).T
    keys = (lower, right, upper, left)  # np.lexsort takes the most important key last
    if digits is not None:
        keys = (np.asarray(digits), *keys)
    return np.lexsort(keys).tolist()


def spell_number(
    boxes: Num[np.ndarray, "N 4"] | Num[Tensor, "N 4"], digits: Int[np.ndarray, " N"] | Int[Tensor, " N"]
) -> str:
    """Return the number that the digits make in reading order, as text because "09" is not "9"; "" without a digit.

    Args:
        boxes: (x1, y1, x2, y2), pixels, on the CPU.
        digits: 0 to 9.
    """
    return "".join(str(int(digits[row])) for row in order_digits(boxes, digits))
