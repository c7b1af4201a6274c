"""For those who write tasks: a private ledger, to enqueue into and to drain in process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.testing.kit import Kit

__all__ = ["Kit"]


def __getattr__(name: str) -> Any:
    """The kit, when it is first asked for: pytest imports this package in every run."""
    if name != "Kit":
        raise AttributeError(f"module 'celeriac.testing' has no attribute {name!r}")
    from celeriac.testing.kit import Kit

    return Kit
