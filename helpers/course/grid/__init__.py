"""Grids of runs: planning and results (plan), parameter values as text (values), Dask worker's side, and one run."""
