"""Generated folders: complete and as described by their manifest, or made again.

Law: such a folder is complete or looks incomplete, whenever the program ends. Everything is written to a folder beside
it, the manifest last, and renamed at the end. One process at a time makes a folder; a second one waits and uses it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers import files
from helpers import identity as identities
from helpers.identity import Identity
from helpers.records import DatasetError

MANIFEST = "manifest.json"
_ABANDONED_AFTER = 3600.0  # seconds without a change after which the folder of a killed run is removed

Description = Identity
"""Everything that decides the content of a folder, as JSON values."""


def ensure_folder(folder: Path, made_from: Description, parts: Sequence[str], write: Callable[[Path], None]) -> Path:
    """Return `folder`, absolute, after making it with `write` unless it is complete and made from `made_from`.

    A folder that is made again is named on standard error, with the reason. A complete folder is only read, so the disk
    may be read-only.

    Args:
        parts: names that may stand in the folder. A folder with any other name in it is not replaced.
        write: fills the empty folder that it is given.

    Raises:
        DatasetError: `folder` holds something that this module did not write.
        OSError: the folder cannot be written; the error names a full or read-only disk as the reason.
    """
    folder = Path(folder).absolute()
    if is_complete(folder, made_from):
        return folder
    _refuse_foreign(folder, parts)
    waiting = f"{folder.name}: another process makes this folder; waiting until it has ended"
    with files.hold_lock(folder.parent / f".{folder.name}.lock", waiting):
        if not is_complete(folder, made_from):  # the other process may have made it
            _make_folder(folder, made_from, parts, write)
    return folder


def is_complete(folder: Path, made_from: Description) -> bool:
    """Return whether `folder` is made from `made_from` and holds every file in the length it was written with."""
    return not describe_changes(folder, made_from)


def describe_changes(folder: Path, made_from: Description) -> str:
    """Return in one line why `folder` is not complete, or not made from `made_from`; "" if it is both.

    Only the manifest is read, and the length of each file.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        changes = identities.describe_differences(manifest["made_from"], made_from)
        sizes = dict(manifest["file_sizes"])
    except OSError:
        return f"it has no {MANIFEST}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"its {MANIFEST} is damaged"
    if changes:
        return f"it was made from another description: {changes}"
    for name, size in sizes.items():
        try:
            length = (folder / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if length != size:
            return f"{name} has {length} bytes in place of {size}"
    return ""


def _make_folder(folder: Path, made_from: Description, parts: Sequence[str], write: Callable[[Path], None]) -> None:
    """Write `folder` anew; the lock is held."""
    _refuse_foreign(folder, parts)
    if folder.exists():
        print(f"{folder.name} is made again: {describe_changes(folder, made_from)}", file=sys.stderr, flush=True)
    _remove_abandoned(folder)
    with files.name_disk_errors(folder):
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial"))
        try:
            write(partial)
            _write_manifest(partial, made_from)
            partial.chmod(0o755)
            _install(partial, folder, made_from)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _write_manifest(folder: Path, made_from: Description) -> None:
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*.*"))}
    text = json.dumps({"made_from": made_from, "file_sizes": sizes}, indent=0)
    files.write_text(folder / MANIFEST, text + "\n")


def _refuse_foreign(folder: Path, parts: Sequence[str]) -> None:
    """Refuse to replace a folder that holds anything but `parts`, or in them a file that its manifest does not list."""
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    foreign = sorted(name for name in names - {*parts, MANIFEST} if not is_of_the_system(name))
    foreign = foreign or _find_unlisted(folder)
    if foreign:
        raise DatasetError(
            f"{folder}: holds {foreign[0]}, which is no part of the data to be made. They would replace the whole "
            "folder: name another one, or move that away"
        )


def _find_unlisted(folder: Path) -> list[str]:
    """Return the files below `folder` that its manifest does not list, without hidden ones; none if it is damaged."""
    try:
        listed = set(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["file_sizes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    visible = [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]
    return [name for name in visible if name not in {*listed, MANIFEST}]


def is_of_the_system(name: str) -> bool:
    """Return whether a file of that name is one that macOS adds to folders: `.DS_Store`, `._1.png`."""
    return name == ".DS_Store" or name.startswith("._")


def _remove_abandoned(folder: Path) -> None:
    """Remove the partial folders of killed runs.

    The lock is held, so no process of this computer writes one; but a lock may not reach other computers that share the
    disk. So a folder is removed only if nothing in it has changed for an hour.
    """
    for partial in folder.parent.glob(f".{folder.name}.*.partial"):
        try:
            last_change = max(path.stat().st_mtime for path in [partial, *partial.rglob("*")])
        except OSError:  # its process has just removed it
            continue
        if time.time() - last_change > _ABANDONED_AFTER:
            shutil.rmtree(partial, ignore_errors=True)


def _install(partial: Path, folder: Path, made_from: Description) -> None:
    """Rename `partial` to `folder` in place of an incomplete folder; a complete one stays."""
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
