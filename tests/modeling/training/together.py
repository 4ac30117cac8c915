"""One process of several that train a small fold together; started by torchrun.

The first argument is a folder for the leader's checkpoints and its `told.json`, the second is JSON:
fields of TrainingSpec, `dropout`, `fit_samples`, `stop_at`, `fails_at` (the follower's memory ends),
`compiler`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from jobs.trainer import leave
from modeling.specs import ModelSpec
from modeling.training.errors import OutOfMemory, PeerLost, Stopped
from modeling.training.fit import fit
from modeling.training.following import fit_beside
from modeling.training.ranks import join
from modeling.training.resident import ResidentWindows
from modeling.training.weights import save_weights
from tests.modeling.training.markets import (
    PROVENANCE,
    Recorder,
    fold_task,
    newest_in,
    small_model,
)

OURS = ("dropout", "fit_samples", "stop_at", "fails_at", "compiler")


def model_of(asked: dict[str, Any]) -> ModelSpec:
    fields = {name: value for name, value in asked.items() if name not in OURS}
    spec = small_model(**fields)
    network = spec.network.model_copy(update={"dropout": asked.get("dropout", 0.1)})
    return spec.model_copy(update={"network": network})


def main(folder: Path, asked: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    ranks = join(rank=rank, local_rank=rank, count=count)
    spec, task = model_of(asked), fold_task(fit_samples=asked.get("fit_samples", 200))
    resume, compiler = newest_in(folder), asked.get("compiler")
    told: dict[str, object] = {}
    if not ranks.is_leader:
        if "fails_at" in asked:
            starve(task.resident, asked["fails_at"])
        try:
            fit_beside(
                spec, task, provenance=PROVENANCE, ranks=ranks, resume=resume, compiler=compiler
            )
        except (Stopped, OutOfMemory, PeerLost) as error:
            told["end"] = type(error).__name__
    else:
        recorder = Recorder(folder, stop_at=asked.get("stop_at"))
        try:
            fitted = fit(
                spec,
                task,
                provenance=PROVENANCE,
                observer=recorder,
                resume=resume,
                ranks=ranks,
                compiler=compiler,
            )
            told["notes"] = fitted.notes
            weights = fitted.network.state_dict()
            told["weights"] = save_weights(folder / "weights", weights, PROVENANCE.spec_sha256)
            told["best"] = fitted.best_ratio
        except (Stopped, OutOfMemory, PeerLost) as error:
            told["end"] = type(error).__name__
        told["losses"] = [step.loss for step in recorder.steps]
        told["norms"] = [step.gradient_norm for step in recorder.steps]
        told["balance"] = [list(step.balance.values()) for step in recorder.steps]
        told["saved"] = recorder.saved_steps
    if compiler:
        told["graphs"] = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    (folder / f"told-{rank}.json").write_text(json.dumps(told))
    if "end" not in told:
        ranks.dismiss() if ranks.is_leader else ranks.receive()


def starve(resident: ResidentWindows, fails_at: object) -> None:
    cut, made = resident.batch, []

    def batch(bars: torch.Tensor) -> object:
        made.append(bars)
        if len(made) == fails_at:
            raise torch.OutOfMemoryError("Tried to allocate 2.50 GiB (planted by a test)")
        return cut(bars)

    resident.batch = batch  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    leave(0)  # as a trainer does: torch's threads do not always let an interpreter end by itself
