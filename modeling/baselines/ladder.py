"""The rungs of one fold, one after the other, within the time they may take."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.baselines.dlinear import run_dlinear
from modeling.baselines.gradient_boosting import run_gradient_boosting
from modeling.baselines.har import fit_har, har_volatility, realised_logs
from modeling.baselines.last_sign import last_sign
from modeling.baselines.logistic import run_logistic
from modeling.baselines.persistence import persistence_volatility
from modeling.baselines.prior import prior_columns
from modeling.baselines.rungs import (
    DLINEAR,
    GRADIENT_BOOSTING,
    HAR,
    LADDER_S,
    LAST_SIGN,
    LOGISTIC,
    PERSISTENCE,
    PRIOR,
    Floats,
    Ints,
    RungFailed,
    RungFold,
    RungLabels,
    Slice,
    every,
    thinning_note,
)
from modeling.specs import ModelSpec
from modeling.training.fit import FoldTask
from modeling.training.schedule import derived_seed
from modeling.windows.learned import FoldWindows
from modeling.windows.make import Windows

Between = Callable[[], None]


@dataclass(frozen=True)
class LadderCase:
    """What the rungs of one fold are made from, the same as for its network.

    `task` is what the network was fitted on; `base_rate` the share of its calibration trades that
    paid.
    """

    spec: ModelSpec
    windows: Windows
    fold: FoldWindows
    task: FoldTask
    base_rate: float
    seed: int

    @property
    def tested(self) -> Ints:
        """Base bars [n] that are predicted."""
        return self.windows.bars(self.fold.fold.predicted)

    def features(self, bars: Ints) -> Floats:
        """The selected features [n,F] of the decision bars, scaled, base scale."""
        return self.fold.scaled[1][bars].astype(np.float64)

    def labels(self, bars: Ints) -> RungLabels:
        """What came true after the decision bars."""
        known = self.fold.labels
        return RungLabels(
            realised_return=known.realised_return[bars],
            regime=known.regime[bars].astype(np.int64),
            risk=known.risk[bars].astype(np.int64),
            log_volatility=known.log_volatility[bars],
        )

    def slice_of(self, samples: NDArray[np.int64]) -> Slice:
        """Features and labels of samples of a slice. Of several instruments log volatility is
        standardised by each one's fit slice, as for the network: scaled features do not tell its level.
        """
        bars = self.windows.bars(samples)
        labels = self.labels(bars)
        if self.windows.is_pooled:
            mean, std = self.fold.volatility_mean[bars], self.fold.volatility_std[bars]
            z_score = (labels.log_volatility - mean) / std
            labels = dataclasses.replace(labels, log_volatility=z_score)
        return self.features(bars), labels

    def levelled(self, found: RungFold) -> RungFold:
        """Predictions of what was fitted on `slice_of`, each instrument's volatility at its own level."""
        if not self.windows.is_pooled:
            return found
        mean, std = self.fold.volatility_mean[self.tested], self.fold.volatility_std[self.tested]
        volatility = np.exp(mean + std * np.log(found.columns["volatility"]))
        return dataclasses.replace(found, columns=found.columns | {"volatility": volatility})


@dataclass(frozen=True)
class Ladder:
    """The rungs that succeeded on one fold, the reasons of those that did not, and seconds of each.

    `budget_s` are the seconds that they might take together.
    """

    budget_s: float
    rungs: dict[str, RungFold] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def time(self) -> dict[str, float]:
        """What is kept with the fold, for `unspent_s`."""
        return {"budget_s": self.budget_s, "spent_s": sum(self.seconds.values())}


def climb(
    case: LadderCase,
    *,
    budget_s: float,
    between: Callable[[str], None] = lambda rung: None,
    clock: Callable[[], float] = time.monotonic,
) -> Ladder:
    """Fit every rung of a fold and predict its test block, the cheap ones first.

    `between` is called with the name of the rung at its start and again and again while it works, and
    may raise. A rung that cannot be fitted is in `failed` with its reason, and so is each that begins
    or still works after `budget_s` seconds; a linear fit in progress is not interrupted.
    """
    ladder, began = Ladder(budget_s), clock()
    for name in ladder_of(case.spec):
        rung, started = LADDER[name], clock()

        def within(name: str = name) -> None:
            between(name)
            if clock() - began > budget_s:
                raise RungFailed(
                    f"stopped: the baselines had {budget_s:.0f} s on this fold; "
                    "use less history or fewer features"
                )

        try:
            within()
            ladder.rungs[name] = rung(case, within)
        except RungFailed as error:
            ladder.failed[name] = str(error)
        ladder.seconds[name] = clock() - started
    return ladder


