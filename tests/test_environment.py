"""Dependencies: the lock and environment.yml agree with pyproject.toml."""

import itertools
import re
import sys
import tomllib

import pytest
import yaml
from jupyter_client.kernelspec import KernelSpecManager
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [Requirement(line) for line in [*PROJECT["dependencies"], *itertools.chain(*EXTRAS.values())]]
LOCK = (ROOT / "requirements.lock").read_text()
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64"))


def read_lock() -> list[tuple[Requirement, list[str]]]:
    """Return each locked requirement with the lines that belong to it."""
    entries = re.split(r"^(?=\S)", re.sub(r"^#.*\n", "", LOCK, flags=re.MULTILINE), flags=re.MULTILINE)
    blocks = [entry.splitlines() for entry in entries if entry.strip()]
    return [(Requirement(lines[0].rstrip(" \\")), lines[1:]) for lines in blocks]


LOCKED = read_lock()


def describe_machine(python: str, platform: str, machine: str) -> dict[str, str]:
    """Return the marker environment of CPython `python` on `platform`."""
    system = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[platform]
    return default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_system": system,
        "platform_machine": machine,
        "os_name": "nt" if platform == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def test_the_tested_pythons_are_the_allowed_ones():
    allowed = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(30)]
    assert tuple(filter(allowed.contains, minors)) == PYTHONS
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS


@pytest.mark.parametrize(("platform", "machine"), PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_holds_one_fitting_version_of_everything_needed(python, platform, machine):
    environment = describe_machine(python, platform, machine)
    applies = [locked for locked, _ in LOCKED if locked.marker is None or locked.marker.evaluate(environment)]
    for needed in NEEDED:
        versions = [
            next(iter(locked.specifier)).version
            for locked in applies
            if canonicalize_name(locked.name) == canonicalize_name(needed.name)
        ]
        assert len(versions) == 1, f"{needed.name}: {versions or 'nothing'} locked"
        assert needed.specifier.contains(versions[0]), f"{needed} is locked at {versions[0]}"


def test_every_locked_requirement_is_one_exact_version_with_hashes():
    assert len(LOCKED) > len(NEEDED)
    for locked, lines in LOCKED:
        assert [specifier.operator for specifier in locked.specifier] == ["=="], f"{locked} is not exact"
        assert locked.url is None
        hashes = [line for line in lines if not line.strip().startswith("#")]
        assert hashes, f"{locked} has no hashes"
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)


def test_the_lock_names_no_index_and_no_address():
    assert "://" not in LOCK
    assert not re.search(r"^\s*(-i\b|-f\b|--(extra-)?index-url|--find-links|--trusted-host)", LOCK, re.MULTILINE)


def test_environment_yml_has_an_allowed_python_and_this_package_with_its_test_extra():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"][0] == "conda-forge"
    *from_conda, from_pip = environment["dependencies"]
    python, pip = from_conda
    version = re.fullmatch(r"python=(3\.\d+)", python)  # repo2docker reads this form only
    assert version
    assert SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    assert pip == "pip"
    assert from_pip == {"pip": ["-e .[test]"]}  # editable: paths.ROOT is the folder beside `helpers`
    assert "test" in EXTRAS


def test_every_line_of_environment_yml_and_every_dependency_has_its_reason():
    environment = (ROOT / "environment.yml").read_text().splitlines()
    lines = [line for line in environment if line.lstrip().startswith("- ") and not line.endswith("pip:")]
    project = (ROOT / "pyproject.toml").read_text()
    lines += [line for line in project.splitlines() if line.startswith('    "') and re.search(r">=\d", line)]
    assert len(lines) > len(NEEDED)
    assert [line for line in lines if not re.search(r"\S\s+# \S", line)] == []


def test_the_package_lists_every_folder_of_helpers():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in (ROOT / "helpers").rglob("*.py")}
    assert set(listed) == {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_the_kernel_called_python3_belongs_to_the_python_that_runs_the_tests():
    resources = KernelSpecManager().get_kernel_spec("python3").resource_dir
    assert resources.startswith(sys.prefix)
