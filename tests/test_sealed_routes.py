"""Before a hold-out is opened no address, page or API, shows a label, prediction or score behind the seal."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow.parquet as pq
import pytest
from asgiref.sync import async_to_sync
from django.urls import get_resolver

from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.execution import run_body
from jobs.models import Job
from jobs.workers import claimant
from modeling import run as trainer
from modeling.registry import launch_prediction, register_model
from tests import path
from tests.factories import make_run, make_study
from tests.test_foreign_ids import PARAMETER, Rows, routes_of, signed_in

INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?))?")
# Whoever has the dataset has its candles and their features: they are no secret.
OPEN = ("datasets/", "api/datasets/", "imports/", "api/imports/")
NOTHING = "api/"  # what no other address of the API takes
# What an address without an id is asked for; {run} is the finished one, {other} a second one.
ASKED = {
    "compare/": "?runs={run},{other}",
    "api/compare/": "?runs={run},{other}",
    "models/new/": "?run={run}",
    "backtests/new/": "?predictions={set}",
}


class Finished:
    """A run on a market with a sealed end, and all that real jobs made of it."""

    def __init__(self) -> None:
        user, workspace = path.make_people()
        self.version = path.demo_version(workspace, user)
        self.run = path.finished_run(user, self.version, path.quick_spec())
        self.experiment = self.run.experiment
        backtest = path.finished_backtest(self.run)
        model = register_model(self.run, user=user, name="Best")
        prediction, _ = launch_prediction(model, self.version, user=user)
        train_here(prediction.job)
        prediction.refresh_from_db()
        self.own = self.run.prediction_sets.get(rung="model")
        assert prediction.predictions is not None
        self.of_model = prediction.predictions
        self.other = make_run(self.experiment, seed=1)
        self.client = signed_in(user)
        self.rows = object.__new__(Rows)
        self.rows.ids = {
            "experiments": {"pk": self.experiment.pk},
            "runs": {"pk": self.run.pk, "set_pk": self.own.pk, "place": 1},
            "predictions": {"pk": self.own.pk},
            "backtests": {"pk": backtest.pk},
            "studies": {"pk": make_study(self.run).pk},
            "models": {"pk": model.pk, "prediction": prediction.pk},
            "jobs": {"pk": self.run.job_id},
        }

    def addresses(self) -> Iterator[str]:
        """Every address of the product about this run, and the same asked for the sealed span."""
        sealed = f"?from={self.experiment.holdout_at:%Y-%m-%dT%H:%MZ}"
        asked = {"run": self.run.pk, "other": self.other.pk, "set": self.of_model.pk}
        for route in routes_of(get_resolver()):
            if route.startswith(OPEN) or route == NOTHING:
                continue
            if not PARAMETER.search(route):
                about = next((ASKED[begin] for begin in ASKED if route.startswith(begin)), "")
                yield f"/{route}{about.format(**asked)}"
            elif route.removeprefix("api/").split("/")[0] in self.rows.ids:
                for address in self.rows.paths(route):
                    yield from (address, address + sealed)

    def behind_the_seal(self, body: bytes) -> list[str]:
        """Instants in a body that lie behind the seal; where the data end is told to everybody."""
        first, last = self.experiment.holdout_at, self.experiment.holdout_until
        newest = last - self.version.bar
        told = {newest, newest.replace(hour=0, minute=0)}
        return [str(at) for at in instants_of(body) if first < at < last and at not in told]

    def rows_of(self, address: str) -> list[dict[str, Any]]:
        """Predictions as one of the three forms of a set tells them."""
        body = body_of(self.client.get(address))
        if body.startswith(b"PAR1"):
            return pq.read_table(io.BytesIO(body)).to_pylist()
        if body.startswith(b"["):
            return list(json.loads(body))
        return list(csv.DictReader(io.StringIO(body.decode())))

    def labels_behind_the_seal(self, rows: list[dict[str, Any]]) -> list[str]:
        """Outcomes that are told although a part of them lies behind the seal."""
        spec = self.experiment.model_spec
        bars = 1 + max(spec.windows.horizon_bars, spec.target.regime_bars)
        known = [when(row["open_at"]) + bars * self.version.bar for row in rows]
        late = [row for row, at in zip(rows, known, strict=True) if at > self.experiment.holdout_at]
        assert 0 < len(late) < len(rows)
        return [
            f"{row['open_at']} {name} {value}"
            for row in late
            for name, value in row.items()
            if name.startswith("realised") and value not in (None, "")
        ]


def train_here(job: Job) -> None:
    lease = claim(job.pk, claimant())
    assert lease is not None
    run_body(job, RunningAttempt(lease), lambda job, attempt: trainer.main(attempt))
    assert Job.objects.get(pk=job.pk).status == "succeeded"


def body_of(answer: Any) -> bytes:
    if not answer.streaming:
        return bytes(answer.content)
    if answer.is_async:
        return async_to_sync(joined)(answer.streaming_content)
    return b"".join(answer.streaming_content)


async def joined(parts: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in parts])


def instants_of(body: bytes) -> Iterator[datetime]:
    """Every instant that an answer names, in text or in a column of a Parquet file."""
    if body.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(body))
        for name in {"open_at", "known_at", "time"} & set(table.column_names):
            for value in table[name].to_numpy().astype("datetime64[us]"):
                yield value.astype(datetime).replace(tzinfo=timezone.utc)
        return
    for day, clock in INSTANT.findall(body.decode("utf-8", "replace")):
        try:
            yield datetime.fromisoformat(f"{day}T{clock or '00:00'}+00:00")
        except ValueError:  # digits that are no date
            continue


def when(value: Any) -> datetime:
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_every_route_is_silent_about_the_sealed_span_before_it_is_opened():
    finished = Finished()
    told, wrong = 0, []
    for address in finished.addresses():
        answer = finished.client.get(address)
        assert answer.status_code in (200, 286, 302, 400, 405), address
        body = body_of(answer)
        told += len(list(instants_of(body)))
        wrong += [f"{address}: {at}" for at in finished.behind_the_seal(body)[:3]]
    assert not wrong, "\n".join(wrong)
    assert told > 100_000  # charts, tables and files speak of all the time before

    run, own = finished.run.pk, finished.own.pk
    newest = f"from={finished.experiment.holdout_at - timedelta(days=2):%Y-%m-%dT%H:%MZ}&max=2000"
    for address in (
        f"/runs/{run}/predictions/{own}.csv",
        f"/runs/{run}/predictions/{own}.parquet",
        f"/api/predictions/{own}/?{newest}",
    ):
        assert not finished.labels_behind_the_seal(finished.rows_of(address)), address

    holdout = finished.client.get(f"/api/experiments/{finished.experiment.pk}/holdout/").json()
    assert (holdout["openings_seen"], holdout["openings"]) == (0, [])

    version = f"/datasets/{finished.version.dataset_id}/versions/{finished.version.number}"
    candles = body_of(finished.client.get(f"{version}/candles.csv"))
    assert finished.behind_the_seal(candles)  # else nothing above would have been found
