from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.commands import workspace_of
from accounts.models import User, Workspace
from accounts.services import create_user, make_sign_in_link
from backtests.models import Backtest
from backtests.presets import preset
from backtests.services import create_experiment, launch_experiment
from backtests.specs import BacktestSpec, ExperimentSpec
from embedded.lock import running_up
from embedded.processes import dies_with_parent
from jobs.errors import JobConflict, QueueFull
from jobs.models import Job
from jobs.services import request_cancel
from jobs.statuses import JobStatus
from markets.candles.quality import counted
from markets.models import DatasetVersion, Import
from markets.services.downloads import launch_download
from markets.services.imports import RefusedUpload, launch_demo, launch_import
from markets.specs import ImportSpec, venue_in_name
from modeling.models import Experiment, TrainingRun
from modeling.specs import ModelSpec
from specs.declaration import InvalidSpec
from web.first_candles import (
    DAYS,
    DOWNLOADS_S,
    download_spec,
    downloaded_before,
    venues_within_reach,
)

PRESET = "tiny"
LAST_BARS = 51_840  # 180 days of five-minute candles; what a preset needs is counted in bars
FEWEST_DAYS = (
    75  # tested on less than thirty days no account is judged: fifteen hundredths are sealed
)
USERNAME = "owner"
POLL_S = 0.5


