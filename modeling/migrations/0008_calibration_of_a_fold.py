import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("artifacts", "0001_initial"),
        ("modeling", "0007_clones_remember_their_source"),
    ]

    operations = [
        migrations.AddField(
            model_name="fold",
            name="calibration",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="artifacts.storedfile",
            ),
        ),
    ]
