"""Grids of runs on a Dask cluster: planning, the worker's side, and one run."""
