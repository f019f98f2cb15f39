"""Grids of runs: planning and results (plan), values as text (values), the Dask worker's part (worker), a run (run)."""

import sys

# jsonschema, which nbformat imports, builds a grammar of web addresses on import. That takes longer than all other
# imports of a run together (0.86 of 1.2 s), and no notebook is checked with it. jsonschema works without this package.
# None makes its import fail with an ImportError, as Python's reference says; the stub of `sys.modules` excludes it.
sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]
