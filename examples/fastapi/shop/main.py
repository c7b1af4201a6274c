"""What ``uvicorn shop.main:api`` or ``fastapi run shop/main.py`` serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from celeriac import enqueue_in, job
from shop.database import SessionDep, async_engine
from shop.models import Member
from shop.tasks import digest, welcome


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with async_engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    yield
    await async_engine.dispose()


api = FastAPI(title="Shop", lifespan=lifespan)


class NewMember(BaseModel):
    email: str


@api.post("/members", status_code=202)
async def join(new: NewMember, session: SessionDep) -> dict[str, int | str | None]:
    """A member and the job that welcomes them: both, or neither."""
    member = Member(email=new.email)
    session.add(member)
    try:
        async with enqueue_in(session):  # flushes: the member has an id
            result = welcome.delay(member.id)  # written when the block ends, so nothing waits here
        await session.commit()
    except IntegrityError:
        await session.rollback()
        raise HTTPException(409, "this address is a member's already") from None
    return {"id": member.id, "job": result.id}


@api.get("/members/{id}")
async def show(id: int, session: SessionDep) -> Member:
    member = await session.get(Member, id)
    if member is None:
        raise HTTPException(404)
    return member


@api.post("/digests", status_code=202)
async def make_digest() -> dict[str, str]:
    """Outside of a transaction: the event loop goes on while the job's row is written."""
    result = await digest.adelay()
    return {"job": result.id}


@api.get("/jobs/{id}")
async def show_job(id: UUID) -> dict[str, str | int]:
    found = await run_in_threadpool(job, str(id))
    return {"task": found.task, "state": found.state, "tries": found.try_count}
