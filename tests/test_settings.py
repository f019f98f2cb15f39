"""What is settled before a run starts."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import settings


def test_the_root_is_the_folder_that_holds_pyproject():
    assert (settings.ROOT / "pyproject.toml").is_file()
    assert settings.ROOT.is_absolute()


@pytest.mark.parametrize(("variable", "folder"), [("", settings.DATA / "runs"), ("/elsewhere", Path("/elsewhere"))])
def test_runs_lie_in_the_workbook_unless_the_environment_says_where(variable, folder):
    program = "from helpers import settings; print(settings.RUNS)"
    environment = {**os.environ, "PYTHONPATH": str(settings.ROOT), settings.RUNS_VARIABLE: variable}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(folder)


@pytest.mark.parametrize(("arguments", "profile"), [([], "full"), (["--profile", "smoke"], "smoke")])
def test_a_command_takes_its_profile_from_its_option_or_else_the_environment(arguments, profile, monkeypatch):
    monkeypatch.setenv(settings.PROFILE_VARIABLE, "full")
    parser = argparse.ArgumentParser()
    settings.add_profile_option(parser)
    assert parser.parse_args(arguments).profile == profile
    monkeypatch.delenv(settings.PROFILE_VARIABLE)
    assert settings.default_profile() == "quick"


def test_what_starts_and_watches_runs_does_not_wait_for_pytorch():
    program = "import sys; from helpers import runner, worker; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(settings.ROOT)}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout == "False\n"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    settings.write_text(path, "old")

    def write_half_and_stop():
        with settings.replace_when_complete(path) as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half_and_stop()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    settings.write_text(path, "new")
    assert path.read_text() == "new"
