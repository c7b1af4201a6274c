"""The rules of the ledger under simulated faults: seeded, replayable, without a server and without waiting."""
