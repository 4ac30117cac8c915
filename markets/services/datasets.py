"""What people do with sealed candles: take their findings, rename, delete, and use them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Model, ProtectedError, QuerySet
from django.urls import reverse

from accounts.models import NAME_MAX, User
from artifacts.store import delete_file
from jobs.statuses import TERMINAL
from markets.models import Acceptance, Dataset, DatasetVersion, Instrument
from specs.declaration import InvalidSpec

REASON_MAX = 2000
LISTED = 50


@dataclass(frozen=True)
class Use:
    """Something that was made from a version, or is being made: it keeps the version from deletion."""

    kind: str
    name: str
    address: str
    at: datetime


class InUse(Exception):
    """A version or dataset that cannot be deleted; `uses` are the first users of each kind."""

    def __init__(self, uses: list[Use]) -> None:
        self.uses = uses
        names = ", ".join(f"{use.kind} {use.name}" for use in uses[:5])
        rest = f" and {len(uses) - 5} more" if len(uses) > 5 else ""
        super().__init__(
            f"In use by {names}{rest}. What was made from candles keeps them; they stay."
        )


class NothingToAccept(Exception):
    """A version without findings, one that was accepted before, or one that was deleted."""


class InvalidText(ValueError):
    """A name or a reason that cannot be stored."""


def uses_of(versions: Collection[DatasetVersion]) -> list[Use]:
    """What keeps versions: experiments, backtests, predictions, derived versions, work under way."""
    experiments = _users(versions, "experiments").distinct()  # one can use several
    backtests = _users(versions, "backtests").filter(is_own=False)
    under_way = _users(versions, "resamplings").exclude(job__status__in=TERMINAL)
    found = [
        *_uses("experiment", experiments, "backtests:experiment_detail"),
        *_uses("backtest", backtests, "backtests:backtest_detail"),
        *_uses("import", under_way, "markets:import_detail"),
    ]
    for row in _users(versions, "derived").select_related("dataset")[:LISTED]:
        found.append(Use("dataset", str(row), row.get_absolute_url(), row.created_at))
    for row in _users(versions, "model_predictions").select_related("model")[:LISTED]:
        address = reverse("modeling:model_prediction", args=[row.model_id, row.pk])
        found.append(Use("prediction", str(row), address, row.created_at))
    for row in _users(versions, "feature_reports").exclude(job__status__in=TERMINAL)[:LISTED]:
        address = reverse("jobs:job_detail", args=[row.job_id])
        found.append(Use("job", "features", address, row.created_at))
    return found


def _users(
    versions: Collection[DatasetVersion], relation: str
) -> QuerySet[Any]:  # Any: other apps'
    """The rows that name one of the versions in this relation, newest first."""
    field: Any = DatasetVersion._meta.get_field(relation)  # the stubs know no reverse relations
    rows = field.related_model.objects.filter(**{f"{field.remote_field.name}__in": versions})
    return rows.order_by("-pk")  # type: ignore[no-any-return]  # as above


def _uses(kind: str, rows: QuerySet[Any], address: str) -> list[Use]:  # Any: as in `_users`
    return [
        Use(kind, str(row), reverse(address, args=[row.pk]), row.created_at)
        for row in rows[:LISTED]
    ]


def hold_for_use(versions: Iterable[DatasetVersion], *, accepted: bool = True) -> None:
    """Keep versions from being deleted until the caller's transaction has named them in its rows.

    Raises InvalidSpec when one is gone or, where they must be `accepted`, has findings that nobody
    has accepted.
    """
    wanted = [version.pk for version in versions]
    rows = DatasetVersion.objects.select_for_update(no_key=True, of=("self",))
    held = rows.select_related("acceptance", "dataset").defer("report", "difference")
    found = {version.pk: version for version in held.filter(pk__in=wanted).order_by("pk")}
    if len(found) < len(set(wanted)):
        raise InvalidSpec({"datasets": "this version was deleted; choose another"})
    if accepted:
        refuse_findings(found.values())


def refuse_findings(versions: Iterable[DatasetVersion]) -> None:
    """Raises InvalidSpec that names the version, its findings and where they are accepted."""
    for version in versions:
        if version.needs_acceptance:
            texts = " ".join(finding["message"] for finding in version.findings)
            raise InvalidSpec(
                {
                    "datasets": f"{version} has findings that nobody has accepted: {texts} "
                    f"Accept them at {version.get_absolute_url()} or with manage.py "
                    f"accept_findings {version.dataset_id} {version.number} --reason TEXT"
                }
            )


@transaction.atomic
def accept_findings(version: DatasetVersion, *, user: User, reason: str) -> Acceptance:
    """Take candles as they are, with the reason why. Raises NothingToAccept or InvalidText."""
    reason = _checked(reason, REASON_MAX)
    if not DatasetVersion.objects.select_for_update(no_key=True).filter(pk=version.pk).first():
        raise NothingToAccept(f"{version} was deleted.")
    if Acceptance.objects.filter(version=version).exists():
        raise NothingToAccept(f"The findings of {version} were accepted before.")
    if not version.findings:
        raise NothingToAccept(f"{version} has no findings above the limits.")
    return Acceptance.objects.create(
        workspace_id=version.workspace_id,
        version=version,
        accepted_by=user,
        findings=version.findings,
        reason=reason,
    )


def rename_dataset(dataset: Dataset, name: str) -> None:
    """Another name for lists and pages; nothing that was made from it changes. Raises InvalidText."""
    dataset.name = _checked(name, NAME_MAX)
    # Not save(): it fails where the dataset was deleted meanwhile.
    Dataset.objects.filter(pk=dataset.pk).update(name=dataset.name)


@transaction.atomic
def delete_version(version: DatasetVersion) -> None:
    """Delete a version that nothing uses, and its file; the one before it becomes the latest.

    The last version takes its dataset with it. Imports keep their row. Raises InUse.
    """
    _delete(version.dataset, DatasetVersion.objects.filter(pk=version.pk))


@transaction.atomic
def delete_dataset(dataset: Dataset) -> None:
    """Delete a dataset of which no version is used, with all files. Raises InUse."""
    _delete(dataset, DatasetVersion.objects.filter(dataset=dataset))


def _delete(dataset: Dataset, versions: QuerySet[DatasetVersion]) -> None:
    # The lock of the sealing: no version is added meanwhile.
    Instrument.objects.select_for_update().get(pk=dataset.instrument_id)
    # The lock against `hold_for_use`: no experiment takes one of them meanwhile.
    doomed = list(versions.select_for_update(of=("self",)).select_related("file", "dataset"))
    if uses := uses_of(doomed):
        raise InUse(uses)
    gone = [version.pk for version in doomed]
    latest = dataset.versions.exclude(pk__in=gone).order_by("-number").first()
    Dataset.objects.filter(pk=dataset.pk).update(latest=latest)
    try:
        for version in doomed:
            version.delete()
            delete_file(version.file)
        if latest is None:
            Dataset.objects.filter(pk=dataset.pk).delete()
    except ProtectedError as error:
        raise InUse([_unnamed(row) for row in error.protected_objects]) from error


def _unnamed(row: Model) -> Use:
    return Use(str(row._meta.verbose_name), str(row), "", row.created_at)  # type: ignore[attr-defined]  # every WorkspaceRow has it


def _checked(text: str, at_most: int) -> str:
    text = text.strip()
    if not text or len(text) > at_most:
        raise InvalidText(f"found {len(text)} characters; expected 1 to {at_most}")
    return text
