"""Report each cause once: findings that follow from another are merged into it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from celeriac.operate.doctor.finding import Area, Finding, Level

_Name = tuple[Area, str]  # of a finding: its area and its check

#: The checks that report that a whole area could not be examined, because this server does not answer.
UNREACHABLE = ("ledger", "broker", "versions")

#: Where a server that does not answer is reported, whichever area asked it first.
_REPORTED_UNDER: Mapping[str, Area] = {"ledger": Area.DATABASE, "broker": Area.BROKER}

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
    failures = [finding for finding in findings if finding.level is Level.FAIL]
    causes = sorted(failures, key=_asked_a_server_of_another_area)
    followers: dict[int, list[Finding]] = {}
    for finding in findings:
        cause = _cause(finding, causes)
        if cause is not None:
            followers.setdefault(id(cause), []).append(finding)
    hidden = {id(finding) for group in followers.values() for finding in group}
    shown = [finding for finding in findings if id(finding) not in hidden]
    examined = {finding.area for finding in findings if finding.check not in UNREACHABLE}
    return [_with_consequences(finding, followers.get(id(finding), ()), examined) for finding in shown]


def _asked_a_server_of_another_area(finding: Finding) -> bool:
    return finding.check in UNREACHABLE and finding.area is not _REPORTED_UNDER.get(finding.check)


def _cause(finding: Finding, causes: Sequence[Finding]) -> Finding | None:
    """The first of ``causes`` that explains ``finding``; None when that is the finding itself."""
    for cause in causes:
        if cause is finding or _is_cause(cause, finding):
            return None if cause is finding else cause
    return None


def _is_cause(cause: Finding, finding: Finding) -> bool:
    if finding.level is Level.OK:
        return False
    if finding.check in UNREACHABLE and finding.level is Level.FAIL:
        unmigrated = (cause.area, cause.check) == (Area.DATABASE, "migrations") and finding.check == "ledger"
        return unmigrated or cause.check == finding.check
    return (finding.area, finding.check) in _FOLLOWS.get((cause.area, cause.check), ())


def _with_consequences(cause: Finding, followers: Sequence[Finding], examined: Collection[Area]) -> Finding:
    known = {cause.area, *examined}
    unasked = [str(each.area) for each in followers if each.check in UNREACHABLE and each.area not in known]
    others = [each for each in followers if each.check not in UNREACHABLE]
    parts = [cause.sentence]
    if unasked:
        parts.append(f"so nothing can be said of {_joined(unasked)}")
    parts += [each.sentence for each in others]
    return replace(cause, sentence="; ".join(parts))


def _joined(names: Sequence[str]) -> str:
    names = [name for name, _ in groupby(names)]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
