"""What the tab Features of a dataset version shows."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest

from jobs.views import live_context, with_job
from markets.feature_charts import correlation_summary, histogram_path
from markets.feature_reading import NAMES, bar_name, is_stored, report_of, scales_of
from markets.features.registry import FAMILIES, FEATURES
from markets.models import DatasetVersion, FeatureReport

FIRST = "rsi_14"


def features_part(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    name, factor = asked_feature(request, version)
    report = report_of(version)
    context: dict[str, Any] = {
        "report": report,
        "families": FAMILIES,
        "feature": FEATURES[name],
        "factor": factor,
        "factors": [(k, bar_name(version, k)) for k in scales_of(version)],
        "stored": is_stored(version),
    }
    if report is None:
        return context
    report = with_job(FeatureReport.objects.filter(pk=report.pk))
    context |= {"report": report, **live_context(report.job)}
    if report.summary:
        context["spreads"] = spreads(report.summary["scales"][str(factor)])
        context["correlation_text"] = correlation_summary(report.summary["correlation"])
    if report.certificate:
        context |= certificate_table(report)
    return context


def asked_feature(request: HttpRequest, version: DatasetVersion) -> tuple[str, int]:
    """The feature and timescale of the address. Raises Http404 for unknown ones."""
    name, factor = request.GET.get("feature", FIRST), request.GET.get("scale", "1")
    known = [str(k) for k in scales_of(version)]
    if name not in NAMES or factor not in known:
        raise Http404("there is no such feature or timescale")
    return name, int(factor)


def spreads(scale: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of each feature with the drawing of its histogram."""
    return [
        row | {"path": histogram_path(row["histogram"]["counts"]) if row["histogram"] else ""}
        for row in scale["features"]
    ]


def certificate_table(report: FeatureReport) -> dict[str, Any]:
    """The certificate with one row for each feature and one cell for each timescale."""
    certificate = report.certificate or {}
    scales = [entry["scale"] for entry in certificate["maps"]]
    cells = {(entry["feature"], entry["scale"]): entry for entry in certificate["features"]}
    names = [name for name in NAMES if any((name, k) in cells for k in scales)]
    rows = [(name, [cells.get((name, k)) for k in scales]) for name in names]
    if certificate["maps"]:
        rows.append(("index map", certificate["maps"]))
    return {"certificate": certificate, "certified_scales": scales, "certified": rows}
