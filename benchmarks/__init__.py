"""Measurements behind the workbook's claims about speed: `workbook bench` runs all and prints one table.

Machines are shared and noisy, so every claim is a ratio of two things timed in turns within one run.
"""

import os

os.environ["TQDM_DISABLE"] = "1"  # the table is the output; read by tqdm when it is first imported
