from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save

from modeling.training.assignment import Assignment
from modeling.training.fit import fit
from tests.modeling.training.markets import (
    PROVENANCE,
    Recorder,
    fold_task,
    newest_in,
    small_model,
)


def over_the_wire(assignment: Assignment) -> Assignment:
    state, arrays = assignment.packed()
    sent = load(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    return Assignment.unpacked(json.loads(json.dumps(state)), sent, torch.device("cpu"))


def test_follower_sees_the_windows_and_labels_of_its_leader() -> None:
    task = fold_task()
    found = over_the_wire(Assignment(small_model(), task, PROVENANCE, None, 17)).task
    bars = torch.from_numpy(task.fit_bars)
    ours, theirs = task.resident.batch(bars), found.resident.batch(bars)
    assert torch.equal(theirs.base, ours.base)
    assert all(torch.equal(theirs.coarse[k], ours.coarse[k]) for k in (3, 6))
    assert torch.equal(theirs.slot, ours.slot)
    for field in dataclasses.fields(task.labels):
        expected, other = (getattr(each, field.name) for each in (task.labels, found.labels))
        assert expected.dtype == other.dtype and np.array_equal(expected, other, equal_nan=True)
    assert np.array_equal(found.fit_bars, task.fit_bars)
    assert found.scale == task.scale


def test_follower_knows_spec_seed_threads_and_steps_before(tmp_path: Path) -> None:
    fit(small_model(epochs=1), fold_task(), provenance=PROVENANCE, observer=Recorder(tmp_path))
    saved = newest_in(tmp_path)
    ours = Assignment(small_model(), fold_task(), PROVENANCE, saved, steps_before=17, threads=3)
    assert over_the_wire(ours).compiler is None
    assert over_the_wire(dataclasses.replace(ours, compiler="inductor")).compiler == "inductor"
    found = over_the_wire(ours)
    assert (found.spec, found.steps_before, found.threads) == (ours.spec, 17, 3)
    assert found.provenance.fits(PROVENANCE.to_json())
    assert saved is not None and found.resume is not None
    assert (found.resume.fold, found.resume.step) == (saved.fold, saved.step)
    assert found.resume.arrays.keys() == saved.arrays.keys()
    assert found.resume.state == saved.state


def test_training_that_begins_has_no_checkpoint() -> None:
    assert over_the_wire(Assignment(small_model(), fold_task(), PROVENANCE, None, 0)).resume is None
