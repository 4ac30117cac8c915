from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now

from jobs.attempts import DATABASE_PATIENCE_S, RunningAttempt, StopReason
from jobs.errors import Fenced, StopRequested
from jobs.exits import Exit
from jobs.log_lines import KEPT_FIRST, KEPT_LAST, escape_controls, log_row, write_log_lines
from jobs.models import Job, JobAttempt, JobLogLine
from jobs.spool import Spool, SpoolFull
from jobs.statuses import EventKind, ExitKind
from jobs.transitions import end_attempt


@pytest.fixture
def running(make_job, start) -> RunningAttempt:
    return start(make_job())


@pytest.fixture
def fenced_out(running, start) -> RunningAttempt:
    """An attempt whose lease went to the next one."""
    running_job = Job.objects.get(pk=running.job_id)
    end_attempt(running.attempt_id, Exit(ExitKind.LOST))
    start(running_job)
    return running


def test_progress_and_log_reach_the_rows(running):
    running.progress(0.25, "Fold 1 of 4", step=7)
    running.log("Loaded 10 candles")
    running.log("One gap", level="warning")
    running.flush()

    job = Job.objects.get(pk=running.job_id)
    assert (job.progress, job.message, running.step) == (0.25, "Fold 1 of 4", 7)
    lines = job.log_lines.values_list("number", "level", "text")
    assert list(lines) == [(1, "info", "Loaded 10 candles"), (2, "warning", "One gap")]
    assert JobAttempt.objects.get(pk=running.attempt_id).progress_at is not None


def test_nothing_is_written_twice(running, django_capture_on_commit_callbacks):
    running.log("once")
    with django_capture_on_commit_callbacks(execute=True):
        running.flush()
    with django_capture_on_commit_callbacks(execute=True):
        running.flush()

    assert JobLogLine.objects.filter(job=running.job_id).count() == 1


def test_fenced_attempt_writes_nothing(fenced_out):
    fenced_out.progress(0.9, "stale")
    fenced_out.log("stale")

    with pytest.raises(Fenced):
        fenced_out.flush()
    with pytest.raises(Fenced), fenced_out.fenced():
        raise AssertionError("the body must not run")
    assert fenced_out.end(Exit(ExitKind.OK)) is None
    job = Job.objects.get(pk=fenced_out.job_id)
    assert (job.status, job.progress, job.log_lines.count()) == ("running", 0.0, 0)
    with pytest.raises(Fenced):
        fenced_out.raise_if_stopping()


def test_fenced_attempt_cannot_succeed(fenced_out):
    with pytest.raises(Fenced), fenced_out.fenced():
        fenced_out.succeed()


def test_heartbeat_of_a_fenced_attempt_finds_nothing(fenced_out):
    assert fenced_out.beat() is None
    assert fenced_out.look() is None


def test_heartbeat_renews_the_lease(running, age_heartbeat):
    age_heartbeat(running, 50)
    before = JobAttempt.objects.get(pk=running.attempt_id).heartbeat_at

    assert running.beat().cancelling is False
    assert JobAttempt.objects.get(pk=running.attempt_id).heartbeat_at > before


def test_results_and_success_commit_together(running):
    with pytest.raises(RuntimeError, match="after the result"), running.fenced():
        running.event(EventKind.RESUMED, step=3)
        running.succeed("Done.")
        raise RuntimeError("after the result")

    job = Job.objects.get(pk=running.job_id)
    assert job.status == "running"
    assert not job.events.filter(kind=EventKind.RESUMED).exists()


def test_success_takes_the_last_log_lines_along(running):
    running.log("last words")
    with running.fenced():
        running.succeed()

    job = Job.objects.get(pk=running.job_id)
    assert job.message.startswith("Finished in ")
    assert job.log_lines.get().text == "last words"


@pytest.mark.django_db(transaction=True)
def test_success_outside_a_transaction_is_a_mistake(make_job, start, published):
    attempt = start(make_job())

    with pytest.raises(RuntimeError, match="fenced"):
        attempt.succeed()


def test_checkpoint_is_noted_on_attempt_and_events(running):
    with running.fenced():
        running.record_checkpoint(100, fold=1)

    assert JobAttempt.objects.get(pk=running.attempt_id).checkpoint_step == 100
    event = Job.objects.get(pk=running.job_id).events.get(kind=EventKind.CHECKPOINT)
    assert event.data == {"step": 100, "fold": 1}


def test_what_the_work_tells_is_written_with_its_progress(running):
    running.tell(left_s=None, memory_mib=300)
    running.tell(left_s=12.5)
    running.progress(0.3)
    running.flush()

    told = JobAttempt.objects.get(pk=running.attempt_id).told
    assert told == {"left_s": 12.5, "memory_mib": 300}


def test_stop_is_raised_between_steps(running):
    running.raise_if_stopping()
    running.request_stop(StopReason.CANCEL)
    running.request_stop(StopReason.DRAIN)

    assert running.stop_requested
    assert running.stop_reason == StopReason.CANCEL
    with pytest.raises(StopRequested):
        running.raise_if_stopping()


