"""Make any text storable in a row: shorten it, and replace what databases refuse."""

from __future__ import annotations

TEXT_LIMIT, TRACEBACK_LIMIT = 4_000, 40_000  # characters


def clean(text: str, limit: int) -> str:
    """``text`` without NUL and lone surrogates, and with at most ``limit`` characters.

    The beginning and the end are kept: a traceback's last lines matter most.

    >>> clean("a\\x00b", 10)
    'a\\ufffdb'
    """
    if len(text) > limit:
        half = (limit - 20) // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} more …\n{text[-half:]}"[:limit]
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
