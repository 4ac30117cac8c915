from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0003_seeds_jobs"),
    ]

    operations = [
        migrations.AddField(
            model_name="jobattempt",
            name="told",
            field=models.JSONField(default=dict),
        ),
    ]
