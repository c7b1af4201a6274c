"""Cron expressions on a clock on the wall: which minutes they name. Which instants these are: ``times.py``.

Five fields as in Vixie's cron, read by cronsim: lists, ranges, steps, names, 7 for Sunday; a day that
fits either of the two day fields when both are restricted. A sixth word ``and`` asks for both, as
Celery's own crontab joins them. ``@daily`` and its like stand for five fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

from cron_descriptor import ExpressionDescriptor, Options
from cronsim import CronSim, CronSimError

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
_SOME_DAY = datetime(2000, 1, 1)  # of a leap year, so that the 29th of February is near


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that names at least one minute.

    Attributes:
        every_hour: it leaves out no hour: its fires follow each other in real time, whatever clocks do.
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
    fields = " ".join(words[:5])
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
    """
    cron = parse(expression)
    options = Options()
    options.use_24hour_time_format = True
    try:
        told: str = ExpressionDescriptor(cron.fields, options).get_full_description()
    except Exception:  # what it cannot put in words is cron all the same
        return cron.fields
    return told.replace(", or on ", " and only on ") if cron.both_days else told


def _reason(error: CronSimError) -> str:
    text = str(error)
    field = text.removeprefix("Bad ")
    return f"its {field} field cannot be read or names no such day" if field != text else text.lower()
