"""All tables of the ledger, for whoever makes, compares or names them all."""

from __future__ import annotations

from celeriac.ledger.schema import limit_tables, operator_tables
from celeriac.ledger.schema.models import Base

__all__ = ["METADATA", "limit_tables", "operator_tables"]

METADATA = Base.metadata
