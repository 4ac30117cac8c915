import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# The sealed span ends where the bars end that the experiment uses.
SEALED_UNTIL = """
UPDATE modeling_experiment AS experiment SET holdout_until = LEAST(
    version.last_at + dataset.timeframe_minutes * interval '1 minute',
    (experiment.model_spec #>> '{data,to_at}')::timestamptz
)
FROM modeling_experiment_versions AS link
JOIN markets_datasetversion AS version ON version.id = link.datasetversion_id
JOIN markets_dataset AS dataset ON dataset.id = version.dataset_id
WHERE link.experiment_id = experiment.id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("artifacts", "0001_initial"),
        ("jobs", "0002_log_line_key"),
        ("markets", "0001_initial"),
        ("modeling", "0002_experiment_per_form"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="HoldoutOpening",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("from_at", models.DateTimeField()),
                ("until_at", models.DateTimeField()),
                ("openings_before", models.PositiveIntegerField(default=0)),
                ("metrics", models.JSONField(default=dict)),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="predictionset",
            name="one_prediction_set_per_rung",
        ),
        migrations.AddField(
            model_name="experiment",
            name="holdout_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.RunSQL(SEALED_UNTIL, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="experiment",
            name="holdout_until",
            field=models.DateTimeField(),
        ),
        migrations.AddField(
            model_name="predictionset",
            name="is_holdout",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="trainingrun",
            name="alarm_explained_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="trainingrun",
            name="alarm_explained_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="trainingrun",
            name="alarm_explanation",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="trial",
            name="daily_returns",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.FloatField(), default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="trial",
            name="first_day",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="trial",
            name="last_day",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="trial",
            name="overfitting",
            field=models.FloatField(null=True),
        ),
        migrations.AlterField(
            model_name="trial",
            name="origin",
            field=models.CharField(
                choices=[
                    ("run", "Training run"),
                    ("backtest", "Backtest"),
                    ("holdout", "Hold-out opening"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="trial",
            index=models.Index(fields=["workspace", "instrument"], name="trials_by_instrument"),
        ),
        migrations.AddConstraint(
            model_name="predictionset",
            constraint=models.UniqueConstraint(
                fields=("run", "rung", "is_holdout"), name="one_prediction_set_per_rung"
            ),
        ),
        migrations.AddField(
            model_name="holdoutopening",
            name="created_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="holdoutopening",
            name="experiment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="openings",
                to="modeling.experiment",
            ),
        ),
        migrations.AddField(
            model_name="holdoutopening",
            name="job",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="holdout_opening",
                to="jobs.job",
            ),
        ),
        migrations.AddField(
            model_name="holdoutopening",
            name="predictions",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="opening",
                to="modeling.predictionset",
            ),
        ),
        migrations.AddField(
            model_name="holdoutopening",
            name="run",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="opening",
                to="modeling.trainingrun",
            ),
        ),
        migrations.AddField(
            model_name="holdoutopening",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.workspace",
            ),
        ),
    ]
