"""Samples per second of Darts' Transformer; run by `benchmarks.training` in Darts' own environment.

Arguments: batch, steps, threads. Width, feed-forward width, heads, context and the number of blocks
are those of the reference network; 40 covariates and the target are its input, 12 bars its output.
It stands alone on purpose: that environment has none of our packages.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch

WIDTH, FEED_FORWARD, HEADS, CONTEXT, HORIZON, COVARIATES = 512, 2048, 16, 250, 12, 40
# Darts needs a decoder; eight blocks in all, as in the reference network.
ENCODER_LAYERS, DECODER_LAYERS = 7, 1


def trained_seconds(batch: int, steps: int) -> list[float]:
    """Seconds of each training step after the first."""
    from darts import TimeSeries
    from darts.models import TransformerModel
    from pytorch_lightning.callbacks import Callback

    class Clock(Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    generator = np.random.default_rng(7)
    rows = CONTEXT + HORIZON + batch * (steps + 2)
    target = TimeSeries.from_values(generator.standard_normal((rows, 1)).astype(np.float32))
    covariates = TimeSeries.from_values(
        generator.standard_normal((rows, COVARIATES)).astype(np.float32)
    )
    clock = Clock()
    model = TransformerModel(
        input_chunk_length=CONTEXT,
        output_chunk_length=HORIZON,
        d_model=WIDTH,
        nhead=HEADS,
        num_encoder_layers=ENCODER_LAYERS,
        num_decoder_layers=DECODER_LAYERS,
        dim_feedforward=FEED_FORWARD,
        batch_size=batch,
        n_epochs=1,
        random_state=7,
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "max_steps": steps + 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "callbacks": [clock],
        },
    )
    model.fit(target, past_covariates=covariates)
    return np.diff(clock.ends).tolist()


def main() -> None:
    batch, steps, threads = (int(text) for text in sys.argv[1:4])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    import darts

    speeds = [batch / seconds for seconds in trained_seconds(batch, steps)]
    found = {
        "darts": darts.__version__,
        "samples_per_s": round(float(np.median(speeds)), 2),
        "range": [round(min(speeds), 2), round(max(speeds), 2)],
        "encoder_layers": ENCODER_LAYERS,
        "decoder_layers": DECODER_LAYERS,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
