"""Makes ``docs/celery-settings.md`` from the table by which an app obeys or refuses Celery's settings.

python -m docs.celery_settings
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from celeriac.settings.celery_settings import RULINGS, TRANSPORT_RULINGS, Ruling, Verdict

PAGE = Path(__file__).resolve().parent / "celery-settings.md"

_MEANINGS = {
    Verdict.OBEYED: "as in Celery",
    Verdict.OURS: "obeyed when it is set; unset, the default is not Celery's, and stands here",
    Verdict.MET: "any value is taken: what it is for happens anyway",
    Verdict.OWN: "another value than the platform's is refused by name, with this reason",
    Verdict.UNREAD: "of a broker or a result store that is not in use: nobody reads it, as in Celery",
}

_HEAD = """# Celery's settings

What a Celeriac app does with each of them, from the table that it obeys. They are set where Celery takes
them ([where a setting comes from](settings.md#where-a-setting-comes-from)); none is dropped in silence.

| | |
| --- | --- |
"""

_BROKER = """
## Keys of `broker_transport_options`

They are merged into the platform's own. A key that is not here is passed on to kombu.

"""


def page() -> str:
    """The whole page."""
    meanings = "".join(f"| **{verdict}** | {meaning} |\n" for verdict, meaning in _MEANINGS.items())
    return f"{_HEAD}{meanings}\n{_table(RULINGS)}{_BROKER}{_table(TRANSPORT_RULINGS)}"


def _table(rulings: Mapping[str, Ruling]) -> str:
    rows = "".join(f"{row}\n" for row in _rows(rulings))
    return f"| setting | | why, or our default |\n| --- | --- | --- |\n{rows}"


def _rows(rulings: Mapping[str, Ruling]) -> Iterator[str]:
    """Settings of one verdict and one reason are one row; the others are in the order of the alphabet."""
    for (verdict, reason), names in groupby(sorted(rulings, key=_order(rulings)), key=_kind(rulings)):
        shown = ", ".join(f"`{name}`" for name in names)
        yield f"| {shown} | {verdict} | {reason.replace('|', chr(92) + '|')} |"


def _kind(rulings: Mapping[str, Ruling]) -> Callable[[str], tuple[Verdict, str]]:
    return lambda name: (rulings[name].verdict, rulings[name].reason)


def _order(rulings: Mapping[str, Ruling]) -> Callable[[str], tuple[int, str, str]]:
    verdicts = list(Verdict)
    return lambda name: (verdicts.index(rulings[name].verdict), rulings[name].reason, name)


if __name__ == "__main__":
    PAGE.write_text(page())
