"""Measurements behind the workbook's claims about speed: `workbook bench` runs all and prints one table.

Machines are shared and noisy, so every claim is a ratio of two times, measured in turns within one run.
"""

import os

os.environ["TQDM_DISABLE"] = "1"  # only the table is printed; tqdm reads this when it is imported