class Command(BaseCommand):
    help = "From nothing to a verdict: services, first user, candles, training, backtest, report."
    requires_system_checks: list[str] = []  # the database they ask for may not be there yet

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, help="a candle file (CSV or Parquet)")
        parser.add_argument("--symbol", default="", help="default: from the name of the file")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--exit", action="store_true", help="stop after the report")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        self.says = self.stderr if options["json"] else self.stdout
        data: Path | None = options["data"]
        if data is not None and not data.is_file():
            raise CommandError(f"{data} is no file. Give the path of a candle file.")
        services = Services(options["port"], self.say)
        try:
            address = services.start()
            result = self.run_path(address, data, options["symbol"])
            self.print_result(result, options)
            if not options["exit"]:
                services.keep()
        except (RefusedUpload, JobConflict, QueueFull, InvalidSpec) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.say("stopping")
        finally:
            services.stop()

    def say(self, text: str) -> None:
        self.says.write(f"[{time.monotonic() - self.began:5.0f} s] {text}")
        self.says.flush()

    def run_path(self, address: str, data: Path | None, symbol: str) -> dict[str, Any]:
        user, password = first_user()
        workspace = workspace_of(user)
        version = self.load_candles(workspace, user, data, symbol)
        run, backtest = self.train(workspace, user, version)
        report = backtest.report
        return {
            "verdict": report["verdict"]["word"],
            "sentence": report["verdict"]["sentence"],
            "numbers": report["numbers"],
            "report": f"{address}/backtests/{backtest.pk}/",
            "run": f"{address}/runs/{run.pk}/",
            "weights_sha256": run.weights_sha256,
            "predictions_sha256": run.predictions_sha256,
            "sign_in": f"{address}{make_sign_in_link(user)}",
            "username": user.username,
            "password": password,
            "synthetic": version.is_synthetic,
            "seconds": round(time.monotonic() - self.began, 1),
        }

    def load_candles(
        self, workspace: Workspace, user: User, data: Path | None, symbol: str
    ) -> DatasetVersion:
        if data is None:
            version = self.download(workspace, user) or self.load_demo(workspace, user)
        else:
            version = self.import_file(workspace, user, data, symbol)
        self.say(
            f"{counted(version.rows, 'bar')} of {version.dataset.timeframe}, "
            f"{counted(version.gap_count, 'gap')}, {counted(version.missing_bars, 'bar')} missing"
        )
        return version

    def import_file(
        self, workspace: Workspace, user: User, data: Path, symbol: str
    ) -> DatasetVersion:
        spec = ImportSpec.parse(
            {"symbol": symbol or symbol_of(data), "venue": venue_in_name(data.name)}
        )
        self.say(f"importing {data.name} as {spec.symbol}")
        with data.open("rb") as file:
            row = launch_import(
                workspace=workspace,
                user=user,
                upload=UploadedFile(file, data.name, size=data.stat().st_size),
                spec=spec,
            )
        self.wait(row.job)
        return version_of(row)

    def load_demo(self, workspace: Workspace, user: User) -> DatasetVersion:
        self.say(
            "no --data given and no exchange gave candles: loading the synthetic market, "
            "labelled synthetic on every page"
        )
        row = launch_demo(workspace=workspace, user=user)
        self.wait(row.job)
        return version_of(row)

    def download(self, workspace: Workspace, user: User) -> DatasetVersion | None:
        """Candles of the first exchange that gives them in time; None where none does."""
        now = timezone.now()
        if version := downloaded_before(workspace, now):
            self.say(f"using {version}, downloaded before")
            return version
        deadline = time.monotonic() + DOWNLOADS_S
        for venue in venues_within_reach():
            spec = download_spec(venue, now)
            self.say(f"downloading {DAYS} days of {spec.symbol} {spec.timeframe} from {venue}")
            row = launch_download(workspace=workspace, user=user, spec=spec)
            if self.ends_well(row.job, user, deadline):
                version = version_of(row)
                if not version.needs_acceptance:
                    return version
                self.say(f"{version} has findings that a person must accept first; left aside")
        return None

    def ends_well(self, job: Job, user: User, deadline: float) -> bool:
        """Follow a download up to a monotonic deadline; one that is late is cancelled."""
        try:
            self.wait(job, deadline)
        except CommandError as error:
            self.say(str(error))
            return False
        except TimeoutError:
            self.say("the download takes too long; stopping it")
            with suppress(JobConflict):
                request_cancel(job, user=user)
            return False
        return True

    def train(
        self, workspace: Workspace, user: User, version: DatasetVersion
    ) -> tuple[TrainingRun, Backtest]:
        spec = quickstart_spec(version)
        name = f"Quickstart {version.dataset.name}"
        run = equal_run(workspace, version, spec)
        if run is not None:
            self.say("this experiment has run before; its report is shown again")
        else:
            shown = f"{spec.data.from_at:%Y-%m-%d}" if spec.data.from_at else "the first bar"
            self.say(f"training the preset {PRESET} on the candles from {shown} on")
            experiment = create_experiment(
                workspace=workspace,
                user=user,
                name=name,
                versions=[version],
                spec=spec,
                preset=PRESET,
            )
            run = launch_experiment(experiment, user=user)[0]
        self.wait(run.job)
        backtest = run.backtests.select_related("job").get(is_own=True)
        self.wait(backtest.job)
        run.refresh_from_db()
        return run, Backtest.objects.get(pk=backtest.pk)

    def wait(self, job: Job, deadline: float = math.inf) -> None:
        """Follow a job to its end, and say what changes. TimeoutError at a monotonic deadline."""
        said = ""
        while True:
            job = Job.objects.get(pk=job.pk)
            if job.is_terminal:
                break
            text = f"{job.get_kind_display()}: {job.shown_message or job.get_status_display()}"
            if text != said:
                self.say(f"{text} ({job.progress:.0%})")
                said = text
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(POLL_S)
        if job.status != JobStatus.SUCCEEDED:
            raise CommandError(f"{job.get_kind_display()} {job.status}: {job.message}")

    def print_result(self, result: dict[str, Any], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(result))
            return
        password = result["password"] or "(as printed by the first run)"
        lines = [
            "",
            f"Verdict     {result['verdict']}: {result['sentence']}",
            f"Report      {result['report']}",
            f"Sign in     {result['sign_in']} (works once, 15 minutes)",
            f"User        {result['username']}",
            f"Password    {password}",
            f"Took        {result['seconds']:.0f} s",
            "",
            "Stop        Ctrl-C" if not options["exit"] else "Stopped.",
            "Start again bin/quickstart, or .venv/bin/python manage.py up",
            f"Wipe        remove {settings.STATE}",
        ]
        self.stdout.write("\n".join(lines))
        self.stdout.flush()