def ladder_of(spec: ModelSpec) -> tuple[str, ...]:
    """The rungs beside a spec's model in their order.

    Without a network that model is the logistic one; gradient boosting, which such an experiment does
    not ask for, then comes last, so that DLinear has its time.
    """
    if not spec.network.is_linear:
        return tuple(LADDER)
    others = (name for name in LADDER if name not in (LOGISTIC, GRADIENT_BOOSTING))
    return (*others, GRADIENT_BOOSTING)


def budget_of(network_s: float, folds: int, unspent_s: float = 0.0) -> float:
    """Seconds of a fold's ladder: those of its network, or the fold's part of two minutes; and what
    the folds before it have left.
    """
    return max(network_s, LADDER_S / folds) + unspent_s


def unspent_s(state: Mapping[str, Any]) -> float:  # Any: JSON of a fold
    """Seconds that a finished fold leaves to the next one; its own were topped up by those before it.

    A linear fit that ran over the time takes none of the next fold's. Folds that were finished by an
    earlier release leave nothing.
    """
    taken = state.get("ladder_time", {"budget_s": 0.0, "spent_s": 0.0})
    return float(max(taken["budget_s"] - taken["spent_s"], 0.0))


def _prior(case: LadderCase, between: Between) -> RungFold:
    scale = case.fold.scale
    columns = prior_columns(scale.regime_prior, scale.risk_prior, case.base_rate, len(case.tested))
    return RungFold(columns)


def _persistence(case: LadderCase, between: Between) -> RungFold:
    horizon = case.spec.windows.horizon_bars
    return RungFold(
        {"volatility": persistence_volatility(case.windows.returns, case.tested, horizon)}
    )


def _last_sign(case: LadderCase, between: Between) -> RungFold:
    returns = case.windows.returns
    seen = last_sign(returns, case.windows.bars(case.fold.fold.calibration))
    if not len(seen):
        raise RungFailed("found no calibration samples; expected at least one")
    return RungFold({"action": last_sign(returns, case.tested)}, calibration_action=seen)


def _har(case: LadderCase, between: Between) -> RungFold:
    """One regression for each instrument: it is fitted on levels."""
    bars = case.windows.bars(case.fold.fold.fit)
    step = every(len(bars))
    notes = (thinning_note(step, len(bars)),) if step > 1 else ()
    returns = case.windows.returns
    ahead = []
    for own, tested in zip(
        case.windows.each(bars[::step]), case.windows.each(case.tested), strict=True
    ):
        fitted = fit_har(realised_logs(returns, own), case.labels(own).log_volatility)
        ahead.append(har_volatility(fitted, realised_logs(returns, tested)))
    return RungFold({"volatility": np.concatenate(ahead)}, notes=notes)


def _logistic(case: LadderCase, between: Between) -> RungFold:
    cut = case.fold.fold
    found = run_logistic(
        case.slice_of(cut.fit),
        case.slice_of(cut.calibration),
        case.features(case.tested),
        cost_bps=case.spec.target.cost_bps,
    )
    return case.levelled(found)


def _gradient_boosting(case: LadderCase, between: Between) -> RungFold:
    cut = case.fold.fold
    found = run_gradient_boosting(
        case.slice_of(cut.fit),
        case.slice_of(cut.validation),
        case.slice_of(cut.calibration),
        case.features(case.tested),
        cost_bps=case.spec.target.cost_bps,
        seed=derived_seed(GRADIENT_BOOSTING, case.seed, cut.number),
        between=between,
    )
    return case.levelled(found)


def _dlinear(case: LadderCase, between: Between) -> RungFold:
    calibration = case.windows.bars(case.fold.fold.calibration)
    return run_dlinear(
        case.spec,
        case.task,
        (calibration, case.labels(calibration)),
        case.tested,
        seed=case.seed,
        volatility=(case.fold.volatility_mean, case.fold.volatility_std),
        between=between,
    )


LADDER: Mapping[str, Callable[[LadderCase, Between], RungFold]] = MappingProxyType(
    {
        PRIOR: _prior,
        PERSISTENCE: _persistence,
        LAST_SIGN: _last_sign,
        HAR: _har,
        LOGISTIC: _logistic,
        GRADIENT_BOOSTING: _gradient_boosting,
        DLINEAR: _dlinear,
    }
)
