"""The span of a backtest against what is predicted: one answer for page, API and job."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from artifacts.store import FileChanged
from backtests.metrics.series import instant_of
from backtests.specs import SpanSpec
from markets.models import DatasetVersion
from markets.reading import CandleRange, candles_in, ns_of
from modeling.evaluation.table import of_instrument
from modeling.models import PredictionSet, instrument_name
from modeling.reading import prediction_columns
from specs.declaration import InvalidSpec

WHOLE = SpanSpec()


def require_predicted(span: SpanSpec, first: datetime, end: datetime) -> None:
    """Refuse a span that would hold bars that nobody predicted; predicted are those from `first` to `end`.

    Raises InvalidSpec beside each end that lies outside.
    """
    asked = {"span.from_at": span.from_at, "span.to_at": span.to_at}
    refused = {
        path: f"found {_text(at)}; expected a time in what is predicted, {_text(first)} to {_text(end)}. "
        "Choose one, or leave it empty"
        for path, at in asked.items()
        if at is not None and not first <= at <= end
    }
    if refused:
        raise InvalidSpec(refused)


def require_within(
    span: SpanSpec, stored: PredictionSet, version: DatasetVersion, since: datetime | None
) -> None:
    """Refuse a span that the stored predictions of a version do not fill, those known from `since` on.

    Raises InvalidSpec as the job would. Of a file that is gone or damaged the job tells more.
    """
    if span == WHOLE:
        return
    try:
        table = of_instrument(prediction_columns(stored, CandleRange()), instrument_name(version))
        opens, known = (np.asarray(table[name], dtype=np.int64) for name in ("open_at", "known_at"))
        if since is not None:
            opens = opens[known >= ns_of(since)]
        if not len(opens):
            return
        first, end = instant_of(int(opens[0])), instant_of(int(opens[-1])) + version.bar
        require_predicted(span, first, end)
        begin, stop = span.from_at or first, span.to_at or end
        if not len(candles_in(version, CandleRange(begin, stop))):
            text = f"found no candle from {_text(begin)} to {_text(stop)}; choose a longer span"
            raise InvalidSpec({"span.to_at": text})
    except FileChanged:
        return


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
