import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("backtests", "0005_seed_verdicts"),
    ]

    operations = [
        migrations.AddField(
            model_name="seedverdict",
            name="missing",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="seedverdict",
            name="alarm_explanation",
            field=models.TextField(blank=True, default=""),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="seedverdict",
            name="alarm_explained_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="seedverdict",
            name="alarm_explained_at",
            field=models.DateTimeField(null=True),
        ),
    ]
