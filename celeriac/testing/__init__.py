"""For those who write tasks: a private ledger, to enqueue into and to drain in process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.testing.kit import Kit

__all__ = ["Kit"]


def __getattr__(name: str) -> Any:
    """``Kit``, imported when it is asked for: pytest imports this package in every run, for its plug-in."""
    if name == "Kit":
        from celeriac.testing.kit import Kit

        return Kit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
