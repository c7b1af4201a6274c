"""Links from the console to other tools: the logs of a job, its trace, Flower."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from urllib.parse import quote

from celeriac.settings.console import links


def links_to(text: str, **known: object) -> list[tuple[str, str]]:
    """Name and address of each link that asks for what is known, and for something of it.

    Args:
        text: CELERIAC_CONSOLE_LINKS.
        known: id, task, queue, worker, started, finished; one that is None is not known.

    >>> links_to("logs=https://logs.example.org/?q={id},flower=https://flower.example.org", id="a b")
    [('logs', 'https://logs.example.org/?q=a%20b')]
    """
    values = {name: str(value) for name, value in known.items() if value is not None}
    return [
        (name, _filled(address, values))
        for name, address in links(text).items()
        if (wanted := _wanted(address)) and wanted <= values.keys()
    ]


def plain_links(text: str) -> list[tuple[str, str]]:
    """Those that ask for nothing.

    >>> plain_links("logs=https://logs.example.org/?q={id},flower=https://flower.example.org")
    [('flower', 'https://flower.example.org')]
    """
    return [(name, address) for name, address in links(text).items() if not _wanted(address)]


def _wanted(address: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(address) if name}


def _filled(address: str, values: Mapping[str, str]) -> str:
    return address.format(**{name: quote(value, safe="") for name, value in values.items()})
