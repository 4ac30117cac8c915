from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling.network.transformer import build_network
from modeling.training.errors import CheckpointRejected, Diverged, OutOfMemory, Stopped
from modeling.training.fit import FittedFold, fit, steps_in_all
from modeling.training.losses import LossBalance, ResidentLabels, head_losses
from modeling.training.optimizer import FoldOptimizer, decayed_names
from modeling.training.scoring import constant_losses
from modeling.training.weights import save_weights
from tests.modeling.training.markets import (
    PROVENANCE,
    Recorder,
    bars_of_noise,
    fold_task,
    labels_of,
    newest_in,
    small_model,
)


def digest(fitted: FittedFold) -> str:
    with tempfile.TemporaryDirectory() as folder:
        weights = fitted.network.state_dict()
        return save_weights(Path(folder) / "weights", weights, PROVENANCE.spec_sha256)


def trained(observer: Recorder, **training: object) -> FittedFold:
    return fit(small_model(**training), fold_task(), provenance=PROVENANCE, observer=observer)


def stopped_and_resumed(folder: Path, *stops: int, **training: object) -> FittedFold:
    for stop in stops:
        with pytest.raises(Stopped) as stopped:
            resumed(folder, Recorder(folder, stop_at=stop), **training)
        assert stopped.value.step == stop
    return resumed(folder, Recorder(folder), **training)


def resumed(folder: Path, observer: Recorder, **training: object) -> FittedFold:
    torch.manual_seed(99)
    return fit(
        small_model(**training),
        fold_task(),
        provenance=PROVENANCE,
        observer=observer,
        resume=newest_in(folder),
    )


def test_learns_labels_that_follow_from_the_window() -> None:
    recorder = Recorder()
    fitted = trained(recorder, epochs=12, patience=12)
    assert recorder.epochs[-1].ratio < recorder.epochs[0].ratio < 1
    assert fitted.best_ratio < 0.8
    assert set(fitted.history[0].ratios) == {"action", "market_regime", "volatility", "risk"}


def test_same_seed_gives_the_same_weights() -> None:
    first, second = Recorder(), Recorder()
    assert digest(trained(first)) == digest(trained(second))
    assert [step.loss for step in first.steps] == [step.loss for step in second.steps]


