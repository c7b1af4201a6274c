"""A line of small bars as SVG: how many of something there were in each step of a while."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

_HEIGHT, _BAR = 16, 3  # of the drawing, and the width of one bar


def sparkline(
    values: Sequence[int], bad: Sequence[int] = (), skipped: Sequence[bool] = (), *, words: str
) -> Markup:
    """Bars, with their ``bad`` part in the colour of what is wrong.

    Args:
        skipped: in which steps something was left out: a mark at the top.
        words: what the values are, for who does not see them; their sum and the largest are added.

    >>> sparkline([0, 2], words="failed")  # doctest: +ELLIPSIS
    Markup('<svg class="spark" ...<path class="all" d="M3 16v-16h2v16z"/>...')
    """
    most = max([*values, 1])
    said = f"{words}: {sum(values):,} in all, at most {max([*values, 0]):,} at once"
    if bad:
        said += f"; failed: {sum(bad):,}"
    if skipped:
        said += f"; passed over in {sum(skipped)}"
    marks = "".join(
        f"M{place * _BAR} 0v4h{_BAR - 1}v-4z" for place, left_out in enumerate(skipped) if left_out
    )
    return Markup(
        '<svg class="spark" role="img" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-label="{}">'
        '<title>{}</title><path class="all" d="{}"/><path class="bad" d="{}"/>{}</svg>'
    ).format(
        len(values) * _BAR,
        _HEIGHT,
        said,
        said,
        _bars(values, most),
        _bars(bad, most),
        Markup('<path class="skipped" d="{}"/>').format(marks) if marks else "",
    )


def _bars(values: Sequence[int], most: int) -> str:
    found = ((place, max(1, round(value / most * _HEIGHT))) for place, value in enumerate(values) if value)
    return "".join(f"M{place * _BAR} {_HEIGHT}v-{high}h{_BAR - 1}v{high}z" for place, high in found)
