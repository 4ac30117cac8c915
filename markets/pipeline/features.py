"""The body of a features job: sealed candles in, the cache filled, a summary and a certificate out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings

from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.frame import Candles
from markets.features.compute import compute_features
from markets.features.registry import FEATURE_SETS, automatic_scales
from markets.features.stretches import BARS, certify_history
from markets.features.summary import correlations, summarize_scale
from markets.features.table import FeatureTable, ScaleFeatures
from markets.models import FeatureReport
from markets.pipeline.resampling import sealed_candles

NAMES = FEATURE_SETS["all-67"]


def report_features(report: FeatureReport, attempt: RunningAttempt) -> None:
    """Compute all features, describe them and certify them. Raises JobFailed `causality`."""
    version = report.version
    attempt.progress(0.02, "Reading the candles")
    candles = sealed_candles(version)
    table = _table_of(candles, version.sha256, attempt)
    summary = _summary_of(table, attempt)
    certificate = _certificate_of(candles, table, attempt)
    with attempt.fenced():
        report.summary, report.certificate = summary, certificate
        report.save(update_fields=["summary", "certificate"])
        if certificate["passed"] or not certificate["bars_tested"]:
            attempt.succeed(_text(table, certificate))
    if certificate["bars_tested"] and not certificate["passed"]:
        raise JobFailed(
            "causality",
            "A feature changes its past when the future does. The certificate on the page of the "
            "dataset names it; report it, and do not train with it.",
        )


def _table_of(candles: Candles, sha256: str, attempt: RunningAttempt) -> FeatureTable:
    scales: dict[int, ScaleFeatures] = {}
    factors = automatic_scales(candles.timeframe_minutes)
    for place, k in enumerate(factors):
        attempt.raise_if_stopping()
        attempt.progress(0.05 + 0.1 * place / len(factors), f"Computing features, timescale {k}")
        table = compute_features(
            candles, NAMES, (k,), cache=settings.FEATURE_CACHE, data_sha256=sha256
        )
        scales |= table.scales
    return FeatureTable(NAMES, scales)


def _summary_of(table: FeatureTable, attempt: RunningAttempt) -> dict[str, Any]:
    scales = {}
    for place, (k, scale) in enumerate(table.scales.items()):
        attempt.raise_if_stopping()
        attempt.progress(0.15 + 0.1 * place / len(table.scales), f"Describing timescale {k}")
        scales[str(k)] = summarize_scale(table.names, scale)
    attempt.raise_if_stopping()
    return {"scales": scales, "correlation": correlations(table)}


def _certificate_of(
    candles: Candles, table: FeatureTable, attempt: RunningAttempt
) -> dict[str, Any]:
    """Each bar of the check computes all features twice, so a stop is looked for in between."""
    done = 0

    def compute(some: Candles, names: Sequence[str], scales: Sequence[int]) -> FeatureTable:
        nonlocal done
        done += 1
        attempt.raise_if_stopping()
        fraction = min(0.99, 0.25 + 0.74 * done / (2 * BARS))
        attempt.progress(fraction, "Checking that no feature knows the future")
        return compute_features(some, names, scales)

    return certify_history(candles, table, compute=compute)


def _text(table: FeatureTable, certificate: dict[str, Any]) -> str:
    tested = certificate["bars_tested"]
    verdict = f"none knows the future at {tested} bars" if tested else "too few bars to certify"
    return f"{len(table.names)} features on {len(table.scales)} timescales; {verdict}."
