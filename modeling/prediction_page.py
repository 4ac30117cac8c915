"""What a page of predictions shows: the window that is looked at, and one head at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render

from markets.chart_answers import chart_answer
from markets.reading import CandleRange, range_links, shown_span, span_query
from modeling.certainty import certainty_of, certainty_table
from modeling.charting import head_figure, prediction_figure, shown_predictions
from modeling.charts_calibration import calibration_title
from modeling.charts_predicted import MOST_INSTANTS, Shown, predictions_table, thinning_note
from modeling.evaluation.calibration import uncalibrated_reason
from modeling.measures import (
    HEAD_MEASURES,
    HEADS,
    REGIME_NAMES,
    RISK_NAMES,
    Scores,
    head_verdicts,
    in_order,
    rung_label,
    score_table,
)
from modeling.models import BaselineScore, PredictionSet

MODEL = PredictionSet.MODEL
CLASSES = {"regime": REGIME_NAMES, "risk": RISK_NAMES}


@dataclass(frozen=True)
class Judged:
    """A prediction set and what was said of it: stored scores, verdicts, rungs with scores or reason.

    `unscored` says why there are no scores at all; `is_of_all` that they are on all instruments, one of
    which is looked at.
    """

    row: PredictionSet
    metrics: Scores = field(default_factory=dict)
    verdict: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rungs: Iterable[BaselineScore] = ()
    unscored: str = ""
    is_of_all: bool = False

    def scored_rows(self, head: str) -> int:
        """How many of the last rows this head was scored on, rows without a label included: all of a
        run, and of a registered model those behind its training.
        """
        if self.row.run_id is not None:
            return int(self.row.rows)
        counts = self.metrics.get(head, {})
        parts = [counts.get(name, {}).get("value") or 0 for name in ("samples", "left_out")]
        return sum(parts)


def asked_head(params: QueryDict) -> str:
    """The head whose tab is open. Raises Http404 for another word."""
    head = params.get("head", "action")
    if head not in HEADS:
        raise Http404("there is no such head")
    return head


def predictions_context(judged: Judged, params: QueryDict) -> dict[str, Any]:
    """Window, links and the open tab. Raises InvalidRange, and Http404 for an unknown head."""
    head, row = asked_head(params), judged.row
    span = shown_span(row, params)
    window = _window_query(span)
    kept = {name: text for name in ("set", "instrument") if (text := params.get(name, ""))}
    return {
        "row": row,
        "range": _range_json(span),
        "range_query": window,
        "jumps": [
            {"label": jump.label, "url": _query({**kept, "head": head}, jump.query)}
            for jump in range_links(row, span)
        ],
        "hidden": {**kept, "head": head}.items(),
        "tabs": [
            {"key": key, "label": label, "url": _query({**kept, "head": key}, window)}
            for key, label in HEADS.items()
        ],
        "head": head,
        "head_label": HEADS[head],
        "curve_title": calibration_title(head),
        **_head_context(judged, head),
    }


def _query(parts: Mapping[str, str], window: str) -> str:
    return "?" + "&".join(text for text in (urlencode(parts), window) if text)


def _window_query(span: CandleRange) -> str:
    return span_query(span.from_at, span.to_at) if span.from_at and span.to_at else ""


def _range_json(span: CandleRange) -> str:
    if span.from_at is None or span.to_at is None:
        return ""
    return json.dumps([f"{at:%Y-%m-%dT%H:%M:%S}Z" for at in (span.from_at, span.to_at)])


def _head_context(judged: Judged, head: str) -> dict[str, Any]:
    found = judged.metrics.get(head, {})
    verdict = judged.verdict.get(head)
    return {
        "scores": score_table({head: found}),
        "counts": {name: found.get(name, {}).get("value") for name in ("samples", "left_out")},
        "unscored": judged.unscored,
        "uncalibrated": uncalibrated_reason(found) if found and head == "confidence" else "",
        "verdicts": head_verdicts({head: verdict}) if verdict else [],
        **_rung_table(judged, head),
        "confusion": _confusion(found, head),
        "certainty": certainty_table(certainty_of(judged.metrics)),
    }


def _rung_table(judged: Judged, head: str) -> dict[str, Any]:
    """This model, the rungs that have this head and those that failed, with every score of the head."""
    verdict = judged.verdict.get(head, {})
    against, best = verdict.get("rungs", {}), verdict.get("rung")
    scores = {score.rung: score for score in judged.rungs}
    shown = {
        rung: scores[rung].metrics.get(head, {})
        for rung in in_order(scores)
        if head in scores[rung].metrics or not scores[rung].metrics
    }
    if not shown:
        return {}
    everyone = {MODEL: judged.metrics.get(head, {}), **shown}
    measures = {
        key: measure
        for key, measure in HEAD_MEASURES.items()
        if any(key in found for found in everyone.values())
    }
    return {
        "rung_measures": measures.items(),
        "rungs": [
            {
                "label": rung_label(rung, head),
                "cells": [(measure.kind, found.get(key, {})) for key, measure in measures.items()],
                "word": against.get(rung, {}).get("word", ""),
                "is_best": rung == best,
                "reason": scores[rung].reason if rung in scores else "",
            }
            for rung, found in everyone.items()
        ],
    }


def _confusion(found: Mapping[str, Any], head: str) -> dict[str, Any] | None:
    """Counts of actual class by predicted class, and the share of each actual class."""
    counts = found.get("confusion", {}).get("value")
    if counts is None:
        return None
    names = CLASSES[head]
    rows = [
        (name, [(int(cell), cell / sum(row) if sum(row) else None) for cell in row])
        for name, row in zip(names, counts, strict=True)
    ]
    return {"names": names, "rows": rows}


def window_answer(
    request: HttpRequest, row: PredictionSet, *, title: str, back: str
) -> HttpResponse:
    """The chart of a window as JSON, its numbers as a fragment (`?as=rows`) or page (`?as=table`).

    `back` is the address of the page that has the chart. Raises InvalidRange and FileChanged.
    """
    span = shown_span(row, request.GET)
    shown = shown_predictions(row, span)
    note = thinning_note(shown)
    wanted = request.GET.get("as", "")
    if wanted not in ("rows", "table"):
        return JsonResponse({"figure": prediction_figure(row, shown), "note": note})
    context = {
        **predictions_table(shown),
        "title": title,
        "note": note,
        "bars": shown.bars,
        "every_bar": _first_page(shown) if shown.is_thinned else "",
        "jumps": range_links(row, span),
        "path": request.path,
        "back": back,
    }
    name = "_prediction_rows" if wanted == "rows" else "prediction_rows"
    return render(request, f"modeling/{name}.html", context)


def _first_page(shown: Shown) -> str:
    """The query of as many bars as a table has rows, from the start of the window."""
    begin = datetime.fromtimestamp(int(shown.times[0]) / 1e9, timezone.utc)
    return span_query(begin, begin + MOST_INSTANTS * timedelta(seconds=shown.bar_ns / 1e9))


def head_answer(request: HttpRequest, judged: Judged, head: str, title: str) -> HttpResponse:
    """The calibration of one head as JSON or table. Raises FileChanged, and Http404 for another word."""
    if head not in HEADS:
        raise Http404("there is no such head")
    figure = head_figure(judged.row, head, judged.scored_rows(head))
    return chart_answer(request, figure, title=f"{calibration_title(head)}, {title}")
