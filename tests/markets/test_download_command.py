from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from markets.models import Import
from tests.factories import make_user

pytestmark = pytest.mark.django_db
ASKED = ("--venue", "okx", "--symbol", "ETH/USDT", "--timeframe", "1h", "--no-wait")


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("2024-01-02 06:00", "2024-01-02T06:00:00Z"),
        ("2024-01-02T06:00:00+02:00", "2024-01-02T04:00:00Z"),
    ],
)
def test_command_queues_a_download_of_the_only_user(capsys, written, instant):
    make_user("alice")
    call_command("download_candles", *ASKED, "--from", written, "--json")
    row = Import.objects.get()
    assert json.loads(capsys.readouterr().out)["import"] == row.pk
    assert row.download.to_json()["from_at"] == instant
    assert (row.download.venue, row.download.timeframe) == ("okx", "1h")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--from", "2024-01-02", "--to", "2024-01-01"), "to_at: expected later than"),
        (("--from", "yesterday"), "from_at"),
        (("--from", "2024-01-02", "--venue", "http://127.0.0.1"), "venue"),
    ],
)
def test_command_refuses_in_one_line(words, reason):
    make_user("alice")
    with pytest.raises(CommandError, match=reason) as caught:
        call_command("download_candles", *ASKED, *words)
    assert "\n" not in str(caught.value)
    assert not Import.objects.exists()
