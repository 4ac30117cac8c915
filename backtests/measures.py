"""How each measure of a backtest is called, written and explained. Pages and glossary read this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One figure: `kind` is a kind of the number filter, `meaning` its glossary entry."""

    key: str
    label: str
    kind: str
    meaning: str


MEASURES: dict[str, Measure] = {
    measure.key: measure
    for measure in (
        Measure(
            "total_return", "Net return", "signed", "Last equity / capital − 1, after all costs."
        ),
        Measure(
            "excess_return",
            "Against buy and hold",
            "points",
            "Net return minus the net return of buy and hold with the same costs, span and capital; in "
            "percentage points (pp).",
        ),
        Measure(
            "cagr",
            "Yearly growth",
            "signed",
            "The constant yearly return that gives the net return; shown from 30 days on. A year has 365 days.",
        ),
        Measure(
            "volatility",
            "Volatility",
            "percent",
            "Standard deviation of daily returns × √365. A day is a UTC day.",
        ),
        Measure(
            "sharpe",
            "Sharpe ratio",
            "ratio",
            "Mean / standard deviation of daily returns × √365, risk-free rate 0. Shown from 30 days on, "
            "always with its 95 % bootstrap interval and the number of days.",
        ),
        Measure(
            "sortino",
            "Sortino ratio",
            "ratio",
            "As the Sharpe ratio, but divided by the root mean square of losing days only.",
        ),
        Measure(
            "max_drawdown",
            "Max drawdown",
            "drawdown",
            "The deepest fall of equity below its earlier peak, as a negative fraction; capital counts as a peak.",
        ),
        Measure(
            "drawdown_days", "Longest drawdown", "days", "The longest time spent below a peak."
        ),
        Measure("calmar", "Calmar ratio", "ratio", "Yearly growth / depth of the max drawdown."),
        Measure("ulcer", "Ulcer index", "percent", "Root mean square of the drawdown."),
        Measure("var_95", "Daily value at risk", "signed", "The 5 % quantile of daily returns."),
        Measure(
            "cvar_95",
            "Expected shortfall",
            "signed",
            "Mean of the daily returns at or below that quantile.",
        ),
        Measure(
            "skew", "Skew", "ratio", "Third standardised moment of daily returns; 0 is symmetric."
        ),
        Measure(
            "kurtosis",
            "Kurtosis",
            "ratio",
            "Fourth standardised moment of daily returns; 3 is normal.",
        ),
        Measure("beta", "Beta", "ratio", "Slope of daily returns on those of buy and hold."),
        Measure("alpha", "Alpha", "signed", "Yearly mean return not explained by beta."),
        Measure(
            "correlation", "Correlation", "ratio", "Correlation of daily returns with buy and hold."
        ),
        Measure("exposure", "Exposure", "percent", "Share of bars that end with an open position."),
        Measure("long_share", "Long", "percent", "Share of bars that end with a long position."),
        Measure("short_share", "Short", "percent", "Share of bars that end with a short position."),
        Measure(
            "turnover",
            "Turnover a year",
            "times",
            "Traded value / mean equity, a year. 100 means equity was turned over a hundred times.",
        ),
        Measure(
            "position_changes",
            "Position changes",
            "ratio",
            "Sum of all changes of the target position.",
        ),
        Measure(
            "trades",
            "Closed trades",
            "count",
            "Trades from flat to flat; a position open at the end is left out.",
        ),
        Measure(
            "win_rate",
            "Win rate",
            "percent",
            "Share of closed trades that earned money. It says nothing without its break-even rate.",
        ),
        Measure(
            "break_even_win_rate",
            "Break-even win rate",
            "percent",
            "The win rate at which this mean win and this mean loss cancel out.",
        ),
        Measure("profit_factor", "Profit factor", "ratio", "Sum of wins / sum of losses."),
        Measure("payoff", "Payoff", "ratio", "Mean win / mean loss."),
        Measure(
            "expectancy",
            "Mean trade",
            "money",
            "Mean profit or loss of a closed trade, in the quote currency.",
        ),
        Measure(
            "expectancy_bps",
            "Mean trade, of notional",
            "bps",
            "Mean profit or loss of a closed trade, of its entry notional.",
        ),
        Measure("fees", "Fees", "money", "All fees paid, in the quote currency."),
        Measure(
            "fees_share", "Fees of gross profit", "percent", "Fees / sum of wins before costs."
        ),
        Measure(
            "funding",
            "Funding",
            "money",
            "Funding paid or received on perpetuals, in the quote currency.",
        ),
        Measure(
            "slippage_cost",
            "Slippage",
            "money",
            "What market fills cost against the raw price of their bar, in the quote currency.",
        ),
        Measure(
            "ambiguous_bars",
            "Ambiguous bars",
            "count",
            "Bars that touched both stop and target; the stop is taken.",
        ),
        Measure(
            "deflated_sharpe",
            "Deflated Sharpe",
            "percent",
            "Probability that the true Sharpe ratio is above what the best of so many trials reaches by luck.",
        ),
        Measure(
            "deflated_benchmark",
            "Sharpe ratio of luck",
            "ratio",
            "The yearly Sharpe ratio expected of the best of all trials if none had skill; the deflated "
            "Sharpe measures against it. 0 with fewer than two trials, or when they do not differ.",
        ),
        Measure(
            "psr",
            "Probabilistic Sharpe",
            "percent",
            "Probability that the true Sharpe ratio is above zero.",
        ),
        Measure(
            "sharpe_standard_error",
            "Sharpe standard error",
            "ratio",
            "Standard error of the yearly Sharpe ratio from length, skew and kurtosis of daily returns.",
        ),
        Measure(
            "minimum_track_record_days",
            "Minimum track record",
            "days",
            "Days needed before the Sharpe ratio differs from 0 at 95 %.",
        ),
        Measure(
            "trials_counted",
            "Trials",
            "count",
            "Every finished run, every further backtest and every hold-out opening of this workspace, "
            "counted by itself.",
        ),
        Measure(
            "trials_distinct",
            "Trials of distinct specs",
            "count",
            "Trials when the seeds of one spec, which are near copies, count once.",
        ),
        Measure(
            "trials_on_instrument",
            "Trials on this instrument",
            "count",
            "Those of the trials that used this instrument.",
        ),
        Measure(
            "trials_variance",
            "Variance of trials",
            "plain",
            "Variance of the daily Sharpe ratios of all trials with at least 30 days.",
        ),
        Measure(
            "overfitting",
            "Probability of overfitting",
            "percent",
            "How often the trial that is best on one half of the days is not above the middle of all "
            "trials on the other half, over all ways to halve the days. Trials on this instrument whose "
            "daily returns cover these days take part.",
        ),
        Measure(
            "overfitting_trials",
            "Trials compared for overfitting",
            "count",
            "Trials on this instrument whose daily returns cover these days.",
        ),
        Measure(
            "break_even_bps",
            "Break-even cost",
            "bps",
            "Cost a side at which the net return becomes zero.",
        ),
        Measure(
            "slippage_share",
            "Slippage of gross profit",
            "percent",
            "Slippage / sum of wins before costs.",
        ),
        Measure(
            "ambiguous_share",
            "Ambiguous trades",
            "percent",
            "Trades with an ambiguous bar / all trades.",
        ),
        Measure("days", "Daily returns", "count", "Daily returns in the test period."),
    )
}

