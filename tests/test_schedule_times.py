"""When schedules are due: against another cron, and on the days on which clocks are changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from celeriac.schedules import cron
from celeriac.schedules.times import Kind, Timing

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)

#: Days on which clocks were or will be changed: zone, day, and what is odd about it.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29), "02:00 to 03:00"),
    ("Europe/Berlin", datetime(2026, 10, 25), "03:00 to 02:00"),
    ("America/New_York", datetime(2026, 3, 8), "02:00 to 03:00"),
    ("America/New_York", datetime(2026, 11, 1), "02:00 to 01:00"),
    ("Australia/Lord_Howe", datetime(2026, 10, 4), "02:00 to 02:30"),
    ("Australia/Lord_Howe", datetime(2026, 4, 5), "02:00 to 01:30"),
    ("Pacific/Apia", datetime(2011, 12, 30), "a day that never was"),
    ("Pacific/Apia", datetime(2021, 4, 4), "04:00 to 03:00"),
    ("Africa/Casablanca", datetime(2026, 2, 15), "03:00 to 02:00, for Ramadan"),
    ("Africa/Casablanca", datetime(2026, 3, 22), "02:00 to 03:00, after it"),
    ("America/Havana", datetime(2026, 3, 8), "00:00 to 01:00"),
    ("America/Havana", datetime(2026, 11, 1), "01:00 to 00:00"),
]
ZONES = sorted({zone for zone, _, _ in CHANGES} | {"UTC", "Asia/Kathmandu", "America/Sao_Paulo"})


def cron_timing(expression: str, zone: str = "UTC") -> Timing:
    return Timing(kind=Kind.CRON, expression=expression, zone=zone, anchor=SOME_DAY)


def fires(expression: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    """The due times in (since, until]."""
    return list(takewhile(lambda due: due <= until, cron_timing(expression, zone).upcoming(since)))


def shown(moments: list[datetime], zone: str) -> list[str]:
    return [moment.astimezone(ZoneInfo(zone)).strftime("%H:%M%z") for moment in moments]


# The oracle: croniter, which shares no code with the engine


def named(expression: str, since: datetime, until: datetime, zone: str) -> set[datetime]:
    """The times on the clock at which another cron would fire, between two moments or close to them."""
    first, last = (moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in (since, until))
    other = croniter(expression, first - DAY / 8, ret_type=datetime, implement_cron_bug=True)
    return set(takewhile(lambda wall: wall <= last + DAY / 8, other))


def walls(
    zone: ZoneInfo, since: datetime, until: datetime
) -> Iterator[tuple[datetime, list[datetime], bool]]:
    """Each minute that passes: the moment, the times that come with it, whether the clock showed it before.

    At a gap, all the times that are left out come with the first minute after it.
    """
    highest = since.astimezone(zone).replace(tzinfo=None)
    moment = since
    while (moment := moment + MINUTE) <= until:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        again = wall <= highest
        skipped = [] if again else list(minutes(highest, wall))
        highest = max(highest, wall)
        yield moment, [*skipped, wall], again


def minutes(after: datetime, before: datetime) -> Iterator[datetime]:
    """The minutes strictly between."""
    return takewhile(lambda wall: wall < before, (after + n * MINUTE for n in range(1, 3000)))


def by_the_clock(expression: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    """What our rule asks for, minute by minute: once in a gap, once in a fold."""
    wanted = named(expression, since, until, zone)
    passing = walls(ZoneInfo(zone), since, until)
    return [at for at, told, again in passing if not again and not wanted.isdisjoint(told)]


def by_real_time(expression: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    """As often as the clock shows it."""
    wanted = named(expression, since, until, zone)
    return [at for at, told, _ in walls(ZoneInfo(zone), since, until) if told[-1] in wanted]


# Random expressions


def an_expression(chance: random.Random) -> str:
    fields = [
        a_field(chance, 0, 59),
        a_field(chance, 0, 23),
        a_field(chance, 1, 28, wide=31),
        a_field(
            chance,
            1,
            12,
            names=["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        ),
        a_field(chance, 0, 7, names=["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ]
    for day in (2, 3, 4):  # most are less particular
        if chance.random() < 0.5:
            fields[day] = "*"
    return " ".join(fields)


def a_field(
    chance: random.Random, low: int, high: int, *, wide: int | None = None, names: list[str] | None = None
) -> str:
    def value() -> str:
        number = chance.randint(low, high)
        named = names is not None and number - low < len(names) and chance.random() < 0.3
        return names[number - low] if named and names else str(number)

    def span() -> str:
        first, last = sorted((chance.randint(low, high), chance.randint(low, wide or high)))
        return f"{first}-{last}" if first < last else str(first)

    shapes: list[Callable[[], str]] = [
        lambda: "*",
        value,
        span,
        lambda: f"*/{chance.randint(1, max(2, (high - low) // 2))}",
        lambda: f"{low}-{high}/{chance.randint(1, max(2, (high - low) // 2))}",
        lambda: ",".join(value() for _ in range(chance.randint(2, 4))),
        lambda: f"{span()},{value()}",
    ]
    return chance.choice(shapes)()


@pytest.mark.parametrize("seed", range(6))
def test_next_runs_are_those_of_another_cron(seed: int) -> None:
    """500 expressions each, on a clock that is never changed."""
    chance = random.Random(seed)
    for _ in range(500):
        expression = an_expression(chance)
        since = SOME_DAY + timedelta(seconds=chance.randrange(0, 6 * 365 * 86_400))
        other = croniter(expression, since, ret_type=datetime, implement_cron_bug=True)
        assert list(islice(cron_timing(expression).upcoming(since), 5)) == [next(other) for _ in range(5)], (
            expression
        )


@pytest.mark.parametrize("zone", ZONES)
def test_next_runs_in_a_zone_are_those_of_another_cron(zone: str) -> None:
    """Random expressions at random times of ten years: minute by minute, for a day and a half."""
    chance = random.Random(zone)
    for _ in range(12):
        since = datetime(2019, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(0, 10 * 365 * 1440))
        compare(an_expression(chance), zone, since, since + 1.5 * DAY)


@pytest.mark.parametrize(("zone", "day", "odd"), CHANGES)
def test_next_runs_are_right_when_clocks_are_changed(zone: str, day: datetime, odd: str) -> None:
    """Random expressions from every starting point around the change."""
    chance = random.Random(f"{zone}{day}")
    begin = day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) - DAY / 2
    for _ in range(15):
        hours = chance.choice(["*", "0-4", "2", "*/2", "1,2,3", "0", "0-23"])
        expression = f"{a_field(chance, 0, 59)} {hours} * * *"
        since = begin + chance.randrange(0, 1440) * MINUTE
        compare(expression, zone, since, begin + 2 * DAY)


def compare(expression: str, zone: str, since: datetime, until: datetime) -> None:
    oracle = by_real_time if cron.parse(expression).every_hour else by_the_clock
    assert fires(expression, zone, since, until) == oracle(expression, zone, since, until), (
        expression,
        since,
    )


# Said by name


@pytest.mark.parametrize(("zone", "day", "odd"), CHANGES)
def test_a_daily_fire_happens_once_on_every_day(zone: str, day: datetime, odd: str) -> None:
    """For each half hour of the day: nothing is missed in a gap, nothing doubled in a fold."""
    place, instant = ZoneInfo(zone), timedelta(seconds=1)
    begin, end = ((day + n * DAY).replace(tzinfo=place).astimezone(UTC) for n in (-1, 2))
    for minute in range(0, 1440, 30):
        found = fires(f"{minute % 60} {minute // 60} * * *", zone, begin - instant, end - instant)
        both_at_once = odd == "a day that never was" and minute == 0  # its midnight and the next one's
        assert len(found) == len(set(found)) == 3 - both_at_once


def test_berlin() -> None:
    zone = "Europe/Berlin"
    spring, autumn = datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert shown(fires("30 2 * * *", zone, spring, spring + DAY / 4), zone) == ["03:00+0200"]
    assert shown(fires("30 2 * * *", zone, autumn, autumn + DAY / 4), zone) == ["02:30+0200"]
    assert shown(fires("*/30 2 * * *", zone, spring, spring + DAY / 4), zone) == ["03:00+0200"]
    assert shown(fires("30 * * * *", zone, autumn, autumn + DAY / 6), zone) == [
        "00:30+0200",
        "01:30+0200",
        "02:30+0200",
        "02:30+0100",
    ]


def test_new_york() -> None:
    zone = "America/New_York"
    spring, autumn = datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert shown(fires("15 2 * * *", zone, spring, spring + DAY / 4), zone) == ["03:00-0400"]
    assert shown(fires("15 1 * * *", zone, autumn, autumn + DAY / 4), zone) == ["01:15-0400"]


def test_lord_howe_changes_by_half_an_hour() -> None:
    zone = "Australia/Lord_Howe"
    spring, autumn = datetime(2026, 10, 3, 14, tzinfo=UTC), datetime(2026, 4, 4, 13, tzinfo=UTC)
    assert shown(fires("15 2 * * *", zone, spring, spring + DAY / 4), zone) == ["02:30+1100"]
    assert shown(fires("45 1 * * *", zone, autumn, autumn + DAY / 4), zone) == ["01:45+1100"]
    assert shown(fires("*/30 * * * *", zone, autumn, autumn + DAY / 8), zone)[2:6] == [
        "01:30+1100",
        "01:30+1030",
        "02:00+1030",
        "02:30+1030",
    ]


def test_apia_left_out_a_day() -> None:
    zone = "Pacific/Apia"
    since = datetime(2011, 12, 30, 0, tzinfo=UTC)  # the 29th, 14:00, there
    found = fires("0 12 * * *", zone, since, since + DAY)
    assert [moment.astimezone(ZoneInfo(zone)).strftime("%d %H:%M") for moment in found] == [
        "31 00:00",
        "31 12:00",
    ]


def test_casablanca_changes_for_ramadan() -> None:
    zone = "Africa/Casablanca"
    begin, end = datetime(2026, 2, 14, 23, tzinfo=UTC), datetime(2026, 3, 22, 0, tzinfo=UTC)
    assert shown(fires("30 2 * * *", zone, begin, begin + DAY / 4), zone) == ["02:30+0100"]
    assert shown(fires("30 2 * * *", zone, end, end + DAY / 4), zone) == ["03:00+0100"]


def test_havana_changes_at_midnight() -> None:
    zone = "America/Havana"
    spring, autumn = datetime(2026, 3, 8, 4, tzinfo=UTC), datetime(2026, 11, 1, 3, tzinfo=UTC)
    assert shown(fires("@daily", zone, spring, spring + DAY / 4), zone) == ["01:00-0400"]
    assert shown(fires("@daily", zone, autumn, autumn + DAY / 4), zone) == ["00:00-0400"]


# Expressions


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * sun"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * JAN Mon-FRI", "0 0 * 1 1-5"),
        ("0 0 1-7 * mon and", "0 0 * * mon#1"),
        ("0-0/1 2 * * *", "0 2 * * *"),
        ("41-41/10 5-5/3 * * *", "41 5 * * *"),
        ("0 0 1-1/2 * *", "0 0 1 * *"),
        ("0 0 * feb-feb/5 *", "0 0 * 2 *"),
        ("5,7-7/2,30-40/20 0 * * *", "5,7,30 0 * * *"),
        ("*/90 * * * *", "0 * * * *"),
        ("0 9 * * sat-sun", "0 9 * * 0,6"),
        ("0 9 * * Mon-Sun/2", "0 9 * * 1,3,5,7"),
        ("0 9 * * 6-0", "0 9 * * sat,sun"),
        ("0 9 * * sun-sun/3", "0 9 * * sun"),
    ],
)
def test_expressions_that_mean_the_same(expression: str, same: str) -> None:
    first, second = (list(islice(cron_timing(each).upcoming(SOME_DAY), 50)) for each in (expression, same))
    assert first == second


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 30 2 mon and",
        "61 * * * *",
        "* 24 * * *",
        "0 0 0 * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "0 0 * * 8",
        "@reboot",
        "@often",
        "0 0 * foo *",
        "\x00",
        "\u0663 * * * *",
        "-1 * * * *",
        "1,,2 * * * *",
        "5-5/0 * * * *",
        "0 0 * * sat-mon",
        "0 0 * * sat-foo",
        "0 0 * * 1-8",
    ],
)
def test_an_expression_that_names_no_time_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="found"):
        cron.parse(expression)


def test_an_expression_is_told_in_words() -> None:
    assert cron.words("@daily") == "At 00:00"
    assert "only on Sunday" in cron.words("0 3 * * 7")
    assert "or on Monday" in cron.words("0 3 1-7 * mon")
    assert "and only on Monday" in cron.words("0 3 1-7 * mon and")
    assert cron.words("*/90 * * * *") == cron.words("0 * * * *") == "Every hour"
    assert cron.words("45/20 3 * * *") == "At 03:45"
    assert "and only on Monday" in cron.words("0 3 */40 * mon")
    assert cron.words("0 9 * * sat-sun") == "At 09:00, Saturday through Sunday"


# Intervals, and what bounds a schedule


def test_an_interval_does_not_drift() -> None:
    """An hour of every 7.3 seconds, told by a clock that looks late and irregularly."""
    timing = Timing(kind=Kind.INTERVAL, expression="7.3", zone="UTC", anchor=SOME_DAY)
    chance, now, found = random.Random(1), SOME_DAY, [SOME_DAY]
    while now < SOME_DAY + timedelta(hours=1):
        now = max(now, timing.after(found[-1]) or now) + timedelta(seconds=chance.random())
        found += timing.latest(found[-1] + timedelta(microseconds=1), now, limit=100)
    assert found == [SOME_DAY + n * timedelta(seconds=7.3) for n in range(len(found))]
    assert len(found) >= 3600 / 7.3


def test_a_schedule_is_due_between_its_start_and_its_end() -> None:
    start, end = SOME_DAY + DAY, SOME_DAY + 3 * DAY
    timing = Timing(kind=Kind.CRON, expression="@daily", zone="UTC", anchor=SOME_DAY, starts=start, ends=end)
    assert list(timing.upcoming(SOME_DAY - 9 * DAY)) == [start, start + DAY, end]
    assert timing.after(end) is None


def test_once_is_once() -> None:
    timing = Timing(kind=Kind.ONCE, expression="2026-05-01T12:00:00+02:00", zone="UTC", anchor=SOME_DAY)
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert list(timing.upcoming(SOME_DAY)) == [at]
    assert timing.after(at) is None


@pytest.mark.parametrize("expression", ["* * * * *", "0 0 29 2 *", "* 3 * * *", "30 * * * *"])
def test_the_latest_due_times_are_the_last_of_all(expression: str) -> None:
    timing, since = cron_timing(expression, "Europe/Berlin"), SOME_DAY - 40 * DAY
    all_of_them = fires(expression, "Europe/Berlin", since - timedelta(seconds=1), SOME_DAY)
    for limit in (1, 7, 10_000):
        assert timing.latest(since, SOME_DAY, limit=limit) == all_of_them[-limit:] or limit > len(all_of_them)
    years = timing.latest(SOME_DAY - 20 * 365 * DAY, SOME_DAY, limit=3)
    assert len(years) == 3
