"""The longest names stay inside the page where a name stands in a heading or in a badge."""

from __future__ import annotations

import pytest

from modeling.services import record_parent
from tests import factories
from tests.browser.process import HOSTILE, faults_of, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_clone_form_and_report_with_the_longest_names_fit(page, live_server, alice):
    source = factories.make_experiment(alice.first_workspace(), name=HOSTILE[:200])
    run = factories.make_run(source)
    clone = factories.make_experiment(alice.first_workspace())
    record_parent(clone, source)
    report = factories.make_backtest(run)
    badge = {"code": "registered_model", "label": f"Registered model {HOSTILE[:200]}"}
    report.report["badges"] = [badge]
    report.save(update_fields=["report"])
    page.set_viewport_size({"width": 360, "height": 740})
    sign_in(page, live_server)
    wrong = {}
    for address in (
        f"/experiments/{clone.pk}/",
        f"/experiments/new/?from={source.pk}",
        f"/backtests/{report.pk}/",
    ):
        page.goto(live_server.url + address)
        if found := faults_of(page, 360):
            wrong[address] = found
    assert wrong == {}
