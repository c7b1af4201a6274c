"""The console: the ledger in a browser. ``create`` makes it, as an ASGI app. Needs the extra ``console``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.console.application import create

__all__ = ["create"]


def __getattr__(name: str) -> Any:
    if name == "create":
        from celeriac.console.application import create

        return create
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
