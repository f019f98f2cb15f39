"""Set-up of a Colab session: it installs what lessons need and the session lacks, and never PyTorch."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.paths import ROOT

SCRIPT = ROOT / "docs" / "colab.py"
NOTEBOOK_PACKAGES = ("ipython", "ipykernel")  # of every program that runs notebooks
pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a right on Windows, and Colab is Linux")


@pytest.fixture
def colab():
    specification = importlib.util.spec_from_file_location("colab", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def find_distributions(packages):
    """Return the installed distributions of some packages and of all that these need, by their canonical names."""
    distributions, waiting = {}, list(packages)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in distributions:
            continue
        distributions[name] = metadata.distribution(name)
        for requirement in map(Requirement, distributions[name].requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return distributions


def link_packages(folder, packages):
    """Fill `folder` with links to some packages and all that these need: a site-packages that holds nothing else."""
    for distribution in find_distributions(packages).values():
        for file in distribution.files:
            name = file.parts[0]
            if name not in ("..", "__pycache__") and not (folder / name).exists():
                (folder / name).symlink_to(distribution.locate_file(name))


def run_python(folder, *arguments):
    """Run Python with the standard library and the packages in `folder` alone."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def read_import_cells():
    """Return the import statements of all lessons, as lines of one program."""
    lines = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                tree = ast.parse("".join(cell["source"]))
                lines += [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return sorted(set(lines))


def test_with_pytorch_alone_every_other_package_is_listed(colab, tmp_path):
    link_packages(tmp_path, colab.PYTORCH)
    at_hand = set(find_distributions(colab.PYTORCH))
    result = run_python(tmp_path, str(SCRIPT), "--dry-run")
    assert result.returncode == 0, result.stderr
    command = result.stdout.split()
    assert command[:2] == ["pip", "install"]
    listed = {Requirement(text).name for text in command[2:]}
    assert listed == set(colab.LESSON_PACKAGES) - at_hand
    assert {"jaxtyping", "faster-coco-eval"} <= listed
    assert not listed & set(colab.PYTORCH)


def test_with_the_listed_packages_every_import_of_every_lesson_works_and_none_is_superfluous(colab, tmp_path):
    link_packages(tmp_path, [*colab.PYTORCH, *colab.LESSON_PACKAGES, *NOTEBOOK_PACKAGES])
    assert not (tmp_path / "helpers").exists()
    assert not (tmp_path / "click").exists()  # of the commands, which no lesson imports
    imports = read_import_cells()
    assert any("helpers.detection" in line for line in imports)
    lines = [f"import sys; sys.path.insert(0, {str(ROOT)!r})", *imports, "print(*sorted(sys.modules))"]
    result = run_python(tmp_path, "-c", "\n".join(lines))
    assert result.returncode == 0, result.stderr
    imported = {name.partition(".")[0] for name in result.stdout.split()}
    names = {"pillow": "PIL"}
    modules = {names.get(package, package.replace("-", "_")) for package in colab.LESSON_PACKAGES}
    assert modules <= imported


def test_no_listed_package_needs_pytorch_so_pip_leaves_it_alone(colab):
    assert not set(find_distributions(colab.LESSON_PACKAGES)) & set(colab.PYTORCH)


def test_each_package_has_an_oldest_version_which_is_that_of_pyproject(colab):
    versions = colab.read_versions()
    assert set(colab.LESSON_PACKAGES) | set(colab.PYTORCH) <= set(versions)
    assert versions["jaxtyping"] in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("installed", "oldest", "missing"),
    [
        ({}, "2.3", True),
        ({"pandas": "2.2.9"}, "2.3", True),
        ({"pandas": "2.3.0+local"}, "2.3", False),
        ({"pandas": "10.0"}, "2.3", False),
    ],
)
def test_a_package_is_missing_if_it_is_not_installed_or_too_old(colab, monkeypatch, installed, oldest, missing):
    monkeypatch.setattr(colab, "find_version", installed.get)
    assert colab.is_missing("pandas", oldest) == missing


def test_the_controls_of_the_session_are_kept_although_they_are_old(colab, monkeypatch):
    monkeypatch.setattr(colab, "find_version", {"ipywidgets": "7.7.1"}.get)
    assert not colab.is_missing("ipywidgets", "8.1")


def test_a_session_without_pytorch_or_with_an_old_one_ends_with_its_version(colab, monkeypatch):
    monkeypatch.setattr(colab, "find_version", {"torch": "1.13.1+cu117"}.get)
    with pytest.raises(SystemExit, match=r"torch 2\.8 or newer; this session has 1\.13\.1"):
        colab.find_missing()


def test_the_packages_are_installed_and_replaced_ones_are_named(colab, monkeypatch, capsys):
    commands = []
    versions = dict.fromkeys([*colab.LESSON_PACKAGES, *colab.PYTORCH], "99") | {"pandas": "1.0"}
    del versions["jaxtyping"]
    monkeypatch.setattr(colab, "find_version", versions.get)
    monkeypatch.setattr(colab.subprocess, "run", lambda command, check: commands.append(command))
    colab.main([])
    (command,) = commands
    assert command[1:5] == ["-m", "pip", "install", "--quiet"]
    assert [text.partition(">=")[0] for text in command[5:]] == ["pandas", "jaxtyping"]
    output = capsys.readouterr().out
    assert "Restart the session, then run this cell again: pandas>=" in output
    assert "jaxtyping" not in output.splitlines()[-1]


def test_the_cell_of_the_guide_is_the_one_that_the_script_documents(colab):
    guide = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    cell = [line.strip() for line in colab.__doc__.splitlines() if line.strip().startswith(("!", "%"))]
    assert len(cell) == 2
    assert "\n".join(cell) in guide
    assert Path(cell[1].split()[1]).parts[1:] == SCRIPT.relative_to(ROOT).parts