def test_another_seed_gives_other_weights() -> None:
    other = dataclasses.replace(PROVENANCE, seed=4)
    fitted = fit(small_model(), fold_task(), provenance=other, observer=Recorder())
    assert digest(fitted) != digest(trained(Recorder()))


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(Recorder(), epochs=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("stops", [(7,), (3, 10, 19), (1, 2, 14)])
def test_stopped_and_resumed_training_is_bitwise_the_same(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    undisturbed = Recorder()
    expected = trained(undisturbed, checkpoint_steps=4)
    found = stopped_and_resumed(tmp_path, *stops, checkpoint_steps=4)
    assert digest(found) == digest(expected)
    assert found.history == expected.history
    assert found.steps == expected.steps


def test_resumed_training_repeats_no_step(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        resumed(tmp_path, Recorder(tmp_path, stop_at=5))
    recorder = Recorder(tmp_path)
    resumed(tmp_path, recorder)
    assert [step.step for step in recorder.steps] == list(range(6, 22))


class Killed(Exception):
    pass


class DiesAtStep(Recorder):
    """Training that is cut off in the midst of a step, without a last checkpoint."""

    def __init__(self, folder: Path, dies_at: int) -> None:
        super().__init__(folder)
        self.dies_at = dies_at

    def before_step(self, step: int) -> float:
        if step == self.dies_at:
            raise Killed
        return 1.0


def test_killed_training_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        resumed(tmp_path, DiesAtStep(tmp_path, 11), checkpoint_steps=4)
    recorder = Recorder(tmp_path)
    found = resumed(tmp_path, recorder, checkpoint_steps=4)
    assert recorder.steps[0].step == 8  # the epoch of 7 steps ended with a checkpoint
    assert digest(found) == digest(trained(Recorder(), checkpoint_steps=4))


@pytest.mark.parametrize("seed", [0, 1])
def test_training_killed_at_three_random_steps_is_bitwise_the_same(
    tmp_path: Path, seed: int
) -> None:
    every = 4
    expected = trained(Recorder(), checkpoint_steps=every)
    drawn = np.random.default_rng(seed).choice(np.arange(2, expected.steps), 3, replace=False)
    for step in np.sort(drawn).tolist():
        with pytest.raises(Killed):
            resumed(tmp_path, DiesAtStep(tmp_path, step), checkpoint_steps=every)
        saved = newest_in(tmp_path)
        # the step that was cut off never counted; those before it back to the checkpoint do
        assert step - 1 - (saved.step if saved else 0) <= every
    last = Recorder(tmp_path)
    found = resumed(tmp_path, last, checkpoint_steps=every)
    assert digest(found) == digest(expected)
    assert found.history == expected.history


def test_finished_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    expected = trained(Recorder(tmp_path))
    recorder = Recorder(tmp_path)
    assert digest(resumed(tmp_path, recorder)) == digest(expected)
    assert recorder.steps == []


def test_checkpoint_of_other_training_is_refused(tmp_path: Path) -> None:
    trained(Recorder(tmp_path), epochs=1)
    checkpoint = newest_in(tmp_path)
    task = dataclasses.replace(fold_task(), number=2)
    with pytest.raises(CheckpointRejected, match="fold 1, expected 2"):
        fit(small_model(), task, provenance=PROVENANCE, observer=Recorder(), resume=checkpoint)
    other = dataclasses.replace(PROVENANCE, dataset_sha256="e" * 64)
    with pytest.raises(CheckpointRejected, match="other data"):
        fit(small_model(), fold_task(), provenance=other, observer=Recorder(), resume=checkpoint)


def test_checkpoints_come_every_few_steps_and_after_each_epoch() -> None:
    recorder = Recorder()
    trained(recorder, checkpoint_steps=3, epochs=2)
    assert recorder.saved_steps == [3, 6, 7, 10, 13, 14]


def test_slow_steps_are_saved_each_minute() -> None:
    ticks = iter(range(0, 10_000, 25))
    recorder = Recorder()
    fit(
        small_model(epochs=1),
        fold_task(),
        provenance=PROVENANCE,
        observer=recorder,
        clock=lambda: float(next(ticks)),
    )
    assert len(recorder.saved_steps) > 2
    assert recorder.saved_steps[-1] == 7


def test_every_sample_is_used_once_an_epoch_the_last_batch_too() -> None:
    seen: list[int] = []
    task = fold_task(fit_samples=70)
    cut = task.resident.batch

    def watched(bars: torch.Tensor) -> object:
        seen.extend(bars.tolist())
        return cut(bars)

    task.resident.batch = watched  # type: ignore[method-assign,assignment]
    recorder = Recorder()
    fit(small_model(epochs=1), task, provenance=PROVENANCE, observer=recorder)
    assert sorted(seen[:70]) == task.fit_bars.tolist()
    assert seen[:70] != task.fit_bars.tolist()
    assert sorted(seen[70:]) == task.validation_bars.tolist()
    assert [step.step for step in recorder.steps] == [1, 2, 3]
    assert steps_in_all(small_model(epochs=4), 70) == 12


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    bars = bars_of_noise()
    shuffled = labels_of(bars_of_noise(seed=9))
    recorder = Recorder()
    fitted = fit(
        small_model(epochs=40, patience=2, learning_rate=0.02),
        fold_task(bars, shuffled),
        provenance=PROVENANCE,
        observer=recorder,
    )
    ratios = [epoch.ratio for epoch in recorder.epochs]
    assert len(ratios) < 40
    assert fitted.best_epoch == 1 + int(np.argmin(ratios))
    assert fitted.best_ratio == min(ratios)
    assert [epoch.is_best for epoch in recorder.epochs][fitted.best_epoch - 1]


def test_best_weights_of_an_earlier_epoch_survive_a_stop(tmp_path: Path) -> None:
    model = small_model(epochs=6, patience=6, learning_rate=0.02)
    bars = bars_of_noise()
    task = fold_task(bars, labels_of(bars_of_noise(seed=9)))
    expected = fit(model, task, provenance=PROVENANCE, observer=Recorder())
    stop_at = 7 * expected.best_epoch + 2
    assert stop_at < expected.steps
    with pytest.raises(Stopped):
        fit(model, task, provenance=PROVENANCE, observer=Recorder(tmp_path, stop_at=stop_at))
    checkpoint = newest_in(tmp_path)
    found = fit(model, task, provenance=PROVENANCE, observer=Recorder(), resume=checkpoint)
    assert found.best_epoch == expected.best_epoch
    assert digest(found) == digest(expected)


def test_one_step_that_is_not_finite_is_left_out() -> None:
    recorder = Recorder(nan_at=(4,))
    fitted = trained(recorder, epochs=1)
    assert recorder.non_finite == [4]
    assert [step.step for step in recorder.steps] == [1, 2, 3, 5, 6, 7]
    assert all(torch.isfinite(weight).all() for weight in fitted.network.state_dict().values())


def test_two_such_steps_in_a_row_are_divergence() -> None:
    recorder = Recorder(nan_at=(5, 6))
    with pytest.raises(Diverged) as diverged:
        trained(recorder)
    assert diverged.value.step == 6
    assert diverged.value.learning_rate == 3e-3


def test_a_rate_that_makes_the_loss_explode_is_divergence() -> None:
    recorder = Recorder()
    with pytest.raises(
        Diverged, match=r"The loss rose to [\d.\u2009]+ times that of a constant"
    ) as diverged:
        trained(recorder, learning_rate=1.0, grad_clip=100.0, warmup=0.0)
    assert diverged.value.step == recorder.steps[-1].step
    assert diverged.value.learning_rate == 1.0


@pytest.mark.parametrize(
    ("share", "text"),
    [(12.34, "12.3"), (225.4, "225"), (1234.5, "1\u2009234"), (3.2e6, "3\u2009200\u2009000")],
)
def test_divergence_says_in_plain_digits_how_far_the_loss_rose(share: float, text: str) -> None:
    assert f"rose to {text} times that" in Diverged(7, 0.1, share=share).what


def test_a_log_of_steps_compares_with_what_a_constant_loses_on_the_fit_slice() -> None:
    """By the definition of each loss, on the shares and means of the slice."""
    task = fold_task()
    found = constant_losses(
        ResidentLabels(task.labels), task.scale, bars=torch.from_numpy(task.fit_bars), cost_bps=10
    )
    labels, bars = task.labels, task.fit_bars
    error = np.abs(labels.action[bars] - labels.action[bars].mean())
    priors = np.bincount(labels.risk[bars], minlength=3) / len(bars)
    entropy = -sum(share * math.log(share) for share in priors if share)
    assert found["action"] == pytest.approx(
        np.where(error < 1, error**2 / 2, error - 0.5).mean(), rel=1e-5
    )
    assert found["risk"] == pytest.approx(entropy, rel=1e-5)
    assert found["confidence"] == pytest.approx(math.log(2), rel=1e-5)


def test_failed_allocation_names_step_and_batch() -> None:
    class Starved(Recorder):
        def before_step(self, step: int) -> float:
            if step == 3:
                raise torch.OutOfMemoryError("Tried to allocate 2.50 GiB. GPU 0 has …")
            return 1.0

    with pytest.raises(OutOfMemory) as starved:
        trained(Starved())
    assert (starved.value.step, starved.value.batch) == (3, 32)
    held = starved.value.needed_bytes - int(2.5 * 2**30)
    assert 0 < held < 20 * 2**30


def test_sample_without_labels_is_refused() -> None:
    task = fold_task()
    task.labels.valid[task.fit_bars[5]] = False
    with pytest.raises(ValueError, match="1 of 200 samples have no labels"):
        fit(small_model(), task, provenance=PROVENANCE, observer=Recorder())


def test_one_step_on_all_losses_reaches_every_parameter() -> None:
    task, model = fold_task(), small_model()
    resident = task.resident
    network = build_network(
        model.network,
        features=resident.features,
        context_bars=resident.context_bars,
        scales=resident.scales,
        seed=0,
    )
    balance = LossBalance()
    optimizer = FoldOptimizer(network, balance, model.training)
    before = {name: p.detach().clone() for name, p in optimizer.named.items()}
    bars = torch.from_numpy(task.fit_bars)
    losses = head_losses(
        network(resident.batch(bars)), ResidentLabels(task.labels).batch(bars), cost_bps=10
    )
    optimizer.step(balance(losses), learning_rate=1e-3)
    assert set(optimizer.named) == {*dict(network.named_parameters()), "balance.v"}
    for name, parameter in optimizer.named.items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert float(parameter.grad.abs().max()) > 0, name
        assert not torch.equal(parameter.detach(), before[name]), name


def test_decay_falls_on_matrices_only() -> None:
    resident = fold_task().resident
    network = build_network(
        small_model().network, features=6, context_bars=32, scales=resident.scales, seed=0
    )
    decayed = decayed_names(network)
    assert "input.weight" in decayed
    assert "multi_scale.views.3.convolution.weight" in decayed
    spared = {name for name, _ in network.named_parameters()} - decayed
    assert all(
        name.endswith(("bias", "slope", "norm.weight")) or name.startswith("embedding.")
        for name in spared
    )


def test_sixty_four_windows_can_be_learned_by_heart() -> None:
    """The five unweighted losses fall below 5 % of their start, confidence labels being fixed."""
    torch.manual_seed(0)
    task = fold_task(fit_samples=64)
    model = small_model()
    spec = model.network.model_copy(update={"d_model": 32, "heads": 4, "d_ff": 64, "dropout": 0.0})
    network = build_network(spec, features=6, context_bars=32, scales=task.resident.scales, seed=0)
    labels = ResidentLabels(task.labels)
    bars = torch.from_numpy(task.fit_bars)
    windows, targets = task.resident.batch(bars), labels.batch(bars)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, betas=(0.9, 0.95), fused=True)
    first_action = network(windows)["action"][:, 0].detach()
    # the confidence labels of the first pass: its sides times the returns
    targets = dataclasses.replace(
        targets, realised_return=targets.realised_return * torch.sign(first_action)
    )

    def total() -> torch.Tensor:
        logits = network(windows)
        losses = head_losses(logits, targets, cost_bps=0)
        fixed = (targets.realised_return > 0).float()
        losses["confidence"] = torch.nn.functional.binary_cross_entropy_with_logits(
            logits["confidence"][:, 0], fixed
        )
        return torch.stack(list(losses.values())).sum()

    start = float(total().detach())
    for _ in range(400):
        loss = total()
        if float(loss.detach()) < 0.05 * start:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05 * start
    assert math.isfinite(start)
