"""Which code trained a run, and what to say where runs of several versions stand beside each other."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings

from modeling.models import TrainingRun

UNKNOWN = "unknown"
CHANGED = "code_changed"


def code_version() -> str:
    """The package version, and the commit where one is known: of what a run started now trains with."""
    version = importlib.metadata.version("outsample")
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=settings.ROOT,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return version
    return f"{version}+{found.stdout.strip()}" if found.returncode == 0 else version


def changed_notice(text: str, before: str) -> dict[str, str]:
    """What a run is told to carry that goes on with what code of the version `before` has left."""
    return {"code": CHANGED, "message": text, "before": before}


def trained_by(run: TrainingRun) -> str:
    """The code version of a run; where it went on from the work of others, those too."""
    own = run.code_version or UNKNOWN
    notices = (notice for notice in run.notices if notice["code"] == CHANGED)
    before = dict.fromkeys(notice.get("before") or UNKNOWN for notice in notices)
    others = [version for version in before if version != own]
    return f"{own} after {', '.join(others)}" if others else own


def in_order_of_use(runs: Iterable[TrainingRun], running: str) -> list[TrainingRun]:
    """The last of equal runs is the one to take: the newest of the running version, else the newest."""
    return sorted(runs, key=lambda run: (trained_by(run) == running, run.pk))


@dataclass(frozen=True)
class CodeRuns:
    """The runs that code of one version trained, as `trained_by` writes it."""

    code_version: str
    runs: list[int]


@dataclass(frozen=True)
class MixedCode:
    """Runs that are read against each other and were trained by different code; the latest comes last."""

    versions: list[CodeRuns]
    advice: str

    @property
    def message(self) -> str:
        """What that means for the figures, and what to do."""
        return (
            f"These runs were trained by {len(self.versions)} code versions, so a difference between "
            f"them may come from the code alone. {self.advice}"
        )


def json_of(mixed: MixedCode | None) -> dict[str, Any] | None:
    """As the API and the files say it."""
    if mixed is None:
        return None
    return {"message": mixed.message, "versions": [asdict(row) for row in mixed.versions]}


def mixed_code(runs: Iterable[TrainingRun], advice: str) -> MixedCode | None:
    """What to say of runs that are joined in one figure or table; None where one code trained them all."""
    found: dict[str, list[int]] = {}
    for pk, version in sorted({run.pk: trained_by(run) for run in runs}.items()):
        found.setdefault(version, []).append(pk)
    if len(found) < 2:
        return None
    by_age = sorted(found.items(), key=lambda item: item[1][-1])
    return MixedCode([CodeRuns(version, pks) for version, pks in by_age], advice)
