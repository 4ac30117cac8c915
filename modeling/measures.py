"""How the scores of the five heads are called, written and explained."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HeadMeasure:
    """One score of a head: `kind` is a kind of the number filter."""

    label: str
    kind: str
    meaning: str


HEAD_MEASURES: dict[str, HeadMeasure] = {
    "accuracy": HeadMeasure(
        "Accuracy", "percent", "Share of bars whose direction over the horizon was right."
    ),
    "majority_accuracy": HeadMeasure(
        "Majority class", "percent", "Accuracy of always naming the more frequent direction."
    ),
    "auc": HeadMeasure(
        "AUC",
        "score",
        "Chance that a random case of the class is scored above a random other; 0.5 is no skill.",
    ),
    "rank_ic": HeadMeasure(
        "Rank IC", "score", "Spearman correlation of score and realised return."
    ),
    "pearson_ic": HeadMeasure("IC", "score", "Pearson correlation of score and realised return."),
    "top_hit_rate": HeadMeasure(
        "Hit rate, top 10 %",
        "percent",
        "Share of right directions among the strongest tenth of scores.",
    ),
    "top_net_bps": HeadMeasure(
        "Net of top 10 %", "bps", "Mean return of the strongest tenth of scores, after costs."
    ),
    "macro_f1": HeadMeasure("Macro F1", "score", "Mean F1 over the four regimes."),
    "log_loss": HeadMeasure(
        "Log-loss", "score", "Mean negative log probability of what happened; smaller is better."
    ),
    "prior_log_loss": HeadMeasure(
        "Log-loss of the prior", "score", "The same for the class frequencies of training."
    ),
    "brier": HeadMeasure(
        "Brier score", "fine_score", "Mean squared error of the probability; smaller is better."
    ),
    "brier_skill": HeadMeasure(
        "Brier skill",
        "fine_score",
        "1 − Brier score / that of the training base rate; above 0 is skill.",
    ),
    "calibration_error": HeadMeasure(
        "Calibration error",
        "score",
        "Mean gap between stated and observed frequency over 15 equal bins.",
    ),
    "r2": HeadMeasure("R²", "score", "Share of the variance of log volatility that is explained."),
    "qlike": HeadMeasure("QLIKE", "score", "Loss of the variance forecast; smaller is better."),
    "band_share": HeadMeasure(
        "Inside the 80 % band",
        "percent",
        "Share of bars whose realised volatility lay in the band around its forecast that the errors "
        "in the calibration slice gave; 80 % is right.",
    ),
    "ordinal_brier": HeadMeasure(
        "Ordinal Brier",
        "fine_score",
        "Brier score over the two cuts between the three risk classes.",
    ),
    "top_recall": HeadMeasure(
        "Recall of high risk", "percent", "Share of the high-risk bars that were named so."
    ),
}

HEADS = {
    "action": "Action",
    "regime": "Market regime",
    "confidence": "Confidence",
    "volatility": "Volatility",
    "risk": "Risk",
}

# The words of a head's verdict, the best first.
WORDS = ("beats", "ties", "loses", "undecided")

# Classes of the regime and the risk head, in their order.
REGIME_NAMES = ("Ranging", "Bull", "Bear", "Volatile")
RISK_NAMES = ("Low", "Medium", "High")

RUNGS = {
    "model": "This model",
    "flat": "Flat",
    "buy_and_hold": "Buy and hold",
    "last_sign": "Last sign",
    "ma_cross": "Moving averages",
    "macd": "MACD",
    "rsi": "RSI",
    "prior": "Prior",
    "persistence": "Persistence",
    "har": "HAR",
    "logistic": "Logistic regression",
    "gradient_boosting": "Gradient boosting",
    "dlinear": "DLinear",
}

# Where a rung is another method at one head.
AT_HEAD = {("logistic", "volatility"): "Ridge regression"}

# One telling score of each head, as the ladder shows them.
KEY_SCORES = (
    ("action", "auc"),
    ("action", "rank_ic"),
    ("regime", "macro_f1"),
    ("confidence", "brier"),
    ("volatility", "r2"),
    ("risk", "ordinal_brier"),
)

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]  # Any: stored JSON


def rung_label(rung: str, head: str = "") -> str:
    """The name of a rung as people read it, or of what it is at one head."""
    named = RUNGS.get(rung, rung.replace("_", " ").capitalize())
    return AT_HEAD.get((rung, head), named)


def rung_words(rung: str, head: str = "") -> str:
    """The name of a rung inside a sentence."""
    label = rung_label(rung, head)
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def scores_on(metrics: dict[str, Any], instrument: str) -> dict[str, Any]:
    """The stored scores on one of several instruments, by name; where there is one, or another, all."""
    found: dict[str, Any] = metrics.get("instruments", {}).get(instrument, metrics)
    return found


def in_order(rungs: Iterable[str]) -> list[str]:
    """Rungs as the ladder shows them; unknown ones last."""
    places = {rung: place for place, rung in enumerate(RUNGS)}
    return sorted(rungs, key=lambda rung: places.get(rung, len(places)))


def best_cells(verdict: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """Rung, head and metric of each head's best rung."""
    return {
        (found["rung"], head, found["metric"])
        for head, found in verdict.items()
        if found.get("rung") and found.get("metric")
    }


def ladder_cells(
    scores: Scores,
    *,
    rung: str = "",
    best: Collection[tuple[str, str, str]] = (),
    keys: Iterable[tuple[str, str]] = KEY_SCORES,
) -> list[dict[str, Any]]:
    """The key scores of one rung in order: value, interval, spread over paths and reason, each None or
    empty if absent, and whether the rung is the best by that score.
    """
    cells = []
    for head, metric in keys:
        found = scores.get(head, {}).get(metric, {})
        cells.append(
            {
                "value": found.get("value"),
                "interval": found.get("interval"),
                "spread": found.get("spread"),
                "reason": found.get("reason", ""),
                "kind": HEAD_MEASURES[metric].kind,
                "is_best": (rung, head, metric) in best,
            }
        )
    return cells


def ladder_heads(keys: Iterable[tuple[str, str]] = KEY_SCORES) -> list[dict[str, str]]:
    """The column heads of the ladder."""
    return [
        {"label": f"{HEADS[head]}: {HEAD_MEASURES[metric].label}", "key": metric}
        for head, metric in keys
    ]


def score_table(scores: Scores) -> list[dict[str, Any]]:
    """Every score of every head as rows of a table, heads and scores in their order."""
    rows = []
    for head, label in HEADS.items():
        for key, measure in HEAD_MEASURES.items():
            found = scores.get(head, {}).get(key)
            if found is not None:
                rows.append({"head": label, "key": key, "measure": measure, **found})
    return rows


def head_verdicts(verdict: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a head: the word, the rung it was judged against, and the sentence."""
    return [
        {
            "head": label,
            "word": verdict[head].get("word", ""),
            "rung": rung_label(verdict[head].get("rung") or "", head),
            "sentence": verdict[head].get("sentence", ""),
        }
        for head, label in HEADS.items()
        if head in verdict
    ]


def heads_by_word(words: Mapping[str, str | None]) -> list[tuple[str, list[str]]]:
    """Each verdict word, the best first, with the heads it was said of; heads that were not judged come
    last, under an empty word. Nothing where none was.
    """
    if not any(words.values()):
        return []
    found = [
        (word, [HEADS[head].lower() for head in HEADS if (words.get(head) or "") == word])
        for word in (*WORDS, "")
    ]
    return [(word, heads) for word, heads in found if heads]
