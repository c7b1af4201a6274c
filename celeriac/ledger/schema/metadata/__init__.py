"""All tables of the ledger, for whoever makes, compares or names them all."""

from __future__ import annotations

from celeriac.ledger.schema import limit_tables, operator_tables
from celeriac.ledger.schema.metadata import indexes
from celeriac.ledger.schema.models import METADATA

__all__ = ["METADATA", "indexes", "limit_tables", "operator_tables"]
