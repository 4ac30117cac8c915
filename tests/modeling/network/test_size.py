from __future__ import annotations

import subprocess
import sys

import pytest

from modeling.network.size import network_size
from modeling.network.transformer import EnhancedCryptoTransformer, build_network
from modeling.presets import PRESETS
from modeling.specs import NetworkSpec
from tests.modeling.network.samples import SCALES, small_spec

REFERENCE = NetworkSpec()
SMALL = small_spec(d_model=64, d_ff=256, patch_bars=10)


def parameters(spec: NetworkSpec, features: int, context_bars: int = 250) -> int:
    size = network_size(spec, features=features, context_bars=context_bars, scales=SCALES)
    return size["parameters"]


@pytest.mark.parametrize(
    ("features", "expected", "without_multi_scale"),
    [
        (15, 29_590_426, 26_045_322),
        (25, 29_677_466, 26_050_442),
        (40, 29_808_026, 26_058_122),
        (67, 30_043_034, 26_071_946),
    ],
)
def test_reference_network_has_the_published_size(
    features: int, expected: int, without_multi_scale: int
) -> None:
    assert parameters(REFERENCE, features) == expected
    off = REFERENCE.model_copy(update={"multi_scale": False})
    assert parameters(off, features) == without_multi_scale


def test_presets_have_the_published_sizes() -> None:
    assert parameters(small_spec(), 15, context_bars=64) == 50_662
    assert parameters(small_spec(), 40, context_bars=64) == 66_662
    assert parameters(SMALL, 40) == 245_878
    assert parameters(SMALL, 67) == 290_806


@pytest.mark.parametrize(
    ("spec", "features", "context_bars", "mib"),
    [
        (REFERENCE, 15, 250, 112.879),
        (REFERENCE, 25, 250, 113.211),
        (REFERENCE, 40, 250, 113.709),
        (REFERENCE, 67, 250, 114.605),
        (small_spec(), 15, 64, 0.193),
        (SMALL, 40, 250, 0.938),
    ],
)
def test_weight_is_four_bytes_a_parameter(
    spec: NetworkSpec, features: int, context_bars: int, mib: float
) -> None:
    size = network_size(spec, features=features, context_bars=context_bars, scales=SCALES)
    assert round(size["weight_mib"], 3) == mib


def test_presets_are_the_networks_of_those_sizes() -> None:
    found = {
        name: parameters(spec.network, spec.features.count, spec.windows.context_bars)
        for name, spec in PRESETS.items()
    }
    assert found == {"tiny": 50_662, "small": 245_878, "reference": 29_808_026, "linear": 410}


def test_modules_of_the_reference_network_have_the_published_sizes() -> None:
    size = network_size(REFERENCE, features=40, context_bars=250, scales=SCALES)
    assert size["modules"] == {
        "input": 20_992,
        "embedding": 157_696,
        "multi_scale": 3_749_904,
        "blocks": 25_219_200,
        "norm": 1_024,
        "heads": 659_210,
    }
    assert size["tokens"] == 250


def test_without_temporal_bias_the_slopes_are_gone() -> None:
    off = REFERENCE.model_copy(update={"temporal_bias": False})
    assert parameters(REFERENCE, 40) - parameters(off, 40) == 9 * 16


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patch_bars": 7},
        {"multi_scale": False},
        {"temporal_bias": False},
        {"heads": 1, "layers": 3},
        {"d_model": 33, "heads": 3},
    ],
)
@pytest.mark.parametrize("scales", [(1,), (1, 3), SCALES])
def test_built_network_has_the_computed_size(
    changes: dict[str, object], scales: tuple[int, ...]
) -> None:
    spec = small_spec(**changes)
    network = build_network(spec, features=9, context_bars=65, scales=scales, seed=0)
    size = network_size(spec, features=9, context_bars=65, scales=scales)
    assert sum(p.numel() for p in network.parameters()) == size["parameters"]
    assert not list(network.buffers())


def test_reference_network_is_built_with_that_many_parameters() -> None:
    import torch

    with torch.device("meta"):
        network = EnhancedCryptoTransformer(REFERENCE, features=40, context_bars=250, scales=SCALES)
    assert sum(p.numel() for p in network.parameters()) == 29_808_026


def test_size_is_known_without_torch() -> None:
    call = "network_size(NetworkSpec(), features=40, context_bars=250, scales=(1, 3, 6, 12))"
    code = (
        "from modeling.network.size import network_size; from modeling.specs import NetworkSpec; "
        f"print({call}['parameters']); sys.exit('torch' in sys.modules)"
    )
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "29808026\n")
