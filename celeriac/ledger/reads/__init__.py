"""What the ledger says. Nothing here writes or locks."""
