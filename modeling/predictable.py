"""Which dataset versions a registered model can predict: one rule for the form and for the refusal.

What only the candles show, a gap in every window, is the answer of the job.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from markets.candles.quality import counted
from markets.models import DatasetVersion
from markets.reading import ns_of
from modeling.models import RegisteredModel
from modeling.specs import ModelSpec
from modeling.windows.samples import first_window
from specs.writing import grouped

OPEN_FIRST = "Open the hold-out with the run of this model first"


@dataclass(frozen=True)
class Obstacle:
    """Why a version cannot be predicted; `words` stand beside its name, `text` says it in full."""

    code: str
    words: str
    text: str
    needs_opening: bool = False


@dataclass(frozen=True)
class Limits:
    """What a model may read and must find, read once for however many versions."""

    model: RegisteredModel
    spec: ModelSpec
    seal: datetime | None

    @classmethod
    def of(cls, model: RegisteredModel) -> Limits:
        return cls(model, model.run.experiment.model_spec, model.seal)

    def obstacle(self, version: DatasetVersion) -> Obstacle | None:
        """What stands between the model and a version of its timeframe; None when nothing is known."""
        is_own = self.model.shares_market_of(version)
        if is_own and self.seal and version.first_at + version.bar > self.seal:
            return _sealed(version, self.seal)
        first, until = readable(self.model, version, self.seal if is_own else None)
        end, tested_from = version.last_at + version.bar, self.model.out_of_sample_from
        if is_own and until < tested_from:
            return _nothing_new(version, until, tested_from, opening_helps=end >= tested_from)
        bars, needed = max(0, (until - first) // version.bar), self._bars_needed(version, first)
        if bars >= needed:
            return None
        opening_helps = (end - first) // version.bar >= needed
        return _too_short(version, bars, needed, opening_helps=opening_helps)

    def _bars_needed(self, version: DatasetVersion, first: datetime) -> int:
        """Bars without a gap up to the end of the first window."""
        minutes = version.dataset.timeframe_minutes
        features = self.spec.features
        return 1 + first_window(
            features.names(),
            features.scales_for(minutes),
            self.spec.windows.context_bars,
            first_open=ns_of(first),
            timeframe_minutes=minutes,
        )


def readable(
    model: RegisteredModel, version: DatasetVersion, sealed_after: datetime | None
) -> tuple[datetime, datetime]:
    """From where to where a model may read the candles of a version.

    Its own market begins where its training data began, so that features are equal bit for bit, and
    ends at the seal.
    """
    end = version.last_at + version.bar
    if not model.shares_market_of(version):
        return version.first_at, end
    began = model.run.experiment.model_spec.data.from_at or version.first_at
    first = max(began, version.first_at)
    # The span of an experiment may begin between two bars.
    first += (version.first_at - first) % version.bar
    return first, min(end, sealed_after or end)


def _sealed(version: DatasetVersion, seal: datetime) -> Obstacle:
    return Obstacle(
        "holdout_sealed",
        "behind the seal of the hold-out",
        f"All bars of {version} close after {seal:%Y-%m-%d %H:%M} UTC, where the hold-out "
        f"of the experiment is sealed. {OPEN_FIRST}.",
        needs_opening=True,
    )


def _nothing_new(
    version: DatasetVersion, until: datetime, tested_from: datetime, *, opening_helps: bool
) -> Obstacle:
    way_out = OPEN_FIRST if opening_helps else "Choose a newer version"
    return Obstacle(
        "nothing_to_predict",
        "nothing new to this model",
        f"The bars of {version} that this model may see end at {until:%Y-%m-%d %H:%M} UTC; new to it is "
        f"what closes from {tested_from:%Y-%m-%d %H:%M} UTC on. {way_out}, or choose another "
        "instrument.",
        needs_opening=opening_helps,
    )


def _too_short(version: DatasetVersion, bars: int, needed: int, *, opening_helps: bool) -> Obstacle:
    way_out = f"{OPEN_FIRST}, or choose" if opening_helps else "Choose"
    return Obstacle(
        "not_enough_history",
        f"{counted(bars, 'bar')}, {grouped(needed)} needed",
        f"{version} has {counted(bars, 'bar')} that this model may see; its first window needs "
        f"{grouped(needed)} without a gap. {way_out} a longer version.",
        needs_opening=opening_helps,
    )
