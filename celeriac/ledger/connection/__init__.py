"""Connections to the ledger's database: how they are made, bounded and dropped."""
