"""Report each cause once: findings that follow from another are merged into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from celeriac.operate.doctor.finding import Area, Finding, Level

_Name = tuple[Area, str]  # of a finding: its area and its check

#: The checks that report that a whole area could not be examined, because this server does not answer.
UNREACHABLE = ("ledger", "broker", "versions")

#: Failed check -> the checks that fail because of it.
_FOLLOWS: Mapping[_Name, frozenset[_Name]] = {
    (Area.WORKERS, "alive"): frozenset(
        {
            (Area.WORKERS, "queues"),
            (Area.LEDGER, "oldest"),
            (Area.LEDGER, "overdue"),
            (Area.LEDGER, "stranded"),
            (Area.LEDGER, "orphans"),
        }
    ),
    (Area.BEAT, "leader"): frozenset({(Area.SCHEDULES, "overdue")}),
}


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """``findings``, with those that follow from a failure merged into its sentence."""
    causes = [finding for finding in findings if finding.level is Level.FAIL]
    followers: dict[int, list[Finding]] = {}
    for finding in findings:
        cause = next((each for each in causes if _is_cause(each, finding)), None)
        if cause is not None:
            followers.setdefault(id(cause), []).append(finding)
    hidden = {id(finding) for group in followers.values() for finding in group}
    shown = [finding for finding in findings if id(finding) not in hidden]
    return [_with_consequences(finding, followers.get(id(finding), ())) for finding in shown]


def _is_cause(cause: Finding, finding: Finding) -> bool:
    if cause is finding or finding.level is Level.OK:
        return False
    if finding.check in UNREACHABLE and finding.level is Level.FAIL:
        unmigrated = (cause.area, cause.check) == (Area.DATABASE, "migrations") and finding.check == "ledger"
        same = cause.check == finding.check and list(Area).index(cause.area) < list(Area).index(finding.area)
        return unmigrated or same
    return (finding.area, finding.check) in _FOLLOWS.get((cause.area, cause.check), ())


def _with_consequences(cause: Finding, followers: Sequence[Finding]) -> Finding:
    unasked = [str(each.area) for each in followers if each.check in UNREACHABLE]
    others = [each for each in followers if each.check not in UNREACHABLE]
    parts = [cause.sentence]
    if unasked:
        parts.append(f"so nothing can be said of {_joined(unasked)}")
    parts += [each.sentence for each in others]
    return replace(cause, sentence="; ".join(parts))


def _joined(names: Sequence[str]) -> str:
    names = [name for name, _ in groupby(names)]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
