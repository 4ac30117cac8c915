"""Samples per second of one training step of the reference network, beside other ways of doing it.

Run from the root of the repository with `python -m benchmarks.training`, on a machine that does
nothing else. In one run and in turns: our step as it is trained (windows as views, fused attention,
the precision that `auto` takes here), our step in fp32, and a plain loop (windows copied one by one,
attention written out head by head, fp32). `--peer PYTHON` names the interpreter of an environment with
`requirements/peers.txt`; then Darts' Transformer of equal width, depth and context is trained there.

Where there is a GPU: our step as it is written beside the compiled one, and the share of the GPU's peak.
"""

from __future__ import annotations

import argparse
import itertools
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
from modeling.training.averaging import AveragedNetwork
from modeling.training.compiled import CompiledObjective
from modeling.training.losses import LossBalance, Objective, ResidentLabels, head_losses
from modeling.training.machine import Precision, chosen_precision, repeatable, set_threads
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
# Of the GPU's peak at batch 128.
GPU_SHARE = 0.25
BATCH, GPU_BATCH = 8, 128
# A GPU is timed over so many steps: none of them waits for it.
GPU_STEPS = 20

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


def our_step(
    spec: NetworkSpec, resident: ResidentWindows, precision: Precision, *, compiled: int = 0
) -> Step:
    """One step as the trainer makes it; batches of `compiled` samples as one graph."""
    network = network_of(spec, resident)
    labels = ResidentLabels(labels_of_noise(), resident.device)
    balance = LossBalance().to(resident.device)
    plain = Objective(network, balance, cost_bps=COST_BPS)
    graph = CompiledObjective(plain, compiler="inductor", samples=compiled) if compiled else None
    objective = graph or plain
    optimizer = FoldOptimizer(network, balance, TrainingSpec())
    averaged, numbers = AveragedNetwork(network), itertools.count(1)

    def step(bars: Tensor) -> None:
        batch = resident.batch(bars)
        _, loss = objective(batch, labels.batch(bars), precision=precision)
        if graph and graph.note:
            raise SystemExit(graph.note)
        optimizer.step(loss, learning_rate=5e-5)
        averaged.take(next(numbers))

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
    network = build_network(
        spec,
        features=resident.features,
        context_bars=resident.context_bars,
        scales=resident.scales,
        seed=SEED,
    )
    return network.to(resident.device).train()


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


def batches(size: int, device: torch.device) -> Iterator[Tensor]:
    generator = np.random.default_rng(SEED)
    while True:
        yield torch.from_numpy(generator.integers(5_000, BARS, size).astype(np.int64)).to(device)


def samples_per_s(
    contenders: list[Contender], batch: int, repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Each contender in turn, so that a drift of the machine meets all of them."""
    source = batches(batch, device)
    steps = GPU_STEPS if device.type == "cuda" else 1
    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(repeats + 1):
        for contender in contenders:
            drawn = [next(source) for _ in range(steps)]
            wait_for(device)
            start = time.perf_counter()
            for bars in drawn:
                contender.step(bars)
            wait_for(device)
            if turn:  # the first turn warms up, and compiles
                taken[contender.name].append(steps * batch / (time.perf_counter() - start))
    return taken


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gflops(
    dtype: torch.dtype, width: int, batch: int, context: int, device: torch.device
) -> float:
    """Best of several products of the shape that rules the network: tokens × width × 4 width."""
    rows = torch.randn(batch * context, width, device=device).to(dtype)
    matrix = torch.randn(width, 4 * width, device=device).to(dtype)
    best = 0.0
    for _ in range(20):
        wait_for(device)
        start = time.perf_counter()
        rows @ matrix
        wait_for(device)
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


def told(taken: dict[str, list[float]]) -> dict[str, float]:
    """Print the speed of each contender; returns the medians."""
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, values in taken.items():
        found = [round(min(values), 2), round(max(values), 2)]
        tell(what=name, samples_per_s=round(medians[name], 2), range=found)
    return medians


def tell(**found: object) -> None:
    print(json.dumps(found))


def on_gpu(spec: NetworkSpec, batch: int, repeats: int) -> None:
    """Eager and compiled steps in turns, and the share of the GPU's peak that the better one reaches."""
    device = torch.device("cuda")
    resident = ResidentWindows(
        bars_of_noise(), context_bars=250, patch_bars=spec.patch_bars, device=device
    )
    precision = chosen_precision("auto", device, width=spec.d_model)
    contenders = [
        Contender(f"eager, {precision}", our_step(spec, resident, precision)),
        Contender(f"compiled, {precision}", our_step(spec, resident, precision, compiled=batch)),
    ]
    tell(torch=torch.__version__, gpu=torch.cuda.get_device_name(device), batch=batch)
    with repeatable(device):
        medians = told(samples_per_s(contenders, batch, repeats, device))
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        peak = peak_gflops(dtype, spec.d_model, batch, 250, device)
    eager, compiled = medians.values()
    tell(what="compiled / eager", ratio=round(compiled / eager, 2))
    tell(
        what="share of the peak of matrix products",
        peak_gflops=round(peak, 1),
        share=round(max(eager, compiled) * GFLOP_PER_SAMPLE / peak, 3),
        target=GPU_SHARE,
    )


def on_processor(
    spec: NetworkSpec, batch: int, repeats: int, *, threads: int, peer: Path | None
) -> None:
    """Our step beside a plain loop, in two precisions, and beside Darts where there is one."""
    bars = bars_of_noise()
    resident = ResidentWindows(bars, context_bars=250, patch_bars=spec.patch_bars)
    device = resident.device
    precision = chosen_precision("auto", device, width=spec.d_model)
    contenders = [
        Contender(f"ours, {precision} (auto)", our_step(spec, resident, precision)),
        Contender("ours, fp32", our_step(spec, resident, "fp32")),
        Contender("plain loop, fp32", plain_step(spec, resident)),
    ]
    taken = samples_per_s(contenders, batch, repeats, device)
    peaks = {
        "fp32": peak_gflops(torch.float32, spec.d_model, batch, 250, device),
        "bf16": peak_gflops(torch.bfloat16, spec.d_model, batch, 250, device),
    }
    tell(torch=torch.__version__, threads=threads, batch=batch)
    medians = told(taken)
    ours, plain = medians[contenders[0].name], medians["plain loop, fp32"]
    tell(what="ours / plain loop", ratio=round(ours / plain, 2), limit=PLAIN_LIMIT)
    tell(
        what="share of the peak of matrix products",
        peak_gflops={name: round(value, 1) for name, value in peaks.items()},
        share=round(ours * GFLOP_PER_SAMPLE / peaks[precision], 3),
    )
    tell(
        what="resident bytes / raw bytes",
        ratio=round(resident_share(bars, resident), 4),
        limit=RESIDENT_LIMIT,
    )
    if peer is None:
        tell(what="Darts", skipped="no --peer given")
        return
    darts = darts_samples_per_s(peer, batch, repeats, threads)
    speed = darts.get("samples_per_s")
    ratio = round(ours / float(str(speed)), 2) if speed else None
    tell(what="Darts", **darts, ratio=ratio, limit=DARTS_LIMIT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, help=f"{BATCH}, on a GPU {GPU_BATCH}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="interpreter of the environment with Darts")
    options = parser.parse_args()
    threads, spec = set_threads(0), NETWORKS["reference"]
    if torch.cuda.is_available():
        on_gpu(spec, options.batch or GPU_BATCH, options.repeats)
        return
    batch = options.batch or BATCH
    on_processor(spec, batch, options.repeats, threads=threads, peer=options.peer)


if __name__ == "__main__":
    main()
