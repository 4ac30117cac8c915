"""What a backtest report says: figures, verdict, badges and assumptions, as plain JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.engine.band import Band
from backtests.engine.ledger import Simulation
from backtests.later import model_badges, model_lines
from backtests.ledger import Ledger
from backtests.measures import PATH_MEASURES
from backtests.metrics.measures import DAYS_PER_YEAR
from backtests.metrics.series import monthly_returns, worst_drawdowns, yearly_returns
from backtests.metrics.summary import Summary
from backtests.models import Backtest
from backtests.robustness.bootstrap import FEWEST_DAYS, sharpe_interval
from backtests.robustness.costs import BreakEven, CostRow
from backtests.robustness.sharpe import (
    SharpeShape,
    deflated_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
    standard_error,
    variance_of_trials,
)
from backtests.robustness.verdict import Verdict
from backtests.specs import SpanSpec
from markets.candles.report import utc_text
from modeling.capacity import CAPACITY
from modeling.causality import state_of
from modeling.certainty import certainty_of
from modeling.evaluation.paths import spread_of
from modeling.measures import scores_on
from modeling.models import instrument_name

FEW_TRADES = 100
PATH_WORDS = (
    "This is path 1 of the splits, fixed beforehand; a split also learns from bars behind its test "
    "blocks."
)
BOTH_TOUCHED = {
    "stop_first": "The stop is taken to have come first; the band holds the other reading.",
    "target_first": "The target is taken to have come first, the kinder reading, also in the headline; "
    "the band holds the other.",
}


@dataclass(frozen=True)
class Judged:
    """Everything the report is made of."""

    band: Band
    benchmark: Simulation
    summary: Summary
    paths: list[Summary]
    benchmark_summary: Summary
    rungs: dict[str, Summary]
    failed_rungs: dict[str, str]
    verdict: Verdict
    daily: NDArray[np.float64]
    shape: SharpeShape | None
    ledger: Ledger
    costs: list[CostRow]
    break_even: BreakEven
    draws: int
    seed: int


def build_report(row: Backtest, judged: Judged) -> dict[str, Any]:
    """{"numbers", "reasons", "failed_rungs", "verdict", "badges", "assumptions"}.

    Equal runs give equal numbers.
    """
    numbers, reasons = _numbers(judged)
    numbers["certainty"] = certainty_of(_head_metrics(row))
    return {
        "numbers": numbers,
        "reasons": reasons,
        "failed_rungs": judged.failed_rungs,
        "verdict": judged.verdict.to_json(),
        "badges": _badges(row, judged, numbers),
        "assumptions": _assumptions(row, judged),
    }


def _head_metrics(row: Backtest) -> dict[str, Any]:
    """Scores of the heads on the bars that are traded, of several instruments on the backtest's own."""
    if row.model_prediction is not None:
        return row.model_prediction.metrics  # type: ignore[no-any-return]  # stored JSON
    metrics: dict[str, Any] = row.run.opening.metrics if row.is_holdout else row.run.metrics
    return scores_on(metrics, instrument_name(row.version))


def _numbers(judged: Judged) -> tuple[dict[str, Any], dict[str, str]]:
    simulation = judged.band.headline
    numbers: dict[str, Any] = dict(judged.summary.numbers)
    reasons = dict(judged.summary.reasons)
    interval = sharpe_interval(judged.daily, draws=judged.draws, seed=judged.seed)
    numbers["sharpe_interval"] = [interval.low, interval.high] if interval else None
    if interval is None:
        reasons["sharpe_interval"] = "track_too_short"
    selection, missing = _selection(judged)
    numbers |= selection
    reasons |= missing
    months = monthly_returns(simulation)
    numbers |= {
        "benchmark": judged.benchmark_summary.numbers,
        "rungs": {name: summary.numbers for name, summary in judged.rungs.items()},
        "monthly": _month_table(months),
        "drawdowns": [
            {
                "depth": stretch.depth,
                "peak_at": utc_text(stretch.peak_at),
                "trough_at": utc_text(stretch.trough_at),
                "recovered_at": utc_text(stretch.recovered_at) if stretch.recovered_at else None,
            }
            for stretch in worst_drawdowns(simulation)
        ],
        "costs": [asdict(cost) for cost in judged.costs],
        "break_even_bps": judged.break_even.bps,
        "ambiguous_share": judged.band.ambiguous_share,
        "final_equity_range": _final_range(judged.band),
    }
    if len(judged.paths) > 1:
        numbers["paths"] = {
            key: spread_of([path.numbers[key] for path in judged.paths]) for key in PATH_MEASURES
        }
    if judged.break_even.bps is None:
        reasons["break_even_bps"] = (
            "loses_without_costs" if judged.break_even.word == "none" else "above_200_bps"
        )
    return numbers, reasons


