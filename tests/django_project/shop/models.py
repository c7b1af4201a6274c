"""Orders."""

from django.db import models


class Order(models.Model):
    """What was bought; JSON, since an engine on Django's connection would break its field."""

    name = models.CharField(max_length=20)
    lines = models.JSONField(default=dict)
    confirmed = models.BooleanField(default=False)
