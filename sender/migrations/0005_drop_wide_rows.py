"""Removes what 0004 has moved."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("sender", "0004_move_rows")]

    operations = [
        migrations.RemoveConstraint(
            model_name='senditem',
            name='send_item_once',
        ),
        migrations.RemoveField(
            model_name='send',
            name='listed',
        ),
        migrations.RemoveField(
            model_name='send',
            name='sources',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='also_at',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='dataset_offset',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='lossy',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='mtime_ns',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='path',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='relative_path',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='series_instance_uid',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='size',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='sop_class_uid',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='sop_instance_uid',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='study_instance_uid',
        ),
        migrations.RemoveField(
            model_name='senditem',
            name='transfer_syntax_uid',
        ),
        migrations.AlterField(
            model_name='senditem',
            name='file',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='items', to='sender.sourcefile'),
        ),
        migrations.AlterField(
            model_name='senditem',
            name='part',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='items', to='sender.studypart'),
        ),
    ]
