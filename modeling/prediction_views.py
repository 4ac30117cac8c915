from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page, require_safe

from markets.chart_answers import read_or_refused
from modeling.downloads import set_csv_answer, set_parquet_answer
from modeling.measures import in_order, rung_label, scores_on
from modeling.models import HoldoutOpening, PredictionSet, TrainingRun, instrument_name
from modeling.prediction_page import Judged, head_answer, predictions_context, window_answer
from modeling.views import fetched


@require_safe
@read_or_refused()
def predictions(request: HttpRequest, pk: int) -> HttpResponse:
    """One prediction set of a run: its own, or the one of `?set=`."""
    run = fetched(request, pk)
    sets = _in_order(run.prediction_sets.select_related("opening"))
    row = _chosen(sets, request.GET.get("set", ""))
    context: dict[str, Any] = {"run": run, "sets": _links(sets, row), "is_sealed": _is_sealed(run)}
    if row is not None:
        row.run = run
        context |= _look_at(row, request.GET.get("instrument", ""))
        judged = _judged(row, run)
        context["is_scored_alone"] = not judged.is_of_all
        context |= predictions_context(judged, request.GET)
    return render(request, "modeling/predictions.html", context)


@require_safe
@gzip_page
@conditional_page
@read_or_refused()
def predictions_chart(request: HttpRequest, pk: int, set_pk: int, place: int) -> HttpResponse:
    row = _fetched_set(request, pk, set_pk, place)
    back = f"{reverse('modeling:predictions', args=[pk])}?set={row.pk}"
    title = f"Predictions of {row.run}"
    if row.run is not None and row.run.experiment.others:
        back += f"&instrument={row.place}"
        title += f" on {instrument_name(row.version)}"
    return window_answer(request, row, title=title, back=back)


@require_safe
@gzip_page
@conditional_page
@read_or_refused()
def predictions_curve(
    request: HttpRequest, pk: int, set_pk: int, place: int, head: str
) -> HttpResponse:
    row = _fetched_set(request, pk, set_pk, place)
    assert row.run is not None  # it was reached through the run
    return head_answer(request, _judged(row, row.run), head, str(row.run))


@require_safe
def predictions_parquet(request: HttpRequest, pk: int, set_pk: int) -> FileResponse:
    row = _fetched_set(request, pk, set_pk)
    return set_parquet_answer(request, row, _file_name(row))


@require_safe
def predictions_csv(request: HttpRequest, pk: int, set_pk: int) -> StreamingHttpResponse:
    row = _fetched_set(request, pk, set_pk)
    return set_csv_answer(request, row, _file_name(row))


def _fetched_set(request: HttpRequest, pk: int, set_pk: int, place: int = 1) -> PredictionSet:
    """A set of a visible run. Of several instruments the one at `place` is looked at."""
    run = fetched(request, pk)
    sets: QuerySet[PredictionSet] = run.prediction_sets.select_related("file", "workspace")
    row = get_object_or_404(sets, pk=set_pk)
    row.run = run
    _look_at(row, str(place))
    return row


def _look_at(row: PredictionSet, wanted: str) -> dict[str, Any]:
    """Look at the instrument with that number, or at the first, and say what there is to choose from.

    Raises Http404 for another number.
    """
    assert row.run is not None  # it was reached through the run
    names = row.run.experiment.instruments
    places = {str(place): place for place in range(1, len(names) + 1)}
    if (wanted or "1") not in places:
        raise Http404("the run has no such instrument")
    row.place = places[wanted or "1"]
    if len(names) == 1:
        return {}
    instruments = [
        {"place": place, "label": name, "is_shown": place == row.place}
        for place, name in enumerate(names, start=1)
    ]
    return {"instruments": instruments, "instrument": names[row.place - 1]}


def _in_order(sets: Iterable[PredictionSet]) -> list[PredictionSet]:
    """The run's own set or paths, its hold-out, then the rungs as the ladder shows them."""
    rungs = in_order({row.rung for row in sets})
    return sorted(sets, key=lambda row: (rungs.index(row.rung), row.is_holdout, row.path))


def _chosen(sets: list[PredictionSet], wanted: str) -> PredictionSet | None:
    """The set with that id; without one the first. Raises Http404 for an id that is not among them."""
    if not wanted:
        return sets[0] if sets else None
    found = next((row for row in sets if str(row.pk) == wanted), None)
    if found is None:
        raise Http404("the run has no such predictions")
    return found


def _links(sets: list[PredictionSet], shown: PredictionSet | None) -> list[dict[str, Any]]:
    return [{"pk": row.pk, "label": _label(row), "is_shown": row is shown} for row in sets]


def _label(row: PredictionSet) -> str:
    if row.is_holdout:
        return "Opened hold-out"
    return f"{rung_label(row.rung)}{f', path {row.path}' if row.path else ''}"


def _judged(row: PredictionSet, run: TrainingRun) -> Judged:
    """Scores as they were stored with the run, with its opening or with the rung."""
    rungs = list(run.baselines.all())
    if row.path > 1:
        return Judged(
            row, unscored="Path 1 is scored and judged; the spread over all paths stands there."
        )
    if row.is_holdout:
        opening = HoldoutOpening.objects.filter(run=run).first()
        return Judged(row, _own_scores(row, opening.metrics if opening else {}))
    if row.rung != PredictionSet.MODEL:
        own = [score.metrics for score in rungs if score.rung == row.rung]
        return Judged(row, own[0] if own else {}, is_of_all=bool(run.experiment.others))
    if "instruments" in run.metrics:
        return Judged(row, _own_scores(row, run.metrics))
    return Judged(row, run.metrics, {} if run.is_withheld else run.verdict, rungs)


def _own_scores(row: PredictionSet, metrics: dict[str, Any]) -> dict[str, Any]:
    """The scores of the instrument that is looked at, where there are several."""
    return scores_on(metrics, instrument_name(row.version))


def _is_sealed(run: TrainingRun) -> bool:
    """Whether bars of the hold-out stay closed for this run."""
    experiment = run.experiment
    has_holdout = experiment.holdout_until > experiment.holdout_at
    return has_holdout and not run.prediction_sets.filter(is_holdout=True).exists()


def _file_name(row: PredictionSet) -> str:
    parts = [row.rung, f"path-{row.path}" if row.path else "", "holdout" if row.is_holdout else ""]
    return "-".join(["predictions-run", str(row.run_id), *filter(None, parts)])
