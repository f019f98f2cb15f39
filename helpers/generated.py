"""Folders of generated files: whole and as they were made, or made again.

Law: such a folder is complete or looks incomplete, whenever the program dies. Everything is written to a folder beside
it, the manifest last, and renamed at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helpers import files
from helpers.records import DatasetError

MANIFEST = "manifest.json"
_ABANDONED_AFTER = 3600.0  # seconds after which a run that left its folder behind is surely dead

Description = dict[str, Any]
"""What decides the content of a folder, as JSON values: a folder of another description is made again."""


def ensure_folder(folder: Path, made_from: Description, parts: Sequence[str], write: Callable[[Path], None]) -> Path:
    """Returns `folder`, absolute, with what `write` makes in it: made only if it is not there, whole and unchanged.

    Args:
        parts: names that may stand in the folder. One that holds anything else is somebody else's.
        write: fills the empty folder that it is given.

    Raises:
        DatasetError: `folder` holds something that this module never wrote.
    """
    folder = Path(folder).absolute()
    if is_complete(folder, made_from):
        return folder
    _refuse_foreign(folder, parts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial"))
    try:
        write(partial)
        _write_manifest(partial, made_from)
        partial.chmod(0o755)
        _install(partial, folder, made_from)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def is_complete(folder: Path, made_from: Description) -> bool:
    """Returns whether `folder` holds every file of that description at the length it was written with; reads none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["made_from"] != _as_read(made_from):
            return False
        return all((folder / name).stat().st_size == size for name, size in manifest["file_sizes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no manifest, or none of ours
        return False


def _as_read(made_from: Description) -> Description:
    return json.loads(json.dumps(made_from))  # with lists for tuples


def _write_manifest(folder: Path, made_from: Description) -> None:
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*.*"))}
    text = json.dumps({"made_from": made_from, "file_sizes": sizes}, indent=0)
    files.write_text(folder / MANIFEST, text + "\n")


def _refuse_foreign(folder: Path, parts: Sequence[str]) -> None:
    """Refuses to replace a folder with anything in it that is not ours."""
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    foreign = sorted(name for name in names - {*parts, MANIFEST} if not is_of_the_system(name))
    if foreign:
        raise DatasetError(
            f"{folder}: holds {foreign[0]}, which is no part of the data to be made. They would replace the whole "
            "folder: name another one, or move that away"
        )


def is_of_the_system(name: str) -> bool:
    """Return whether a file of that name is one that macOS adds to folders: `.DS_Store`, `._1.png`."""
    return name == ".DS_Store" or name.startswith("._")


def _remove_abandoned(folder: Path) -> None:
    """Removes what killed runs left beside `folder`; a young one may belong to a run that is still alive."""
    for partial in folder.parent.glob(f".{folder.name}.*.partial"):
        if time.time() - partial.stat().st_mtime > _ABANDONED_AFTER:
            shutil.rmtree(partial, ignore_errors=True)


def _install(partial: Path, folder: Path, made_from: Description) -> None:
    """Renames `partial` to `folder`; whatever incomplete was there goes, what another run completed stays."""
    if folder.exists():
        if is_complete(folder, made_from):
            return
        os.replace(folder, partial / "replaced")
        shutil.rmtree(partial / "replaced")
    try:
        os.replace(partial, folder)
    except OSError:
        if not is_complete(folder, made_from):
            raise
