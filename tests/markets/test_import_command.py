from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from jobs.models import Job
from markets.management.commands import import_candles
from markets.models import Import
from tests.factories import make_user
from tests.path import run_job

pytestmark = pytest.mark.django_db
ROWS = "timestamp,open,high,low,close,volume\n" + "".join(
    f"2024-01-01T0{hour}:00:00Z,10,12,9,11,5\n" for hour in range(4)
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "candles.csv"
    path.write_text(ROWS)
    return path


def said(*arguments: object) -> str:
    out = io.StringIO()
    call_command("import_candles", *map(str, arguments), stdout=out)
    return out.getvalue()


@pytest.fixture
def worker(monkeypatch):
    """Does the queued job while the command waits between two looks."""

    def work() -> None:
        assert run_job(Job.objects.get()).is_terminal

    monkeypatch.setattr(import_candles, "pause", work)


@pytest.mark.django_db(transaction=True)  # the heartbeat of a job writes beside it
def test_file_becomes_a_sealed_version(file, worker):
    make_user("alice")
    found = json.loads(said(file, "--symbol", "BTC/USDT", "--user", "alice", "--json"))
    assert (found["status"], found["version"], found["rows"]) == ("succeeded", 1, 4)
    version = Import.objects.get().version
    assert (found["dataset"], found["sha256"]) == (version.dataset_id, version.sha256)


@pytest.mark.django_db(transaction=True)
def test_file_that_breaks_a_rule_gives_one_line(file, worker):
    make_user("alice")
    file.write_text(ROWS + "2024-01-01T04:00:00Z,10,1,9,11,5\n")
    with pytest.raises(CommandError) as error:
        said(file, "--symbol", "BTC/USDT")
    assert "ohlc_violation" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_wait_answers_with_the_queued_job(file):
    make_user("alice")
    found = json.loads(said(file, "--symbol", "BTCUSDT", "--no-wait", "--json"))
    assert found == {
        "import": Import.objects.get().pk,
        "job": str(Job.objects.get().pk),
        "status": "queued",
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--symbol", "no symbol!"), "symbol"),
        (("--symbol", "BTC", "--timeframe", "7m"), "timeframe"),
        (("--symbol", "BTC", "--user", "bob"), "no user 'bob'"),
    ],
)
def test_bad_argument_gives_one_line_and_no_job(file, arguments, text):
    make_user("alice")
    with pytest.raises(CommandError) as error:
        said(file, *arguments)
    assert text in str(error.value)
    assert "\n" not in str(error.value)
    assert not Job.objects.exists()


def test_file_that_is_not_there_or_empty_or_a_folder_gives_one_line(tmp_path):
    make_user("alice")
    empty = tmp_path / "empty.csv"
    empty.touch()
    for path in (tmp_path / "none.csv", tmp_path, empty):
        with pytest.raises(CommandError) as error:
            said(path, "--symbol", "BTC")
        assert "\n" not in str(error.value)
    assert not Job.objects.exists()


def test_several_users_must_be_told_apart(file):
    make_user("alice")
    make_user("bob")
    with pytest.raises(CommandError, match="--user"):
        said(file, "--symbol", "BTC")