# The strip under the verdict, then the full table of the report.
HEADLINE = (
    "total_return",
    "excess_return",
    "sharpe",
    "max_drawdown",
    "trades",
    "exposure",
    "turnover",
)

# How far the paths of a combinatorial run lie apart.
PATH_MEASURES = ("total_return", "sharpe", "max_drawdown", "trades")

# Said beside a deflated Sharpe ratio that is the probabilistic one.
NOTHING_TO_DEFLATE = "nothing to deflate by: this is the probability of a Sharpe ratio above zero"

# Words for `reasons` of a null.
REASONS = {
    "track_too_short": "fewer than 30 daily returns",
    "too_few_days": "fewer than 80 daily returns",
    "too_few_trials": "fewer than two trials on this instrument cover these days",
    "zero_variance": "the returns do not vary",
    "too_few_trades": "fewer than 30 closed trades",
    "no_trades": "no closed trade",
    "one_sided": "only wins or only losses",
    "no_losing_trade": "no losing trade",
    "no_losing_day": "no losing day",
    "no_drawdown": "no drawdown",
    "no_benchmark": "no benchmark",
    "no_gross_profit": "no profit before costs",
    "not_modelled": "not modelled in this backtest",
    "sharpe_not_above_zero": "the Sharpe ratio is not above zero",
    "undefined_for_this_shape": "undefined for returns of this shape",
    "loses_without_costs": "it loses even without costs",
    "above_200_bps": "above 200 bp",
}
