from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Prefetch, Q, QuerySet
from django.forms import IntegerField
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import audit
from accounts.editing import (
    acting_workspace,
    editing_membership,
    listing,
    new_key,
    require_editor_of,
    search_text,
    user_of,
)
from accounts.models import Workspace
from backtests.comparing import LEAST as COMPARED_LEAST
from backtests.comparing import MOST as COMPARED_MOST
from backtests.experiment_rows import experiment_rows, listed_experiments, parameters_of
from backtests.form_page import (
    candles_difference,
    clone_difference,
    memory_problem,
    preset_cards,
    spec_difference,
    split_ribbon,
    stored_ribbon,
)
from backtests.forms import (
    ExperimentForm,
    chosen_ids,
    declared_settings,
    is_read,
    shown_values,
    spec_of,
    value_at,
)
from backtests.models import Backtest, SeedVerdict
from backtests.presets import preset as preset_named
from backtests.seeds_table import seeds_ladder, seeds_table
from backtests.services import create_experiment_once, estimate, launch_experiment
from backtests.specs import ExperimentSpec
from jobs.errors import InvalidIdempotencyKey, JobConflict, QueueFull
from jobs.statuses import JobStatus
from jobs.views import refused_for_now
from markets.models import DatasetVersion
from modeling.ladders import run_ladder
from modeling.measures import ladder_heads
from modeling.models import Experiment, TrainingRun, Trial
from modeling.next_action import SUGGESTED
from modeling.openings import openable_runs, openings_seen
from modeling.presets import PRESETS
from specs.declaration import InvalidSpec
from specs.forms import changed_fields, in_words

SORTS = {"name": "name", "preset": "preset", "runs": "run_count", "created": "created_at"}
DEFAULT_PRESET = "tiny"
SEED = IntegerField(required=False, min_value=0, max_value=2**31 - 1)


