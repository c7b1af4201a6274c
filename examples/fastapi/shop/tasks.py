import httpx
from sqlmodel import Session, func, select

from celeriac import complete_in
from shop import database
from shop.models import Digest, Member
from shop.settings import settings
from shop.worker import app


@app.task(name="shop.welcome", bind=True, max_tries=5)
def welcome(self, member_id: int) -> None:
    """Send a mail. What fails, the network above all, is tried again."""
    with Session(database.engine) as session:
        member = session.get_one(Member, member_id)
        mail = {"to": member.email, "subject": "Welcome"}
        key = {"Idempotency-Key": self.request.id}
        httpx.post(settings.mail_url, json=mail, headers=key).raise_for_status()
        member.welcomed = True
        session.commit()


@app.task(name="shop.digest", max_tries=3)
def digest() -> int:
    """Count the members. The count and the job's completion are one transaction: exactly once."""
    with Session(database.engine) as session, session.begin():
        members = session.exec(select(func.count()).select_from(Member)).one()
        session.add(Digest(members=members))
        complete_in(session, members)
    return members
