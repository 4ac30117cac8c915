import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("queue", models.CharField(max_length=12)),
                ("host", models.CharField(max_length=255)),
                ("slots", models.PositiveSmallIntegerField()),
                (
                    "seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("draining", models.BooleanField(default=False)),
            ],
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("detect", "Detect"),
                            ("import", "Import"),
                            ("download", "Download"),
                            ("resample", "Resample"),
                            ("features", "Features"),
                            ("training", "Training"),
                            ("predict", "Predict"),
                            ("backtest", "Backtest"),
                            ("signals", "Signals"),
                            ("sweep", "Sweep"),
                            ("study", "Study"),
                            ("export", "Export"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "queue",
                    models.CharField(
                        choices=[
                            ("data", "Data"),
                            ("training", "Training"),
                            ("backtests", "Backtests"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("cancelling", "Cancelling"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("errored", "Errored"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=12,
                    ),
                ),
                ("progress", models.FloatField(default=0.0)),
                ("message", models.TextField(blank=True)),
                ("code", models.CharField(blank=True, max_length=64)),
                ("error_reference", models.CharField(blank=True, max_length=16)),
                ("idempotency_key", models.CharField(blank=True, max_length=200)),
                ("request_sha256", models.CharField(blank=True, max_length=64)),
                ("is_launch", models.BooleanField(default=False)),
                ("counted_tries", models.PositiveSmallIntegerField(default=0)),
                ("publish_count", models.PositiveIntegerField(default=0)),
                (
                    "available_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("published_at", models.DateTimeField(null=True)),
                ("cancel_requested_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "after",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="waiting",
                        to="jobs.job",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "resumed_from",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="resumed_by",
                        to="jobs.job",
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.workspace",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="JobAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("lease_token", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("worker", models.UUIDField()),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveIntegerField()),
                ("trainer_pid", models.PositiveIntegerField(null=True)),
                ("device", models.CharField(blank=True, max_length=100)),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "heartbeat_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("progress_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "exit_kind",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("ok", "Finished"),
                            ("config", "Invalid spec"),
                            ("not_enough_history", "Not enough history"),
                            ("invalid_input", "Invalid input"),
                            ("data_changed", "Data changed"),
                            ("diverged", "Diverged"),
                            ("oom", "Out of memory"),
                            ("disk_full", "Disk full"),
                            ("time_limit", "Time limit"),
                            ("cancelled", "Cancelled"),
                            ("preempted", "Paused for a restart"),
                            ("killed", "Killed"),
                            ("lost", "Lost"),
                            ("stalled", "Stalled"),
                            ("fenced", "Fenced"),
                            ("crashed", "Crashed"),
                        ],
                        max_length=20,
                    ),
                ),
                ("exit_code", models.IntegerField(null=True)),
                ("signal", models.PositiveSmallIntegerField(null=True)),
                ("checkpoint_step", models.PositiveIntegerField(null=True)),
                ("peak_memory_mib", models.PositiveIntegerField(null=True)),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="jobs.job",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="JobEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("published", "Published"),
                            ("claimed", "Claimed"),
                            ("not_claimable", "Not claimable"),
                            ("checkpoint", "Checkpoint"),
                            ("resumed", "Resumed"),
                            ("cancel_asked", "Cancel asked"),
                            ("drained", "Drained"),
                            ("lost", "Lost"),
                            ("requeued", "Queued again"),
                            ("fenced", "Fenced"),
                            ("checkpoint_rejected", "Checkpoint rejected"),
                            ("ended", "Ended"),
                        ],
                        max_length=20,
                    ),
                ),
                ("data", models.JSONField(default=dict)),
                (
                    "attempt",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="jobs.jobattempt",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="jobs.job",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="JobLogLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("at", models.DateTimeField()),
                (
                    "level",
                    models.CharField(
                        choices=[("info", "Info"), ("warning", "Warning"), ("error", "Error")],
                        default="info",
                        max_length=8,
                    ),
                ),
                ("text", models.CharField(max_length=2000)),
                (
                    "attempt",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log_lines",
                        to="jobs.jobattempt",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log_lines",
                        to="jobs.job",
                    ),
                ),
            ],
            options={
                "ordering": ["job", "number"],
            },
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "queued")),
                fields=["queue", "available_at", "created_at"],
                name="job_queued",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status__in", frozenset(["cancelling", "running"]))),
                fields=["workspace", "kind"],
                name="job_active",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["workspace", "-created_at"], name="job_list"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("idempotency_key", ""), _negated=True),
                fields=["workspace", "idempotency_key"],
                name="job_idempotency",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(("progress__gte", 0.0), ("progress__lte", 1.0)),
                name="job_progress_in_0_1",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("ended_at__isnull", False),
                        ("status__in", frozenset(["cancelled", "errored", "failed", "succeeded"])),
                    ),
                    models.Q(
                        models.Q(
                            (
                                "status__in",
                                frozenset(["cancelled", "errored", "failed", "succeeded"]),
                            ),
                            _negated=True,
                        ),
                        ("ended_at", None),
                    ),
                    _connector="OR",
                ),
                name="job_ended_when_terminal",
            ),
        ),
        migrations.AddIndex(
            model_name="jobattempt",
            index=models.Index(
                condition=models.Q(("ended_at", None)), fields=["heartbeat_at"], name="attempt_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="jobattempt",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)),
                fields=("job",),
                name="one_open_attempt_per_job",
            ),
        ),
        migrations.AddConstraint(
            model_name="jobattempt",
            constraint=models.UniqueConstraint(
                fields=("job", "number"), name="attempt_number_per_job"
            ),
        ),
        migrations.AddIndex(
            model_name="jobevent",
            index=models.Index(fields=["job", "id"], name="event_by_job"),
        ),
        migrations.AddConstraint(
            model_name="joblogline",
            constraint=models.UniqueConstraint(fields=("job", "number"), name="log_number_per_job"),
        ),
    ]
