"""Whether other users can read the platform's files. Arguments of jobs are in them."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from celeriac.display import safe
from celeriac.operate.doctor.finding import Area, Finding, warn
from celeriac.settings.platform import Settings

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_BESIDE = ("", "-wal", "-shm")  # what SQLite writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    modes: Mapping[Path, int]  # of the files that exist and hold arguments of jobs


def read(app: Celeriac) -> Facts:
    return Facts(modes={path: path.stat().st_mode for path in _private(app.settings) if path.exists()})


def _private(settings: Settings) -> Iterator[Path]:
    ledger = None
    if settings.database.get_backend_name() == "sqlite":
        ledger = Path(str(settings.database.database)).absolute()
        yield from (ledger.with_name(f"{ledger.name}{end}") for end in _BESIDE)
    ours = settings.data_dir.absolute()
    if settings.embedded_broker or (ledger and ours in ledger.parents):
        yield ours


def judge(facts: Facts) -> list[Finding]:
    open_to_others = sorted(path for path, mode in facts.modes.items() if mode & _OTHERS)
    if not open_to_others:
        return []
    shown = ", ".join(safe(path, length=200) for path in open_to_others)
    remedy = f"chmod go= {shown.replace(',', '')}"
    sentence = f"others on this machine may read arguments of jobs: {shown}"
    return [warn(Area.SETTINGS, "files", sentence, remedy=remedy)]
