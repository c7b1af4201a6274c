"""Cron expressions: the minutes of local time that they name. ``times.py`` makes instants of them.

Five fields as in Vixie's cron, read by cronsim: lists, ranges, steps, names, 7 for Sunday; a day that
fits either of the two day fields when both are restricted. A sixth word ``and`` asks for both, as
Celery's own crontab joins them. ``@daily`` and its like stand for five fields. A week may end with Sunday:
``sat-sun``. A range of one value with a step is that value; cronsim would take all values from there on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

from cron_descriptor import ExpressionDescriptor, Options
from cronsim import CronSim, CronSimError
from cronsim.cronsim import SYMBOLIC_DAYS, SYMBOLIC_MONTHS

#: crontab(5) of Vixie's cron; ``@reboot`` names no time.
MACROS: Mapping[str, str] = MappingProxyType(
    {
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
        "@monthly": "0 0 1 * *",
        "@weekly": "0 0 * * 0",
        "@daily": "0 0 * * *",
        "@midnight": "0 0 * * *",
        "@hourly": "0 * * * *",
    }
)

_BOTH_DAYS = "and"
_RANGE = re.compile(r"([^-/]+)-([^-/]+)(/\d+)?")
_STEPS = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)/(\d+)")
_DAYS_OF_WEEK = 4  # the number of that field
_DAYS_JOINED = re.compile(", (?:or|only) on ")  # before the days of the week
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES = {
    3: {name: number for number, name in enumerate(SYMBOLIC_MONTHS, 1)},
    4: {name: number for number, name in enumerate(SYMBOLIC_DAYS)},
}
_SOME_DAY = datetime(2000, 1, 1)  # of a leap year, so that the 29th of February is near


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that names at least one minute.

    Attributes:
        every_hour: whether it names every hour. Then its due times follow elapsed time.
    """

    fields: str
    both_days: bool
    every_hour: bool

    def after(self, wall: datetime) -> Iterator[datetime]:
        """The minutes after ``wall``, a naive time, for at most fifty years between two."""
        found = CronSim(self.fields, wall)
        found.day_and = found.day_and or self.both_days
        return found


@lru_cache(maxsize=4096)
def parse(expression: str) -> Cron:
    """The expression, checked.

    Raises:
        ValueError: with what is wrong with it.
    """
    words = MACROS.get(expression.strip().lower(), expression).split()
    both_days = len(words) == 6 and words[5].lower() == _BOTH_DAYS
    if words[:1] and words[0].startswith("@"):
        raise ValueError(f"wanted one of {', '.join(MACROS)} or five fields, found {expression!r}")
    if len(words) != 5 + both_days:
        raise ValueError(f"wanted five fields or one of {', '.join(MACROS)}, found {expression!r}")
    fields = " ".join(_each_term(words[:5], _range))
    try:
        every_hour = CronSim(fields, _SOME_DAY).hours >= set(range(24))
        cron = Cron(fields, both_days, every_hour)
        next(cron.after(_SOME_DAY))
    except CronSimError as exc:
        raise ValueError(f"{_reason(exc)}, found {expression!r}") from None
    except StopIteration:
        raise ValueError(f"there is no such day, found {expression!r}") from None
    return cron


@lru_cache(maxsize=4096)
def words(expression: str) -> str:
    """The expression in English words.

    >>> words("30 2 * * mon-fri")
    'At 02:30, Monday through Friday'
    >>> words("*/90 * * * *")
    'Every hour'
    """
    cron = parse(expression)
    options = Options()
    options.use_24hour_time_format = True
    fields = cron.fields.split()
    shown = _each_term(fields, _only_value)
    try:
        description: str = ExpressionDescriptor(" ".join(shown), options).get_full_description()
    except Exception:  # what it cannot describe is a valid expression all the same
        return cron.fields
    both_days = cron.both_days or any(fields[day][0] == "*" != shown[day][0] for day in (2, _DAYS_OF_WEEK))
    if "*" in (shown[2], shown[_DAYS_OF_WEEK]):  # one field of days, or none, decides
        return description
    # cron-descriptor 1 says "only" where either field is enough, version 2 says "or" where both are needed
    return _DAYS_JOINED.sub(" and only on " if both_days else ", or on ", description)


def _each_term(fields: Sequence[str], change: Callable[[int, str], str]) -> list[str]:
    return [
        ",".join(change(number, term) for term in field.split(",")) for number, field in enumerate(fields)
    ]


def _range(number: int, term: str) -> str:
    """A range in a form that cronsim reads correctly."""
    if (found := _RANGE.fullmatch(term)) is None:
        return term
    first, last = (_value(number, text) for text in found.group(1, 2))
    step = found.group(3) or ""
    if first is None or last is None or (step and not int(step[1:])):
        return term  # cronsim reports what is wrong
    if number == _DAYS_OF_WEEK and last == 0 < first:
        last = 7
    return f"{first}" if first == last else f"{first}-{last}{step}"


def _value(number: int, text: str) -> int | None:
    """The value of a number or a name in that field; None when it is not valid there."""
    low, high = _LIMITS[number]
    value = int(text) if text.isascii() and text.isdigit() else _NAMES.get(number, {}).get(text.upper())
    return value if value is not None and low <= value <= high else None


def _only_value(number: int, term: str) -> str:
    """A step that goes beyond its range leaves one value: describe it as that value."""
    if (found := _STEPS.fullmatch(term)) is None:
        return term
    low, high = _LIMITS[number]
    first = int(found.group(1) or low)
    last = int(found.group(2) or high)
    return f"{first}" if first + int(found.group(3)) > last else term


def _reason(error: CronSimError) -> str:
    text = str(error)
    field = text.removeprefix("Bad ")
    return f"its {field} field cannot be read or names no such day" if field != text else text.lower()
