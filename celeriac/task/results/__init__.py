"""Results: the store in Redis, and what the ledger says of those that it does not have."""
