"""Texts from outside that a row can keep, however long they are and whatever is in them."""

from __future__ import annotations

TEXT_LIMIT, TRACEBACK_LIMIT = 4_000, 40_000  # characters


def clean(text: str, limit: int) -> str:
    """Text that both databases keep: no NUL, no lone surrogate, at most ``limit`` characters.

    The end is kept too: of a traceback it is what matters.

    >>> clean("a\\x00b", 10)
    'a\\ufffdb'
    """
    if len(text) > limit:
        half = (limit - 20) // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} more …\n{text[-half:]}"[:limit]
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
