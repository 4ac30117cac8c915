from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
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


class RefuseNulMiddleware:
    """Answers 400 to a NUL in the path, the query, a cookie or a form; Postgres stores none."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not holds_nul(request):
            return self.get_response(request)
        if request.path.startswith("/api/"):
            detail = "A NUL character was sent; remove it and send the request again."
            return JsonResponse(error_body(request, "bad_request", detail), status=400)
        # No request: its context processors would query with what has just been refused.
        context = {"request_id": getattr(request, "request_id", "")}
        return render(None, "400.html", context, status=400)  # type: ignore[arg-type]  # as said


def holds_nul(request: HttpRequest) -> bool:
    """Whether a NUL is in anything that views take as text and look up in the database."""
    query = request.META.get("QUERY_STRING", "")
    in_address = "\0" in request.path or "%00" in query or "\0" in query
    # An address of the API holds numbers, UUIDs and instants; it names what is wrong with them.
    if in_address and not request.path.startswith("/api/"):
        return True
    if any("\0" in value for value in request.COOKIES.values()):
        return True
    if request.content_type != "application/x-www-form-urlencoded":
        return False
    try:
        return b"%00" in request.body or b"\0" in request.body
    except (RequestDataTooBig, UnreadablePostError):
        # Whoever reads the form gets the same error and answers it.
        return False


class PrivateAnswersMiddleware:
    """No cache keeps a page, a download or an API answer, unless its view says otherwise.

    Static files are answered before there is a session; they stay cacheable.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if hasattr(request, "session") and "Cache-Control" not in response:
            # With an ETag the browser may keep its own copy, and asks before each use.
            response["Cache-Control"] = f"private, no-{'cache' if 'ETag' in response else 'store'}"
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
            detail = "The database does not answer. Try again in a few seconds."
            body = error_body(request, "service_unavailable", detail)
            response: HttpResponse = JsonResponse(body, status=503)
        else:
            response = render(None, "unavailable.html", status=503)  # type: ignore[arg-type]  # no request: context processors would query
        response["Retry-After"] = "5"
        return response


def error_body(request: HttpRequest, code: str, detail: str) -> dict[str, object]:
    """An error of the API for what its own exception handler never sees."""
    return {
        "code": code,
        "detail": detail,
        "fields": {},
        "request_id": getattr(request, "request_id", ""),
    }
