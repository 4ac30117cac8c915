"""The declared features: name, family, formula in words, inputs, warm-up and where the function is."""

from __future__ import annotations

from dataclasses import dataclass

CODE_VERSION = 1


@dataclass(frozen=True)
class Feature:
    """One feature. `warm_up` bars at the beginning are NaN, every later value is finite."""

    name: str
    family: str
    formula: str
    inputs: str
    warm_up: int


FEATURES: dict[str, Feature] = {
    feature.name: feature
    for feature in (
        Feature(
            "rsi_14", "core_technical", "RSI(C, 14)/50 − 1; 0 while C has never changed", "C", 200
        ),
        Feature("macd_line", "core_technical", "MACD(C, 12, 26, 9) line / ATR", "H L C", 250),
        Feature("macd_hist", "core_technical", "MACD(C, 12, 26, 9) histogram / ATR", "H L C", 250),
        Feature("bb_pctb_20", "core_technical", "(C − mean_20 C) / (2·max(σ_20 C, ε·C))", "C", 19),
        Feature("bb_width_20", "core_technical", "ln max(4·σ_20 C / mean_20 C, ε)", "C", 19),
        Feature(
            "stoch_k_14", "core_technical", "2(C − min_14 L)/(max_14 H − min_14 L) − 1", "H L C", 13
        ),
        Feature(
            "adx_14",
            "core_technical",
            "average directional index / 100, exact ties ignored",
            "H L C",
            300,
        ),
        Feature(
            "volume_z_48",
            "order_flow",
            "z-score over 48 bars of ln(V + 0.001·mean_288 V)",
            "V",
            334,
        ),
        Feature("rv_48", "volatility", "ln √mean_48(r²)", "C", 48),
        Feature("natr_14", "volatility", "ln(ATR_14 / C)", "H L C", 200),
        Feature("ret_1", "momentum_trend", "ln(C/C₋₁) / s_48", "C", 48),
        Feature("ret_12", "momentum_trend", "ln(C/C₋₁₂) / (s_48·√12)", "C", 48),
        Feature("ret_48", "momentum_trend", "ln(C/C₋₄₈) / (s_48·√48)", "C", 48),
        Feature("tod_sin", "time", "sin(2π·minute of the UTC day at the close / 1440)", "time", 0),
        Feature("tod_cos", "time", "cos(2π·minute of the UTC day at the close / 1440)", "time", 0),
    )
}

TIME_FEATURES = frozenset(f.name for f in FEATURES.values() if f.family == "time")
FEATURE_SETS: dict[str, tuple[str, ...]] = {"basic-15": tuple(FEATURES)}
