"""The entries of ``beat_schedule``, with what Celery's own beat has written about them."""

from __future__ import annotations

import dbm
import pickle
import shelve
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celeriac.errors import BadArgument, InvalidSchedule
from celeriac.operate.schedule_import.old_entry import CLEANUP, CLEANUP_REASON, OldEntry
from celeriac.schedules.static_schedules import request_of_entry

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class BeatConfig:
    """Entries that stand in the configuration. They stay there: beat reads them at each start.

    Args:
        file: where Celery's beat keeps when they ran last, ``celerybeat-schedule``; it unpickles it, too.
    """

    def __init__(self, app: Celeriac, *, file: str | None = None) -> None:
        self._app = app
        self._file = file

    def read(self) -> Sequence[OldEntry]:
        entries = self._app.conf.beat_schedule or {}
        states = self._states()
        return [old_entry(str(name), entries[name], states.get(name)) for name in sorted(entries, key=str)]

    def switch(self, entry: OldEntry) -> None:
        """Nothing: the plain beat is stopped, and ours keeps its state in the ledger."""

    def _states(self) -> Mapping[str, Any]:
        file = self._file or str(self._app.conf.beat_schedule_filename)
        try:
            with closing(shelve.open(file, flag="r")) as kept:  # noqa: S301  # Celery's own, of this project
                return dict(kept.get("entries") or {})
        except FileNotFoundError:
            return self._without(file)
        except dbm.error as exc:
            if "db type could not be determined" in str(exc) or "need 'c' or 'n' flag" in str(exc):
                return self._without(file)
            raise BadArgument("file", f"{file!r} cannot be read: {exc}; stop the plain beat first") from None
        except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError) as exc:
            raise BadArgument("file", f"{file!r} cannot be read: {exc}; stop the plain beat first") from None

    def _without(self, file: str) -> Mapping[str, Any]:
        """No file: entries have no state. One that was named must be there."""
        if self._file is not None:
            raise BadArgument("file", f"there is no schedule of Celery's beat at {file!r}")
        return {}


def old_entry(name: str, entry: Any, state: Any = None) -> OldEntry:
    """An entry as Celery knows it, with the last run and the count of ``state``."""
    task = str(entry.get("task") if isinstance(entry, Mapping) else getattr(entry, "task", None))
    if task == CLEANUP:
        return OldEntry(name=name, task=task, problem=CLEANUP_REASON)
    known: dict[str, Any] = {
        "last_run": aware(getattr(state, "last_run_at", None)),
        "run_count": int(getattr(state, "total_run_count", None) or 0),
    }
    if not known["run_count"]:
        known["last_run"] = None  # Celery puts the moment at which beat saw it first
    try:
        return OldEntry(name=name, task=task, wanted=request_of_entry(name, entry), **known)
    except InvalidSchedule as exc:
        return OldEntry(name=name, task=task, problem="; ".join(map(str, exc.problems)), **known)


def aware(moment: Any) -> datetime | None:
    """A moment of another scheduler, in UTC."""
    if not isinstance(moment, datetime):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
