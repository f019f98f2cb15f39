"""Files for other systems and public CI: valid by their schemas, and their commands exist."""

import filecmp
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.course.cli import PARTS, workbook
from helpers.paths import PROFILES, ROOT

SCHEMAS = {
    ".github/workflows/nightly.yml": "vendor.github-workflows",
    ".github/workflows/site.yml": "vendor.github-workflows",
    ".github/workflows/tests.yml": "vendor.github-workflows",
    "CITATION.cff": "vendor.citation-file-format",
}
TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def find_commands() -> list[str]:
    """Return the commands of the workflows, the container and the development container."""
    texts = [(ROOT / name).read_text() for name in (".devcontainer/devcontainer.json", "Dockerfile")]
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            texts += [step["run"] for step in job["steps"] if "run" in step]
    lines = [line for line in "\n".join(texts).splitlines() if not line.startswith("#")]
    return re.findall(r"(?<![\w-])(?:make|workbook) [\w.][^\n\"&]*", "\n".join(lines))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_is_valid_by_its_schema(name):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(ROOT / name)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_every_workflow_is_checked():
    workflows = {path.relative_to(ROOT).as_posix() for path in (ROOT / ".github" / "workflows").iterdir()}
    assert workflows == {name for name in SCHEMAS if name.startswith(".github")}


def test_commands_of_workflows_and_containers_exist():
    commands = find_commands()
    assert len(commands) >= 4, commands
    for command in commands:
        program, name, *arguments = command.split()
        if program == "make":
            assert name in TARGETS, command
        else:
            assert name in workbook.commands, command
        if name == "test":
            assert set(arguments) <= set(PARTS), command
        if "--profile" in arguments:
            assert arguments[arguments.index("--profile") + 1] in PROFILES, command


def test_the_development_container_is_json():
    assert json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())["image"]


def test_hooks_run_programs_of_the_environment():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    programs = {".venv/bin/ruff", ".venv/bin/nbstripout", ".venv/bin/python"}
    assert {hook["entry"].split()[0] for hook in hooks} == programs


def test_the_hook_that_cleans_notebooks_changes_none_of_the_published_ones(tmp_path):
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (entry,) = (hook["entry"] for hook in hooks if hook["id"] == "nbstripout")
    originals = sorted((ROOT / "notebooks").glob("*.ipynb"))
    copies = [Path(shutil.copy(path, tmp_path)) for path in originals]
    program = [sys.executable, "-m", "nbstripout", *shlex.split(entry)[1:]]
    subprocess.run([*program, *map(str, copies)], check=True)
    assert [path.name for path, copy in zip(originals, copies, strict=True) if not filecmp.cmp(path, copy, False)] == []
