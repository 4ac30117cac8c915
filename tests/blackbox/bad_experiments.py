"""Fires experiments that cannot be at a running server: by API, by form, and as JSON in the form.

Run from the root of the repository with
`python -m tests.blackbox.bad_experiments ADDRESS TOKEN SIGN_IN_LINK`; the token needs the scope
launch, the link is that of `manage.py sign_in_link`. Prints a line per row; the exit status is 1 when
one does not hold. At the end it launches runs until the server refuses more, and cancels them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.blackbox.bad_files import code, difference
from tests.blackbox.pages import Pages
from tests.blackbox.server import Broken, Server
from tests.browser.machine import candle_file

API, FORM = "/api/experiments/", "/experiments/new/"
FORM_ID = "experiment-form"
DAYS = 66
HUGE = 10**400
TEN_MB = 10 * 10**6
LAUNCHES_MOST = 60
Spec = dict[str, Any]  # Any: whatever a program may send


@dataclass(frozen=True)
class Row:
    """A spec over the preset `tiny`, the field that is refused, and words of the reason.

    `typed` says that a form can hold it as well.
    """

    what: str
    spec: Spec
    field: str
    words: tuple[str, ...]
    typed: bool = True


def row(part: str, name: str, value: object, *words: str, typed: bool = True) -> Row:
    """One wrong setting, refused where it stands."""
    return Row(
        f"{part}.{name} {value!r:.40}", {part: {name: value}}, f"{part}.{name}", words, typed
    )


def every_row() -> Iterator[Row]:
    for part in (shapes, windows, selections, training, evaluation, spans, accounts, forms_of_json):
        yield from part()


def shapes() -> Iterator[Row]:
    yield row("network", "heads", 7, "found 7", "divide 32")
    yield row("network", "heads", 0, "found 0", "at least 1")
    yield row("network", "d_model", 4, "found 4", "at least 8")
    yield row("network", "d_model", 4096, "found 4096", "at most 1024")
    yield row("network", "d_model", 32.5, "found 32.5", "expected")
    yield row("network", "layers", -1, "found -1", "at least 1")
    yield row("network", "d_ff", 10**6, "found 1000000", "at most 8192")
    yield row("network", "dropout", 0.9, "found 0.9", "at most 0.5")
    yield row("network", "dropout", -0.1, "found -0.1", "at least 0")
    yield row("network", "patch_bars", 0, "found 0", "at least 1")
    yield row("network", "kind", "recurrent", "found 'recurrent'", "transformer")
    large = {"d_model": 1024, "heads": 16, "layers": 24, "d_ff": 8192}
    words = ("parameters", "at most 200\u2009000\u2009000")
    yield Row("a network over the quota", {"network": large}, "network.d_model", words)
    long_patch = {"network": {"patch_bars": 64}, "windows": {"context_bars": 32}}
    yield Row("patch beyond context", long_patch, "network.patch_bars", ("found 64", "32"))


def windows() -> Iterator[Row]:
    yield row("windows", "context_bars", 0, "found 0", "at least 4")
    yield row("windows", "context_bars", 5000, "found 5000", "at most 4096")
    yield row("windows", "horizon_bars", 289, "found 289", "at most 288")
    yield row("windows", "stride", 0, "found 0", "at least 1")
    yield row("target", "regime_bars", 1, "found 1", "at least 2")
    yield row("target", "cost_bps", -1, "found -1", "at least 0")
    beyond = {"features": {"scales": [1, 288]}, "windows": {"context_bars": 64}}
    yield Row("scale beyond context", beyond, "windows.context_bars", ("found 64", "288"))
    yield row("windows", "context_bars", 4, "context of 4", "timescale 12", "at least 23")
    yield row("features", "scales", [1, 7], "scale 7", "divide a UTC day")
    yield row("features", "scales", [3, 6], "beginning with 1")
    yield row("features", "scales", [1, 2, 3, 4, 6, 8, 12], "at most 6")


def selections() -> Iterator[Row]:
    yield row("features", "select_top", 0, "found 0", "expected 1 to 1000")
    yield row("features", "select_top", -3, "found -3", "expected 1 to 1000")
    yield row("features", "select_top", "most", "found 'most'", "expected 1 to 1000")
    yield row("features", "select_top", HUGE, "found", "expected", typed=False)
    yield row("features", "feature_set", "basic-16", "basic-16", 'did you mean "basic-15"')
    yield row("features", "feature_set", ["rsi_14", "rsi_41"], "rsi_41", "did you mean")
    yield row("features", "feature_set", ["rsi_14", "rsi_14"], "each feature once")
    yield row("features", "feature_set", [], "at least one", typed=False)


def training() -> Iterator[Row]:
    yield row("training", "learning_rate", 0, "found 0", "at least 1e-07")
    yield row("training", "learning_rate", -1, "found -1", "at least")
    yield row("training", "learning_rate", "fast", "found 'fast'", "number")
    for value in ("NaN", "inf", "-Infinity", "1e400"):
        yield row("training", "learning_rate", value, "found", "expected")
    yield row("training", "learning_rate", HUGE, "found", "expected", typed=False)
    yield row("training", "learning_rate", True, "found true", "truth value", typed=False)
    yield row("training", "learning_rate", None, "found None", "number", typed=False)
    yield row("training", "epochs", "9" * 5000, "found", "expected")
    yield row("training", "epochs", 0, "found 0", "at least 1")
    yield row("training", "epochs", 1001, "found 1001", "at most 1000")
    yield row("training", "batch", 1.5, "found 1.5", "expected")
    yield row("training", "grad_clip", 0, "found 0", "more than 0")
    yield row("training", "seeds", [1, 1], "different whole numbers")
    yield row("training", "seeds", [-1], "from 0 to 2147483647")
    yield row("training", "seeds", list(range(21)), "at most 20")
    yield row("training", "seeds", ["a"], "expected")
    yield row("training", "seeds", [], "at least 1", typed=False)
    yield row("training", "devices", 9, "found 9", "at most 8")


def evaluation() -> Iterator[Row]:
    yield row("evaluation", "scheme", "kfold", "found 'kfold'", "anchored")
    yield row("evaluation", "folds", 1, "found 1", "at least 2")
    yield row("evaluation", "folds", 21, "found 21", "at most 20")
    yield row("evaluation", "embargo_bars", -1, "found -1", "at least 0")
    yield row("evaluation", "embargo_bars", 10_001, "found 10001", "at most 10000")
    yield row("evaluation", "holdout_fraction", 0.6, "found 0.6", "at most 0.5")
    yield row("evaluation", "bootstrap_draws", 1, "found 1", "at least 100")


def spans() -> Iterator[Row]:
    few = {"data": {"from_at": "2024-06-28T00:00:00+00:00"}}
    over = {"evaluation": {"embargo_bars": 10_000}}
    short = {"data": {"to_at": "2024-05-06T00:00:00+00:00"}, "evaluation": {"folds": 20}}
    long = {"windows": {"context_bars": 4096, "horizon_bars": 288}, "target": {"regime_bars": 2016}}
    needs = ("bars", "needs", "Choose")
    yield Row("too few bars", few, "datasets", needs)
    yield Row("embargo beyond the span", over, "datasets", needs)
    yield Row("folds beyond the span", short, "datasets", needs)
    yield Row("windows beyond the span", long, "datasets", needs)
    yield row("data", "from_at", "2030-01-01T00:00:00+00:00", "no bar of the dataset lies between")
    yield row("data", "to_at", "2001-01-01T00:00:00+00:00", "no bar of the dataset lies between")
    yield row("data", "from_at", "yesterday", "found 'yesterday'", "expected")
    yield row("data", "from_at", 1704067200, "expected a time", typed=False)
    yield row("data", "from_at", "1704067200", "expected a time", typed=False)
    yield row("data", "from_at", "2024-01-01T00:00:00", "timezone", typed=False)
    turned = {"from_at": "2024-02-01T00:00:00+00:00", "to_at": "2024-01-01T00:00:00+00:00"}
    yield Row("span that ends first", {"data": turned}, "data.to_at", ("after the beginning",))


def accounts() -> Iterator[Row]:
    wrong: tuple[tuple[Spec, str, str], ...] = (
        ({"capital": 0}, "capital", "more than 0"),
        ({"costs": {"taker_bps": -1}}, "costs.taker_bps", "at least 0"),
        ({"policy": {"threshold": 2}}, "policy.threshold", "below 1"),
        ({"policy": {"minimum_confidence": 2}}, "policy.minimum_confidence", "at most 1"),
        ({"sizing": {"fraction": 1.5}}, "sizing.fraction", "at most 1"),
        ({"risk": {"stop_pct": 1}}, "risk.stop_pct", "less than 1"),
    )
    for spec, field, words in wrong:
        yield Row(f"backtest {spec}", {"backtest": spec}, f"backtest.{field}", ("found", words))


def forms_of_json() -> Iterator[Row]:
    yield row("training", "learnig_rate", 1, 'did you mean "learning_rate"', typed=False)
    yield row("training", "wings", 2, "unknown key", "known:", typed=False)
    yield Row("unknown part", {"trainig": {}}, "trainig", ('did you mean "training"',), typed=False)
    parts: tuple[object, ...] = ([], "fast", 3)
    for value in parts:
        yield Row(
            f"training {value!r}", {"training": value}, "training", ("expected",), typed=False
        )


def typed_value(value: object) -> str:
    """A value of a spec as a person types it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) + ("," if len(value) == 1 else "")
    return str(value)


