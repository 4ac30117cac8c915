from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from web.body_limit import FORM_BYTES, BodyLimit

TEN_GB = 10 * 2**30


class Exchange:
    """One request to an application that reads its whole body, and what came back."""

    def __init__(self, chunks: list[bytes], **headers: str) -> None:
        self.chunks, self.read = list(chunks), 0
        self.sent: list[dict[str, Any]] = []
        names = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
        scope = {"type": "http", "headers": list(names.items())}
        asyncio.run(BodyLimit(self.application)(scope, self.receive, self.send))

    async def receive(self):
        chunk = self.chunks.pop(0)
        self.read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks)}

    async def send(self, message):
        self.sent.append(message)

    async def application(self, scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @property
    def status(self):
        return self.sent[0]["status"]


def test_length_over_the_limit_is_refused_without_reading():
    done = Exchange([b"x" * 100], content_length=str(TEN_GB), content_type="multipart/form-data")
    assert (done.status, done.read) == (413, 0)
    body = json.loads(done.sent[1]["body"])
    assert set(body) == {"code", "detail", "fields", "request_id"}
    assert body["code"] == "too_large"


def test_length_of_any_number_of_digits_is_refused():
    assert Exchange([b""], content_length="9" * 5000).status == 413


def test_body_without_a_length_is_cut_off_at_the_limit():
    done = Exchange([b"x" * FORM_BYTES] * 50)
    assert done.status == 413
    assert done.read == 2 * FORM_BYTES


@pytest.mark.parametrize("size", [0, 1, FORM_BYTES])
def test_body_up_to_the_limit_passes(size):
    assert Exchange([b"x" * size], content_length=str(size)).status == 200


def test_upload_may_be_longer_than_a_plain_body(settings):
    settings.UPLOAD_MAX_BYTES = 5 * FORM_BYTES
    chunks = [b"x" * FORM_BYTES] * 5
    assert Exchange(list(chunks), content_type="multipart/form-data; boundary=x").status == 200
    assert Exchange(list(chunks), content_type="text/csv").status == 413
    assert Exchange(chunks * 2, content_type="multipart/form-data").status == 413


def test_other_messages_than_requests_pass_untouched():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    asyncio.run(BodyLimit(application)({"type": "lifespan"}, None, None))
    assert seen == [{"type": "lifespan"}]
