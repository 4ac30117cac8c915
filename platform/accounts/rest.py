"""What every API route shares: strict JSON, one error form, pages of a list, throttles."""

from __future__ import annotations

import difflib
import logging
import math
from email.message import Message
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions, serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle, UserRateThrottle

from accounts.paging import KeyPaginator
from artifacts.store import QUOTA_STORED, FileChanged, QuotaExceeded
from specs.declaration import InvalidSpec
from specs.strict_json import UnusableJson, parse_json

logger = logging.getLogger("accounts.rest")
MAX_BODY_BYTES = 1024 * 1024
PAGE_SIZE_MAX = 200


class Problem(exceptions.APIException):
    """A refusal with a code of its own, and texts by field."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status_code: int = 400,
        fields: dict[str, str] | None = None,
    ) -> None:
        self.status_code = status_code
        self.code, self.text = code, detail
        self.fields = fields or {}
        self.retry_after_s: int | None = None
        super().__init__(detail, code)

    @classmethod
    def of_field(cls, field: str, text: str) -> Problem:
        """400 `invalid` for one field or parameter."""
        return cls("invalid", f"{field}: {text}", fields={field: text})


class StrictJSONParser(JSONParser):
    """JSON without doubled keys, NaN, overflow, NUL or deep nesting; at most 1 MiB."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        header = Message()
        header["Content-Type"] = media_type or "application/json"
        if str(header.get_content_charset("utf-8")) not in ("utf-8", "utf8"):
            raise Problem("invalid_json", "Expected JSON in UTF-8.")
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise Problem("too_large", "Expected a body of at most 1 MiB.", status_code=413)
        return json_object(body)


def json_object(text: bytes | str) -> dict[str, Any]:
    """The JSON object in a body. Raises Problem `invalid_json` with what is wrong."""
    try:
        data = parse_json(text)
    except UnusableJson as error:
        raise Problem("invalid_json", f"The JSON cannot be used: {error}.") from None
    if not isinstance(data, dict):
        raise Problem("invalid_json", 'Expected a JSON object such as {"name": …}.')
    return data


class FiniteJSONRenderer(JSONRenderer):
    """JSON in which a number that is not finite is null."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().render(data, *args, **kwargs)
        except ValueError:
            return super().render(finite(data), *args, **kwargs)


def finite(value: Any) -> Any:
    """The same data with null for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Every refusal as {code, detail, fields, request_id}."""
    if isinstance(error, OperationalError | InterfaceError):
        raise error
    request = context.get("request")
    request_id = getattr(getattr(request, "_request", request), "request_id", "")
    problem = _problem_of(error)
    if problem is None:
        logger.exception("api error", exc_info=error)
        text = f"Something broke on our side. Reference {request_id}."
        problem = Problem("server_error", text, status_code=500)
    headers: dict[str, str] = {}
    if problem.retry_after_s:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status_code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = {
        "code": problem.code,
        "detail": problem.text,
        "fields": problem.fields,
        "request_id": request_id,
    }
    return Response(body, status=problem.status_code, headers=headers)


def _problem_of(error: Exception) -> Problem | None:
    """The refusal that an exception stands for; None when it is our mistake."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidSpec):
        return Problem("invalid_spec", str(error), fields=error.fields)
    if isinstance(error, Http404):
        return Problem("not_found", "Not found.", status_code=404)
    if isinstance(error, DjangoPermissionDenied):
        return Problem("forbidden", "Not allowed.", status_code=403)
    if isinstance(error, QuotaExceeded):
        return Problem(QUOTA_STORED, str(error), status_code=429)
    if isinstance(error, FileChanged | FileNotFoundError):
        text = "A stored file is gone or has changed. Import or run it again."
        return Problem("data_changed", text, status_code=409)
    if isinstance(error, RequestDataTooBig):
        return Problem("too_large", "A field of the form is too large.", status_code=413)
    if isinstance(error, SuspiciousOperation | UnreadablePostError):
        return Problem("invalid", "The body cannot be read.")
    if isinstance(error, exceptions.ValidationError):
        fields = _flat(error.detail)
        text = "; ".join(f"{key}: {inner}" for key, inner in fields.items())
        return Problem("invalid", text, fields=fields)
    if isinstance(error, exceptions.APIException):
        problem = Problem(str(error.get_codes()), str(error.detail), status_code=error.status_code)
        if isinstance(error, exceptions.Throttled):
            problem.retry_after_s = math.ceil(getattr(error, "wait", None) or 60)
        return problem
    return None


def _flat(detail: Any, prefix: str = "") -> dict[str, str]:
    """Errors of nested serializers by dotted path."""
    if isinstance(detail, dict):
        items = list(detail.items())
    elif isinstance(detail, list) and any(isinstance(part, dict) for part in detail):
        items = [(str(place), part) for place, part in enumerate(detail)]
    else:
        parts = detail if isinstance(detail, list) else [detail]
        return {prefix or "body": " ".join(str(part) for part in parts)}
    flat: dict[str, str] = {}
    for key, inner in items:
        own = key == "non_field_errors"
        flat |= _flat(inner, prefix if own else f"{prefix}.{key}".removeprefix("."))
    return flat


class ListPagination(PageNumberPagination):
    django_paginator_class = KeyPaginator
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = PAGE_SIZE_MAX

    def get_page_size(self, request: Request) -> int:
        return whole_number(request, "page_size", self.page_size, at_most=PAGE_SIZE_MAX)


def whole_number(
    request: Request, name: str, default: int, *, at_least: int = 1, at_most: int
) -> int:
    """A whole number in the query. Raises Problem when it is none, or out of bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not at_least <= value <= at_most:
        raise Problem.of_field(name, f"found {text[:20]!r}; expected {at_least} to {at_most}")
    return value


class UserThrottle(UserRateThrottle):
    scope = "user"


class AnonymousThrottle(AnonRateThrottle):
    scope = "anon"


class StrictSerializer(serializers.Serializer):  # type: ignore[type-arg]  # generic only in the stubs
    """Refuses keys it does not know, or that may only be read, by name."""

    def to_internal_value(self, data: Any) -> Any:
        known = {name for name, field in self.fields.items() if not field.read_only}
        unknown = sorted(set(data) - known) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError({key: _hint(key, known) for key in unknown})
        return super().to_internal_value(data)


def _hint(key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(sorted(known))}"
    return f'unknown key "{key[:80]}"; {hint}'


def idempotency_key(request: Request) -> str:
    """The Idempotency-Key header, or an empty text. Raises Problem when it is malformed."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 200 or not all("!" <= letter <= "~" for letter in key):
        raise Problem(
            "invalid_idempotency_key",
            "Idempotency-Key: expected 1 to 200 visible ASCII characters.",
        )
    return key


def refuse_conflict(error: Any) -> Problem:
    """A conflict or a full queue of the jobs app as an API problem."""
    retry = getattr(error, "retry_after_s", None)
    problem = Problem(error.code, error.message, status_code=429 if retry else 409)
    problem.retry_after_s = retry
    return problem
