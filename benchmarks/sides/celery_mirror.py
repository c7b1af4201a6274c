"""Celery with the mirror that teams write by hand: signals write what becomes of a job, by the ORM.

A row when a job starts, the same row again when it has ended, a commit each. Results are ignored, since
the row takes their place.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime

from celery import Celery
from celery.signals import task_failure, task_postrun, task_prerun, worker_process_init
from sqlalchemy import JSON, DateTime, Text, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from benchmarks.celery_peer import register, run

app = Celery("mirror", broker=os.environ["CELERY_BROKER_URL"])
register(app, ignore_result=True)

engine = create_engine(os.environ["DATABASE_URL"])
Session = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class TaskRecord(Base):
    __tablename__ = "task_records"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, index=True)
    args: Mapped[list] = mapped_column(JSON)
    kwargs: Mapped[dict] = mapped_column(JSON)
    started: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    error: Mapped[str | None] = mapped_column(Text)


@worker_process_init.connect
def _forked(**_: object) -> None:
    engine.dispose(close=False)  # the main process's connections are not this one's


@task_prerun.connect
def _started(task_id: str, task: object, args: list, kwargs: dict, **_: object) -> None:
    with Session.begin() as session:
        record = session.get(TaskRecord, uuid.UUID(task_id)) or TaskRecord(id=uuid.UUID(task_id))
        record.name, record.args, record.kwargs = task.name, list(args), kwargs
        record.state, record.started = "started", datetime.now(UTC)
        session.add(record)


@task_failure.connect
def _failed(task_id: str, einfo: object, **_: object) -> None:
    with Session.begin() as session:
        record = session.get(TaskRecord, uuid.UUID(task_id))
        if record is not None:
            record.error = str(einfo)


@task_postrun.connect
def _ended(task_id: str, state: str, **_: object) -> None:
    with Session.begin() as session:
        record = session.get(TaskRecord, uuid.UUID(task_id))
        if record is not None:
            record.state, record.finished = state.lower(), datetime.now(UTC)


def prepare() -> None:
    Base.metadata.create_all(engine)


if __name__ == "__main__":
    run(app, "benchmarks.sides.celery_mirror", prepare=prepare, distributions=("sqlalchemy", "psycopg"))
