from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="joblogline",
            name="key",
            field=models.UUIDField(editable=False, null=True, unique=True),
        ),
    ]
