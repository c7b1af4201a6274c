"""Circuit breakers: what opens one, what a half-open one tries, who may switch it; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import event, func, select, update

from celeriac import Breaker, Limit
from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ids import new_uuid
from celeriac.ledger.limits import breakers, limit_rows
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.limit_tables import ENDED, LIMITS
from celeriac.ledger.schema.models import JOBS
from celeriac.limits.breaker import BreakerState, Tally
from celeriac.operate import limits
from celeriac.operate.actions import Actor, Via, list_actions
from celeriac.operate.doctor import Level, pauses_check
from celeriac.operate.ledger_metrics import LedgerCollector
from celeriac.settings.platform import Settings
from celeriac.worker.attempt_report import Freed
from celeriac.worker.duties.admitter import Admitter
from tests.apps import build
from tests.commands import call, told
from tests.limits_by_hand import ByHand

ANN = Actor("ann", Via.CLI)
RULE = Breaker(share=0.5, window=60, least=4, rest=30, probes=2)


class Bank(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="charge", limit=Limit("acquirer", concurrency=9, key="of", breaker=RULE), shared=False)
        def charge(of: str = "a") -> None: ...

        @app.task(name="print", limit=Limit("printer", concurrency=9), shared=False)
        def paper() -> None: ...

        self.charge, self.paper, self.names = charge, paper, ("charge", "print")
        self.keeper = Admitter(app, app.database, worker=new_uuid(), limits=())

    def ends(self, *, good: int = 0, bad: int = 0) -> None:
        """Attempts end in a worker, whose keeper looks a second later."""
        self.keeper.ended(Freed((), succeeded=["acquirer:a"] * good, failed=["acquirer:a"] * bad))
        self.look_again()

    def look_again(self) -> None:
        self.keeper._read_at = -9.0
        self.keeper.run()

    def passed(self, seconds: float) -> None:
        """So much time has passed since the breaker has changed, and since its probes were given."""
        with self.database.transaction() as connection:
            connection.execute(update(LIMITS).values(breaker_since=after(-seconds)))
            connection.execute(update(ENDED).values(second=after(-seconds - 5)))
        self.look_again()

    def state(self) -> BreakerState | None:
        return limits.limit("acquirer", app=self.app).breaker

    def sent(self, *ids: str) -> list[str]:
        return [id for id in ids if self.claim(id)]


@pytest.fixture
def bank(redis_url: str, database_url: str) -> Iterator[Bank]:
    settings = Settings(database_url=SecretStr(database_url), broker_url=SecretStr(redis_url))
    with closing(build(settings, set_as_current=False)) as app:
        made = Bank(app)
        made.declare()
        yield made


def test_it_opens_when_enough_attempts_failed_and_admits_nothing(bank: Bank) -> None:
    bank.ends(good=0, bad=3)
    assert bank.state() is BreakerState.CLOSED, "three are too few to judge"
    bank.ends(good=1)
    assert bank.state() is BreakerState.OPEN
    id, other = bank.charge.delay().id, bank.paper.delay().id
    bank.look_again()
    assert bank.sent(id, other) == [other]
    with bank.database.reading() as connection:
        row = connection.execute(select(JOBS).where(JOBS.c.id == UUID(id))).one()
        sentence, remedy = limits.reason_to_wait(connection, row)
    assert "the limit acquirer has its breaker open since" in sentence
    assert "3 of 4 attempts failed" in sentence
    assert remedy == "celery -A app limits breaker acquirer closed"


def test_it_stays_closed_while_the_greater_part_succeeds(bank: Bank) -> None:
    bank.ends(good=6, bad=5)
    assert bank.state() is BreakerState.CLOSED
    with bank.database.transaction() as connection:
        connection.execute(update(ENDED).values(second=after(-61)))
    bank.ends(good=1, bad=3)
    assert bank.state() is BreakerState.OPEN, "what ended before its window is forgotten"


def test_after_a_rest_a_few_jobs_of_all_keys_together_are_tried(bank: Bank) -> None:
    bank.ends(bad=4)
    given = [bank.charge.delay(key).id for key in "abcde"]
    bank.look_again()
    bank.passed(31)
    assert bank.state() is BreakerState.HALF_OPEN
    bank.look_again()
    bank.look_again()
    assert len(bank.sent(*given)) == RULE.probes
    other = Admitter(bank.app, bank.database, worker=new_uuid(), limits=())
    other.ended(Freed(["acquirer:a", "acquirer:b", "acquirer:c"]))
    other.run()
    assert bank.sent(*given) == [], "a worker that does not lead admits none"


@pytest.mark.parametrize(("bad", "state"), [(0, BreakerState.CLOSED), (2, BreakerState.OPEN)])
def test_what_becomes_of_the_probes_decides(bank: Bank, bad: int, state: BreakerState) -> None:
    bank.ends(bad=4)
    bank.passed(31)
    bank.ends(good=RULE.probes - bad, bad=bad)
    assert bank.state() is state
    given = [bank.charge.delay(key).id for key in "abcde"]
    bank.look_again()
    assert bank.sent(*given) == ([] if bad else given)


def test_probes_that_nobody_hears_of_are_given_again(bank: Bank) -> None:
    bank.ends(bad=4)
    bank.passed(31)
    given = [bank.charge.delay(key).id for key in "abcde"]
    bank.look_again()
    assert len(bank.sent(*given)) == RULE.probes
    bank.keeper.breakers._given["acquirer"] -= RULE.rest  # so long ago
    bank.look_again()
    assert len(bank.sent(*given)) == RULE.probes


def test_an_operator_switches_it_and_it_is_on_record(bank: Bank) -> None:
    assert told(bank.app, "limits", "breaker", "acquirer", "open", "--reason", "they are down")["changed"]
    assert bank.state() is BreakerState.OPEN
    id = bank.charge.delay().id
    bank.look_again()
    assert bank.sent(id) == []
    assert "breaker open by" in call(bank.app, "limits", "show", "acquirer").stdout
    assert call(bank.app, "limits", "breaker", "acquirer", "closed").exit_code == 0
    bank.ends(bad=9)
    assert bank.state() is BreakerState.CLOSED, "whatever fails"
    assert bank.sent(id) == [id]
    assert call(bank.app, "limits", "breaker", "acquirer", "auto").exit_code == 0
    with bank.database.transaction() as connection:
        connection.execute(update(ENDED).values(second=after(-5)))
    bank.look_again()
    assert bank.state() is BreakerState.CLOSED, "it judges by what ends from now on"
    done = [each.action for each in list_actions(app=bank.app).actions]
    assert done == ["limit breaker"] * 3


def test_a_limit_without_one_has_none_to_switch(bank: Bank) -> None:
    with pytest.raises(BadArgument, match="has none"):
        limits.switch_breaker("printer", BreakerState.OPEN, actor=ANN, app=bank.app)
    assert call(bank.app, "limits", "breaker", "printer", "open").exit_code == 2
    assert limits.limit("printer", app=bank.app).breaker is None


def test_the_doctor_and_the_metrics_tell_of_it(bank: Bank) -> None:
    bank.ends(bad=4)
    (found,) = [
        each for each in pauses_check.judge(pauses_check.read(bank.app)) if "breaker" in each.sentence
    ]
    assert (found.level, found.remedy) == (Level.WARN, "celery -A app limits breaker acquirer closed")
    assert "4 of 4 attempts failed" in found.sentence
    families = {each.name: each for each in LedgerCollector(bank.app).collect()}
    samples = families["celeriac_limit_breaker_open"].samples
    assert [(sample.labels["limit"], sample.value) for sample in samples] == [("acquirer", 1.0)]


def test_nothing_is_written_of_limits_that_have_none(bank: Bank) -> None:
    bank.look_again()
    written: list[str] = []

    def note(*given: object) -> None:
        written.append(str(given[2]))

    bank.keeper.ended(Freed((), succeeded=["printer:"] * 9, failed=["printer:"]))
    event.listen(bank.database.engine, "before_cursor_execute", note)
    bank.look_again()
    event.remove(bank.database.engine, "before_cursor_execute", note)
    assert not [text for text in written if "INSERT INTO background_ended_attempts" in text]


def test_the_counts_of_several_workers_are_added_and_pruned(bank: Bank) -> None:
    for _ in range(3):
        with bank.database.transaction() as connection:
            breakers.count(connection, {"acquirer": Tally(2, 1)})
    with bank.database.transaction() as connection:
        limit = limit_rows.read(connection)["acquirer"]
        assert breakers.tally_of(connection, limit, RULE) == Tally(6, 3)
        breakers.prune(connection)
        assert connection.execute(select(func.sum(ENDED.c.ended))).scalar() == 6
        connection.execute(update(ENDED).values(second=after(-3700)))
        breakers.prune(connection)
        assert connection.execute(select(func.count()).select_from(ENDED)).scalar() == 0
