"""The declared features: name, family, formula in words, inputs and warm-up.

The functions are in the module of the family; this one stays light, for forms and pages.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

CODE_VERSION = 1
MINUTES_PER_DAY = 1440
SCALE_FACTORS = (1, 3, 6, 12)


@dataclass(frozen=True)
class Feature:
    """One feature. `warm_up` bars at the beginning are NaN, every later value is finite.

    A feature that looks days back is also NaN for the bars of its first `warm_up_days` days.
    """

    name: str
    family: str
    formula: str
    inputs: str
    warm_up: int
    warm_up_days: int = 0

    def warm_up_bars(self, timeframe_minutes: int) -> int:
        """Bars at the beginning that are NaN on bars of so many minutes."""
        return max(self.warm_up, self.warm_up_days * (MINUTES_PER_DAY // timeframe_minutes))

    @property
    def warm_up_text(self) -> str:
        """The warm-up in words, such as `48 bars` or `7 days, at least 287 bars`."""
        if not self.warm_up_days:
            return f"{self.warm_up} bars"
        days = f"{self.warm_up_days} days"
        return f"{days}, at least {self.warm_up} bars" if self.warm_up else days


Row = tuple[str, str, str, int] | tuple[str, str, str, int, int]
_ROWS: dict[str, tuple[Row, ...]] = {
    "core_technical": (
        ("rsi_14", "RSI(C, 14)/50 − 1; 0 while C has never changed", "C", 200),
        ("rsi_42", "RSI(C, 42)/50 − 1; 0 while C has never changed", "C", 600),
        ("macd_line", "MACD(C, 12, 26, 9) line / ATR", "H L C", 250),
        ("macd_signal", "MACD(C, 12, 26, 9) signal / ATR", "H L C", 250),
        ("macd_hist", "MACD(C, 12, 26, 9) histogram / ATR", "H L C", 250),
        ("bb_pctb_20", "(C − mean_20 C) / (2·max(σ_20 C, ε·C))", "C", 19),
        ("bb_width_20", "ln max(4·σ_20 C / mean_20 C, ε)", "C", 19),
        ("stoch_k_14", "2(C − min_14 L)/(max_14 H − min_14 L) − 1", "H L C", 13),
        ("stoch_d_14", "mean_3 of stoch_k_14", "H L C", 15),
        ("cci_20", "CCI(H, L, C, 20)/100; 0 where the typical price is still", "H L C", 19),
        ("adx_14", "average directional index / 100, exact ties ignored", "H L C", 300),
        ("di_diff_14", "(+DI − −DI) / 100 over 14 bars, exact ties ignored", "H L C", 200),
    ),
    "order_flow": (
        ("vwap_dev_12", "ln(C/VWAP_12) / (s_48·√12)", "H L C V", 48),
        ("vwap_dev_48", "ln(C/VWAP_48) / (s_48·√48)", "H L C V", 48),
        ("vwap_dev_288", "ln(C/VWAP_288) / (s_288·√288)", "H L C V", 288),
        ("vwap_twap_48", "ln(VWAP_48/TWAP_48) / (s_48·√48)", "H L C V", 48),
        ("mfi_14", "(P − N)/(P + N), P and N the TP·V of bars of rising TP", "H L C V", 14),
        ("signed_volume_24", "Σ_24 sign(r)·V / Σ_24 V", "C V", 24),
        ("cmf_20", "Σ_20 clv·V / Σ_20 V", "H L C V", 19),
        ("volume_z_48", "z-score over 48 bars of ln(V + 0.001·mean_288 V)", "V", 334),
        (
            "volume_tod",
            "ln((V + e)/(M + e)), M the median V at this time of the 7 days before, "
            "e = 0.001·mean_288 V",
            "V time",
            287,
            7,
        ),
        (
            "dollar_volume_z_288",
            "z-score over 288 bars of ln C + ln(V + 0.001·mean_288 V)",
            "C V",
            574,
        ),
    ),
    "microstructure": (
        ("spread_roll_48", "2·√max(0, −cov_48(r, r₋₁)) / s_288", "C", 288),
        ("spread_cs_48", "mean_48 of Corwin and Schultz's spread / s_48", "H L C", 48),
        (
            "spread_ar_48",
            "√max(0, mean_48 4(ln C₋₁ − m₋₁)(ln C₋₁ − m)) / s_48, m = (ln H + ln L)/2",
            "H L C",
            48,
        ),
        ("amihud_48", "z-score over 288 bars of ln(Σ_48 |r| / Σ_48 C·V)", "C V", 574),
        ("kyle_corr_48", "corr_48(r, sign(r)·√(C·V))", "C V", 48),
        ("clv", "(2C − H − L)/(H − L)", "H L C", 0),
        ("body", "(C − O)/(H − L)", "O H L C", 0),
        ("wick_asym_12", "Σ_12 (O + C − H − L) / Σ_12 (H − L)", "O H L C", 11),
        ("spread_pressure_12", "Σ_12 (2C − H − L) / Σ_12 (H − L)", "H L C", 11),
        ("order_imbalance_12", "Σ_12 b / Σ_12 V, b = V·(2Φ(r/s_48) − 1)", "C V", 59),
        ("vpin_48", "Σ_48 |b| / Σ_48 V, b = V·(2Φ(r/s_48) − 1)", "C V", 95),
    ),
    "volatility": (
        ("rv_12", "ln √mean_12(r²)", "C", 12),
        ("rv_48", "ln √mean_48(r²)", "C", 48),
        ("rv_288", "ln √mean_288(r²)", "C", 288),
        ("parkinson_12", "ln pk_12, pk_n = √(mean_n ln²(H/L) / (4 ln 2))", "H L", 11),
        ("parkinson_rel_48", "ln pk_48 − ln s_48", "H L C", 48),
        (
            "garman_klass_48",
            "ln √mean_48(½ ln²(H/L) − (2 ln 2 − 1) ln²(C/O))",
            "O H L C",
            47,
        ),
        (
            "rogers_satchell_rel_48",
            "ln √mean_48(u) − ln s_48, u = ln(H/C)·ln(H/O) + ln(L/C)·ln(L/O)",
            "O H L C",
            48,
        ),
        (
            "yang_zhang_288",
            "ln √(var_288 ln(O/C₋₁) + k·var_288 ln(C/O) + (1 − k)·mean_288 u)",
            "O H L C",
            288,
        ),
        ("natr_14", "ln(ATR_14 / C)", "H L C", 200),
        ("jump_share_48", "1 − (π/2)·mean_48(|r|·|r₋₁|)/mean_48(r²), within 0 and 1", "C", 49),
        ("vol_of_vol_48", "σ_48 of ln s_12", "C", 59),
        ("semivar_asym_48", "(P − N)/(P + N), P and N the Σ_48 r² of rises and falls", "C", 48),
    ),
    "support_resistance": (
        ("donch_pos_48", "2(C − min_48 L)/(max_48 H − min_48 L) − 1", "H L C", 47),
        ("donch_pos_288", "2(C − min_288 L)/(max_288 H − min_288 L) − 1", "H L C", 287),
        ("dist_high_288", "ln(C/max_288 H) / (s_288·√288)", "H C", 288),
        ("dist_low_288", "ln(C/min_288 L) / (s_288·√288)", "L C", 288),
        (
            "pivot_dev",
            "(C − (h + l + c)/3)/(h − l), h, l, c of the UTC day before",
            "H L C time",
            0,
            2,
        ),
        ("swing_res", "(latest swing high − C) / ATR, within ±10", "H L C", 288),
        ("swing_sup", "(C − latest swing low) / ATR, within ±10", "H L C", 288),
        ("bars_since_high_288", "bars since the highest H of 288 / 287", "H", 287),
    ),
    "momentum_trend": (
        ("ret_1", "ln(C/C₋₁) / s_48", "C", 48),
        ("ret_3", "ln(C/C₋₃) / (s_48·√3)", "C", 48),
        ("ret_12", "ln(C/C₋₁₂) / (s_48·√12)", "C", 48),
        ("ret_48", "ln(C/C₋₄₈) / (s_48·√48)", "C", 48),
        ("ret_288", "ln(C/C₋₂₈₈) / (s_288·√288)", "C", 288),
        ("ema_slope_48", "(E − E₋₁₂) / ATR, E = EMA(C, 48)", "H L C", 400),
        ("efficiency_48", "|Σ_48 r| / Σ_48 |r|", "C", 48),
        ("autocorr1_48", "corr_48(r, r₋₁)", "C", 49),
    ),
    "time": (
        ("tod_sin", "sin(2π·minute of the UTC day at the close / 1440)", "time", 0),
        ("tod_cos", "cos(2π·minute of the UTC day at the close / 1440)", "time", 0),
        ("dow_sin", "sin(2π·day of the UTC week at the close / 7), Monday 0", "time", 0),
        ("dow_cos", "cos(2π·day of the UTC week at the close / 7), Monday 0", "time", 0),
        ("funding_clock", "share left of the 8 UTC hours at the close", "time", 0),
        ("weekend", "1 on Saturday and Sunday at the close, 0 else", "time", 0),
    ),
}

FAMILIES: dict[str, tuple[Feature, ...]] = {
    family: tuple(Feature(row[0], family, *row[1:]) for row in rows)
    for family, rows in _ROWS.items()
}

FEATURES: dict[str, Feature] = {
    feature.name: feature for family in FAMILIES.values() for feature in family
}
TIME_FEATURES = frozenset(feature.name for feature in FAMILIES["time"])
BASIC = (
    "rsi_14",
    "macd_line",
    "macd_hist",
    "bb_pctb_20",
    "bb_width_20",
    "stoch_k_14",
    "adx_14",
    "volume_z_48",
    "rv_48",
    "natr_14",
    "ret_1",
    "ret_12",
    "ret_48",
    "tod_sin",
    "tod_cos",
)
FEATURE_SETS: dict[str, tuple[str, ...]] = {"basic-15": BASIC, "all-67": tuple(FEATURES)}


class UnknownFeature(ValueError):
    """A name that is not registered; the text has the nearest one."""


def registered(names: Iterable[str]) -> tuple[str, ...]:
    """The names as they are, without those given before. Raises UnknownFeature."""
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in FEATURES:
            near = difflib.get_close_matches(name, FEATURES, n=1)
            hint = f'did you mean "{near[0]}"?' if near else "the list is in docs/features.md"
            raise UnknownFeature(f'unknown feature "{name[:80]}"; {hint}')
    return found


def automatic_scales(timeframe_minutes: int) -> tuple[int, ...]:
    """Those of 1, 3, 6 and 12 whose bar divides a UTC day, for a base bar of so many minutes."""
    return tuple(k for k in SCALE_FACTORS if MINUTES_PER_DAY % (timeframe_minutes * k) == 0)


def history_bars(timeframe_minutes: int, scales: Iterable[int]) -> int:
    """Base bars after which all features are known on all scales, where no bar is missing."""
    return max(
        k * (feature.warm_up_bars(timeframe_minutes * k) + 1)
        for k in scales
        for feature in FEATURES.values()
    )
