from __future__ import annotations

import numpy as np
import pytest

from modeling.training.schedule import derived_seed, epoch_order, rate_share


def test_rate_rises_for_a_twentieth_then_falls_to_a_tenth() -> None:
    shares = [rate_share(step, total_steps=200, warmup=0.05) for step in range(1, 201)]
    assert shares[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert np.all(np.diff(shares[9:]) < 0)
    assert shares[104] == pytest.approx(0.55, abs=1e-9)
    assert shares[-1] == pytest.approx(0.1)


def test_no_warm_up_starts_near_the_peak() -> None:
    assert rate_share(1, total_steps=1000, warmup=0.0) == pytest.approx(1.0, abs=1e-4)


def test_single_step_has_a_rate() -> None:
    assert rate_share(1, total_steps=1, warmup=0.05) == 1.0


def test_order_holds_each_sample_once_and_repeats() -> None:
    order = epoch_order(1000, seed=1, fold=2, epoch=3)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert np.array_equal(order, epoch_order(1000, seed=1, fold=2, epoch=3))


@pytest.mark.parametrize("other", [(2, 2, 3), (1, 3, 3), (1, 2, 4)])
def test_order_differs_by_seed_fold_and_epoch(other: tuple[int, int, int]) -> None:
    seed, fold, epoch = other
    first = epoch_order(1000, seed=1, fold=2, epoch=3)
    assert not np.array_equal(first, epoch_order(1000, seed=seed, fold=fold, epoch=epoch))


def test_order_is_the_same_on_every_machine() -> None:
    assert epoch_order(8, seed=0, fold=1, epoch=1).tolist() == [0, 3, 4, 1, 7, 5, 6, 2]


def test_purposes_get_unrelated_seeds() -> None:
    seeds = {derived_seed(purpose, 1, 2) for purpose in ("order", "weights", "dropout")}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)