@require_safe
def experiment_list(request: HttpRequest) -> HttpResponse:
    """All experiments with their verdict over seeds, or the best of their own backtests."""
    archived = "1" if request.GET.get("archived") == "1" else ""
    visible = Experiment.objects.visible_to(request.user).for_list().prefetch_related(None)
    rows = listed_experiments(visible.filter(archived_at__isnull=not archived))
    if search := search_text(request):
        rows = rows.filter(Q(name__icontains=search) | Q(preset__icontains=search))
    found = listing(request, rows, sorts=SORTS, filters={"archived": archived})
    context = {"listing": found, "rows": experiment_rows(found.page.object_list)}
    return render(request, "backtests/experiment_list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def experiment_new(request: HttpRequest) -> HttpResponse:
    """The form: opens, refuses with texts beside the fields, saves, launches."""
    membership = editing_membership(request)
    if request.method != "POST":
        return render(
            request, "backtests/experiment_new.html", form_context(request, *opened(request))
        )
    preset = request.POST.get("preset", "")
    source = source_of(request)
    form = ExperimentForm(request.POST, workspace=membership.workspace)
    if request.POST.get("action") == "validate":
        return validated(request, form, preset if preset in PRESETS else DEFAULT_PRESET)
    experiment = None
    if form.is_valid() and isinstance(form.spec, ExperimentSpec):
        try:
            experiment = create_experiment_once(
                workspace=membership.workspace,
                user=user_of(request),
                name=form.cleaned_data["name"],
                versions=list(form.cleaned_data["datasets"]),
                spec=form.spec,
                key=request.POST.get("key", ""),
                preset=preset if preset in PRESETS else "",
                notes=form.cleaned_data["notes"],
                source=source,
            )
        except InvalidSpec as error:
            form.add_spec_errors(error)
    if experiment is None:
        context = form_context(request, form, preset if preset in PRESETS else DEFAULT_PRESET)
        return render(request, "backtests/experiment_new.html", context, status=400)
    if source is not None:
        count = len(difference_of(form, source, acting_workspace(request)))
        words = "1 setting differs" if count == 1 else f"{count} settings differ"
        messages.success(request, f"Cloned from {source.name}: {words}.")
    if request.POST.get("action") == "launch":
        # Not the page's own key: sent again with another value, it starts another experiment.
        return launched(request, experiment, experiment.form_key or "")
    messages.success(
        request, "The experiment is saved. It does not change any more; clone it to vary it."
    )
    return redirect("backtests:experiment_detail", experiment.pk)


@require_POST
def experiment_estimate(request: HttpRequest) -> HttpResponse:
    """The cost panel and the split ribbon for what the form holds just now."""
    workspace = acting_workspace(request)
    form = ExperimentForm(request.POST, workspace=workspace)
    form.fields["name"].required = False
    context = {**cost_context(form, workspace), "is_fragment": True}
    return render(request, "backtests/_cost.html", context | clone_context(request, form))


def cost_context(form: ExperimentForm, workspace: Workspace) -> dict[str, Any]:
    """Estimate, ribbon and warning of a form, or what is wrong with it; nothing is built."""
    context: dict[str, Any] = {}
    if form.is_valid() and isinstance(form.spec, ExperimentSpec):
        try:
            context = estimated(form.spec, list(form.cleaned_data["datasets"]))
        except InvalidSpec as error:
            form.add_spec_errors(error)
    context["problems"] = [
        (form.fields[path].label if path in form.fields else "", texts)
        for path, texts in form.errors.items()
    ]
    context["trials"] = Trial.objects.filter(workspace=workspace).count()
    return context


def validated(request: HttpRequest, form: ExperimentForm, preset: str) -> HttpResponse:
    """The form again with its cost and its errors; nothing is saved."""
    cost = cost_context(form, acting_workspace(request))
    context = form_context(request, form, preset) | cost | {"is_valid": form.is_valid()}
    status = 200 if form.is_valid() else 400
    return render(request, "backtests/experiment_new.html", context, status=status)


def clone_context(request: HttpRequest, form: ExperimentForm) -> dict[str, Any]:
    """The experiment that a form is cloned from, and what differs; empty for any other form."""
    source = source_of(request)
    if source is None:
        return {}
    return {"source": source, "difference": difference_of(form, source, acting_workspace(request))}


def difference_of(
    form: ExperimentForm, source: Experiment, workspace: Workspace
) -> list[dict[str, Any]]:
    """In which settings a form differs from the experiment it is cloned from, and in which candles:
    those of another workspace are not named.
    """
    is_ours = source.workspace_id == workspace.pk
    candles = candles_difference(chosen_versions(form), source.pool) if is_ours else []
    return [*candles, *clone_difference(form, spec_of(source))]


def source_of(request: HttpRequest) -> Experiment | None:
    """The experiment named by `from`. Raises Http404 when it is not there for this person."""
    pk = request.POST.get("from") or request.GET.get("from", "")
    if not pk:
        return None
    if not (pk.isascii() and pk.isdigit()) or len(pk) > 18:
        raise Http404("there is no such experiment")
    return fetched(request, int(pk))


@require_safe
def experiment_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Spec, runs by seed, hold-out and trials of one experiment."""
    return experiment_page(request, fetched(request, pk))


def experiment_page(
    request: HttpRequest, experiment: Experiment, *, status: int = 200, **extra: object
) -> HttpResponse:
    """The page of an experiment; `extra` is what a refused form brings back."""
    own = Prefetch("backtests", Backtest.objects.filter(is_own=True))
    runs = experiment.runs.select_related("job").prefetch_related(own).order_by("seed", "-pk")
    spec = spec_of(experiment)
    pooled = SeedVerdict.objects.of_experiment(experiment)
    context = {
        **seeds_context(pooled, list(runs)),
        "experiment": experiment,
        "version": experiment.version,
        "runs": runs,
        "rows": spec_rows(spec, experiment.preset),
        # As the reports count them: all of the workspace that the experiment belongs to.
        "trials": Trial.objects.filter(workspace=experiment.workspace).count(),
        "parameters": parameters_of(
            experiment.model_spec, experiment.version.dataset.timeframe_minutes
        ),
        "ribbon": stored_ribbon(experiment),
        "key": new_key(),
        "compared": newest_finished(runs),
        **parent_context(experiment, spec),
        **holdout_context(experiment),
        **extra,
    }
    return render(request, "backtests/experiment_detail.html", context, status=status)


def seeds_context(pooled: SeedVerdict | None, runs: list[TrainingRun]) -> dict[str, Any]:
    """The verdict over the seeds, and its ladder; before there is one, that of the newest run which
    succeeded.
    """
    if pooled is not None:
        ladder = seeds_ladder(pooled)
        found = {"seeds": seeds_table(pooled, runs), "ladder_heads": ladder.pop("columns")}
        return {**found, "ladder": ladder}
    succeeded = [run for run in runs if run.job.status == JobStatus.SUCCEEDED]
    newest = max(succeeded, key=lambda run: run.pk, default=None)
    if newest is None:
        return {}
    return {"ladder": {**run_ladder(newest, ()), "run": newest}, "ladder_heads": ladder_heads()}


def newest_finished(runs: Iterable[TrainingRun]) -> str:
    """The newest runs that have succeeded, as the comparison's address takes them; empty below two."""
    finished = [run.pk for run in runs if run.job.status == JobStatus.SUCCEEDED]
    chosen = sorted(finished, reverse=True)[:COMPARED_MOST]
    return ",".join(map(str, sorted(chosen))) if len(chosen) >= COMPARED_LEAST else ""


def parent_context(experiment: Experiment, spec: ExperimentSpec) -> dict[str, Any]:
    """The experiment it was cloned from and every setting that differs; empty for any other."""
    source = experiment.parent
    if source is None:
        return {}
    candles = candles_difference(experiment.pool, source.pool)
    return {"source": source, "difference": [*candles, *spec_difference(spec, spec_of(source))]}


def holdout_context(experiment: Experiment) -> dict[str, Any]:
    """The openings of the sealed hold-out, and the runs that may open it still."""
    backtests = Backtest.objects.filter(is_holdout=True)
    of_holdout = Prefetch(
        "run__backtests", backtests.select_related("version__dataset__instrument")
    )
    openings = experiment.openings.select_related("job", "run", "created_by")
    seen = openings_seen(experiment)
    return {
        "openings": openings.prefetch_related(of_holdout),
        "openable": openable_runs(experiment).order_by("seed", "-pk"),
        "openings_seen": seen,
        "openings_elsewhere": seen - experiment.holdout_openings,
        "is_sealed": experiment.holdout_until > experiment.holdout_at,
    }


@require_POST
def experiment_launch(request: HttpRequest, pk: int) -> HttpResponse:
    """One run for each seed of the spec, or of the seed that is named."""
    experiment = fetched(request, pk)
    require_editor_of(experiment, request)
    seed = seed_of(request)
    return launched(request, experiment, request.POST.get("key", ""), seed)


def seed_of(request: HttpRequest) -> int | None:
    """The seed that a request names, if it does. Raises BadRequest for what is none."""
    try:
        seed: int | None = SEED.clean(request.POST.get("seed", ""))
    except ValidationError as error:
        raise BadRequest(f"seed: {error.messages[0]}") from None
    return seed


def launched(
    request: HttpRequest, experiment: Experiment, key: str, seed: int | None = None
) -> HttpResponse:
    """Queue the runs and go to the first; a refusal is said on the experiment's page."""
    try:
        runs = launch_experiment(experiment, user=user_of(request), seed=seed, idempotency_key=key)
    except QueueFull as error:
        messages.error(request, error.message)
        return refused_for_now(experiment_page(request, fetched(request, experiment.pk)), error)
    except JobConflict as error:
        messages.error(request, error.message)
    except InvalidIdempotencyKey as error:
        messages.error(request, str(error))
    else:
        audit.record(
            "launch",
            workspace=experiment.workspace,
            user=user_of(request),
            subject=experiment.name,
            request=request,
        )
        return redirect("modeling:run_detail", runs[0].pk)
    return redirect("backtests:experiment_detail", experiment.pk)


def fetched(request: HttpRequest, pk: int) -> Experiment:
    """One experiment of the person's workspaces, or 404."""
    versions = DatasetVersion.objects.select_related("dataset__instrument")
    rows = Experiment.objects.visible_to(request.user).select_related(
        "workspace", "created_by", "parent"
    )
    experiment: Experiment = get_object_or_404(
        rows.prefetch_related(
            Prefetch("versions", versions), Prefetch("parent__versions", versions)
        ),
        pk=pk,
    )
    return experiment


def opened(request: HttpRequest) -> tuple[ExperimentForm, str]:
    """The form as it opens: a preset, or the experiment it is cloned from."""
    workspace = acting_workspace(request)
    latest = latest_version(workspace)
    named: dict[str, Any] = {"datasets": request.GET.getlist("version") or latest}
    if source := source_of(request):
        is_ours = source.workspace_id == workspace.pk
        named |= {
            "name": f"{source.name} (copy)"[:200],
            # Candles stay in their workspace: elsewhere the settings alone are cloned.
            "datasets": [version.pk for version in source.pool] if is_ours else latest,
            "notes": source.notes if is_ours else "",
        }
        spec = with_suggested(request, spec_of(source))
        form = ExperimentForm(workspace=workspace, initial=spec, **named)
        return form, source.preset or DEFAULT_PRESET
    preset = request.GET.get("preset", DEFAULT_PRESET)
    if preset not in PRESETS:
        raise Http404("there is no such preset")
    ending = "" if PRESETS[preset].network.is_linear else " transformer"
    named["name"] = f"{preset.capitalize()}{ending}"
    return ExperimentForm(workspace=workspace, initial=preset_named(preset), **named), preset


def with_suggested(request: HttpRequest, spec: ExperimentSpec) -> ExperimentSpec:
    """The spec of a clone with what the page of a failed run suggests. Raises BadRequest for other values."""
    suggested = {path: request.GET[path] for path in SUGGESTED if path in request.GET}
    if not suggested:
        return spec
    data = spec.to_json()
    data["training"] |= {path.partition(".")[2]: value for path, value in suggested.items()}
    try:
        return ExperimentSpec.parse(data)
    except InvalidSpec as error:
        raise BadRequest(str(error)) from None


def latest_version(workspace: Workspace) -> list[int]:
    """The candles a new experiment begins with: the newest, where there are any."""
    rows = DatasetVersion.objects.filter(workspace=workspace).usable().order_by("-pk")
    return list(rows.values_list("pk", flat=True)[:1])


def form_context(request: HttpRequest, form: ExperimentForm, preset: str) -> dict[str, Any]:
    """Everything the form page needs, valid or not."""
    versions = chosen_versions(form)
    return {
        **clone_context(request, form),
        "form": form,
        "sections": form.named_sections(),
        "preset": preset,
        "presets": preset_cards(versions),
        "versions": versions,
        "preset_values": shown_values(preset_named(preset)),
        "has_version": form.fields["datasets"].queryset.exists(),  # type: ignore[attr-defined]  # a VersionsField
        "key": request.POST.get("key") or new_key(),
    }


def chosen_versions(form: ExperimentForm) -> list[DatasetVersion]:
    """The candles that a form names, whatever else is wrong with it."""
    rows: QuerySet[DatasetVersion] = form.fields["datasets"].queryset  # type: ignore[attr-defined]  # a VersionsField
    return list(rows.filter(pk__in=chosen_ids(form)))


def estimated(spec: ExperimentSpec, versions: list[DatasetVersion]) -> dict[str, Any]:
    """The estimate with its folds as a ribbon, and a warning where it may not fit."""
    found = estimate(spec, versions)
    return {
        "estimate": found,
        "ribbon": split_ribbon(found, spec, versions),
        "warning": memory_problem(found),
    }


def spec_rows(spec: ExperimentSpec, preset: str) -> list[dict[str, Any]]:
    """Every setting with its label; what differs from the preset comes first."""
    base = preset_named(preset) if preset in PRESETS else ExperimentSpec()
    changed = changed_fields(spec, base)
    rows = [
        {
            **setting._asdict(),
            "value": in_words(value_at(spec, setting.path), setting.choices),
            "is_changed": setting.path in changed,
            "base": in_words(changed.get(setting.path, (None, None))[1], setting.choices),
        }
        for setting in declared_settings()
        if is_read(spec.network.kind, setting.path)
    ]
    return sorted(rows, key=lambda row: not row["is_changed"])
