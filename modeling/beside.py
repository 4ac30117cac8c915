"""The processes beside a trainer's leader: they train what it gives them, and know no rows or files."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import jobs.errors
from jobs.trainer import Place
from modeling.failures import out_of_memory, too_few_devices
from modeling.training.assignment import Assignment
from modeling.training.errors import OutOfMemory, PeerLost, Stopped, TooFewDevices
from modeling.training.following import fit_beside
from modeling.training.machine import set_threads
from modeling.training.ranks import ALONE, Ranks, join


def meet(place: Place) -> Ranks:
    """Join the processes of this attempt. Raises JobFailed when there are fewer GPUs than processes."""
    if place.processes == 1:
        return ALONE
    try:
        return join(rank=place.rank, local_rank=place.local_rank, count=place.processes)
    except TooFewDevices as error:
        raise too_few_devices(error) from error


def follow(ranks: Ranks) -> None:
    """Train beside the leader until it needs no more; the leader decides when all stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while (given := ranks.receive()) is not None:
        try:
            _train(Assignment.unpacked(*given, ranks.device), ranks)
        except Stopped:
            return


@contextmanager
def loss_told() -> Iterator[None]:
    """Another process that is gone ends this one as killed: the job is tried again."""
    try:
        yield
    except PeerLost as error:
        raise jobs.errors.PeerLost(str(error)) from error


def _train(assignment: Assignment, ranks: Ranks) -> None:
    set_threads(assignment.threads)
    try:
        fit_beside(
            assignment.spec,
            assignment.task,
            provenance=assignment.provenance,
            ranks=ranks,
            resume=assignment.resume,
            compiler=assignment.compiler,
        )
    except OutOfMemory as error:
        raise out_of_memory(error, steps_before=assignment.steps_before) from error
