"""For those who write tasks: a private ledger, to enqueue into and to drain in process."""

from celeriac.testing.kit import Kit

__all__ = ["Kit"]
