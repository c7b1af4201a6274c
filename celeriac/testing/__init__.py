"""For those who write tasks: a private ledger, to enqueue into and to drain in process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.testing.kit import Kit as Kit
    from celeriac.testing.kit import new_ledger as new_ledger

__all__ = ["Kit", "new_ledger"]  # names that are looked up below


def __getattr__(name: str) -> Any:
    """Import the kit when it is first asked for: pytest imports this package in every run."""
    if name not in __all__:
        raise AttributeError(f"module 'celeriac.testing' has no attribute {name!r}")
    from celeriac.testing import kit

    return getattr(kit, name)
