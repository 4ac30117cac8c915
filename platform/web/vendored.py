"""Browser files served from installed packages; none of them lies in the repository."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.core.checks import CheckMessage, Error
from django.core.files.storage import FileSystemStorage

# Public name → (package that shows where to look, path from that package's folder).
# Both Bootstrap files name a source map, without which hashed storage stops.
FILES = {
    "vendor/plotly.min.js": ("plotly", "package_data/plotly.min.js"),
    "vendor/bootstrap.min.css": ("bootstrap_wrapper", "../bootstrap/css/bootstrap.min.css"),
    "vendor/bootstrap.min.css.map": ("bootstrap_wrapper", "../bootstrap/css/bootstrap.min.css.map"),
    "vendor/bootstrap.bundle.min.js": (
        "bootstrap_wrapper",
        "../bootstrap/js/bootstrap.bundle.min.js",
    ),
    "vendor/bootstrap.bundle.min.js.map": (
        "bootstrap_wrapper",
        "../bootstrap/js/bootstrap.bundle.min.js.map",
    ),
}


def path_of(name: str) -> Path | None:
    package, inner = FILES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = (Path(spec.origin).parent / inner).resolve()
    return path if path.is_file() else None


class OneFileStorage(FileSystemStorage):
    """A storage that holds one file under its public name."""

    prefix = None

    def __init__(self, target: Path) -> None:
        super().__init__(location=str(target.parent))
        self.target = target

    def path(self, name: str) -> str:
        return str(self.target)


class PackageFilesFinder(BaseFinder):
    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return [
            Error(f"{name} is missing from the package {FILES[name][0]}", id="web.E001")
            for name in FILES
            if path_of(name) is None
        ]

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        found = path_of(path) if path in FILES else None
        if find_all or kwargs.get("all"):
            return [str(found)] if found else []
        return str(found) if found else None

    def list(self, ignore_patterns: Any) -> Iterator[tuple[str, OneFileStorage]]:
        for name in FILES:
            found = path_of(name)
            if found:
                yield name, OneFileStorage(found)
