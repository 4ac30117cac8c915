import os
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "bin" / "setup"
PYTHONS = ("python3", "python3.13", "python3.12", "python3.11")


class RunSetup:
    """Runs bin/setup for a virtual environment that is not there, with stand-ins for programs."""

    def __init__(self, folder):
        self.venv = folder / "venv"
        self.programs = folder / "programs"
        self.programs.mkdir()

    def replace(self, name, script):
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def __call__(self):
        path = f"{self.programs}{os.pathsep}{os.defpath}"
        return subprocess.run(
            [SETUP],
            env={"PATH": path, "OUTSAMPLE_VENV": str(self.venv)},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def run_setup(tmp_path):
    return RunSetup(tmp_path)


def test_old_python_is_refused_in_one_line(run_setup):
    for name in PYTHONS:
        run_setup.replace(name, '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0; exit 1')

    done = run_setup()

    assert done.returncode == 1
    assert done.stderr == "setup: Python 3.11 or newer is needed; found Python 3.9.2.\n"


def test_python_without_venv_is_refused_with_the_package_to_install(run_setup):
    for name in PYTHONS:
        run_setup.replace(name, 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')

    done = run_setup()

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "apt-get install python3-venv" in done.stderr


def test_full_disk_is_told_before_anything_is_installed(run_setup, tmp_path):
    for name in PYTHONS:
        run_setup.replace(name, "exit 0")
    run_setup.replace("df", "echo head; echo disk 9000000 8000000 409600 95% /")

    done = run_setup()

    assert done.returncode == 1
    assert done.stderr == f"setup: 400 MiB are free for {tmp_path}/venv; about 3 GiB are needed.\n"
    assert list((tmp_path / "venv").iterdir()) == []


def test_app_lock_is_part_of_dev_lock():
    requirements = SETUP.parents[1] / "requirements"

    def lines(name):
        text = (requirements / name).read_text()
        return {line for line in text.splitlines() if not line.lstrip().startswith("#")}

    assert lines("app.lock") <= lines("dev.lock")
    assert all("--hash=sha256:" in line for line in lines("app.lock") if line.startswith("    --"))
