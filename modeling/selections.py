"""What the folds of a run selected: for the page and the API, from the stored rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markets.features.registry import FEATURES
from modeling.models import Fold
from modeling.windows.selection import Selection, kuncheva_index, selection_shares


def selection_of(fold: Fold) -> Selection | None:
    """The features a finished fold chose from its fit slice; None where all were kept."""
    stored = fold.state.get("selection")
    selection = Selection.from_json(stored) if stored else None
    return selection if selection and selection.relevance else None


def selection_report(folds: Sequence[Fold]) -> dict[str, Any] | None:
    """How often the folds chose each feature, and how alike their choices are beyond chance.

    None when no fold chose. A feature's relevance is the mean over the folds; each `choices` entry
    is its redundancy in one fold when it was chosen, None where it was not.
    """
    chosen = {fold.number: found for fold in folds if (found := selection_of(fold))}
    if not chosen:
        return None
    selections = list(chosen.values())
    names = tuple(name for name in FEATURES if name in selections[0].relevance)
    rows = [
        {
            "name": name,
            "family": FEATURES[name].family,
            "share": share,
            "relevance": sum(found.relevance[name] for found in selections) / len(selections),
            "choices": [found.redundancy.get(name) for found in selections],
        }
        for name, share in selection_shares(selections, names).items()
    ]
    return {
        "folds": list(chosen),
        "of": len(names),
        "kuncheva_index": kuncheva_index(selections, len(names)),
        "features": sorted(rows, key=lambda row: (-row["share"], -row["relevance"])),
    }
