"""One database for two kinds of code: endpoints await it, tasks of a worker do not."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import create_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from shop.settings import settings

async_engine = create_async_engine(settings.async_database_url)
engine = create_engine(settings.database_url)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(async_engine, expire_on_commit=False) as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
