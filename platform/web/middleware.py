from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from web.logs import request_id as current_request_id

logger = logging.getLogger("web")
REQUEST_ID = re.compile(r"^[A-Za-z0-9-]{8,64}$")


class RequestIdMiddleware:
    """Accepts or makes a request id, puts it on the request, the answer and every log line."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get("X-Request-ID", "")
        request.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex  # type: ignore[attr-defined]  # read by views
        token = current_request_id.set(request.request_id)  # type: ignore[attr-defined]
        try:
            response = self.get_response(request)
        finally:
            current_request_id.reset(token)
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        return response


class DatabaseAwayMiddleware:
    """Answers 503 with Retry-After while Postgres is away; the next request tries again."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.get_response(request)
        except (OperationalError, InterfaceError) as error:
            return self.unavailable(request, error)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, OperationalError | InterfaceError):
            return self.unavailable(request, exception)
        return None

    @staticmethod
    def unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
        logger.warning("database away: %s", error)
        if request.path.startswith("/api/"):
            body: dict[str, object] = {
                "code": "service_unavailable",
                "detail": "The database does not answer. Try again in a few seconds.",
                "fields": {},
                "request_id": getattr(request, "request_id", ""),
            }
            response: HttpResponse = JsonResponse(body, status=503)
        else:
            response = render(None, "unavailable.html", status=503)  # type: ignore[arg-type]  # no request: context processors would query
        response["Retry-After"] = "5"
        return response
