"""What a backtest assumes, and the whole of an experiment."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import field_validator, model_validator

from modeling.specs import ModelSpec
from specs.declaration import InvalidSpec, Spec, UtcInstant, declared


class SpanSpec(Spec):
    """The part of the candles on which the account trades."""

    from_at: UtcInstant | None = declared(
        None, label="From", help="First bar traded (UTC). Empty: all there is.", advanced=True
    )
    to_at: UtcInstant | None = declared(
        None,
        label="To",
        help="End of trading (UTC, exclusive). Empty: all there is.",
        advanced=True,
    )

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.from_at and self.to_at and self.to_at <= self.from_at:
            raise InvalidSpec({"to_at": "expected a time after the beginning of the span"})
        return self


class PolicySpec(Spec):
    """From head outputs to targets."""

    threshold: Literal["auto"] | float = declared(
        "auto",
        label="Entry threshold",
        help="Smallest absolute action score that opens a position, between 0 and 1. "
        "Auto: the 0.90 quantile on the calibration slice of the same fold.",
    )
    exit_threshold: float = declared(
        0.0,
        label="Exit threshold",
        help="A smaller absolute score closes the position.",
        ge=0,
        lt=1,
        advanced=True,
    )
    side: Literal["auto", "long_only", "short_only", "long_short"] = declared(
        "auto",
        label="Side",
        help="Auto: long only on spot, long and short on perpetuals.",
        choices={
            "auto": "Auto",
            "long_only": "Long only",
            "short_only": "Short only",
            "long_short": "Long and short",
        },
    )
    minimum_confidence: float = declared(
        0.0,
        label="Minimum confidence",
        help="A new side needs at least this confidence. Above 0 it asks for predictions whose "
        "confidence is calibrated; a backtest of others is refused.",
        ge=0,
        le=1,
        advanced=True,
    )
    hold_bars: int | None = declared(
        None,
        label="Hold",
        unit="bars",
        help="Decisions a target stands. Empty: the horizon.",
        ge=0,
        le=10_000,
        advanced=True,
    )

    @field_validator("threshold")
    @classmethod
    def _threshold_is_a_score(cls, value: Literal["auto"] | float) -> Literal["auto"] | float:
        if value != "auto" and not 0 <= float(value) < 1:
            raise ValueError("expected auto or a number from 0 to below 1")
        return value


class SizingSpec(Spec):
    """How large a position is."""

    mode: Literal["fixed_fraction", "fixed_quantity"] = declared(
        "fixed_fraction",
        label="Sizing",
        help="A share of equity, or a fixed quantity.",
        choices={"fixed_fraction": "Fixed fraction", "fixed_quantity": "Fixed quantity"},
    )
    fraction: float = declared(
        1.0, label="Fraction", help="Share of equity in a full position.", gt=0, le=1
    )
    quantity: float = declared(
        1.0, label="Quantity", help="Base units of a full position.", gt=0, le=1e12, advanced=True
    )
    lot_step: float = declared(
        0.0,
        label="Lot step",
        help="Quantities are rounded down to it; 0: no rounding.",
        ge=0,
        advanced=True,
    )
    min_notional: float = declared(
        0.0,
        label="Minimum notional",
        help="Smaller orders are rejected and counted.",
        ge=0,
        advanced=True,
    )


class RiskSpec(Spec):
    """Protective exits."""

    stop_pct: float | None = declared(
        None, label="Stop-loss", help="Distance from the fill price, as a fraction.", gt=0, lt=1
    )
    take_profit_pct: float | None = declared(
        None, label="Take-profit", help="Distance from the fill price, as a fraction.", gt=0, lt=10
    )


class CostSpec(Spec):
    """What trading costs."""

    maker_bps: float = declared(
        2.0, label="Maker fee", unit="bps", help="On take-profit fills.", ge=0, le=500
    )
    taker_bps: float = declared(
        4.0, label="Taker fee", unit="bps", help="On all other fills.", ge=0, le=500
    )
    slippage_bps: float = declared(
        1.0, label="Slippage", unit="bps", help="Against us on every market fill.", ge=0, le=500
    )


class FillSpec(Spec):
    """How orders are filled inside a bar."""

    take_profit_gap: Literal["limit", "open"] = declared(
        "limit",
        label="Gap through the target",
        help="Fill at the limit price, or at the open (parity with other engines).",
        choices={"limit": "Limit price", "open": "Open"},
        advanced=True,
    )
    both_touched: Literal["stop_first", "target_first"] = declared(
        "stop_first",
        label="Stop and target in one bar",
        help="Which is taken to have come first. Such bars are counted.",
        choices={"stop_first": "Stop first", "target_first": "Target first"},
        advanced=True,
    )


class BacktestSpec(Spec):
    """Capital, policy, sizing, risk, costs and fills of one backtest."""

    capital: float = declared(10_000.0, label="Capital", help="Equity at the start.", gt=0, le=1e12)
    span: SpanSpec = SpanSpec()
    policy: PolicySpec = PolicySpec()
    sizing: SizingSpec = SizingSpec()
    risk: RiskSpec = RiskSpec()
    costs: CostSpec = CostSpec()
    fills: FillSpec = FillSpec()

    def confidence_fields(self) -> tuple[str, ...]:
        """Dotted paths of the settings in use that take the confidence for a probability."""
        return ("policy.minimum_confidence",) if self.policy.minimum_confidence > 0 else ()

    def without_confidence(self) -> Self:
        """The same assumptions with no setting that asks for a confidence."""
        policy = self.policy.model_copy(update={"minimum_confidence": 0.0})
        return self.model_copy(update={"policy": policy})


class ExperimentSpec(ModelSpec):
    """A whole experiment: the model and the backtest that judges it."""

    backtest: BacktestSpec = BacktestSpec()

    def model_spec(self) -> ModelSpec:
        """The part the trainer needs."""
        return ModelSpec(**{name: getattr(self, name) for name in ModelSpec.model_fields})