def test_log_keeps_its_beginning_and_its_end(running):
    total = KEPT_FIRST + KEPT_LAST + 300
    rows = [log_row(running.job_id, running.attempt_id, f"line {n}", "info") for n in range(total)]
    write_log_lines(rows[:5200])
    write_log_lines(rows[5200:])

    numbers = list(JobLogLine.objects.filter(job=running.job_id).values_list("number", flat=True))
    assert len(numbers) == KEPT_FIRST + KEPT_LAST
    assert numbers[:KEPT_FIRST] == list(range(1, KEPT_FIRST + 1))
    assert numbers[KEPT_FIRST:] == list(range(total - KEPT_LAST + 1, total + 1))


def test_lines_of_a_commit_in_doubt_are_written_once(running):
    rows = [log_row(running.job_id, running.attempt_id, f"line {n}", "info") for n in range(3)]
    write_log_lines(rows[:2])
    write_log_lines(rows[:2])
    write_log_lines(rows)

    lines = JobLogLine.objects.filter(job=running.job_id).values_list("number", "text")
    assert list(lines) == [(1, "line 0"), (2, "line 1"), (3, "line 2")]


def test_equal_texts_are_two_lines(running):
    for _ in range(2):
        running.log("again")
    running.flush()

    assert JobLogLine.objects.filter(job=running.job_id, text="again").count() == 2


def test_lines_dropped_from_the_middle_do_not_come_back(running):
    total = KEPT_FIRST + KEPT_LAST + 10
    rows = [log_row(running.job_id, running.attempt_id, f"line {n}", "info") for n in range(total)]
    write_log_lines(rows)
    write_log_lines(rows)

    lines = JobLogLine.objects.filter(job=running.job_id)
    assert lines.count() == KEPT_FIRST + KEPT_LAST
    assert lines.order_by("-number").first().number == total


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain ü 你", "plain ü 你"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("\ud800", "\\ud800"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert escape_controls(text) == shown


def test_long_lines_are_cut(running):
    running.log("x" * 5000)
    running.flush()

    assert len(JobLogLine.objects.get(job=running.job_id).text) == 2000


def note_rows(rows):
    _written.extend(rows)


_written: list = []


def refuse_rows(rows):
    raise OperationalError("away")


def test_spool_keeps_rows_until_they_are_forgotten():
    spool = Spool()
    spool.add(note_rows, {"step": 1})
    groups, size = spool.waiting()
    spool.add(note_rows, {"step": 2})
    spool.forget(size)

    assert groups == [(note_rows, [{"step": 1}])]
    assert spool.waiting()[0] == [(note_rows, [{"step": 2}])]


def test_spool_has_a_limit():
    spool = Spool(max_bytes=100)
    with pytest.raises(SpoolFull):
        for step in range(10):
            spool.add(note_rows, {"step": step, "value": 0.125})
    assert 0 < len(spool) <= 100


def test_spool_survives_the_way_to_disk():
    spool = Spool()
    for step in range(30_000):
        spool.add(note_rows, {"step": step, "name": "loss", "value": 0.5})

    groups, size = spool.waiting()
    assert size > 1024 * 1024
    assert [row["step"] for row in groups[0][1]] == list(range(30_000))


def test_rows_wait_while_the_database_is_away(running, monkeypatch):
    away = threading.Event()
    away.set()
    real = RunningAttempt.fenced

    def fenced(attempt):
        if away.is_set():
            raise OperationalError("server closed the connection")
        return real(attempt)

    monkeypatch.setattr(RunningAttempt, "fenced", fenced)
    monkeypatch.setattr("jobs.attempts.drop_connection", lambda: None)
    running.log("kept")
    running.progress(0.5)
    running.flush_patiently()
    assert not running.stop_requested

    away.clear()
    running.flush_patiently()
    assert JobLogLine.objects.get(job=running.job_id).text == "kept"
    assert Job.objects.get(pk=running.job_id).progress == 0.5


def test_work_stops_when_the_database_stays_away(running, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("jobs.attempts.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(running, "flush", lambda: refuse_rows([]))
    monkeypatch.setattr("jobs.attempts.drop_connection", lambda: None)

    running.flush_patiently()
    clock[0] += DATABASE_PATIENCE_S + 1
    running.flush_patiently()

    assert running.stop_reason == StopReason.DATABASE_AWAY


def test_write_is_repeated_until_the_database_answers(running, monkeypatch):
    monkeypatch.setattr("jobs.attempts.time.sleep", lambda _: None)
    monkeypatch.setattr("jobs.attempts.drop_connection", lambda: None)
    calls = []

    def body():
        calls.append(1)
        if len(calls) < 3:
            raise OperationalError("away")
        return "written"

    assert running.write(body) == "written"
    assert len(calls) == 3


@pytest.mark.django_db(transaction=True)
def test_heartbeat_passes_a_long_write(make_job, start, published):
    attempt = start(make_job())
    beats = []

    def beat():
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            beats.append(attempt.beat())
        finally:
            connection.close()

    with attempt.fenced():
        Job.objects.filter(pk=attempt.job_id).values_list(Now()).get()
        thread = threading.Thread(target=beat)
        thread.start()
        thread.join()

    assert beats[0] is not None


@pytest.mark.django_db(transaction=True)
def test_closing_waits_for_a_write_under_the_lease(make_job, start, published):
    attempt = start(make_job())
    order = []

    def close():
        try:
            attempt.end(Exit(ExitKind.LOST))
            order.append("closed")
        finally:
            connection.close()

    with attempt.fenced():
        thread = threading.Thread(target=close)
        thread.start()
        thread.join(timeout=0.3)
        order.append("written")
    thread.join()

    assert order == ["written", "closed"]
