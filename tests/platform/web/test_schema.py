from __future__ import annotations

import json

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from backtests.specs import ExperimentSpec
from specs.forms import declared_fields
from tests.test_foreign_ids import get_resolver, routes_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def schema():
    GENERATOR_STATS.reset()
    answer = APIClient().get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert answer.status_code == 200
    return json.loads(answer.content)


def test_schema_is_valid_and_made_without_a_warning(schema):
    validate_schema(schema)
    assert not GENERATOR_STATS


def test_every_route_is_described(schema):
    described = len(schema["paths"])
    routes = [route for route in routes_of(get_resolver()) if route.startswith("api/")]
    unlisted = {"api/", "api/schema/"}  # the 404 in our own form, and the schema itself
    assert described == len(set(routes) - unlisted)


def test_bounds_of_the_specs_are_those_of_the_schema(schema):
    body = schema["paths"]["/api/experiments/"]["post"]["requestBody"]["content"]
    name = body["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
    spec = schema["components"]["schemas"][name]["properties"]["spec"]["properties"]
    epochs = spec["training"]["properties"]["epochs"]
    assert (epochs["minimum"], epochs["maximum"], epochs["default"]) == (1, 1000, 150)
    for path, info in declared_fields(ExperimentSpec):
        node = {"properties": spec}
        for part in path.split("."):
            node = node["properties"][part]
        assert node["description"] == info.description


def test_token_is_the_way_in(schema):
    assert schema["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
