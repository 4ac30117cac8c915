"""The processes that train one network together: rank 0 leads, the others follow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from modeling.training.errors import PeerLost, TooFewDevices

# A leader that is gone is noticed by its closed connection, so patience with a busy one is free.
PATIENCE = timedelta(days=7)
GO_ON, STOP = 0.0, 1.0

Array = NDArray[Any]  # Any: arrays of any type
Json = dict[str, Any]  # Any: JSON has no narrower type


@dataclass(frozen=True)
class Share:
    """The bars [b] of a global batch that one process computes, and their part of all its samples."""

    bars: Tensor
    part: float


class Ranks:
    """One process alone: it computes every sample and has nobody to tell."""

    rank = 0
    count = 1

    @property
    def device(self) -> torch.device:
        """Where this process computes: its GPU, or the processor where there is none."""
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")

    @property
    def is_leader(self) -> bool:
        """Whether this process scores, logs, writes and decides."""
        return self.rank == 0

    def share(self, bars: Tensor) -> Share:
        """What this process computes of the global batch [B]."""
        return Share(bars, 1.0)

    def synchronised(self, module: nn.Module) -> nn.Module:
        """The module, its gradients being the mean over all processes."""
        return module

    def weighted(self, loss: Tensor, part: float) -> Tensor:
        """The loss [] whose gradients, as a mean over the processes, are those of the whole batch."""
        return loss

    def mean(self, values: Tensor, part: float) -> Tensor:
        """Means over the whole batch [n] from the means over each process's samples; in all of them."""
        return values

    def tell(self, value: float) -> float:
        """Give a number of the leader to the followers; returns it."""
        return value

    def tell_stop(self) -> None:
        """Let every follower's next look for a number say that training stops."""

    def send(self, state: Json, arrays: Mapping[str, Array]) -> None:
        """Give JSON data and arrays to the followers, for their next `receive`."""

    def dismiss(self) -> None:
        """Let the followers end: there is nothing more to train."""

    def told(self) -> float | None:
        """Wait, as a follower, for the leader's next number; None when training stops."""
        return None

    def receive(self) -> tuple[Json, dict[str, Array]] | None:
        """Wait, as a follower, for what the leader sends; None when there is nothing more to train."""
        return None

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Within it, a process that is gone raises PeerLost in the others."""
        yield


ALONE = Ranks()


class SeveralRanks(Ranks):
    """One of several processes on one machine, each with a device of its own."""

    def __init__(self, rank: int, count: int) -> None:
        self.rank = rank
        self.count = count
        self._control = distributed.new_group(backend="gloo", timeout=PATIENCE)

    def share(self, bars: Tensor) -> Share:
        """Every n-th bar, beginning with the rank-th. Where none is left one bar counts for nothing:
        all processes must take part in each step.
        """
        own = bars[self.rank :: self.count]
        if not len(own):
            return Share(bars[:1], 0.0)
        return Share(own, len(own) / len(bars))

    def synchronised(self, module: nn.Module) -> nn.Module:
        """The module within DistributedDataParallel; the leader's weights go to all."""
        return DistributedDataParallel(module, static_graph=True)

    def weighted(self, loss: Tensor, part: float) -> Tensor:
        """loss · n_r·W/N for W processes, n_r of the N samples being here."""
        return loss * (part * self.count)

    def mean(self, values: Tensor, part: float) -> Tensor:
        """Σ over processes of n_r/N · values [n]; does not wait for a GPU."""
        summed = values * part
        distributed.all_reduce(summed)
        return summed

    def tell(self, value: float) -> float:
        """Give a number of the leader to the followers; returns it."""
        self._broadcast(torch.tensor([GO_ON, value], dtype=torch.float64))
        return value

    def tell_stop(self) -> None:
        """Let every follower's next look for a number say that training stops."""
        self._broadcast(torch.tensor([STOP, 0.0], dtype=torch.float64))

    def told(self) -> float | None:
        """Wait, as a follower, for the leader's next number; None when training stops."""
        message = torch.zeros(2, dtype=torch.float64)
        self._broadcast(message)
        order, value = message.tolist()
        return None if order == STOP else value

    def send(self, state: Json, arrays: Mapping[str, Array]) -> None:
        """Give JSON data and arrays to the followers, for their next `receive`."""
        self._send(json.dumps(state).encode())
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._send(save(contiguous))

    def dismiss(self) -> None:
        """Let the followers end: there is nothing more to train."""
        self._send(b"")
        distributed.destroy_process_group()

    def receive(self) -> tuple[Json, dict[str, Array]] | None:
        """Wait, as a follower, for what the leader sends; None when there is nothing more to train."""
        text = self._received()
        if not text:
            distributed.destroy_process_group()
            return None
        return json.loads(text), load(self._received())

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Within it, a process that is gone raises PeerLost in the others."""
        with _noticing_loss():
            yield

    def _send(self, content: bytes) -> None:
        self._broadcast(torch.tensor([len(content)]))
        if content:
            self._broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def _received(self) -> bytes:
        size = torch.zeros(1, dtype=torch.int64)
        self._broadcast(size)
        content = torch.empty(int(size), dtype=torch.uint8)
        if len(content):
            self._broadcast(content)
        return content.numpy().tobytes()

    def _broadcast(self, tensor: Tensor) -> None:
        with self.noticing_loss():
            distributed.broadcast(tensor, src=0, group=self._control)


def join(*, rank: int, local_rank: int, count: int) -> SeveralRanks:
    """Meet the other processes that torchrun started; waits until all are there.

    With GPUs the process takes the one of its local number, without any all compute on the processor.
    Raises TooFewDevices when there are some GPUs but fewer than processes; PeerLost.
    """
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        if torch.cuda.device_count() < count:
            raise TooFewDevices(torch.cuda.device_count(), count)
        torch.cuda.set_device(local_rank)
    with _noticing_loss():
        distributed.init_process_group("nccl" if on_gpu else "gloo")
        return SeveralRanks(rank, count)


@contextmanager
def _noticing_loss() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not _is_of_the_group(error):
            raise
        raise PeerLost(str(error)) from error


def _is_of_the_group(error: RuntimeError) -> bool:
    """Whether another process caused it: gloo raises a plain RuntimeError that names it."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()
