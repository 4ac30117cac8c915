"""Processes that train together give what one process gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeling.training.fit import fit
from modeling.training.ranks import ALONE, SeveralRanks
from tests.modeling.training.markets import PROVENANCE, Recorder, fold_task
from tests.modeling.training.together import model_of

ROOT = Path(__file__).resolve().parents[3]


def together(folder: Path, ranks: int = 2, **asked: object) -> list[dict[str, Any]]:
    """What each of several processes on this machine told, the leader first."""
    folder.mkdir(exist_ok=True)
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    module = ["-m", "tests.modeling.training.together", str(folder), json.dumps(asked)]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, "--log-dir=/dev/null", *module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,  # compiling on a busy machine
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"told-{rank}.json").read_text()) for rank in range(ranks)]


def alone(**asked: Any) -> Recorder:
    torch.set_num_threads(1)
    recorder, task = Recorder(), fold_task(fit_samples=asked["fit_samples"])
    fit(model_of(asked), task, provenance=PROVENANCE, observer=recorder)
    return recorder


def member(rank: int, count: int) -> SeveralRanks:
    """A process that has met no other."""
    ranks = SeveralRanks.__new__(SeveralRanks)
    ranks.rank, ranks.count = rank, count
    return ranks


def test_each_bar_of_a_batch_is_computed_by_one_process() -> None:
    bars = torch.arange(11)
    shares = [member(rank, 4).share(bars) for rank in range(4)]
    assert torch.cat([share.bars for share in shares]).sort().values.tolist() == bars.tolist()
    assert sum(share.part for share in shares) == pytest.approx(1)
    assert [len(share.bars) for share in shares] == [3, 3, 3, 2]


def test_process_without_a_bar_takes_part_with_nothing() -> None:
    shares = [member(rank, 3).share(torch.tensor([7])) for rank in range(3)]
    assert [share.part for share in shares] == [1.0, 0.0, 0.0]
    assert [share.bars.tolist() for share in shares] == [[7], [7], [7]]


def test_one_process_computes_and_weighs_everything() -> None:
    share = ALONE.share(torch.arange(5))
    assert share.bars.tolist() == [0, 1, 2, 3, 4]
    loss = torch.tensor(3.0)
    assert ALONE.weighted(loss, share.part) is loss


@pytest.mark.slow
def test_two_processes_follow_the_loss_curve_of_one(tmp_path: Path) -> None:
    # 199 samples in batches of 33: 17 here and 16 there, and one process has none of the last batch
    asked: dict[str, Any] = {"dropout": 0.0, "fit_samples": 199, "batch": 33}
    recorder = alone(**asked)
    leader, follower = together(tmp_path, **asked)
    expected = [step.loss for step in recorder.steps]
    assert len(leader["losses"]) == len(expected) == 21
    np.testing.assert_allclose(leader["losses"], expected, atol=1e-4)
    norms = [step.gradient_norm for step in recorder.steps]
    np.testing.assert_allclose(leader["norms"], norms, rtol=1e-3)
    balance = [list(step.balance.values()) for step in recorder.steps]
    np.testing.assert_allclose(leader["balance"], balance, atol=1e-4)
    assert leader["saved"] == recorder.saved_steps
    assert follower == {}


@pytest.mark.slow
def test_two_processes_whose_steps_are_compiled_follow_the_same_curve(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"dropout": 0.0, "fit_samples": 199, "batch": 33}
    leader, follower = together(tmp_path, compiler="aot_eager", **asked)
    assert leader["notes"] == []
    assert leader["graphs"] == follower["graphs"] == 1
    expected = [step.loss for step in alone(**asked).steps]
    np.testing.assert_allclose(leader["losses"], expected, atol=1e-4)


@pytest.mark.slow
def test_two_processes_that_stopped_go_on_bitwise_the_same(tmp_path: Path) -> None:
    whole, _ = together(tmp_path / "whole", checkpoint_steps=4)
    first, told = together(tmp_path / "parts", checkpoint_steps=4, stop_at=9)
    assert first["end"] == told["end"] == "Stopped"
    rest, _ = together(tmp_path / "parts", checkpoint_steps=4)
    assert first["losses"] + rest["losses"] == whole["losses"]
    assert rest["weights"] == whole["weights"]


@pytest.mark.slow
def test_memory_that_ends_in_one_process_ends_the_others(tmp_path: Path) -> None:
    leader, follower = together(tmp_path, fails_at=5)
    assert follower["end"] == "OutOfMemory"
    assert leader["end"] == "PeerLost"
