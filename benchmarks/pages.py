"""Pages of a real web process: time to the first chart in Chromium, zoom answers, p95 at 4 clients.

Run from the root of the repository with `python -m benchmarks.pages`, on a machine that does nothing
else and has Chromium. It starts its own `up` on an empty state folder, imports 1 M seeded candles
through the product, adds 10 000 datasets and experiments and one finished run and report, and
removes everything afterwards.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

from benchmarks.imports import market_of
from markets.candles.frame import write_candles
from tests.browser.conftest import CHROMIUM_OPTIONS
from tests.browser.machine import ROOT, Machine, running_machine
from tests.browser.walking import sign_in

CLIENTS = 4
ROWS = 10_000
# Design, section 9, and spec/pages.md, section 8.
LIMITS = {
    "first chart, s": 1.0,
    "zoom answer, KB gzip": 100.0,
    "list, p95 ms": 250.0,
    "dataset, p95 ms": 400.0,
    "report, p95 ms": 400.0,
    "largest answer, KB": 1000.0,
}
LISTS = ("/datasets/", "/experiments/", "/runs/", "/backtests/", "/jobs/", "/datasets/?q=copy+77")
# Rows for the lists, made in the database of the machine: a list reads rows, never files.
MANY = """
from accounts.models import User
from markets.models import DatasetVersion
from tests import factories, many_rows
workspace = User.objects.get().first_workspace()
sealed = DatasetVersion.objects.select_related("dataset").get()
run = factories.make_run(factories.make_experiment(workspace, sealed))
backtest = factories.make_backtest(run)
many_rows.add_datasets(sealed, ROWS)
many_rows.add_experiments(run.experiment, ROWS)
print(sealed.get_absolute_url(), backtest.pk)
"""


@dataclass(frozen=True)
class Answer:
    seconds: float
    sent_bytes: int
    whole_bytes: int


class Visitor:
    """One signed-in client with a connection of its own."""

    def __init__(self, address: str, cookie: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        self.headers = {"Cookie": cookie, "Accept-Encoding": "gzip"}

    def get(self, path: str) -> Answer:
        began = time.perf_counter()
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - began
        assert answer.status == 200, f"{path}: {answer.status}"
        is_packed = answer.headers["Content-Encoding"] == "gzip"
        return Answer(seconds, len(body), len(gzip.decompress(body)) if is_packed else len(body))


def prepared(machine: Machine, bars: int, rows: int) -> tuple[str, str]:
    """The addresses of the dataset with so many bars and of a report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candles.parquet"
        write_candles(path, market_of(bars))
        manage(machine, "import_candles", str(path), "--symbol", "BTC/USDT")
    said = manage(machine, "shell", "-v0", "-c", MANY.replace("ROWS", str(rows)))
    dataset, backtest = said.split()[-2:]
    return dataset, f"/backtests/{backtest}/"


def manage(machine: Machine, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def first_charts(page: Page, dataset: str, repeats: int) -> list[float]:
    """Seconds from the request of a page to its drawn candles, with warm static files."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        page.goto(dataset)
        page.wait_for_selector("#candles .main-svg .boxlayer path, #candles .main-svg .trace")
        seconds.append(time.perf_counter() - began)
    return seconds[1:]  # the first fetches the script of the charts


def p95_of(address: str, cookie: str, paths: tuple[str, ...], repeats: int) -> list[Answer]:
    """The answers that four clients get at the same time."""

    def visit(_: int) -> list[Answer]:
        visitor = Visitor(address, cookie)
        return [visitor.get(path) for _ in range(repeats) for path in paths]

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(chain.from_iterable(clients.map(visit, range(CLIENTS))))


def p95_ms(answers: list[Answer]) -> float:
    return 1000 * statistics.quantiles([answer.seconds for answer in answers], n=20)[-1]


def measured(machine: Machine, bars: int, rows: int, repeats: int) -> dict[str, float]:
    dataset, report = prepared(machine, bars, rows)
    program = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        page = browser.new_context(base_url=machine.address).new_page()
        sign_in(page, machine)
        charts = first_charts(page, dataset, repeats)
        cookies = page.context.cookies()
        browser.close()
    cookie = "; ".join(f"{entry['name']}={entry['value']}" for entry in cookies)
    visitor = Visitor(machine.address, cookie)
    zooms = ("", "?from=2020-01-01&to=2020-01-08", "?from=2016-01-01&to=2022-01-01")
    zoomed = [visitor.get(f"{dataset}chart/{zoom}") for zoom in zooms for _ in range(repeats)]
    lists = {path: p95_of(machine.address, cookie, (path,), repeats) for path in LISTS}
    details = p95_of(machine.address, cookie, (dataset, f"{dataset}?tab=used"), repeats)
    reports = p95_of(machine.address, cookie, (report,), repeats)
    seen = [*zoomed, *chain.from_iterable(lists.values()), *details, *reports]
    return {
        "first chart, s": statistics.median(charts),
        "zoom answer, ms": 1000 * statistics.median(answer.seconds for answer in zoomed),
        "zoom answer, KB gzip": max(answer.sent_bytes for answer in zoomed) / 1000,
        "list, p95 ms": max(map(p95_ms, lists.values())),
        **{f"list {path}, p95 ms": p95_ms(answers) for path, answers in lists.items()},
        "dataset, p95 ms": p95_ms(details),
        "report, p95 ms": p95_ms(reports),
        "largest answer, KB": max(answer.whole_bytes for answer in seen) / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("chromium") is None:
        raise SystemExit("chromium is not installed on this machine")
    with running_machine() as machine:
        found = measured(machine, options.bars, options.rows, options.repeats)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.bars:,} bars, {options.rows:,} datasets and experiments, {CLIENTS} clients")
    for name, value in found.items():
        limit = LIMITS.get(name)
        judged = (
            "" if limit is None else f"  limit {limit:g}  {'ok' if value <= limit else 'MISSED'}"
        )
        print(f"{name:<40} {value:10.2f}{judged}")


if __name__ == "__main__":
    main()
