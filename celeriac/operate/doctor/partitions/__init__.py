"""The doctor's checks of a ledger that is divided by days."""
