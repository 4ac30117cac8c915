"""The verdict of a head against the rungs that have it, in data and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modeling.evaluation.cases import HeadCase
from modeling.evaluation.draws import OURS, Key, Measured
from modeling.evaluation.intervals import Interval, interval_of, verdict_word
from modeling.measures import rung_words

_MEANING = {
    "action": "ranking the coming returns",
    "regime": "naming the coming regime",
    "confidence": "knowing when a trade pays its costs",
    "volatility": "forecasting volatility",
    "risk": "ordering the coming risk",
}


def undecided(case: HeadCase, reason: str) -> dict[str, object]:
    """The JSON of a verdict that cannot be given, with its reason."""
    return {
        "word": "undecided",
        "metric": case.verdict_metric,
        "rung": None,
        "sentence": reason,
        "rungs": {},
    }


def verdict_of(
    case: HeadCase, measured: Mapping[Key, Measured], rungs: Sequence[str]
) -> dict[str, object]:
    """The JSON of the verdict of one head against the best of these rungs by its metric."""
    name, sign = case.verdict_metric, case.verdict_sign
    ours = measured.get((OURS, name))
    theirs = {rung: measured.get((rung, name)) for rung in rungs}
    known = {rung: found for rung, found in theirs.items() if found is not None}
    if not known or ours is None or ours.drawn is None:
        return undecided(case, "no rung could be compared on this head")
    differences = {
        rung: interval_of(sign * (ours.drawn - found.drawn))
        for rung, found in known.items()
        if found.drawn is not None
    }
    best = max(known, key=lambda rung: sign * known[rung].value)
    word = verdict_word(differences[best])
    return {
        "word": word,
        "metric": name,
        "rung": best,
        "ours": ours.value,
        "theirs": known[best].value,
        "difference": sign * (ours.value - known[best].value),
        "interval": as_list(differences[best]),
        "sentence": _sentence(word, case.head, best, differences[best]),
        "rungs": {
            rung: {
                "value": known[rung].value,
                "word": verdict_word(difference),
                "interval": as_list(difference),
            }
            for rung, difference in differences.items()
        },
    }


def _sentence(word: str, head: str, rung: str, difference: Interval | None) -> str:
    task, rung = _MEANING[head], rung_words(rung, head)
    if difference is None:
        return f"Too few resamples could be scored to compare {task} with {rung}."
    low, high = (f"{value:+.4f}".replace("-", "−") for value in difference)
    span = f"95 % interval of the difference {low} to {high}"
    if word == "beats":
        return f"Better than {rung} at {task} ({span}). A backtest shows what it earns."
    if word == "loses":
        # True of every kind of model: without a network there is no loss curve to look at.
        return f"Worse than {rung} at {task} ({span}). Look at folds and features, or use {rung}."
    return f"Not better than {rung} at {task} ({span}). Try more history, or use {rung}."


def as_list(span: Interval | None) -> list[float] | None:
    """An interval as JSON."""
    return None if span is None else [span[0], span[1]]
