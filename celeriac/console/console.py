"""One console: the app that it shows, who may use it, and what all its pages share."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from celeriac import display
from celeriac.console.access.bearer import Bearers
from celeriac.console.access.identity import Identity
from celeriac.console.access.options import Options
from celeriac.console.budget import Budget
from celeriac.console.head import Head
from celeriac.console.in_time import InTime
from celeriac.console.reading import IMPATIENT, DatabaseTime, for_reading
from celeriac.console.same_answers import SameAnswers
from celeriac.console.shared import Ages, Shared, SharedValues
from celeriac.console.sparkline import sparkline
from celeriac.operate import overview
from celeriac.operate.acting.runner import Runner
from celeriac.operate.overview import Backlog

if TYPE_CHECKING:
    from celeriac.application import Celeriac

STATIC = Path(__file__).with_name("static")
_LONGEST_TEXT = 100_000  # characters of one value on a page
_MOST_SHARED = 200
_MOST_SAME = 50
_SHORT_NAME = 20  # characters that any column has room for
_JOINT = re.compile(r"([._:/-]|\w{24})(?=\w)")
_MAIN = 5.0  # seconds: what is to be read as often is what a page is about

#: Waiting jobs of each queue that are looked at where all of them take too long.
MOST_WAITING = 10_000

_PATIENCE = 4.0  # seconds that a page waits for what waits: all in vain, and then some


class Console:
    def __init__(self, app: Celeriac, options: Options) -> None:
        self.app = app
        clock = DatabaseTime()
        self.reader = for_reading(app, clock=clock)
        self.impatient = for_reading(app, each=IMPATIENT, pool=4, clock=clock)
        self.options = options
        self.identity = Identity(options, Bearers(app, self.reader, rate=options.api_rate))
        self._budget = Budget(clock=clock)
        self._backlog: Shared[Backlog] = Shared(
            InTime(
                partial(overview.backlog, app=self.impatient),
                partial(overview.backlog, most=MOST_WAITING, app=self.reader),
            ),
            every=2.0,
            budget=self._budget,
        )
        self.head = Head(self.reader, self.backlog, budget=self._budget)
        self.runner = Runner(app)
        self._shared = SharedValues(most=_MOST_SHARED)
        self.same = SameAnswers(most=_MOST_SAME)
        self.stand_in = secrets.token_urlsafe()  # of a form's token, in an answer for several
        self.ages = Ages()
        self.pages = _environment()
        self.version = sha256(b"".join(each.read_bytes() for each in sorted(STATIC.iterdir()))).hexdigest()[
            :10
        ]

    def shared(
        self,
        key: str,
        read: Callable[[], Any],
        *,
        every: float = 2.0,
        wait: float = 3.0,
        patient: bool = True,
    ) -> Any:
        """What ``read`` returns, or returned a moment ago for another page.

        Args:
            patient: as of ``Shared.peek``.

        Raises:
            TimeoutError: it takes too long.
        """
        found = self._shared.of(key, lambda: Shared(read, every=every, budget=self._budget))
        value, age = found.peek(wait=wait, patient=patient)
        if value is None:
            raise TimeoutError
        if every <= _MAIN:
            self.ages.note(age)
        return value

    def backlog(self) -> Backlog:
        """What waits and runs, read once for all that tells something of it.

        Raises:
            TimeoutError: it takes too long.
        """
        return self._backlog.get(wait=_PATIENCE)

    def close(self) -> None:
        self.runner.close()
        self._backlog.close()  # the others may be waiting for it
        self.head.close()
        self._shared.close()
        self.reader.database.close()
        self.impatient.database.close()


@cache  # it compiles each page once, for all consoles of this process
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("celeriac.console"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters.update(
        ago=_ago,
        clock=_clock,
        lines=_lines,
        number=lambda value: "–" if value is None else f"{value:,}",
        seconds=lambda value: "–" if value is None else display.length(value),
        duration=display.duration_text,
        short=lambda text, length: "" if text is None else display.safe(text, length=length),
        breakable=_breakable,
        counted=display.counted,
        spark=sparkline,
        json=lambda value: json.dumps(value, ensure_ascii=False, indent=2, default=str),
    )
    return made


def _shown(value: Any) -> Any:
    """Every value on a page: what could control a terminal or turn the text around is an escape."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return display.safe(value, length=_LONGEST_TEXT)


def _breakable(name: str) -> Markup | str:
    """A name that may go on in the next line behind a dot, as a long one must in a table."""
    if len(name) <= _SHORT_NAME:
        return name
    return Markup(_JOINT.sub(r"\1<wbr>", str(escape(name))))  # noqa: S704  # it is escaped


def _lines(value: str) -> Markup:
    """Text of several lines, for ``<pre>``."""
    return escape(display.safe_lines(value[:_LONGEST_TEXT]))


def _clock(moment: datetime | None) -> Markup | str:
    """A moment, which the page shows in UTC, in local time, or as a span before now."""
    if moment is None or moment.year >= 9000:
        return "–"
    moment = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}", f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    )


def _ago(moment: datetime | None, now: datetime) -> Markup | str:
    """A moment as a span before now, with the moment itself as its title."""
    if moment is None or moment.year >= 9000:
        return "–"
    exact = f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    text, title = display.ago(moment, now, units=1), display.stamp(moment)
    # Markup's own format, which escapes, is what a long list would spend most time on.
    return Markup(f'<time datetime="{exact}" data-ago title="{title}">{text}</time>')  # noqa: S704  # no text


def colour_of(environment: str) -> str:
    """The colour of an environment: red is where a wrong click costs most."""
    name = environment.lower()
    if "prod" in name or "live" in name:
        return "red"
    return "amber" if any(part in name for part in ("stag", "test", "qa", "uat", "demo")) else "blue"
