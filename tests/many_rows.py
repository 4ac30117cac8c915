"""Lists as long as those of a team that has worked for years: rows alone, their files are shared."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any
from uuid import uuid4

from backtests.models import Backtest
from markets.models import Dataset, DatasetVersion
from modeling.models import Experiment, Trial

AT_ONCE = 1000


def add_datasets(version: DatasetVersion, count: int) -> None:
    """Datasets with one version each, like this one."""
    datasets = add_copies(version.dataset, count, lambda place: {"name": f"copy {place}"})
    versions = add_copies(version, count, lambda place: {"dataset": datasets[place], "report": {}})
    for dataset, latest in zip(datasets, versions, strict=True):
        dataset.latest = latest
    Dataset.objects.bulk_update(datasets, ["latest"], batch_size=AT_ONCE)


def add_experiments(experiment: Experiment, count: int) -> None:
    """Experiments on the candles of this one."""
    version, link = experiment.version, Experiment.versions.through
    made = add_copies(experiment, count, lambda place: {"name": f"copy {place}"})
    links = (link(experiment=row, datasetversion=version) for row in made)
    link.objects.bulk_create(links, batch_size=AT_ONCE)


def add_runs(backtest: Backtest, count: int) -> None:
    """Runs of the same experiment, each with its own backtest, two jobs and a trial."""
    run = backtest.run
    jobs = add_copies(run.job, 2 * count, lambda _: {"pk": uuid4()})
    runs = add_copies(run, count, lambda place: {"seed": 1 + place, "job": jobs[2 * place]})
    made = add_copies(
        backtest, count, lambda place: {"run": runs[place], "job": jobs[2 * place + 1]}
    )
    for row in made:
        row.trial = Trial(
            workspace=row.workspace, origin=Trial.Origin.RUN, spec_sha256=uuid4().hex, run=row.run
        )
    Trial.objects.bulk_create(row.trial for row in made)
    Backtest.objects.bulk_update(made, ["trial"], batch_size=AT_ONCE)


def add_copies(row: Any, count: int, changes: Callable[[int], dict[str, Any]]) -> list[Any]:
    """So many copies of a row; `changes` says by its place what differs in each."""
    made = []
    for place in range(count):
        one = copy(row)
        one.pk, one._state.adding = None, True
        for name, value in changes(place).items():
            setattr(one, name, value)
        made.append(one)
    return list(type(row).objects.bulk_create(made, batch_size=AT_ONCE))
