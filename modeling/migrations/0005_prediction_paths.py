from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("modeling", "0004_registered_models")]

    operations = [
        migrations.AddField(
            model_name="predictionset",
            name="path",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.RemoveConstraint(model_name="predictionset", name="one_prediction_set_per_rung"),
        migrations.AddConstraint(
            model_name="predictionset",
            constraint=models.UniqueConstraint(
                fields=["run", "rung", "path", "is_holdout"], name="one_prediction_set_per_path"
            ),
        ),
    ]
