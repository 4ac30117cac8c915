"""Becomes torchrun, which starts one trainer for each device: `python -m jobs.torchrun N MODULE ATTEMPT`.

The process stays the same through that: it keeps its parent-death signal and the channel on which
trainers say how they end. Torchrun hands no open files to its children, so they get it by its path.
"""

from __future__ import annotations

import json
import os
import sys

from jobs.trainer import LEASE_VARIABLE, HandedOver, die_with_parent, handed_over


def command(processes: int, module: str, attempt_id: str) -> list[str]:
    """The program that starts so many trainers on this machine, keeping no files of its own."""
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, "-m", *torchrun, "--log-dir=/dev/null", "-m", module, attempt_id]


def threads_of_each(processes: int) -> str:
    """Torchrun would give each one thread, also to the libraries that only the leader uses."""
    return str(max(1, (os.cpu_count() or 1) // processes))


def lease_for_children() -> HandedOver:
    """What the trainers get: this process is their parent."""
    lease = handed_over()
    here = os.getpid()
    channel = lease["report"].replace("/dev/fd/", f"/proc/{here}/fd/")
    return {**lease, "parent_pid": here, "report": channel}


if __name__ == "__main__":
    die_with_parent()
    os.environ[LEASE_VARIABLE] = json.dumps(lease_for_children())
    processes = int(sys.argv[1])
    os.environ.setdefault("OMP_NUM_THREADS", threads_of_each(processes))
    arguments = command(processes, *sys.argv[2:])
    os.execv(arguments[0], arguments)
