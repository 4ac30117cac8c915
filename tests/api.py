"""Clients of the API for tests."""

from __future__ import annotations

from typing import Any

from django.test.client import Client
from rest_framework.test import APIClient

from accounts.models import ApiToken, Scope, User


def bearer(user: User, *, scope: str = Scope.LAUNCH) -> APIClient:
    """A client with a fresh token of the user for their first workspace."""
    workspace = user.first_workspace()
    assert workspace is not None
    _, token = ApiToken.make(workspace=workspace, user=user, name="test", scope=scope)
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def refusal(response: Any, status: int) -> dict[str, Any]:
    """The body of a refusal; it must have the one form that every refusal has."""
    assert response.status_code == status, (response.status_code, response.content[:2000])
    body: dict[str, Any] = response.json()
    assert set(body) == {"code", "detail", "fields", "request_id"}
    assert body["code"]
    assert body["detail"]
    assert body["request_id"] == response["X-Request-ID"]
    return body


def raw_post(client: Client, path: str, body: bytes, content_type: str = "application/json") -> Any:
    return client.generic("POST", path, body, content_type=content_type)
