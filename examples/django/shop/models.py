from django.db import models


class Order(models.Model):
    item = models.CharField(max_length=80)
    amount = models.PositiveIntegerField()  # cents
    placed = models.DateTimeField(auto_now_add=True)
    receipt = models.CharField(max_length=80, blank=True)  # of the payment service; empty: not paid yet

    def __str__(self) -> str:
        return f"order {self.pk}: {self.item}"


class Turnover(models.Model):
    """What was paid, day by day."""

    day = models.DateField(primary_key=True)
    amount = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.day}: {self.amount}"
