"""Requests made from the schema, right and wrong ones: no answer is ever a mistake of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from rest_framework.test import APIClient
from schemathesis.core import NotSet

from tests.api import bearer
from tests.factories import make_user
from tests.test_foreign_ids import Rows

EXAMPLES = 4


def ask(client: APIClient, case: Any, ids: dict[str, Any]) -> int:
    """Send a made-up request, to the rows of this user; the status of the answer."""
    path = case.path.format(**{**(case.path_parameters or {}), **ids})
    query = {str(name): str(value) for name, value in (case.query or {}).items()}
    method = case.method.lower()
    body = None if isinstance(case.body, NotSet) else case.body
    if case.media_type == "multipart/form-data":
        parts = body if isinstance(body, dict) else {}
        form = {str(name): str(value) for name, value in parts.items()}
        answer = getattr(client, method)(path, form, format="multipart", query_params=query)
    else:
        text: Any = body if isinstance(body, bytes) else json.dumps(body, default=repr)
        answer = client.generic(
            case.method, path, text, content_type="application/json", query_params=query
        )
    return answer.status_code


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_request_made_from_the_schema_gives_5xx(mode):
    alice = make_user("alice")
    rows, client = Rows(alice), bearer(alice)
    schema = schemathesis.openapi.from_dict(client.get("/api/schema/?format=json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:
        ids = rows.ids.get(operation.path.split("/")[2], {})
        refuse_server_errors(client, operation.as_strategy(generation_mode=mode), {"id": 1} | ids)
    assert len(operations) > 20


def refuse_server_errors(client: APIClient, cases: Any, ids: dict[str, Any]) -> None:
    @seed(7)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def once(case: Any) -> None:
        assert ask(client, case, ids) < 500, (case.method, case.path, case.query, case.body)

    once()
