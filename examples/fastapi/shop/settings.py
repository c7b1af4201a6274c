from pydantic_settings import BaseSettings
from sqlalchemy import make_url


class Settings(BaseSettings):
    """Read from the environment: DATABASE_URL, BROKER_URL, MAIL_URL, DIGEST_EVERY."""

    database_url: str = "sqlite:///shop.db"
    broker_url: str = "redis://localhost:6379/0"
    mail_url: str = "http://localhost:8080/mails"
    digest_every: float = 3600  # seconds

    @property
    def async_database_url(self) -> str:
        """The same database for asyncio. psycopg serves both; of SQLite the driver differs."""
        url = make_url(self.database_url)
        if url.get_backend_name() == "sqlite":
            url = url.set(drivername="sqlite+aiosqlite")
        return url.render_as_string(hide_password=False)


settings = Settings()
