from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sender', '0011_file_ctime'),
    ]

    operations = [
        migrations.AddField(
            model_name='send',
            name='runner',
            field=models.CharField(blank=True, max_length=128),
        ),
        migrations.AddField(
            model_name='send',
            name='runner_until',
            field=models.DateTimeField(null=True),
        ),
    ]
