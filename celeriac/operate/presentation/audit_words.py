"""Which actions are wanted, in words: the options of ``celery -A app audit``, the query of ``/audit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.operate.presentation.filter_words import moment_of

#: The words, in the order in which a command shows them.
WORDS = ("who", "action", "job", "since", "until")


def wanted_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``list_actions`` for these words.

    Raises:
        BadArgument: a word's value has no meaning. It names the option.
    """
    found = {word: given.get(word) for word in WORDS}
    return found | {word: moment_of(word, found[word]) for word in ("since", "until")}
