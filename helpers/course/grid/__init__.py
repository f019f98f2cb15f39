"""Grids of runs: planning and results (plan), parameter values as text (values), Dask worker's side, and one run."""

import sys

# jsonschema, which nbformat imports, builds a grammar of web addresses on import. That takes longer than all other
# imports of a run together (0.86 of 1.2 s), and no notebook is checked with it. jsonschema works without this package.
sys.modules.setdefault("rfc3987_syntax", None)  # None: importing it raises ImportError
