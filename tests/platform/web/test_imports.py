"""What the light processes load, told by processes of their own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEAVY = {"torch", "lightgbm", "sklearn", "numba", "talib", "ccxt", "pandas", "scipy"}
LOADED = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
WEB = """
import django
django.setup()
import config.urls, config.asgi
from django.urls import get_resolver
from django.contrib.staticfiles.finders import get_finders
get_resolver().url_patterns
list(get_finders())
"""
WORKER = """
import django
django.setup()
from config.celery import celery_app as app
app.loader.import_default_modules()
assert {"jobs.import", "jobs.training", "jobs.backtest"} <= set(app.tasks), sorted(app.tasks)
"""


def run(code: str, folder: Path = ROOT) -> str:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("process", [WEB, WORKER], ids=["web", "worker"])
def test_light_process_loads_no_heavy_library(process):
    loaded = set(json.loads(run(process + LOADED).splitlines()[-1]))
    assert {"django", "celery"} & loaded
    assert not HEAVY & loaded


def test_reading_candles_and_planning_load_no_heavy_library():
    code = (
        "import django; django.setup()\n"
        "import markets.reading, modeling.reading, backtests.reading, modeling.services\n"
        "import markets.charts, modeling.charts, backtests.charts\n"
    )
    assert not HEAVY & set(json.loads(run(code + LOADED).splitlines()[-1]))


def test_platform_is_pythons_own_from_the_root():
    assert run("import platform; print(platform.python_version())").strip() == (
        platform.python_version()
    )
    assert not (ROOT / "platform" / "__init__.py").exists()
