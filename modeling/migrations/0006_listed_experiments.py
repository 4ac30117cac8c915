from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("modeling", "0005_prediction_paths")]

    operations = [
        migrations.AddIndex(
            model_name="experiment",
            index=models.Index(
                condition=models.Q(archived_at=None),
                fields=["workspace", "-id"],
                name="experiments_listed",
            ),
        ),
    ]
