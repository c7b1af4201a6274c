"""Format values for people, so that no value can control the terminal or forge a line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

#: Characters that move the cursor, end a line, change the reading direction, are invisible or not encodable.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def safe(value: object, *, length: int | None = None) -> str:
    r"""``value`` as one line of text. Unsafe characters are shown as escapes.

    Args:
        length: at most so many characters; a longer text ends in an ellipsis.

    >>> safe("a\x1b[2Jb\n\x00")
    'a\\x1b[2Jb\\n\\x00'
    >>> safe("completed", length=6)
    'compl…'
    """
    text = str(value)
    if length is not None and len(text) > length:
        text = f"{text[: length - 1]}…"
    if text.isascii() and text.isprintable():  # as nearly every value is; it takes a tenth of the time
        return text
    return _UNSAFE.sub(_escaped, text)


def safe_lines(value: object) -> str:
    r"""Like ``safe``, for text of several lines, such as a traceback: line feeds stay.

    >>> safe_lines("one\n\ttwo\r")
    'one\n    two\\r'
    """
    return "\n".join(safe(line.expandtabs(4)) for line in str(value).split("\n"))


def ago(moment: datetime | None, now: datetime, *, units: int = 2) -> str:
    """How long before or after ``now`` a moment is, in its two largest units or fewer.

    >>> now = datetime(2030, 1, 1, tzinfo=UTC)
    >>> ago(now - timedelta(seconds=75), now), ago(now + timedelta(hours=30), now), ago(None, now)
    ('1 min 15 s ago', 'in 1 d 6 h', '–')
    """
    if moment is None:
        return "–"
    span = now - moment
    text = length(abs(span), units=units)
    return f"{text} ago" if span >= timedelta(0) else f"in {text}"


def length(span: timedelta, *, units: int = 2) -> str:
    """A span in its two largest units or fewer.

    >>> length(timedelta(milliseconds=400)), length(timedelta(minutes=60))
    ('0.4 s', '1 h')
    """
    seconds = span.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, parts = round(seconds), []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:units])


def exact_length(span: timedelta) -> str:
    """A span as it was written, in every unit that it has.

    >>> exact_length(timedelta(hours=24, minutes=5)), exact_length(timedelta(seconds=2.5))
    ('1 d 5 min', '2.5 s')
    """
    left, parts = span.total_seconds(), []
    for size, unit in _UNITS[:-1]:
        count, left = divmod(left, size)
        parts += [f"{count:g} {unit}"] if count else []
    return " ".join([*parts, f"{left:g} s"] if left or not parts else parts)


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "job"), counted(2000, "dead letter")
    ('1 job', '2,000 dead letters')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def stamp(moment: datetime | None) -> str:
    """A moment as text, to the second, in UTC.

    >>> stamp(datetime(2030, 1, 1, tzinfo=UTC))
    '2030-01-01 00:00:00 UTC'
    """
    return "–" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape", "surrogatepass").decode("ascii")


def duration_text(span: timedelta | None) -> str:
    """A duration for people.

    >>> duration_text(timedelta(milliseconds=12.4)), duration_text(timedelta(seconds=75)), duration_text(None)
    ('12 ms', '1 min 15 s', '–')
    """
    if span is None:
        return "–"
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {seconds} s"
