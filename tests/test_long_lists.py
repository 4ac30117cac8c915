"""Every list, page and API, asks the database as often for ten thousand rows as for ten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.api_views import VisibleList
from accounts.models import Workspace
from backtests.models import Backtest
from tests import many_rows, registry
from tests.factories import (
    make_backtest,
    make_experiment,
    make_import,
    make_run,
    make_study,
    make_version,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]
FEW, MANY, TWO_PAGES = 10, 10_000, 90
MOST, MOST_OF_A_PAGE = 8, 15
LISTS = ("datasets", "experiments", "runs", "models", "backtests", "studies", "trials", "jobs")
SORTED_AND_SEARCHED = (
    "/datasets/?q=copy+7",
    "/datasets/?sort=-versions&page=3",
    "/experiments/?q=copy+7",
    "/experiments/?sort=runs&page=3",
    "/experiments/?archived=1",
)


# Long JSON that no list shows; each can be some hundred KB.
HEAVY = (
    '"backtests_backtest"."report"',
    '"markets_datasetversion"."report"',
    '"markets_datasetversion"."difference"',
    '"modeling_trainingrun"."causality"',
    '"modeling_fold"."state"',
    '"modeling_trial"."daily_returns"',
)


def every_list() -> list[str]:
    return sorted({f"/{name}/" for name in LISTS} | set(lists_of_the_api(get_resolver())))


def lists_of_the_api(resolver: URLResolver, before: str = "/") -> Iterator[str]:
    """The addresses of all lists whose address needs no id."""
    for entry in resolver.url_patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from lists_of_the_api(entry, route)
        elif isinstance(entry, URLPattern) and "<" not in route:
            view = getattr(entry.callback, "view_class", object)
            if issubclass(view, VisibleList):
                yield route


def queries(client: Client, path: str) -> list[str]:
    """What an answer asks the database; no answer grows beyond a megabyte."""
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(path)
    assert answer.status_code == 200, path
    assert len(answer.content) < 1_000_000, path
    return [query["sql"] for query in captured]


def test_lists_read_no_long_json(client, alice):
    one_of_each(alice.first_workspace())
    found = {
        (path, column)
        for path in every_list()
        for sql in queries(client, path)
        for column in HEAVY
        if column in sql
    }
    assert found == set()


@pytest.mark.slow
def test_lists_ask_as_often_for_ten_thousand_rows_as_for_ten(client, alice):
    paths = every_list()
    assert len(paths) > 2 * len(LISTS) - 2
    first = one_of_each(alice.first_workspace())
    grow(first, FEW, FEW)
    before = {path: len(queries(client, path)) for path in paths}
    grow(first, MANY, TWO_PAGES)
    after = {path: len(queries(client, path)) for path in paths}
    assert after == before
    assert len(queries(client, "/experiments/new/")) <= MOST_OF_A_PAGE
    counts = after | {path: len(queries(client, path)) for path in SORTED_AND_SEARCHED}
    assert {path: count for path, count in counts.items() if count > MOST} == {}


def one_of_each(workspace: Workspace) -> Backtest:
    """A row of every kind that a list shows; the backtest at the end of their chain."""
    run = make_run(make_experiment(workspace, make_version(workspace)))
    make_study(run)
    make_import(workspace)
    registry.make_prediction(registry.make_model(run))
    return make_backtest(run)


def grow(backtest: Backtest, many: int, runs: int) -> None:
    """Add that many rows, and on top of the lists an experiment that has finished."""
    many_rows.add_datasets(backtest.version, many)
    many_rows.add_experiments(backtest.run.experiment, many)
    many_rows.add_runs(backtest, runs)
    workspace, version = backtest.workspace, backtest.version
    make_backtest(make_run(make_experiment(workspace, version, name="On top")))
