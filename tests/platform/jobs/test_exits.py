from __future__ import annotations

import errno
import string

import pytest
from django.db import OperationalError

from artifacts.store import FileChanged, QuotaExceeded
from jobs.errors import Fenced, JobFailed, StopRequested
from jobs.exits import (
    KIND_OF,
    PATTERNS,
    Exit,
    JobFacts,
    exit_from_json,
    exit_of,
    failed,
    outcome_of,
)
from jobs.statuses import FAILURES, ExitKind, JobStatus
from specs.declaration import InvalidSpec


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    "error, kind",
    [
        (JobFailed("diverged", "…"), ExitKind.DIVERGED),
        (JobFailed("invalid_spec", "…"), ExitKind.CONFIG),
        (JobFailed("ohlc_violation", "…"), ExitKind.INVALID_INPUT),
        (InvalidSpec({"heads": "7 does not divide 64"}), ExitKind.CONFIG),
        (FileChanged("candles.parquet is gone"), ExitKind.DATA_CHANGED),
        (QuotaExceeded("The workspace stores 20 GiB"), ExitKind.INVALID_INPUT),
        (OSError(errno.ENOSPC, "No space left on device"), ExitKind.DISK_FULL),
        (OSError(errno.EFBIG, "File too large"), ExitKind.DISK_FULL),
        (OSError(errno.EDQUOT, "Quota exceeded"), ExitKind.DISK_FULL),
        (MemoryError(), ExitKind.OOM),
        (OutOfMemoryError("CUDA out of memory"), ExitKind.OOM),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ExitKind.OOM),
        (RuntimeError("std::bad_alloc"), ExitKind.OOM),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ExitKind.OOM),
        (OperationalError("server closed the connection"), ExitKind.LOST),
        (StopRequested(), ExitKind.PREEMPTED),
        (Fenced(), ExitKind.FENCED),
        (OSError(errno.EACCES, "Permission denied"), ExitKind.CRASHED),
        (ZeroDivisionError(), ExitKind.CRASHED),
    ],
)
def test_errors_are_told_apart(error, kind):
    assert exit_of(error).kind == kind


def test_code_and_message_of_a_failure_reach_the_job():
    outcome = outcome_of(
        exit_of(JobFailed("ohlc_violation", "Line 7: high < low")),
        JobFacts(JobStatus.RUNNING, 0, 3),
    )

    assert (outcome.status, outcome.code) == (JobStatus.FAILED, "ohlc_violation")
    assert outcome.message == "Line 7: high < low"


def test_full_storage_of_a_workspace_fails_the_job_with_the_words_of_the_refusal():
    text = "The workspace stores 20.0 GiB of 20 GiB. Delete what is no longer used."
    outcome = outcome_of(exit_of(QuotaExceeded(text)), JobFacts(JobStatus.RUNNING, 0, 3))

    assert (outcome.status, outcome.code) == (JobStatus.FAILED, "quota_stored")
    assert outcome.message == text


@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_every_failure_has_a_code_of_its_own_and_fills_its_message(kind):
    fields = [name for _, name, _, _ in string.Formatter().parse(PATTERNS[kind]) if name]
    error = failed(kind, **dict.fromkeys(fields, 1))

    assert KIND_OF[error.code] == kind
    assert "{" not in error.message


@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_failure_without_words_still_says_something(kind):
    assert outcome_of(Exit(kind), JobFacts(JobStatus.RUNNING, 0, 3)).message


def test_failure_is_never_tried_again():
    for kind in FAILURES:
        assert outcome_of(Exit(kind), JobFacts(JobStatus.RUNNING, 0, 3)).status == JobStatus.FAILED


def test_second_try_starts_at_once_and_third_after_30_s():
    delays = [
        outcome_of(Exit(ExitKind.LOST), JobFacts(JobStatus.RUNNING, tries, 3)).delay_s
        for tries in (0, 1)
    ]
    assert delays == [0, 30]


def test_stalled_message_tells_the_minutes():
    outcome = outcome_of(Exit(ExitKind.STALLED), JobFacts(JobStatus.RUNNING, 0, 3, seconds=610))

    assert outcome.message == "No progress for 10 min; starting again (try 2 of 3)."


def test_report_of_a_trainer_is_read_with_care():
    assert exit_from_json({"kind": "oom", "code": "oom", "step": 3}).step == 3
    assert exit_from_json({"kind": "unheard", "step": "x"}) == Exit(ExitKind.CRASHED)