def leaves(spec: Spec, before: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in spec.items():
        inner = leaves(value, f"{before}{name}.") if isinstance(value, dict) else None
        found |= {f"{before}{name}": value} if inner is None else inner
    return found


class Comparison:
    """Fires rows at a server and says what does not hold."""

    def __init__(self, server: Server, pages: Pages) -> None:
        self.server, self.pages = server, pages
        with tempfile.TemporaryDirectory() as folder:
            content = candle_file(Path(folder), days=DAYS).read_bytes()
        answer = server.send(content, "candles.csv", {"symbol": "BAD/EXPERIMENT"})
        server.ended(answer.body["job"])
        done = server.get(f"/api/imports/{answer.body['id']}/")
        self.chosen = {"dataset": done["dataset"], "version": done["version"]}
        self.body = {"name": "Bad", "datasets": [self.chosen], "preset": "tiny"}
        self.opened = pages.get(FORM, FORM_ID).values
        self.kept = self._kept()

    def faults(self, row: Row) -> list[str]:
        """What is wrong with the answers to a row; empty where they are as expected."""
        try:
            faults = self._api_faults(row) + self._json_faults(row)
            faults += self._form_faults(row) if row.typed else []
        except Broken as error:
            return [str(error)]
        return faults + difference(self.kept, self._kept())

    def _api_faults(self, row: Row) -> list[str]:
        faults = []
        for path in (API, f"{API}estimate/"):
            answer = self.server.post(path, self.body | {"spec": row.spec})
            fields = answer.body.get("fields", {})
            text = fields.get(row.field, "")
            faults += difference((400, "invalid_spec"), (answer.status, code(answer)))
            faults += missing(row, text, f"{path} {sorted(fields)}")
        return faults

    def _json_faults(self, row: Row) -> list[str]:
        values = self.opened | {"name": "Bad", "spec_json": json.dumps(self._merged(row.spec))}
        status, page = self.pages.post(FORM, values, FORM_ID)
        field = "datasets" if row.field == "datasets" else "spec_json"
        text = page.errors.get(field, "") or page.errors.get("spec_json", "")
        faults = difference(400, status) + missing(row, text, f"JSON in the form {page.errors}")
        return faults + difference(values["spec_json"], page.values.get("spec_json"))

    def _form_faults(self, row: Row) -> list[str]:
        typed = {path: typed_value(value) for path, value in leaves(row.spec).items()}
        values = self.opened | {"name": "Bad"} | typed
        status, page = self.pages.post(FORM, values | {"action": "launch"}, FORM_ID)
        faults = difference(400, status)
        faults += missing(row, page.errors.get(row.field, ""), f"the form {page.errors}")
        if row.field in page.unseen:
            faults.append(f"{row.field} is folded away")
        lost = {name for name, text in values.items() if page.values.get(name) != text}
        # A choice that does not exist cannot be chosen again.
        lost -= {"csrfmiddlewaretoken", "network.kind", "evaluation.scheme"}
        # Fields that make a spec are shown as JSON too, whatever else is wrong.
        lost -= {"spec_json", "spec_served"}
        return faults + [f"the form forgot {name}" for name in sorted(lost)]

    def _merged(self, spec: Spec) -> Spec:
        """The spec over the preset, as a program that sends whole specs would send it."""
        whole = json.loads(json.dumps(self._preset()))
        for part, over in spec.items():
            is_part = isinstance(over, dict) and isinstance(whole.get(part), dict)
            whole[part] = whole[part] | over if is_part else over
        return dict(whole)

    def _preset(self) -> Spec:
        from backtests.presets import preset

        return preset("tiny").to_json()

    def _kept(self) -> tuple[int, ...]:
        paths = (API, "/api/runs/", "/api/backtests/", "/api/jobs/")
        return tuple(self.server.get(f"{path}?page_size=1")["count"] for path in paths)


def missing(row: Row, text: str, where: str) -> list[str]:
    """The words of a row that its reason lacks; a typed number is a text and stands in quotes."""
    plain = text.replace("'", "")
    lacking = [word for word in row.words if word.replace("'", "") not in plain]
    return [f"{where}: no {word!r} in: {text[:200]}" for word in lacking]


def body_faults(comparison: Comparison) -> list[str]:
    """Bodies that are no JSON object, or too much of one."""
    spec = (
        b'{"name": "Bad", "preset": "tiny", "datasets": [{"dataset": 1, "version": 1}], "spec": %s}'
    )
    bodies = {
        "NaN": (spec % b'{"training": {"learning_rate": NaN}}', 400, "invalid_json"),
        "Infinity": (spec % b'{"training": {"learning_rate": -Infinity}}', 400, "invalid_json"),
        "overflow": (spec % b'{"training": {"learning_rate": 1e999}}', 400, "invalid_json"),
        "a key twice": (spec % b'{"training": {}, "training": {}}', 400, "invalid_json"),
        "deep": (spec % (b"[" * 100_000), 400, "invalid_json"),
        "900 KB of one text": (spec % (b'"' + b"x" * 900_000 + b'"'), 400, "invalid"),
        "no UTF-8": (spec % b'"\xff"', 400, "invalid_json"),
        "NUL": (spec % b'{"\\u0000": 1}', 400, "invalid_json"),
        "cut off": (spec[:40], 400, "invalid_json"),
        "a list": (b"[]", 400, "invalid_json"),
        "nothing": (b"", 400, "invalid"),
    }
    faults = []
    for what, (body, *expected) in bodies.items():
        answer = comparison.server.ask("POST", API, body, "application/json")
        found = [answer.status, code(answer)]
        faults += [f"{what}: {text}" for text in difference(expected, found)]
    status, _ = comparison.server.announce(TEN_MB, API, "application/json")
    return faults + difference(413, status) + difference(comparison.kept, comparison._kept())


def quota_faults(comparison: Comparison) -> list[str]:
    """Runs are launched until one is refused with the reason and the time to wait."""
    server = comparison.server
    made = server.post(API, comparison.body)
    faults = difference(201, made.status)
    path = f"{API}{made.body['id']}/runs/"
    for seed in (-1, 2**31, "x", True, 1.5):
        answer = server.post(path, {"seed": seed})
        faults += difference((400, ["seed"]), (answer.status, list(answer.body["fields"])))
    jobs = []
    for seed in range(LAUNCHES_MOST):
        answer = server.post(path, {"seed": seed})
        if answer.status != 202:
            break
        jobs.append(answer.body["job"])
    faults += difference((429, True), (answer.status, code(answer).startswith("quota_")))
    faults += [] if "limit is" in answer.body["detail"] else [f"no limit in {answer.body}"]
    faults += difference(len(jobs), server.get("/api/runs/?page_size=1")["count"])
    for job in jobs[::-1]:
        server.post(f"/api/jobs/{job}/cancel/", {})
        faults += difference(True, server.ended(job)["status"] in ("cancelled", "succeeded"))
    return faults


def compare(address: str, token: str, sign_in_link: str) -> list[str]:
    """Fire everything, print a line per row, and return the rows that do not hold."""
    comparison = Comparison(Server(address, token), Pages(address, sign_in_link))
    checks: list[tuple[str, Callable[[], list[str]]]] = [
        (row.what, lambda row=row: comparison.faults(row))  # type: ignore[misc]  # bound now
        for row in every_row()
    ]
    checks += [
        ("bodies that are no spec", lambda: body_faults(comparison)),
        ("launches over the quota", lambda: quota_faults(comparison)),
    ]
    wrong = []
    for what, check in checks:
        faults = check()
        line = f"{'FAILS' if faults else 'holds'}  {what}  {'; '.join(faults)}".rstrip()
        print(line, flush=True)
        wrong += [line] if faults else []
    print(f"{len(checks)} rows, {len(wrong)} fail")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of the server, for example http://127.0.0.1:8000")
    parser.add_argument("token", help="an API token with the scope launch")
    parser.add_argument("sign_in_link", help="as manage.py sign_in_link prints it")
    options = parser.parse_args()
    return 1 if compare(options.address, options.token, options.sign_in_link) else 0


if __name__ == "__main__":
    sys.exit(main())
