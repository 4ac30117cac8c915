"""Ablation as a study: planned, launched as one, cancelled and resumed as one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import User, Workspace
from backtests.models import Study, StudyRun, StudyVariant
from backtests.services import NAME_MAX, create_experiment, estimate, launch_experiment
from backtests.specs import ExperimentSpec
from backtests.variants import (
    BASE,
    BASE_LABEL,
    KEYS,
    Derived,
    derived_variants,
    reason_of,
)
from jobs.errors import JobConflict, QueueFull
from jobs.idempotency import remember, replay
from jobs.models import Job
from jobs.services import (
    RESUMABLE,
    RETRY_AFTER_S,
    enqueue,
    queued_for_trainers,
    request_cancel,
    resume_job,
)
from jobs.statuses import JobKind, JobStatus, Queue
from markets.models import DatasetVersion
from modeling.code_versions import code_version, in_order_of_use, trained_by
from modeling.models import Experiment, TrainingRun
from modeling.next_action import CAUSALITY
from modeling.services import record_parent, resume_run, with_data
from specs.declaration import InvalidSpec

SEEDS_MAX = 20
EarlierRuns = dict[tuple[str, int], TrainingRun]  # by digest of spec and candles, and by seed


@dataclass(frozen=True)
class Planned:
    """One row of a study before anything is made: its cost for one run, or why there is none.

    `finished` are the runs that are taken over, `other_code` those that only other code than the running
    one has finished; whether they are taken over too was asked.
    """

    key: str
    label: str
    change: str
    spec: ExperimentSpec | None
    reason: str
    spec_sha256: str
    estimate: dict[str, Any]
    finished: dict[int, TrainingRun]
    other_code: dict[int, TrainingRun]
    seeds: tuple[int, ...]

    @property
    def to_train(self) -> int:
        """Runs that have to be made."""
        return 0 if self.spec is None else len(self.seeds) - len(self.finished)

    @property
    def seconds_low(self) -> int:
        return self.to_train * int(self.estimate.get("seconds_low", 0))

    @property
    def seconds_high(self) -> int:
        return self.to_train * int(self.estimate.get("seconds_high", 0))


def seeds_of(experiment: Experiment, count: int) -> tuple[int, ...]:
    """`count` seeds: those of the spec first, then the smallest others."""
    own = experiment.model_spec.training.seeds
    others = [seed for seed in range(count + len(own)) if seed not in own]
    return (*own, *others)[:count]


def plan_study(
    experiment: Experiment,
    seeds: Sequence[int],
    keys: Iterable[str],
    *,
    take_other_code: bool = False,
) -> list[Planned]:
    """The base and the chosen variants in their order. Raises InvalidSpec for unknown ones.

    Runs that only other code than the running one has finished are trained again, unless they are to be
    taken over with `take_other_code`.
    """
    wanted = _checked(seeds, keys)
    base = ExperimentSpec.parse(experiment.spec)
    rows = [Derived(BASE, BASE_LABEL, base, "")]
    rows += [derived for derived in derived_variants(base) if derived.key in wanted]
    pool = experiment.pool
    digests = {row.key: with_data(row.spec.sha256(), pool) for row in rows if row.spec}
    running = code_version()
    finished = _finished_runs(experiment.workspace, digests.values(), seeds, running)
    other = {key: run for key, run in finished.items() if trained_by(run) != running}
    taken = {key: run for key, run in finished.items() if take_other_code or key not in other}
    return [
        _planned(row, pool, digests.get(row.key, ""), (taken, other), tuple(seeds)) for row in rows
    ]


def _checked(seeds: Sequence[int], keys: Iterable[str]) -> set[str]:
    wanted = set(keys)
    refused = {}
    if not 1 <= len(seeds) <= SEEDS_MAX or len(set(seeds)) < len(seeds):
        refused["seeds"] = f"found {len(seeds)}; expected 1 to {SEEDS_MAX} different seeds"
    elif any(not 0 <= seed < 2**31 for seed in seeds):
        refused["seeds"] = "expected whole numbers from 0 to 2147483647"
    if unknown := sorted(wanted - set(KEYS)):
        known = ", ".join(KEYS)
        refused["variants"] = f'unknown variant "{unknown[0][:80]}"; known: {known}'
    elif not wanted:
        refused["variants"] = "found none; choose at least one"
    if refused:
        raise InvalidSpec(refused)
    return wanted


def _planned(
    row: Derived,
    pool: list[DatasetVersion],
    spec_sha256: str,
    earlier: tuple[EarlierRuns, EarlierRuns],
    seeds: tuple[int, ...],
) -> Planned:
    spec, reason, found = row.spec, row.reason, {}
    if spec is not None:
        try:
            found = estimate(spec, pool)
        except InvalidSpec as error:
            spec, reason = None, reason_of(error)
    taken, other = (
        {seed: run for seed in seeds if spec and (run := runs.get((spec_sha256, seed)))}
        for runs in earlier
    )
    return Planned(
        key=row.key,
        label=row.label,
        change=row.change,
        spec=spec,
        reason=reason,
        spec_sha256=spec_sha256,
        estimate=found,
        finished=taken,
        other_code=other,
        seeds=seeds,
    )


def _finished_runs(
    workspace: Workspace, digests: Iterable[str], seeds: Sequence[int], running: str
) -> EarlierRuns:
    """The runs that have ended well together with their own backtest: of each spec and seed the newest of
    the running code, else the newest.
    """
    rows = TrainingRun.objects.filter(
        workspace=workspace,
        experiment__spec_sha256__in=list(digests),
        seed__in=seeds,
        job__status=JobStatus.SUCCEEDED,
        backtests__is_own=True,
        backtests__job__status=JobStatus.SUCCEEDED,
    )
    found = in_order_of_use(rows.select_related("experiment"), running)
    return {(run.experiment.spec_sha256, run.seed): run for run in found}


@transaction.atomic
def launch_study(
    experiment: Experiment,
    *,
    user: User,
    seeds: Sequence[int],
    keys: Iterable[str],
    take_other_code: bool = False,
    idempotency_key: str = "",
) -> Study:
    """Make the variants, queue their runs and the jobs that compare them: one launch.

    Equal finished runs are taken over; those of other code only with `take_other_code`. Raises
    InvalidSpec, and QueueFull before anything is made.
    """
    wanted = _checked(seeds, keys)
    workspace = experiment.workspace
    body = json.dumps(["study", experiment.pk, list(seeds), sorted(wanted), take_other_code])
    request_sha256 = hashlib.sha256(body.encode()).hexdigest()
    if known := replay(workspace, idempotency_key, request_sha256):
        return Study.objects.get(job=known)
    planned = plan_study(experiment, seeds, wanted, take_other_code=take_other_code)
    _refuse_unusable(planned)
    _refuse_full_queue(workspace, sum(row.to_train for row in planned))
    job = enqueue(
        workspace=workspace,
        created_by=user,
        kind=JobKind.STUDY,
        queue=Queue.BACKTESTS,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
    )
    study = Study.objects.create(
        workspace=workspace,
        created_by=user,
        name=_cut(f"Ablation of {experiment.name}"),
        experiment=experiment,
        seeds=list(seeds),
        job=job,
    )
    for place, row in enumerate(planned):
        _add_variant(study, place, row, user)
    return study


def _refuse_unusable(planned: list[Planned]) -> None:
    """A study of which only the base would be trained shows nothing."""
    base, *variants = planned
    if base.spec is None:
        raise InvalidSpec({"experiment": base.reason})
    if all(variant.spec is None for variant in variants):
        by_reason: dict[str, list[str]] = {}
        for row in variants:
            by_reason.setdefault(row.reason, []).append(row.label)
        reasons = "; ".join(f"{', '.join(labels)}: {why}" for why, labels in by_reason.items())
        raise InvalidSpec({"variants": f"none of them can be trained. {reasons}"})


def _refuse_full_queue(workspace: Workspace, needed: int) -> None:
    limit = settings.JOBS_QUEUED_TRAININGS
    queued = queued_for_trainers(workspace)
    if queued + needed > limit:
        raise QueueFull(
            "quota_queued",
            f"The study needs {needed} runs and {queued} are queued; the limit is {limit}. "
            "Choose fewer seeds or variants, or wait for runs to start.",
            RETRY_AFTER_S,
        )


def _add_variant(study: Study, place: int, row: Planned, user: User) -> None:
    experiment = None
    if row.spec is not None:
        experiment = study.experiment if row.key == BASE else _experiment_of(study, row, user)
    variant = StudyVariant.objects.create(
        study=study,
        place=place,
        key=row.key,
        change=row.change[:300],
        reason=row.reason[:500],
        parameters=row.estimate.get("parameters"),
        experiment=experiment,
    )
    if experiment is None:
        return
    for seed in study.seeds:
        if seed in row.finished:
            StudyRun.objects.create(variant=variant, run=row.finished[seed])
        else:
            _queue_run(variant, experiment, seed, user)


def _experiment_of(study: Study, row: Planned, user: User) -> Experiment:
    """The experiment of a variant; one with an equal spec on equal candles serves again."""
    assert row.spec is not None
    same = Experiment.objects.filter(
        workspace=study.workspace, spec_sha256=row.spec_sha256, archived_at=None
    )
    if found := same.prefetch_related("versions__dataset").order_by("-pk").first():
        return found
    base = study.experiment
    variant = create_experiment(
        workspace=study.workspace,
        user=user,
        name=_cut(base.name, f", {row.label[0].lower()}{row.label[1:]}"),
        versions=base.pool,
        spec=row.spec,
        preset=base.preset,
        notes=f"Made by the study “{study.name}”: {row.change}.",
    )
    record_parent(variant, base)
    return variant


def _queue_run(variant: StudyVariant, experiment: Experiment, seed: int, user: User) -> None:
    (run,) = launch_experiment(experiment, user=user, seed=seed, part_of_launch=True)
    job = enqueue(
        workspace=experiment.workspace,
        created_by=user,
        kind=JobKind.STUDY,
        queue=Queue.BACKTESTS,
        after=run.backtests.get(is_own=True).job,
    )
    StudyRun.objects.create(variant=variant, run=run, job=job)


def cancel_study(study: Study, *, user: User) -> int:
    """Ask everything of the study that is open to stop; how many jobs were asked.

    What waits for another job ends with it, and comes back with it when that is resumed. Runs that had
    finished before are left alone. Raises JobConflict when nothing is open.
    """
    jobs = [job for job in study.jobs() if not job.is_terminal]
    are_open, asked = {job.pk for job in jobs}, 0
    for job in jobs:
        if job.after_id in are_open:
            continue
        try:
            request_cancel(job, user=user)
            asked += 1
        except JobConflict:
            continue  # it ended meanwhile, or with the job it waited for
    if not asked:
        raise JobConflict("job_finished", "Nothing of this study is open.", job=study.job)
    return asked


@transaction.atomic
def resume_study(study: Study, *, user: User, idempotency_key: str = "") -> Job:
    """Go on with what was stopped or failed: from its checkpoint, or from the beginning.

    A resumed run brings its backtest and its comparison along; one whose causality certificate has failed
    is left. Returns the first job that was made; it keeps the key, and a known key gives it again. Raises
    QueueFull, and JobConflict when nothing can be resumed; nothing is resumed then.
    """
    request_sha256 = hashlib.sha256(f"resume study {study.pk}".encode()).hexdigest()
    if job := replay(study.workspace, idempotency_key, request_sha256):
        return job
    made: list[Job | None] = []
    refused = JobConflict("job_finished", "Nothing of this study was stopped.", job=study.job)
    for part in StudyRun.objects.of_study(study):
        try:
            made.append(_resume(part, user))
        except JobConflict as error:
            if error.code != CAUSALITY:
                raise
            refused = error
    if study.job.status in RESUMABLE:
        made.append(resume_job(study.job, user, has_checkpoint=True))
    resumed = [job for job in made if job is not None]
    if not resumed:
        raise refused
    remember(resumed[0], idempotency_key, request_sha256)
    return resumed[0]


def _resume(part: StudyRun, user: User) -> Job | None:
    """Resume the first job of the chain run, backtest, comparison that did not succeed."""
    if part.job is None:
        return None
    if part.run.job.status in RESUMABLE:
        try:
            return resume_run(part.run, user=user)
        except JobConflict as error:
            if error.code != "no_checkpoint":
                raise
            return resume_job(part.run.job, user, has_checkpoint=True)
    stopped = [job for job in part.chain() if job.status in RESUMABLE]
    return resume_job(stopped[0], user, has_checkpoint=True) if stopped else None


def _cut(name: str, ending: str = "") -> str:
    return f"{name[: NAME_MAX - len(ending)]}{ending}"
