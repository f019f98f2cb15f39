"""Set-up of a Colab session: installs the packages that the lessons need and the session lacks.

A cell of the session runs it, after which the lessons' imports work:

    !git clone --depth 1 ADDRESS workbook
    %run workbook/docs/colab.py

PyTorch stays as the session has it, because another one would have to fit the session's GPU driver. `ipywidgets` stays,
too: Colab displays the controls of its own version. Only the standard library is imported here.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTORCH = ("torch", "torchvision")
"""Packages that are never installed: a session without them, or with older ones, cannot run the lessons."""
KEPT = ("ipywidgets",)
"""Packages that are installed where they are missing, and never replaced."""
LESSON_PACKAGES = ("numpy", "scipy", "pillow", "matplotlib", "tqdm", "faster-coco-eval", "fastjsonschema", "pandas")
LESSON_PACKAGES += ("jaxtyping", "ipywidgets", "filelock")
"""Packages beside PyTorch that the lessons import, directly or through `helpers`."""


def read_versions() -> dict[str, str]:
    """Return the oldest version of each of the workbook's dependencies, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = {}
    for requirement in project["dependencies"]:
        match = re.match(r"([\w-]+)>=([\d.]+)", requirement)
        if match:
            versions[match[1]] = match[2]
    return versions


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version: (2, 8, 0) for "2.8.0+cu126"."""
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0])[:3])


def find_version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_missing(package: str, oldest: str) -> bool:
    """Return whether a package is not installed, or is older than `oldest` and not one that is kept."""
    installed = find_version(package)
    if installed is None:
        return True
    return package not in KEPT and parse_version(installed) < parse_version(oldest)


def find_missing() -> list[str]:
    """Return what pip has to install: "jaxtyping>=0.3".

    Raises:
        SystemExit: PyTorch is missing or too old; the message names the version.
    """
    versions = read_versions()
    for package in PYTORCH:
        if is_missing(package, versions[package]):
            found = find_version(package) or "none"
            sys.exit(f"the lessons need {package} {versions[package]} or newer; this session has {found}")
    return [f"{package}>={versions[package]}" for package in LESSON_PACKAGES if is_missing(package, versions[package])]


def main(arguments: list[str]) -> None:
    """Install what is missing and let the session import `helpers`; with --dry-run, show the command only."""
    missing = find_missing()
    command = [sys.executable, "-m", "pip", "install", "--quiet", *missing]
    print("pip install " + " ".join(missing) if missing else "nothing is missing")
    if "--dry-run" in arguments:
        return
    replaced = [requirement for requirement in missing if find_version(requirement.partition(">=")[0])]
    if missing:
        subprocess.run(command, check=True)
        importlib.invalidate_caches()
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    if replaced:
        print(f"Restart the session, then run this cell again: {', '.join(replaced)} replaced an older version.")


if __name__ == "__main__":
    main(sys.argv[1:])
