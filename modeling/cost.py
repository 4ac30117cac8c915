"""What a run takes, in time, memory and files: plain arithmetic on what was measured on two processor cores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from modeling.baselines.rungs import LADDER_S, MAX_TRAINING_ROWS, WITH_ACTION
from modeling.network.size import NetworkSize
from modeling.specs import ModelSpec, NetworkSpec
from modeling.windows.cpcv import PATHS
from modeling.windows.planning import Plan

# Width of the network → parameters × tokens × samples a second of forward, backward and step in
# fp32: `tiny` 6200 samples/s, `small` 1000, `reference` 3. Wide products are the faster ones.
MEASURED = {32: 6200 * 50_662 * 16, 64: 1000 * 245_878 * 25, 512: 3 * 29_808_026 * 250}
START_S = 8.0  # the process, its libraries, the candles
FEATURE_S = 0.065  # computing one feature on four timescales, and its certificate
FOLD_S = (
    2.0  # selecting, certifying and storing a fold, and what of its rungs costs always the same
)
# Certificates of a fold, for each further instrument: 0.14 s with 15 features, 0.29 s with 67.
CERTIFIED_S = 0.2
RUNG_S = 3.3e-6  # all rungs of a fold, for each training row and feature
SCORE_S = 2.9e-7  # scoring ours and every rung, for each predicted bar and bootstrap draw
# Scoring each instrument of a pool apart, without rungs, as a share of scoring all.
APART_SHARE = 0.33
PROCESS_MIB = 830.0  # the process with its libraries and what its rungs hold for a while
FLOAT_BYTES = 4
COLUMN_BYTES = 8.7  # a number in the zstd Parquet of a column that never says the same twice
# Such columns that every table has: two times, what came of return and volatility.
KNOWN_COLUMNS = 4
HEAD_COLUMNS = 10  # and those of five heads; calibrated confidences repeat themselves
SINGLE_HEADS = 3  # of the tables of persistence, HAR and last sign, together
FOLD_BYTES = 45_000  # what the files of a fold hold besides their numbers
SET_BYTES = 6_000  # the same of a prediction set


class RunTime(NamedTuple):
    """Seconds of one run: those before, between and after the epochs; one epoch of all folds; and the
    fewest and most epochs that early stopping leaves open."""

    fixed: float
    epoch: float
    least: int
    most: int

    @property
    def low(self) -> float:
        """When every fold stops as early as it can."""
        return self.fixed + self.least * self.epoch

    @property
    def high(self) -> float:
        """When no fold stops early."""
        return self.fixed + self.most * self.epoch


def run_time(spec: ModelSpec, plan: Plan, size: NetworkSize, *, instruments: int = 1) -> RunTime:
    """What a run of this plan takes on two cores that do nothing else; a GPU is not reckoned with.

    A fold's first epoch is its best at the earliest, so it stops after `patience` more. Without a
    network there are no epochs.
    """
    fitted = sum(fold.samples["fit"] // spec.windows.stride for fold in plan.folds)
    epoch = 0.0 if spec.network.is_linear else fitted / samples_per_second(spec.network, size)
    most = 0 if spec.network.is_linear else spec.training.epochs
    least = min(most, 1 + spec.training.patience)
    rows = sum(min(fold.samples["fit"], MAX_TRAINING_ROWS) for fold in plan.folds)
    rungs = min(rows * spec.features.count * RUNG_S, max(LADDER_S, least * epoch))
    predicted = sum(fold.samples["predicted"] for fold in plan.folds)
    apart = APART_SHARE if instruments > 1 else 0.0
    fixed = (
        START_S
        + instruments * len(spec.features.names()) * FEATURE_S
        + len(plan.folds) * (FOLD_S + (instruments - 1) * CERTIFIED_S)
        + rungs
        + predicted * (1 + apart) * spec.evaluation.bootstrap_draws * SCORE_S
    )
    return RunTime(fixed, epoch, least, most)


def samples_per_second(network: NetworkSpec, size: NetworkSize) -> float:
    """Samples a second in training, by the logarithm of the width between what was measured."""
    widths, speeds = np.log(list(MEASURED)), np.log(list(MEASURED.values()))
    speed = np.exp(np.interp(np.log(network.d_model), widths, speeds))
    return float(speed / (size["parameters"] * size["tokens"]))


def storage_mib(spec: ModelSpec, plan: Plan, size: NetworkSize) -> float:
    """Files of one run: of each fold weights, predictions of all rungs and calibration, and its
    prediction sets, of the model one a path. Rows of the database and backtests are not counted.
    """
    # Without a network the model is the logistic rung, which then is not beside it.
    with_action = len(WITH_ACTION) - spec.network.is_linear
    with_heads = with_action - 1  # all but last sign
    tables = with_action + 4  # prior, persistence, HAR and the model
    fold_columns = KNOWN_COLUMNS * tables + HEAD_COLUMNS * (with_heads + 1) + SINGLE_HEADS
    predicted = sum(fold.samples["predicted"] for fold in plan.folds)
    calibration = sum(fold.samples["calibration"] for fold in plan.folds)
    paths = PATHS if spec.evaluation.scheme == "cpcv" else 1
    full_sets = predicted + with_heads * predicted / paths  # the model on every path, rungs on one
    numbers = (
        predicted * fold_columns
        + full_sets * (KNOWN_COLUMNS + HEAD_COLUMNS)
        + predicted / paths * KNOWN_COLUMNS  # last sign: its action is a column of few values
        + calibration * (with_action + 1)
    )
    weights = len(plan.folds) * (size["parameters"] * FLOAT_BYTES + FOLD_BYTES)
    return (numbers * COLUMN_BYTES + weights + (paths + with_action) * SET_BYTES) / 2**20


def memory_mib(spec: ModelSpec, rows: int, size: NetworkSize) -> float:
    """Resident memory of the trainer at its peak, for so many candles."""
    resident = rows * len(spec.features.names()) * FLOAT_BYTES * 2
    state = size["parameters"] * FLOAT_BYTES * 7
    network = spec.network
    kept = 0 if network.is_linear else network.layers * (12 * network.d_model + 2 * network.d_ff)
    activations = spec.training.batch * size["tokens"] * kept * FLOAT_BYTES
    return PROCESS_MIB + (resident + activations + state) / 2**20
