from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel, create_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from celeriac.testing import Kit
from shop import database
from shop.main import api


@pytest.fixture
def client(celeriac: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The fixture ``celeriac`` keeps its private ledger in this file; the members go into the same one."""
    path = tmp_path / "celeriac.db"
    async_engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(async_engine, expire_on_commit=False) as session:
            yield session

    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    SQLModel.metadata.create_all(engine)
    monkeypatch.setattr(database, "engine", engine)
    api.dependency_overrides[database.get_session] = get_session
    yield TestClient(api)
    api.dependency_overrides.clear()
