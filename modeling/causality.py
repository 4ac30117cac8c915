"""What the stored causality certificate of a run says as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

FOLD_PARTS = ("selection", "scalers", "targets", "predictions")
NAMED = 10
# The code version of the process that proved it; `code_version` beside it is that of the features alone.
CERTIFIED_BY = "certified_by"

Certificate = Mapping[str, Any]  # Any: JSON has no narrower type
State = Literal["passed", "failed", "not_run"]


def failed_parts(entry: Certificate) -> list[str]:
    """Names of the parts of one fold that knew their future."""
    return [name for name, verdict in entry.items() if verdict == "failed"]


def state_of(certificate: Certificate) -> State:
    """Passed means every part: the features, and of every fold the selection, scalers, targets and
    predictions. A certificate that lacks one and in which none failed has not been run.
    """
    if not certificate:
        return "not_run"
    if not certificate["passed"]:
        return "failed"
    folds = certificate.get("folds", [])
    is_whole = bool(folds) and all(part in entry for entry in folds for part in FOLD_PARTS)
    return "passed" if is_whole else "not_run"


def certificate_table(certificate: Certificate) -> dict[str, Any]:  # Any: cells of a table
    """The certificate as its box shows it: the state, which code proved it, one row of verdicts for each
    fold, and up to ten features and index maps that knew their future.
    """
    tested = [*certificate.get("features", []), *certificate.get("maps", [])]
    failures = [entry for entry in tested if entry["verdict"] == "failed"]
    return {
        "state": state_of(certificate),
        "bars_tested": certificate.get("bars_tested"),
        "certified_by": certificate.get(CERTIFIED_BY),
        "failures": failures[:NAMED],
        "more_failures": max(0, len(failures) - NAMED),
        "folds": [
            {
                "number": entry["fold"],
                "verdicts": [entry.get(part, "not_run") for part in FOLD_PARTS],
                "predicted": entry.get("predicted"),
                "certified_by": entry.get(CERTIFIED_BY),
            }
            for entry in certificate.get("folds", [])
        ],
    }


def features_version(certificate: Certificate, fold: int) -> str | None:
    """The code version of the features that a fold was trained on; None where nobody noted it."""
    noted = {entry["fold"]: entry.get("code_version") for entry in certificate.get("folds", [])}
    return noted.get(fold) or certificate.get("code_version")


def certified_again(
    before: Certificate, found: Certificate, finished: Collection[int]
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """The certificate `found` by the running code in the place of that by other code.

    Entries of finished folds stay, each with the features it was trained on: nothing of them is computed
    again. Those of other folds say nothing of the running code and go, with the rest, to `earlier`.
    """
    if not before:
        return dict(found)
    features = {"code_version": before.get("code_version")}
    folds = before.get("folds", [])
    kept = [{**features, **entry} for entry in folds if entry["fold"] in finished]
    replaced = {
        CERTIFIED_BY: before.get(CERTIFIED_BY),
        "passed": before["passed"],
        **features,
        "bars_tested": before.get("bars_tested"),
        "folds": [entry for entry in folds if entry["fold"] not in finished],
    }
    return {
        **found,
        "passed": bool(found["passed"] and not any(failed_parts(entry) for entry in kept)),
        "folds": kept,
        "earlier": [*before.get("earlier", []), replaced],
    }


def joined_certificate(each: Mapping[str, Certificate]) -> dict[str, Any]:
    """The certificate of the features of one instrument, or of several: it passes when all pass. An entry
    is that of all on equal features and timescales; one that failed names the instrument.
    """
    first = dict(next(iter(each.values())))
    if len(each) == 1:
        return first
    entries = {
        kind: [
            _joined_entry(dict(zip(each, same, strict=True)))
            for same in zip(*(of[kind] for of in each.values()), strict=True)
        ]
        for kind in ("features", "maps")
    }
    tested = sum(of["bars_tested"] for of in each.values())
    passed = all(of["passed"] for of in each.values())
    return first | entries | {"bars_tested": tested, "passed": passed}


def _joined_entry(each: Mapping[str, Certificate]) -> dict[str, Any]:
    failed = next((name for name, entry in each.items() if entry["verdict"] == "failed"), "")
    shown = each[failed] if failed else next(iter(each.values()))
    tested = {"bars_tested": sum(entry["bars_tested"] for entry in each.values())}
    return ({"instrument": failed} if failed else {}) | dict(shown) | tested


def joined_proof(each: Mapping[str, Certificate]) -> dict[str, Any]:
    """The proof of a fold's predictions for one instrument. Of several the first that failed, or else
    the first, by name, with the bars compared of all and the verdict of each.
    """
    if len(each) == 1:
        return dict(next(iter(each.values())))
    name = next((name for name, found in each.items() if not found["passed"]), next(iter(each)))
    verdicts = {name: "passed" if found["passed"] else "failed" for name, found in each.items()}
    tested = sum(found["bars_tested"] for found in each.values())
    return {"instrument": name, **each[name], "bars_tested": tested, "instruments": verdicts}
