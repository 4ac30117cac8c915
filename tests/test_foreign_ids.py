"""Every address with an id, page and API, walked from the URLconf: 404 for a stranger, not for the owner."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import User
from backtests.views import CHARTS as BACKTEST_CHARTS
from modeling.measures import HEADS
from modeling.models import PredictionSet
from modeling.views import CURVES as RUN_CHARTS
from tests import registry
from tests.factories import (
    make_backtest,
    make_experiment,
    make_import,
    make_run,
    make_seed_verdict,
    make_study,
    make_user,
    make_version,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
# A sign-in link is no row of a workspace: whoever holds the secret may use it.
NO_ROW = {"signin/<str:token>/"}
WORDS: dict[str, Iterable[str]] = {
    "datasets/<int:pk>/versions/<int:number>/features/<str:name>/<int:scale>/": ["rsi_14"],
    "runs/<int:pk>/charts/<str:kind>/": RUN_CHARTS,
    "runs/<int:pk>/predictions/<int:set_pk>/of/<int:place>/curves/<str:head>/": HEADS,
    "models/<int:pk>/predictions/<int:prediction>/curves/<str:head>/": HEADS,
    "backtests/<int:pk>/charts/<str:kind>/": BACKTEST_CHARTS,
}


class Rows:
    """One object of each kind in the workspace of one user, by the first part of its address."""

    def __init__(self, user: User) -> None:
        workspace = user.first_workspace()
        assert workspace is not None
        self.version = make_version(workspace)
        self.experiment = make_experiment(workspace, self.version)
        self.run = make_run(self.experiment)
        self.backtest = make_backtest(self.run)
        self.predictions = PredictionSet.objects.get(run=self.run)
        self.candle_import = make_import(workspace)
        self.model = registry.make_model(self.run)
        registry.make_prediction(self.model)
        self.ids: dict[str, dict[str, Any]] = {
            "datasets": {
                "pk": self.version.dataset_id,
                "number": self.version.number,
                "scale": 1,
            },
            "imports": {"pk": self.candle_import.pk},
            "experiments": {"pk": self.experiment.pk},
            "runs": {"pk": self.run.pk, "set_pk": self.predictions.pk, "place": 1},
            "predictions": {"pk": self.predictions.pk},
            "backtests": {"pk": self.backtest.pk},
            "studies": {"pk": make_study(self.run).pk},
            "seed-verdicts": {"pk": make_seed_verdict(self.run).pk},
            "models": {"pk": self.model.pk, "prediction": self.model.predictions.get().pk},
            "jobs": {"pk": self.run.job_id},
        }

    def paths(self, route: str) -> list[str]:
        """The addresses of these objects on a route; it fails for a route nobody has listed."""
        kind = route.removeprefix("api/").split("/")[0]
        assert kind in self.ids, f"{route}: no object in the table is of the kind {kind!r}"
        words = WORDS.get(route, [""])
        return ["/" + PARAMETER.sub(self._filler(route, kind, word), route) for word in words]

    def _filler(self, route: str, kind: str, word: str) -> Callable[[re.Match[str]], str]:
        def fill(match: re.Match[str]) -> str:
            if match["converter"] == "str":
                assert word, f"{route}: the table has no words for {match['name']!r}"
                return word
            known = self.ids[kind]
            assert match["name"] in known, f"{route}: the table has no {match['name']!r}"
            return str(known[match["name"]])

        return fill


def routes_with_ids() -> list[str]:
    found = sorted(route for route in routes_of(get_resolver()) if PARAMETER.search(route))
    return [route for route in found if route not in NO_ROW]


def routes_of(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes_of(entry, route)
        elif isinstance(entry, URLPattern):
            yield route


def signed_in(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def ask(client: Client, method: str, path: str) -> int:
    return client.generic(method, path, "{}", content_type="application/json").status_code


@pytest.mark.django_db
def test_stranger_gets_404_where_the_owner_does_not():
    alice, charlie = make_user("alice"), make_user("charlie")
    rows = Rows(alice)
    owner, stranger = signed_in(alice), signed_in(charlie)
    routes = routes_with_ids()
    assert len(routes) > 30
    wrong = []
    for route in routes:
        for path in rows.paths(route):
            answers = {m: (ask(stranger, m, path), ask(owner, m, path)) for m in METHODS}
            wrong += [f"{m} {path}: {seen}" for m, seen in answers.items() if not is_kept(m, *seen)]
            if all(theirs == 405 for _, theirs in answers.values()):
                wrong.append(f"{path}: the owner may do nothing")
    assert not wrong, "\n".join(wrong)


def is_kept(method: str, stranger: int, owner: int) -> bool:
    """A stranger sees nothing; what is refused for the method alone tells nothing."""
    if owner == 405:
        return stranger in (404, 405)
    if method in ("GET", "HEAD"):
        # 286 tells a page that refreshes itself that there is nothing more to come; 202 that what
        # is asked for is being computed now.
        return stranger == 404 and owner in (200, 202, 286)
    return stranger == 404 and owner in (200, 201, 202, 302, 400, 409)


@pytest.mark.django_db
def test_id_of_another_object_below_an_own_one_is_404():
    alice, charlie = make_user("alice"), make_user("charlie")
    mine, foreign = Rows(charlie), Rows(alice)
    client = signed_in(charlie)
    path = "/runs/{}/predictions/{}.parquet"
    own_set, foreign_set = mine.predictions.pk, foreign.predictions.pk
    assert ask(client, "GET", path.format(mine.run.pk, own_set)) == 200
    assert ask(client, "GET", path.format(mine.run.pk, foreign_set)) == 404
    assert ask(client, "GET", path.format(foreign.run.pk, own_set)) == 404


def test_route_without_an_object_in_the_table_is_a_failure():
    rows = object.__new__(Rows)
    rows.ids = {"runs": {"pk": 1}}
    with pytest.raises(AssertionError, match="sweeps"):
        rows.paths("sweeps/<int:pk>/")
    with pytest.raises(AssertionError, match="point"):
        rows.paths("runs/<int:pk>/points/<int:point>/")
    with pytest.raises(AssertionError, match="word"):
        rows.paths("runs/<int:pk>/<str:part>/")


@pytest.mark.django_db
def test_anonymous_reader_is_sent_to_sign_in_or_refused():
    rows = Rows(make_user("alice"))
    client = Client()
    wrong = []
    for route in routes_with_ids():
        path = rows.paths(route)[0]
        expected = 401 if route.startswith("api/") else 302
        status = ask(client, "GET", path)
        if status != expected:
            wrong.append(f"{path}: {status}")
    assert not wrong, "\n".join(wrong)