def version_of(row: Import) -> DatasetVersion:
    """The version that an import ended at."""
    return DatasetVersion.objects.select_related("dataset__instrument").get(imports=row)


class Services:
    """The `up` of this machine: one that runs already, or one of our own for this command."""

    def __init__(self, port: int, say: Any) -> None:
        self.port, self.say = port, say
        self.child: subprocess.Popen[bytes] | None = None
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 — closed with the process

    def start(self) -> str:
        """The address of the web server, once everything answers."""
        already = running_up(settings.STATE)
        if already is not None and already.address:
            self.say(f"using the services that run already (pid {already.pid})")
            return already.address
        self.say("starting Postgres, Valkey, web, workers and beat")
        self.child = subprocess.Popen(
            [
                sys.executable,
                str(settings.ROOT / "manage.py"),
                "up",
                "--port",
                str(self.port),
                "--json",
            ],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            # Ctrl-C reaches this command only, which then stops the services in order.
            start_new_session=True,
            preexec_fn=dies_with_parent(signal.SIGTERM),
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            self._refuse()
        address: str = json.loads(line)["address"]
        self.say(f"ready at {address}")
        return address

    def keep(self) -> None:
        """Serve until Ctrl-C, when the services are ours."""
        if self.child is not None:
            self.child.wait()

    def stop(self) -> None:
        if self.child is None or self.child.poll() is not None:
            return
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()

    def _refuse(self) -> None:
        assert self.child is not None
        self.child.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        raise CommandError(lines[-1] if lines else "The services could not be started.")


def first_user() -> tuple[User, str]:
    """The first user of this machine, made with a random password when there is none."""
    user = User.objects.filter(is_active=True).order_by("pk").first()
    if user is not None:
        return user, ""
    return create_user(USERNAME, workspace_name="Workspace")


def quickstart_spec(version: DatasetVersion) -> ExperimentSpec:
    """The preset on the last bars of a version."""
    spec = preset(PRESET)
    span = max(LAST_BARS * version.bar, timedelta(days=FEWEST_DAYS))
    from_at = version.last_at + version.bar - span
    if from_at <= version.first_at:
        return spec
    data = spec.data.model_copy(update={"from_at": from_at})
    return spec.model_copy(update={"data": data})


def equal_run(
    workspace: Workspace, version: DatasetVersion, spec: ExperimentSpec
) -> TrainingRun | None:
    """An earlier run of the same spec on the same candles that has not gone wrong."""
    wanted = spec.model_spec(), spec.backtest
    rows = TrainingRun.objects.filter(
        workspace=workspace,
        experiment__versions=version,
        experiment__preset=PRESET,
        backtests__is_own=True,
    ).exclude(job__status__in=(JobStatus.FAILED, JobStatus.ERRORED, JobStatus.CANCELLED))
    rows = rows.select_related("experiment", "job").order_by("-pk")
    equal = (
        run
        for run in rows
        if specs_of(run.experiment) == wanted and run.experiment.pool == [version]
    )
    return next(equal, None)


def specs_of(experiment: Experiment) -> tuple[ModelSpec, BacktestSpec]:
    """How an experiment trains and how its runs are judged."""
    return experiment.model_spec, BacktestSpec.parse(experiment.backtest_spec)


def symbol_of(path: Path) -> str:
    """The symbol in a file name such as binance_BTCUSDT_5m.parquet."""
    words = path.name.split(".")[0].replace("-", "_").split("_")
    known = [word for word in words if word.isalnum() and word.isupper() and len(word) > 3]
    return known[0] if known else words[0].upper()
