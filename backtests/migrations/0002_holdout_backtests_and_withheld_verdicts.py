import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("backtests", "0001_initial"),
        ("modeling", "0003_holdout_openings_and_the_trial_ledger"),
    ]

    operations = [
        migrations.AddField(
            model_name="backtest",
            name="is_holdout",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="backtest",
            name="trial",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="backtests",
                to="modeling.trial",
            ),
        ),
        migrations.AddField(
            model_name="backtest",
            name="withheld",
            field=models.JSONField(default=dict),
        ),
    ]
