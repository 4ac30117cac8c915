"""The first thing a request meets: a body that is too long is not read to its end."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings

FORM_BYTES = 1024 * 1024  # a plain body, or the fields of a form beside its file


class _TooLarge(Exception):
    pass


class BodyLimit:
    """Wraps an ASGI application, which would store any body before a view could refuse it.

    413 from Content-Length alone, or at the limit when there is none. Uploads (multipart) may
    have UPLOAD_MAX_BYTES and a form beside it, everything else FORM_BYTES.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        limit = FORM_BYTES
        if headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
            limit += settings.UPLOAD_MAX_BYTES
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:19]) > limit:
            await refuse(send, limit)
            return
        try:
            await self.application(scope, _counted(receive, limit), send)
        except _TooLarge:
            await refuse(send, limit)


def _counted(receive: Any, limit: int) -> Any:
    received = 0

    async def counted() -> Any:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _TooLarge
        return message

    return counted


async def refuse(send: Any, limit: int) -> None:
    """413 in the form of the API, and the end of the connection."""
    body = json.dumps(
        {
            "code": "too_large",
            "detail": f"Expected a body of at most {limit // 2**20} MiB.",
            "fields": {},
            "request_id": "",
        }
    ).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
