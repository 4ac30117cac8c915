"""What every API route shares: strict JSON, one error form, pages of a list, throttles."""

from __future__ import annotations

import json
import logging
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions, serializers, status
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle, UserRateThrottle

from specs.declaration import InvalidSpec

logger = logging.getLogger("accounts.rest")
MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 64
PAGE_SIZE_MAX = 200


class Problem(exceptions.APIException):
    """A refusal with a code of its own, and texts by field."""

    def __init__(
        self, code: str, detail: str, *, status_code: int = 400, fields: dict[str, str] | None = None
    ) -> None:
        self.status_code = status_code
        self.fields = fields or {}
        self.retry_after_s: int | None = None
        super().__init__(detail, code)


class InvalidJson(Problem):
    def __init__(self, detail: str) -> None:
        super().__init__("invalid_json", detail)


class StrictJSONParser(JSONParser):
    """JSON without doubled keys, NaN, overflow, NUL or deep nesting; at most 1 MiB."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        charset = dict(part.strip().split("=", 1) for part in (media_type or "").split(";")[1:] if "=" in part)
        if charset.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise InvalidJson("Expected JSON in UTF-8.")
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise Problem("too_large", "Expected a body of at most 1 MiB.", status_code=413)
        return strict_json(body)


def strict_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises InvalidJson with what is wrong."""
    if _depth(body) > MAX_DEPTH:
        raise InvalidJson(f"The JSON is nested deeper than {MAX_DEPTH} levels.")
    try:
        data = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except UnicodeDecodeError:
        raise InvalidJson("Expected JSON in UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidJson(f"The body is no valid JSON: {error}.") from None
    if not isinstance(data, dict):
        raise InvalidJson("Expected a JSON object such as {\"name\": …}.")
    _refuse_unprintable(data)
    return data


def _depth(body: bytes) -> int:
    depth = deepest = 0
    in_text = escaped = False
    for byte in body:
        if in_text:
            in_text = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            in_text, escaped = True, False
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a key occurs twice")
    return data


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return value


def _refuse_unprintable(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value or any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
            raise InvalidJson("A text holds a NUL or half a character.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_unprintable(key)
            _refuse_unprintable(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_unprintable(inner)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Every refusal as {code, detail, fields, request_id}."""
    request = context.get("request")
    request_id = getattr(getattr(request, "_request", request), "request_id", "")
    headers: dict[str, str] = {}
    fields: dict[str, Any] = {}
    if isinstance(error, OperationalError | InterfaceError):
        raise error
    if isinstance(error, InvalidSpec):
        code, detail, fields, number = "invalid_spec", str(error), error.fields, 400
    elif isinstance(error, Problem):
        code, detail, fields, number = str(error.detail.code), str(error.detail), error.fields, error.status_code  # type: ignore[union-attr]  # one ErrorDetail
        if error.retry_after_s:
            headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, Http404):
        code, detail, number = "not_found", "Not found.", 404
    elif isinstance(error, DjangoPermissionDenied):
        code, detail, number = "forbidden", "Not allowed.", 403
    elif isinstance(error, exceptions.ValidationError):
        fields = _flat(error.detail)
        code, detail, number = "invalid", "; ".join(f"{key}: {text}" for key, text in fields.items()), 400
    elif isinstance(error, exceptions.APIException):
        number = error.status_code
        code, detail = str(error.get_codes()), str(error.detail)
        if isinstance(error, exceptions.Throttled):
            headers["Retry-After"] = str(int(error.wait or 60))
        if number == status.HTTP_401_UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
    else:
        logger.exception("api error", exc_info=error)
        code, number = "server_error", 500
        detail = f"Something broke on our side. Reference {request_id}."
    body = {"code": code, "detail": detail, "fields": fields, "request_id": request_id}
    return Response(body, status=number, headers=headers)


def _flat(detail: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(detail, dict):
        flat: dict[str, str] = {}
        for key, inner in detail.items():
            flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
        return flat
    if isinstance(detail, list):
        return {prefix or "detail": " ".join(str(part) for part in detail)}
    return {prefix or "detail": str(detail)}


class ListPagination(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = PAGE_SIZE_MAX

    def get_page_size(self, request: Request) -> int:
        asked = request.query_params.get(self.page_size_query_param)
        if asked is None:
            return self.page_size
        if not (asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= PAGE_SIZE_MAX):
            text = f"found {asked[:20]!r}; expected 1 to {PAGE_SIZE_MAX}"
            raise Problem("invalid", f"page_size: {text}", fields={"page_size": text})
        return int(asked)


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
            texts = {key: f'unknown key "{key}"; expected {", ".join(sorted(known))}' for key in unknown}
            raise Problem("invalid", "; ".join(texts.values()), fields=texts)
        return super().to_internal_value(data)


class VisibleRows:
    """Mix-in of generic views: the rows a user may see, and nothing else."""

    rows: Any  # Any: a QuerySet of any row of a workspace
    request: Request

    def get_queryset(self) -> Any:
        return self.rows.all().visible_to(self.request.user)


def idempotency_key(request: Request) -> str:
    """The Idempotency-Key header, or an empty text. Raises Problem when it is malformed."""
    key = request.headers.get("Idempotency-Key", "")
    if key and (len(key) > 200 or not all("!" <= letter <= "~" for letter in key)):
        raise Problem(
            "invalid_idempotency_key", "Idempotency-Key: expected 1 to 200 visible ASCII characters."
        )
    return key


def refuse_conflict(error: Any) -> Problem:
    """A conflict or a full queue of the jobs app as an API problem."""
    retry = getattr(error, "retry_after_s", None)
    problem = Problem(error.code, error.message, status_code=429 if retry else 409)
    problem.retry_after_s = retry
    return problem
