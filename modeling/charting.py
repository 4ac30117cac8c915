"""What the charts of a run draw, gathered from rows and sealed files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.charts import Figure
from markets.reading import CandleRange, candles_in, ns_of
from modeling.charts_predicted import Shown, Span
from modeling.evaluation.curves import TooFewSamples, calibration_curves
from modeling.measures import HEADS
from modeling.models import Fold, PredictionSet, TrainingRun
from modeling.reading import prediction_columns
from modeling.specs import ModelSpec
from modeling.windows.cpcv import GROUPS, path_splits

# Heads as training calls them → words; the first four are balanced against each other.
TRAINED_HEADS = {
    "action": HEADS["action"],
    "market_regime": HEADS["regime"],
    "volatility": HEADS["volatility"],
    "risk": HEADS["risk"],
    "confidence": HEADS["confidence"],
}
BALANCED_HEADS = {head: words for head, words in TRAINED_HEADS.items() if head != "confidence"}


def _by_head(name: str, heads: dict[str, str]) -> dict[str, str]:
    return {f"{name}/{head}": words for head, words in heads.items()}


# Chart → (title, unit, logged name → words).
CURVES: dict[str, tuple[str, str, dict[str, str]]] = {
    "loss": ("Training loss", "loss", {"loss": "Balanced loss of all heads"}),
    "validation": (
        "Validation loss",
        "constant = 1",
        {"validation_ratio": "Mean", **_by_head("ratio", BALANCED_HEADS)},
    ),
    "confidence": (
        "Confidence loss",
        "loss",
        {"train/confidence": "Training", "validation/confidence": "Validation"},
    ),
    "learning_rate": ("Learning rate", "rate", {"learning_rate": "Learning rate"}),
    "gradient_norm": ("Gradient norm", "norm", {"gradient_norm": "Before clipping"}),
    "head_losses": ("Training loss of each head", "loss", _by_head("loss", TRAINED_HEADS)),
    "balance": ("Balance of the heads", "v", _by_head("balance", BALANCED_HEADS)),
    "dropout": ("Mean dropout", "rate", {"mean_dropout": "Mean over the batch"}),
    "speed": ("Speed", "samples a second", {"samples_per_s": "In the last 50 steps"}),
}
# Drawn at once; the page has the others behind their titles, of which one is open at a time.
DRAWN = ("loss", "validation", "confidence", "learning_rate", "gradient_norm")


def curve_figure(run: TrainingRun, kind: str) -> Figure:
    """The figure of one kind of curve. Raises KeyError for an unknown kind."""
    from modeling.charts import loss_figure

    title, unit, labels = CURVES[kind]
    points = run.points.filter(name__in=labels).values_list("fold", "name", "step", "value")
    return loss_figure(points.iterator(), labels=labels, unit=unit, title=title)


def newest_point(run: TrainingRun) -> int:
    """Rises whenever a point was logged; 0 before the first."""
    return run.points.order_by("-pk").values_list("pk", flat=True).first() or 0


def shown_predictions(row: PredictionSet, span: CandleRange) -> Shown:
    """What of one span is drawn and listed. Raises FileChanged."""
    from modeling.charts_predicted import PRICES, shown_bars

    columns: dict[str, NDArray[np.generic]] = dict(prediction_columns(row, span))
    opens = np.asarray(columns["open_at"], dtype=np.int64)
    candles = candles_in(row.version, CandleRange(span.from_at, span.to_at))
    columns |= {name: _at(candles.time, getattr(candles, name), opens) for name in PRICES}
    columns["threshold"] = _thresholds(row.folds, np.asarray(columns["fold"], dtype=np.int64))
    return shown_bars(columns, bar_ns=candles.bar_ns)


def prediction_figure(row: PredictionSet, shown: Shown) -> Figure:
    """The shown bars under their title, with what the folds of a run kept away from training."""
    from modeling.charts_predicted import predictions_figure

    return predictions_figure(shown, title=str(row.maker), spans=cuts(row))


def head_figure(row: PredictionSet, head: str, scored: int) -> Figure:
    """The calibration of a head on the last `scored` rows of the predictions. Raises FileChanged."""
    from modeling.charts_calibration import calibration_figure

    table = prediction_columns(row, CandleRange())
    begin = max(0, len(table["open_at"]) - scored)
    last = {name: column[begin:] for name, column in table.items()}
    cost_bps = spec_of(row).target.cost_bps
    try:
        return calibration_figure(head, calibration_curves(last, head, cost_bps=cost_bps))
    except TooFewSamples as error:
        return calibration_figure(head, [], reason=f"{str(error).capitalize()}.")


def spec_of(row: PredictionSet) -> ModelSpec:
    """The spec of the run that the predictions, or the model that made them, come from."""
    run = row.run or row.of_model.model.run
    spec: ModelSpec = run.experiment.model_spec
    return spec


def cuts(row: PredictionSet) -> list[Span]:
    """Purge and embargo around the test blocks of the splits that predicted, by the open of the bars."""
    if row.run is None or row.is_holdout:
        return []
    spec, bar = spec_of(row), row.version.bar
    label = bar * max(spec.windows.horizon_bars, spec.target.regime_bars)
    # One bar less than the embargo: a sample whose label ends exactly that far away is trained on.
    distance = bar * max(0, spec.evaluation.embargo_bars - 1)
    mine = [part["fold"] for part in row.folds]
    spans = []
    for fold in row.run.folds.filter(number__in=mine).defer("state", "metrics"):
        for block, is_before, is_behind in _blocks(fold, row.path):
            first = datetime.fromisoformat(block["from_at"]) - bar
            end = datetime.fromisoformat(block["to_at"])
            # A training sample is left out for what its label reads, so it is known a label earlier;
            # one behind the block for what the labels of the block read.
            spans += [
                ("purge", first - label, first),
                ("embargo", first - label - distance, first - label),
            ] * is_before
            spans += [("purge", end - label, end), ("embargo", end, end + distance)] * is_behind
    return [
        Span(kind, ns_of(start), ns_of(end), "kept from the training of the block beside it")
        for kind, start, end in dict.fromkeys(spans)
    ]


def _blocks(fold: Fold, path: int) -> list[tuple[dict[str, Any], bool, bool]]:
    """The test blocks of a fold that a path takes from it, and whether the fold learned before and
    behind each; only combinatorial splits learn behind one.
    """
    test = fold.splits["slices"]["test"]
    if not path:
        return [(test, True, False)]
    tested = {block["group"] for block in test["parts"]}
    return [
        (block, group - 1 not in {0, *tested}, group + 1 not in {GROUPS + 1, *tested})
        for block in test["parts"]
        for group in [block["group"]]
        if path_splits(path)[group - 1] == fold.number
    ]


def _at(
    times: NDArray[np.int64], values: NDArray[np.float64], wanted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The value at each wanted instant, NaN where there is none."""
    if not len(times):
        return np.full(len(wanted), np.nan)
    place = np.minimum(np.searchsorted(times, wanted), len(times) - 1)
    return np.where(times[place] == wanted, values[place], np.nan)


def _thresholds(folds: list[dict[str, Any]], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """The threshold on |action| of each row; NaN where the fold has none."""
    by_fold = {int(item["fold"]): item.get("threshold") for item in folds}
    found = np.full(len(fold), np.nan)
    for number, threshold in by_fold.items():
        found[fold == number] = np.nan if threshold is None else float(threshold)
    return found
