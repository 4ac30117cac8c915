"""Rules of the tree that no other tool looks after."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APPS = ("platform", "markets", "modeling", "backtests")
DATA_ENDINGS = {
    ".parquet", ".feather", ".csv", ".tsv", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth",
    ".ckpt", ".safetensors", ".onnx", ".h5", ".sqlite3", ".db", ".gz", ".zip",
}  # fmt: skip
NO_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py", "manager.py"}
MAX_BYTES = 1024 * 1024


def source_files() -> list[Path]:
    return [path for app in APPS for path in (ROOT / app).rglob("*.py")]


def tracked_files() -> list[Path]:
    """What git would carry: the files it knows and those it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this copy of the tree has no git history")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_platform_is_no_package():
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_package_files_stay_empty():
    # The settings package makes the Celery application known before any task is declared; Django looks
    # for the rows of an app in one module.
    allowed = {ROOT / "platform" / "config" / "__init__.py", ROOT / "modeling/models/__init__.py"}
    written = {path for path in source_files() if path.name == "__init__.py" and path.read_text()}
    assert written <= allowed


def test_files_say_what_is_inside():
    assert [path for path in source_files() if path.name in NO_NAMES] == []


def test_every_folder_of_tests_is_a_package():
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_bare_tasks_stand_in_the_jobs_app_only():
    users = [path for path in source_files() if _imports(path, "shared_task")]
    outside = [path for path in users if (ROOT / "platform" / "jobs") not in path.parents]
    assert outside == []


def _imports(path: Path, name: str) -> bool:
    found = ast.walk(ast.parse(path.read_text()))
    return any(
        (isinstance(node, ast.ImportFrom) and any(part.name == name for part in node.names))
        or (isinstance(node, ast.Attribute) and node.attr == name)
        for node in found
    )


ENVIRONMENT_READERS = {"config/environment.py", "jobs/faults.py", "jobs/trainer.py"}


def test_environment_is_read_in_known_places_only():
    readers = {
        str(path.relative_to(ROOT)).removeprefix("platform/")
        for path in source_files()
        if _reads_environment(path)
    }
    assert readers <= ENVIRONMENT_READERS


def _reads_environment(path: Path) -> bool:
    """os.environ["X"], os.environ.get and os.getenv; handing the whole of it on is no reading."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "getenv":
            return True
        inner = None
        if (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)) or (
            isinstance(node, ast.Attribute) and node.attr in ("get", "pop")
        ):
            inner = node.value
        if isinstance(inner, ast.Attribute) and inner.attr == "environ":
            return True
    return False


def test_nothing_is_loaded_by_pickle():
    users = [path for path in source_files() if _imports(path, "pickle") or _pickles(path)]
    assert users == []


def _pickles(path: Path) -> bool:
    names = {"pickle", "cloudpickle", "dill", "joblib"}
    return any(
        isinstance(node, ast.Import) and names & {part.name for part in node.names}
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_repository_holds_neither_data_nor_weights():
    wrong = [path for path in tracked_files() if path.suffix.lower() in DATA_ENDINGS]
    assert wrong == []


def test_repository_holds_no_large_file():
    assert [path for path in tracked_files() if path.stat().st_size > MAX_BYTES] == []


def test_lock_of_development_holds_that_of_the_application():
    app, dev = (_pinned(name) for name in ("app.lock", "dev.lock"))
    assert app
    assert {name: version for name, version in app.items() if dev.get(name) != version} == {}


def _pinned(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    pins = [line.split()[0] for line in lines if "==" in line and not line.startswith((" ", "#"))]
    return dict(pin.split("==", 1) for pin in pins)
