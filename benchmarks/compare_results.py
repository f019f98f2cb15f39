"""Comparison of the results of two sets of runs, number by number: `python -m benchmarks.compare_results A B`.

A change that must not change any number is checked with it: run the lessons before and after the change with
`WORKBOOK_RUNS` set to two folders and `OMP_NUM_THREADS=1`, and compare the folders. The status is 1 if anything
differs, else 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = "results.json"


def main() -> None:
    """Print every difference between the results in two folders, and exit with status 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs=2, type=Path, metavar="FOLDER", help="runs, such as data/runs")
    first, second = parser.parse_args().folders
    for folder in (first, second):
        if not find_results(folder):
            sys.exit(f"{folder} holds no {RESULTS}: give a folder that lessons wrote to, such as data/runs")
    differences = list(compare_folders(first, second))
    print("\n".join(differences) or f"no difference in {len(find_results(first))} results")
    sys.exit(1 if differences else 0)


def find_results(folder: Path) -> list[Path]:
    """Return the paths of all `results.json` below `folder`, relative to it and in order."""
    return sorted(path.relative_to(folder) for path in folder.rglob(RESULTS))


def compare_folders(first: Path, second: Path) -> Iterator[str]:
    """Yield a line for every difference between the results of two folders, without any tolerance."""
    in_first, in_second = find_results(first), find_results(second)
    for path in sorted({*in_first, *in_second}):
        if path not in in_second:
            yield f"{path}: only in {first}"
        elif path not in in_first:
            yield f"{path}: only in {second}"
        else:
            documents = [json.loads((folder / path).read_text(encoding="utf-8")) for folder in (first, second)]
            yield from (f"{path}: {line}" for line in compare_values(*documents))


def compare_values(first: Any, second: Any, name: str = "") -> Iterator[str]:
    """Yield a line for every key, at any depth, whose values are not equal."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in sorted(first.keys() | second.keys()):
            full_name = f"{name}.{key}" if name else key
            if key not in second:
                yield f"{full_name} is {first[key]!r} in the first and missing in the second"
            elif key not in first:
                yield f"{full_name} is missing in the first and {second[key]!r} in the second"
            else:
                yield from compare_values(first[key], second[key], full_name)
    elif first != second:
        yield f"{name} is {first!r} in the first and {second!r} in the second"


if __name__ == "__main__":
    main()
