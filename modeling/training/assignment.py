"""What a leader gives its followers, as JSON data and arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from modeling.specs import ModelSpec
from modeling.training.checkpoint import Checkpoint, Provenance
from modeling.training.fit import FoldTask
from modeling.training.resident import ResidentWindows, ScaledBars
from modeling.windows.targets import Labels, TargetScale

WHOLE_ARRAYS = ("close_time_ns", "log_volatility_z")

Array = NDArray[Any]  # Any: arrays of any type
Json = dict[str, Any]  # Any: JSON has no narrower type


@dataclass(frozen=True)
class Assignment:
    """One fold to train beside the leader; `steps_before` are those of the folds before it, for
    messages, `compiler` and `threads` the leader's.
    """

    spec: ModelSpec
    task: FoldTask
    provenance: Provenance
    resume: Checkpoint | None
    steps_before: int
    compiler: str | None = None
    threads: int = field(default_factory=torch.get_num_threads)

    def packed(self) -> tuple[Json, dict[str, Array]]:
        """Plain JSON data and arrays; `unpacked` gives an equal assignment, without the notes."""
        task, bars = self.task, self.task.resident.source
        state: Json = {
            "spec": self.spec.to_json(),
            "number": task.number,
            "scale": task.scale.to_json(),
            "bar_ns": bars.bar_ns,
            "provenance": self.provenance.to_json(),
            "steps_before": self.steps_before,
            "compiler": self.compiler,
            "threads": self.threads,
        }
        arrays: dict[str, Array] = {
            "fit_bars": task.fit_bars,
            "validation_bars": task.validation_bars,
            **{name: getattr(bars, name) for name in WHOLE_ARRAYS},
            **{f"scaled/{k}": rows for k, rows in bars.scaled.items()},
            **{f"last_closed/{k}": rows for k, rows in bars.last_closed.items()},
            **{f"starts/{k}": rows for k, rows in bars.starts.items()},
            **{f"labels/{name}": getattr(task.labels, name) for name in _names(Labels)},
        }
        if self.resume is not None:
            state["resume"] = {"step": self.resume.step, "state": self.resume.state}
            arrays |= {f"resume/{name}": array for name, array in self.resume.arrays.items()}
        return state, arrays

    @classmethod
    def unpacked(cls, state: Json, arrays: Mapping[str, Array], device: torch.device) -> Self:
        """The assignment that `packed` gave, its windows on a device."""
        spec = ModelSpec.parse(state["spec"])
        task = FoldTask(
            number=state["number"],
            resident=ResidentWindows(
                _scaled_bars(state, arrays),
                context_bars=spec.windows.context_bars,
                patch_bars=spec.network.patch_bars,
                device=device,
            ),
            labels=Labels(**_under("labels", arrays)),
            scale=TargetScale.from_json(state["scale"]),
            fit_bars=arrays["fit_bars"],
            validation_bars=arrays["validation_bars"],
        )
        return cls(
            spec=spec,
            task=task,
            provenance=Provenance(**state["provenance"]),
            resume=_checkpoint(state, arrays),
            steps_before=state["steps_before"],
            compiler=state["compiler"],
            threads=state["threads"],
        )


def _scaled_bars(state: Json, arrays: Mapping[str, Array]) -> ScaledBars:
    return ScaledBars(
        scaled={int(k): rows for k, rows in _under("scaled", arrays).items()},
        last_closed={int(k): rows for k, rows in _under("last_closed", arrays).items()},
        bar_ns=state["bar_ns"],
        close_time_ns=arrays["close_time_ns"],
        log_volatility_z=arrays["log_volatility_z"],
        starts={int(k): rows for k, rows in _under("starts", arrays).items()},
    )


def _checkpoint(state: Json, arrays: Mapping[str, Array]) -> Checkpoint | None:
    if "resume" not in state:
        return None
    return Checkpoint(fold=state["number"], arrays=_under("resume", arrays), **state["resume"])


def _under(folder: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    prefix = f"{folder}/"
    # what came over the wire cannot be written to, and torch shares memory with its arrays
    return {
        name.removeprefix(prefix): np.array(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _names(declared: type[Labels]) -> list[str]:
    return [each.name for each in dataclasses.fields(declared)]
