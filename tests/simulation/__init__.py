"""The rules of the ledger under simulated faults: seeded and replayable, without a server."""
