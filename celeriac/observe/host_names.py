"""Which names a request may give as its host."""

from __future__ import annotations

import socket
from collections.abc import Container
from ipaddress import ip_address


def is_safe(name: str, *, known: Container[str]) -> bool:
    """Whether a request may give ``name`` as its host, without a port and in lower case.

    This prevents DNS rebinding: a web page whose name was made to resolve to this machine could read the
    answers. Such a name has a dot; an address or a name without a dot is safe.

    Args:
        known: names with a dot that are safe, beside this machine's own.

    >>> [is_safe(name, known={"jobs.example.org"}) for name in ("127.0.0.1", "worker-1", "jobs.example.org")]
    [True, True, True]
    >>> is_safe("evil.example.org", known=())
    False
    """
    return "." not in name or _is_address(name) or name in known or name == socket.gethostname().lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
