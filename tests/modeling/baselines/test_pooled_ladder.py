"""Rungs on several instruments: none of them forgets at which level an instrument moves."""

import numpy as np
import pytest
import torch

from modeling.baselines.ladder import LadderCase, climb
from modeling.baselines.linear import fit_linear
from modeling.fold_task import fold_task
from modeling.folds import head_outputs
from modeling.windows.learned import prepare_fold
from modeling.windows.make import pool_windows
from tests.markets.features.market import quiet_market
from tests.modeling.windows import test_pool
from tests.modeling.windows.test_pool import LATER, louder, part

QUICK = {"epochs": 1, "batch": 256, "learning_rate": 1e-3}
SPEC = test_pool.SPEC.model_copy(
    update={"training": test_pool.SPEC.training.model_copy(update=QUICK)}
)


@pytest.fixture(scope="module")
def case():
    calm = part("CALM", quiet_market(6000))
    loud = part("LOUD", louder(quiet_market(6000, seed=8)).slice(LATER, 6000))
    windows = pool_windows([calm, loud], SPEC, holdout_at=int(calm.candles.close_time[-1]))
    fold = prepare_fold(windows, windows.folds[0], SPEC)
    task = fold_task(SPEC, windows, fold, torch.device("cpu"))
    return LadderCase(SPEC, windows, fold, task, base_rate=0.3, seed=5)


@pytest.fixture(scope="module")
def climbed(case):
    return climb(case, budget_s=120)


def gap(case, log_volatility):
    """By how much the loud instrument lies above the calm one, on the tested bars that came true."""
    known = case.fold.labels.valid[case.tested]
    is_loud = case.tested >= case.windows.parts[1].first_bar
    calm, loud = (np.median(log_volatility[known & of]) for of in (~is_loud, is_loud))
    return loud - calm


def test_every_rung_with_volatility_knows_the_level_of_each_instrument(case, climbed):
    assert climbed.failed == {}
    real = gap(case, case.fold.labels.log_volatility[case.tested])
    assert real > 0.7
    for name in ("persistence", "har", "logistic", "gradient_boosting", "dlinear"):
        said = np.log(climbed.rungs[name].columns["volatility"])
        assert 0.6 * real < gap(case, said) < 1.4 * real, name  # one level for both would give 0


def test_linear_heads_say_what_the_logistic_rung_says(case, climbed):
    bars = case.windows.bars(case.fold.fold.fit)
    fitted = fit_linear(case.task, bars, cost_bps=SPEC.target.cost_bps, is_pooled=True)
    said = head_outputs(
        fitted.network,
        case.task.resident,
        case.windows.each(case.tested),
        case.fold,
        precision="fp32",
        between=lambda: None,
    )
    columns = climbed.rungs["logistic"].columns
    np.testing.assert_allclose(said.action, columns["action"], atol=1e-4)
    np.testing.assert_allclose(said.volatility, columns["volatility"], rtol=1e-3)
