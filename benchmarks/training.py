"""Samples per second of one training step of the reference network, beside other ways of doing it.

Run from the root of the repository with `python -m benchmarks.training`, on a machine that does
nothing else. In one run and in turns: our step as it is trained (windows as views, fused attention,
the precision that `auto` takes here), our step in fp32, and a plain loop (windows copied one by one,
attention written out head by head, fp32). `--peer PYTHON` names the interpreter of an environment with
`requirements/peers.txt`; then Darts' Transformer of equal width, depth and context is trained there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modeling.network.attention import TemporalAttentionBias
from modeling.network.transformer import EnhancedCryptoTransformer, build_network
from modeling.network.windows import WindowBatch
from modeling.presets import NETWORKS
from modeling.specs import NetworkSpec, TrainingSpec
from modeling.training.losses import LossBalance, ResidentLabels, head_losses
from modeling.training.machine import chosen_precision, set_threads
from modeling.training.optimizer import FoldOptimizer
from modeling.training.resident import FIRST_MONDAY_NS, ResidentWindows, ScaledBars
from modeling.windows.targets import Labels
from tests.oracles.attention import plain_attention

SEED = 7
BARS = 20_000
FEATURES = 40
SCALES = (1, 3, 6, 12)
BAR_NS = 300 * 10**9
COST_BPS = 10.0
# Forward and backward of one sample: specification of the network, section 8.
GFLOP_PER_SAMPLE = 45.8
# Design, section 9: how many times the plain loop and Darts, and resident bytes over raw bytes.
PLAIN_LIMIT, DARTS_LIMIT, RESIDENT_LIMIT = 1.5, 2.0, 1.1

Step = Callable[[Tensor], None]


@dataclass(frozen=True)
class Contender:
    name: str
    step: Step


def bars_of_noise() -> ScaledBars:
    generator = np.random.default_rng(SEED)
    last = {k: ((np.arange(BARS) + 1) // k - 1).astype(np.int32) for k in SCALES if k > 1}
    return ScaledBars(
        scaled={
            k: generator.standard_normal((BARS // k, FEATURES)).astype(np.float32) for k in SCALES
        },
        last_closed={k: np.minimum(rows, BARS // k - 1) for k, rows in last.items()},
        close_time_ns=FIRST_MONDAY_NS + (np.arange(BARS, dtype=np.int64) + 1) * BAR_NS,
        bar_ns=BAR_NS,
        log_volatility_z=generator.standard_normal(BARS).astype(np.float32),
    )


def labels_of_noise() -> Labels:
    generator = np.random.default_rng(SEED + 1)
    noise = generator.standard_normal((3, BARS)).astype(np.float32)
    return Labels(
        action=np.clip(noise[0], -3, 3),
        regime=generator.integers(0, 4, BARS).astype(np.int8),
        log_volatility=(noise[1] - 6.0).astype(np.float64),
        log_volatility_z=noise[1],
        risk=generator.integers(0, 3, BARS).astype(np.int8),
        realised_return=(0.01 * noise[0]).astype(np.float64),
        valid=np.ones(BARS, dtype=bool),
    )


def our_step(spec: NetworkSpec, resident: ResidentWindows, precision: str) -> Step:
    """One step as the trainer makes it."""
    network = network_of(spec, resident)
    labels = ResidentLabels(labels_of_noise(), resident.device)
    balance = LossBalance()
    optimizer = FoldOptimizer(network, balance, TrainingSpec())
    use_bf16 = precision == "bf16"

    def step(bars: Tensor) -> None:
        batch = resident.batch(bars)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=use_bf16):
            logits = network(batch)
        losses = head_losses(logits, labels.batch(bars), cost_bps=COST_BPS)
        optimizer.step(balance(losses), learning_rate=5e-5)

    return step


def plain_step(spec: NetworkSpec, resident: ResidentWindows) -> Step:
    """The same network and losses in fp32: windows stacked one by one, attention written out."""
    network = network_of(spec, resident)
    for module in network.modules():
        if isinstance(module, TemporalAttentionBias):
            module.mapping = plain_attention
    labels = ResidentLabels(labels_of_noise(), resident.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-5)

    def step(bars: Tensor) -> None:
        windows = [resident.batch(bars[place : place + 1]) for place in range(len(bars))]
        logits = network(stacked(windows))
        losses = head_losses(logits, labels.batch(bars), cost_bps=COST_BPS)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def network_of(spec: NetworkSpec, resident: ResidentWindows) -> EnhancedCryptoTransformer:
    return build_network(
        spec,
        features=resident.features,
        context_bars=resident.context_bars,
        scales=resident.scales,
        seed=SEED,
    ).train()


def stacked(windows: list[WindowBatch]) -> WindowBatch:
    """One batch of single windows, each copied."""
    return WindowBatch(
        base=torch.cat([window.base for window in windows]),
        coarse={k: torch.cat([w.coarse[k] for w in windows]) for k in windows[0].coarse},
        phase={k: torch.cat([w.phase[k] for w in windows]) for k in windows[0].phase},
        slot=torch.cat([window.slot for window in windows]),
        weekday=torch.cat([window.weekday for window in windows]),
        log_volatility_z=torch.cat([window.log_volatility_z for window in windows]),
    )


def batches(size: int) -> Iterator[Tensor]:
    generator = np.random.default_rng(SEED)
    while True:
        yield torch.from_numpy(generator.integers(5_000, BARS, size).astype(np.int64))


def samples_per_s(contenders: list[Contender], batch: int, repeats: int) -> dict[str, list[float]]:
    """Each contender in turn, so that a drift of the machine meets all of them."""
    source = batches(batch)
    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(repeats + 1):
        for contender in contenders:
            bars = next(source)
            start = time.perf_counter()
            contender.step(bars)
            if turn:  # the first turn warms up
                taken[contender.name].append(batch / (time.perf_counter() - start))
    return taken


def peak_gflops(dtype: torch.dtype, width: int, batch: int, context: int) -> float:
    """Best of several products of the shape that rules the network: tokens × width × 4 width."""
    rows = torch.randn(batch * context, width).to(dtype)
    matrix = torch.randn(width, 4 * width).to(dtype)
    best = 0.0
    for _ in range(20):
        start = time.perf_counter()
        rows @ matrix
        seconds = time.perf_counter() - start
        best = max(best, 2.0 * rows.numel() * 4 * width / seconds / 1e9)
    return best


def resident_share(bars: ScaledBars, resident: ResidentWindows) -> float:
    raw = sum(rows.nbytes for rows in bars.scaled.values())
    return resident.resident_bytes / raw


def darts_samples_per_s(python: Path, batch: int, steps: int, threads: int) -> dict[str, object]:
    """Train Darts' Transformer in another environment; its program stands beside this one."""
    program = Path(__file__).with_name("darts_transformer.py")
    command = [str(python), str(program), str(batch), str(steps), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"skipped": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="interpreter of the environment with Darts")
    options = parser.parse_args()
    threads = set_threads(0)
    spec = NETWORKS["reference"]
    bars = bars_of_noise()
    resident = ResidentWindows(bars, context_bars=250, patch_bars=spec.patch_bars)
    precision = chosen_precision("auto", resident.device, width=spec.d_model)
    contenders = [
        Contender(f"ours, {precision} (auto)", our_step(spec, resident, precision)),
        Contender("ours, fp32", our_step(spec, resident, "fp32")),
        Contender("plain loop, fp32", plain_step(spec, resident)),
    ]
    taken = samples_per_s(contenders, options.batch, options.repeats)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    ours, plain = medians[contenders[0].name], medians["plain loop, fp32"]
    peaks = {
        "fp32": peak_gflops(torch.float32, spec.d_model, options.batch, 250),
        "bf16": peak_gflops(torch.bfloat16, spec.d_model, options.batch, 250),
    }
    print(json.dumps({"torch": torch.__version__, "threads": threads, "batch": options.batch}))
    for name, values in taken.items():
        print(
            json.dumps(
                {
                    "what": name,
                    "samples_per_s": round(medians[name], 2),
                    "range": [round(min(values), 2), round(max(values), 2)],
                }
            )
        )
    print(
        json.dumps(
            {"what": "ours / plain loop", "ratio": round(ours / plain, 2), "limit": PLAIN_LIMIT}
        )
    )
    print(
        json.dumps(
            {
                "what": "share of the peak of matrix products",
                "peak_gflops": {name: round(value, 1) for name, value in peaks.items()},
                "share": round(ours * GFLOP_PER_SAMPLE / peaks[precision], 3),
            }
        )
    )
    print(
        json.dumps(
            {
                "what": "resident bytes / raw bytes",
                "ratio": round(resident_share(bars, resident), 4),
                "limit": RESIDENT_LIMIT,
            }
        )
    )
    if options.peer is None:
        print(json.dumps({"what": "Darts", "skipped": "no --peer given"}))
        return
    darts = darts_samples_per_s(options.peer, options.batch, options.repeats, threads)
    speed = darts.get("samples_per_s")
    ratio = round(ours / float(str(speed)), 2) if speed else None
    print(json.dumps({"what": "Darts", **darts, "ratio": ratio, "limit": DARTS_LIMIT}))


if __name__ == "__main__":
    main()
