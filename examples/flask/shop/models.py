from datetime import UTC, datetime

from shop.extensions import db


class Order(db.Model):
    __tablename__ = "orders"

    id = db.Column(db.Integer, primary_key=True)
    item = db.Column(db.String(80), nullable=False)
    amount = db.Column(db.Integer, nullable=False)  # cents
    placed = db.Column(db.DateTime, nullable=False, default=lambda: datetime.now(UTC).replace(tzinfo=None))
    receipt = db.Column(db.String(80))  # of the payment service; NULL: not paid yet


class Turnover(db.Model):
    """What was paid, day by day."""

    __tablename__ = "turnovers"

    day = db.Column(db.Date, primary_key=True)
    amount = db.Column(db.Integer, nullable=False)
