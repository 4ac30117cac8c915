"""The body of a training run: sealed candles in, out-of-sample predictions and verdicts out.

Only the trainer process imports this module; it loads torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.conf import settings

from artifacts.store import verified_path
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed, StopRequested
from jobs.statuses import EventKind
from markets.candles.frame import Candles
from markets.features.compute import compute_features
from markets.reading import ns_of
from modeling.baselines.ladder import Ladder, unspent_s
from modeling.baselines.linear import fit_linear
from modeling.baselines.rungs import RungFailed
from modeling.certifying import certify_fold, certify_predicted, certify_tables
from modeling.evaluation.paths import join_paths
from modeling.evaluation.table import read_fold
from modeling.failures import diverged, out_of_memory
from modeling.fold_task import fold_task
from modeling.folds import finish_fold
from modeling.judging import judge
from modeling.measures import rung_label
from modeling.models import TrainingRun, instrument_name
from modeling.observing import RunObserver, Stage, newest_checkpoint
from modeling.provenance import data_digest, note_machine, provenance_of
from modeling.sealed import candles_of
from modeling.storing import store_fold, store_result
from modeling.training.assignment import Assignment
from modeling.training.checkpoint import Checkpoint
from modeling.training.compiled import chosen_compiler
from modeling.training.errors import Diverged, OutOfMemory, Stopped
from modeling.training.fit import fit, steps_in_all
from modeling.training.machine import set_threads
from modeling.training.pace import Pace
from modeling.training.ranks import ALONE, Ranks
from modeling.windows.errors import ContextTooShort, IntervalsMeet, NotEnoughHistory
from modeling.windows.learned import prepare_fold
from modeling.windows.make import PoolPart, Windows, pool_windows
from modeling.windows.selection import Selection
from modeling.windows.splits import Fold as WindowFold

SCORING_FROM, STORING_FROM = 0.92, 0.98


def train(run: TrainingRun, attempt: RunningAttempt, ranks: Ranks = ALONE) -> None:
    """Train every fold that is not finished, then score, judge and store the predictions.

    Of several `ranks` this process is the leader: the others take part in the steps alone.
    """
    spec = run.experiment.model_spec
    threads = set_threads(run.threads or spec.training.threads, processes=ranks.count)
    attempt.progress(0.0, "Reading the candles")
    candles = {
        instrument_name(version): candles_of(run, version) for version in run.experiment.pool
    }
    note_machine(run, attempt, data_digest(list(candles.values())), ranks, threads)
    windows = _windows_of(run, attempt, candles)
    attempt.raise_if_stopping()
    fit_bars = [windows.bars(fold.fit)[:: spec.windows.stride] for fold in windows.folds]
    steps = [steps_in_all(spec, len(bars)) for bars in fit_bars]
    pace = Pace()
    for place, fold in enumerate(windows.folds):
        stage = Stage(fold.number, len(windows.folds), sum(steps[:place]), sum(steps), pace)
        if _is_finished(run, attempt, fold.number):
            attempt.log(f"{stage.title} is finished already and not computed again.")
            attempt.tell(found_done=stage.progress_at(steps[place]))
            continue
        _train_fold(run, attempt, windows, fold, stage, ranks)
        attempt.raise_if_stopping()
    ranks.dismiss()
    _finish(run, attempt, windows)


def _is_finished(run: TrainingRun, attempt: RunningAttempt, number: int) -> bool:
    finished = run.folds.filter(number=number).exclude(finished_at=None)
    return attempt.write(finished.exists)


def _windows_of(
    run: TrainingRun, attempt: RunningAttempt, candles: Mapping[str, Candles]
) -> Windows:
    attempt.progress(0.01, "Computing features")
    parts = [_part(run, attempt, name, own) for name, own in candles.items()]
    certify_tables(run, attempt, parts)
    holdout_at = ns_of(run.experiment.holdout_at)
    try:
        return pool_windows(parts, run.experiment.model_spec, holdout_at=holdout_at)
    except NotEnoughHistory as error:
        raise JobFailed("not_enough_history", str(error)) from error
    except ContextTooShort as error:
        raise JobFailed("invalid_spec", str(error)) from error
    except IntervalsMeet as error:
        raise JobFailed("leak_intervals", str(error)) from error


def _part(run: TrainingRun, attempt: RunningAttempt, name: str, candles: Candles) -> PoolPart:
    """The candles of one instrument with their features."""
    attempt.raise_if_stopping()
    spec = run.experiment.model_spec
    scales = spec.features.scales_for(candles.timeframe_minutes)
    table = compute_features(candles, spec.features.names(), scales, cache=settings.FEATURE_CACHE)
    attempt.log(
        f"{name}: {len(table.names)} features on {len(scales)} timescales of {len(candles)} bars."
    )
    return PoolPart(name, candles, table)


def _train_fold(
    run: TrainingRun,
    attempt: RunningAttempt,
    windows: Windows,
    cut: WindowFold,
    stage: Stage,
    ranks: Ranks,
) -> None:
    spec = run.experiment.model_spec
    folder = run.checkpoint_folder
    provenance = provenance_of(run)
    resume = newest_checkpoint(run, attempt, folder, fold=cut.number, provenance=provenance)
    fold = prepare_fold(windows, cut, spec, selection=_selection_of(resume))
    certify_fold(run, attempt, windows, fold, is_resumed=resume is not None)
    attempt.raise_if_stopping()
    attempt.log(f"{stage.title}: {cut.fit.size} fit samples, {cut.test.size} test samples.")
    kept, of = len(fold.learned.selection.names), len(windows.names)
    if kept < of:
        attempt.log(f"{stage.title}: {kept} of {of} features selected.")
    task = fold_task(spec, windows, fold, ranks.device)
    if resume is not None:
        step = stage.steps_before + resume.step
        attempt.log(f"{stage.title}: going on after the checkpoint of step {resume.step}.")
        attempt.write(lambda: attempt.event(EventKind.RESUMED, step=step, fold=stage.fold))
    observer = RunObserver(run, attempt, folder, stage)
    observer.last_saved = resume.step if resume is not None else None
    with _ends_told(stage, observer):
        if spec.network.is_linear:
            fitted = fit_linear(
                task,
                windows.bars(cut.fit),
                cost_bps=spec.target.cost_bps,
                is_pooled=windows.is_pooled,
            )
        else:
            compiler = chosen_compiler(
                ranks.device, steps=stage.steps_in_all, allowed=settings.COMPILED_STEPS
            )
            if ranks.count > 1:
                shared = Assignment(spec, task, provenance, resume, stage.steps_before, compiler)
                ranks.send(*shared.packed())
            fitted = fit(
                spec,
                task,
                provenance=provenance,
                observer=observer,
                resume=resume,
                ranks=ranks,
                compiler=compiler,
            )
            observer.on_last_step(steps_in_all(spec, len(task.fit_bars)))
    for note in fitted.notes:
        attempt.log(f"{stage.title}: {note}", "warning")
    share = stage.progress_at(steps_in_all(spec, len(task.fit_bars)))

    def between(doing: str) -> None:
        attempt.raise_if_stopping()
        attempt.progress(share, f"{stage.title}: {doing}")

    result = finish_fold(
        spec,
        windows,
        fold,
        fitted,
        task,
        seed=run.seed,
        unspent_s=_unspent_s(run, attempt, before=cut.number),
        between=between,
    )
    _log_ladder(attempt, stage, result.ladder)
    attempt.progress(share, f"{stage.title}: checking that no prediction knows the future")
    certify_predicted(run, attempt, windows, fold, fitted, result)
    store_fold(run, attempt, fold, fitted, result)


def _unspent_s(run: TrainingRun, attempt: RunningAttempt, *, before: int) -> float:
    """Seconds of the ladder that the folds so far have left; a resumed run finds them as well."""
    finished = run.folds.filter(number__lt=before).exclude(finished_at=None)
    newest = attempt.write(lambda: finished.order_by("number").last())
    return unspent_s(newest.state) if newest is not None else 0.0


@contextmanager
def _ends_told(stage: Stage, observer: RunObserver) -> Iterator[None]:
    """Every way out of a fold before its end becomes what the job is told of it."""
    before = stage.steps_before
    try:
        yield
    except RungFailed as error:
        raise JobFailed("not_fitted", f"{stage.title}: {error}. Choose more history.") from error
    except Stopped as error:
        raise StopRequested(f"stopped at step {error.step}") from error
    except Diverged as error:
        raise diverged(error, steps_before=before, last_saved=observer.last_saved) from error
    except OutOfMemory as error:
        raise out_of_memory(error, steps_before=before) from error


def _log_ladder(attempt: RunningAttempt, stage: Stage, ladder: Ladder) -> None:
    took = ", ".join(f"{rung_label(name)} {spent:.1f} s" for name, spent in ladder.seconds.items())
    attempt.log(f"{stage.title}: baselines done. {took}.")
    for name, reason in ladder.failed.items():
        attempt.log(f"{stage.title}: {rung_label(name)} {reason}.", "warning")


def _selection_of(checkpoint: Checkpoint | None) -> Selection | None:
    """What training began with; None for a fold that begins, or began before features were selected."""
    chosen = checkpoint.state["notes"].get("selection") if checkpoint is not None else None
    return Selection.from_json(chosen) if chosen else None


def _finish(run: TrainingRun, attempt: RunningAttempt, windows: Windows) -> None:
    """Join the folds, score and judge them, store the prediction sets and end the job."""
    attempt.progress(SCORING_FROM, "Scoring the predictions")
    spec, pool = run.experiment.model_spec, run.experiment.pool
    folds = attempt.write(lambda: list(run.folds.select_related("predictions").order_by("number")))
    parts = [read_fold(verified_path(fold.predictions)) for fold in folds if fold.predictions]
    paths = join_paths(parts, windows.folds, windows.samples, windows.pooled_names)

    def between(share: float) -> None:
        attempt.raise_if_stopping()
        reached = SCORING_FROM + share * (STORING_FROM - SCORING_FROM)
        attempt.progress(reached, "Scoring the predictions")

    between(0.0)
    judgement = judge(
        paths,
        folds,
        spec=spec,
        timeframe_minutes=windows.timeframe_minutes,
        is_synthetic=all(version.is_synthetic for version in pool),
        between=between,
    )
    attempt.raise_if_stopping()
    attempt.progress(STORING_FROM, "Storing the predictions")
    store_result(run, attempt, folds, paths, judgement)