def _selection(judged: Judged) -> tuple[dict[str, Any], dict[str, str]]:
    """What is left of the Sharpe ratio after length, shape and the number of trials."""
    keys = (
        "sharpe_standard_error",
        "psr",
        "minimum_track_record_days",
        "deflated_sharpe",
        "deflated_benchmark",
    )
    ledger, overfitting = judged.ledger, judged.ledger.overfitting
    base = {
        "trials_counted": ledger.trials,
        "trials_distinct": ledger.distinct_specs,
        "trials_on_instrument": ledger.on_instrument,
        "trials_variance": None,
        "deflated_is_plain": None,
        "overfitting": overfitting.value,
        "overfitting_trials": overfitting.columns,
    }
    unknown = {} if overfitting.value is not None else {"overfitting": overfitting.reason}
    shape = judged.shape
    if shape is None or shape.periods < FEWEST_DAYS:
        reason = "track_too_short" if shape else "zero_variance"
        return base | dict.fromkeys(keys), unknown | dict.fromkeys(keys, reason)
    variance = variance_of_trials(ledger.sharpes)
    deflated = deflated_sharpe(shape, ledger.trials, variance)
    values = {
        "sharpe_standard_error": standard_error(shape),
        "psr": probabilistic_sharpe(shape),
        "minimum_track_record_days": minimum_track_record(shape),
        "deflated_sharpe": deflated.value,
        "deflated_benchmark": deflated.benchmark * math.sqrt(DAYS_PER_YEAR),
    }
    reasons = {
        "minimum_track_record_days": "sharpe_not_above_zero",
        "deflated_sharpe": "undefined_for_this_shape",
        "psr": "undefined_for_this_shape",
        "sharpe_standard_error": "undefined_for_this_shape",
    }
    missing = {key: reasons[key] for key, value in values.items() if value is None}
    facts = {"trials_variance": variance, "deflated_is_plain": deflated.is_plain}
    return base | facts | values, unknown | missing


def _month_table(months: list[Any]) -> list[dict[str, Any]]:
    totals = yearly_returns(months)
    table = []
    for year, total in totals.items():
        of_year = {month.month: month.value for month in months if month.year == year}
        table.append(
            {"year": year, "months": [of_year.get(m) for m in range(1, 13)], "total": total}
        )
    return table


def _final_range(band: Band) -> list[float] | None:
    if band.lowest is None or band.highest is None:
        return None
    return [float(band.lowest[-1]), float(band.highest[-1])]


def _badges(row: Backtest, judged: Judged, numbers: dict[str, Any]) -> list[dict[str, str]]:
    badges = []

    def add(code: str, label: str) -> None:
        badges.append({"code": code, "label": label})

    if row.run.leak_alarm.get("raised"):
        add("leak_alarm", "Leak alarm")
    if row.version.is_synthetic or row.run.experiment.is_synthetic:
        add("synthetic", "Synthetic data")
    costs = row.spec.costs
    if not (costs.maker_bps or costs.taker_bps or costs.slippage_bps):
        add("costs_off", "Costs off")
    if numbers["trades"] < FEW_TRADES:
        add("few_trades", f"{numbers['trades']} trades, fewer than {FEW_TRADES}")
    needed = numbers["minimum_track_record_days"]
    if needed is None or needed > len(judged.daily):
        add("not_significant", "Not significant")
    interval = numbers["sharpe_interval"]
    if interval and interval[0] <= 0 <= interval[1]:
        add("includes_zero", "Sharpe interval includes 0")
    if numbers["ambiguous_bars"]:
        add("ambiguous", f"{numbers['ambiguous_bars']} ambiguous bars")
    causality = state_of(row.run.causality)
    add(f"causality_{causality}", f"Causality {causality.replace('_', ' ')}")
    if row.is_holdout:
        add("holdout", "Scored on the hold-out")
    for code, label in model_badges(row):
        add(code, label)
    if any(notice["code"] == CAPACITY for notice in row.run.notices):
        add(CAPACITY, "Too few samples for the network")
    return badges


