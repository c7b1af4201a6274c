"""Copy schedules of another scheduler into the ledger, with their state; and back.

What is copied is disabled there, so that no due time is fired twice. Nothing is recorded about a copy: it is
recognized by its definition, which is the same on both sides.
"""

from __future__ import annotations

from celeriac.operate.schedule_import.copying import Line, Verdict, apply, plan, undo
from celeriac.operate.schedule_import.old_entry import OldEntry, OldSchedules

__all__ = ["Line", "OldEntry", "OldSchedules", "Verdict", "apply", "plan", "undo"]
