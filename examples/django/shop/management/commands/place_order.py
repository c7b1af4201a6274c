from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shop import orders


class Command(BaseCommand):
    help = "Place an order by hand, AMOUNT in cents."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("item")
        parser.add_argument("amount", type=int)

    def handle(self, *, item: str, amount: int, **_: Any) -> None:
        order, job = orders.place(item, amount)
        self.stdout.write(f"{order}, job {job}")