def _assumptions(row: Backtest, judged: Judged) -> list[dict[str, Any]]:
    spec, run = row.spec, row.run
    model = run.experiment.model_spec
    instrument = row.version.dataset.instrument
    side = spec.policy.side
    if side == "auto":
        side = "long_only" if instrument.kind == "spot" else "long_short"
    short = side in ("long_short", "short_only")
    lines: list[tuple[str, str, str]] = [
        ("Span", _span_words(spec.span, judged.band.headline), ""),
        *model_lines(row),
        ("Fills", "A decision at the close of a bar fills at the open of the next.", ""),
        (
            "Costs",
            f"Taker {spec.costs.taker_bps:g} bps, maker {spec.costs.maker_bps:g} bps, "
            f"slippage {spec.costs.slippage_bps:g} bps per market fill.",
            "",
        ),
        ("Position", _sizing_words(spec), ""),
        ("Side", side.replace("_", " "), ""),
        ("Entry threshold", _threshold_words(row), ""),
        ("Hold", _hold_words(row, model.windows.horizon_bars), ""),
        ("Stop and take-profit", _risk_words(spec), ""),
        (
            "Stop and target in one bar",
            BOTH_TOUCHED[spec.fills.both_touched],
            "" if spec.fills.both_touched == "stop_first" else "parity",
        ),
        (
            "Gap through the target",
            f"filled at the {spec.fills.take_profit_gap}",
            "" if spec.fills.take_profit_gap == "limit" else "parity",
        ),
        (
            "Funding",
            "Not modelled in this backtest.",
            "warn" if instrument.kind == "perpetual" else "",
        ),
        ("Year", "365 days; the Sharpe ratio is that of daily UTC equity × √365, risk-free 0.", ""),
        (
            "Rungs",
            f"The verdict compares with the best of {judged.verdict.rungs} rungs and with buy and hold, "
            f"by {judged.verdict.draws} paired block-bootstrap draws.",
            "",
        ),
        (
            "Splits",
            f"{model.evaluation.scheme}, embargo {model.evaluation.embargo_bars} bars, "
            f"hold-out {model.evaluation.holdout_fraction:.0%} sealed."
            + (f" {PATH_WORDS}" if len(judged.paths) > 1 else ""),
            "",
        ),
    ]
    if short and instrument.kind == "spot":
        lines.append(
            ("Borrowing", "Short positions on spot are simulated without borrowing cost.", "warn")
        )
    if spec.confidence_fields():
        words = "Rungs without a calibrated confidence trade whatever theirs says."
        lines.append(("Confidence of rungs", words, ""))
    open_trades = judged.summary.numbers.get("open_trades")
    if open_trades:
        lines.append(
            (
                "Open position",
                "Marked at the last close, not closed; no part of trade statistics.",
                "warn",
            )
        )
    return [
        {"label": label, "value": value, "emphasis": emphasis} for label, value, emphasis in lines
    ]


def _span_words(span: SpanSpec, simulation: Simulation) -> str:
    first = utc_text(int(simulation.time[0]))
    last = utc_text(int(simulation.time[-1] + simulation.bar_ns))
    whole = "set in the spec" if span.from_at or span.to_at else "first to last predicted bar"
    return f"{first} to {last}, {whole}."


def _sizing_words(spec: Any) -> str:
    if spec.sizing.mode == "fixed_quantity":
        return f"{spec.sizing.quantity:g} base units per position."
    return f"{spec.sizing.fraction:.0%} of equity per position, no leverage."


def _threshold_words(row: Backtest) -> str:
    if row.spec.policy.threshold == "auto":
        return "The 0.90 quantile of |score| on the calibration slice of each fold."
    return f"|score| of at least {row.spec.policy.threshold:g}."


def _hold_words(row: Backtest, horizon_bars: int) -> str:
    held = row.spec.policy.hold_bars
    return f"{horizon_bars if held is None else held} decisions."


def _risk_words(spec: Any) -> str:
    parts = []
    if spec.risk.stop_pct is not None:
        parts.append(f"stop {spec.risk.stop_pct:.2%} from the fill")
    if spec.risk.take_profit_pct is not None:
        parts.append(f"take-profit {spec.risk.take_profit_pct:.2%} from the fill")
    return ", ".join(parts) or "none"
