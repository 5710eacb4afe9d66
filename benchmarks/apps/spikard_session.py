"""Spikard with one generator dependency."""

from collections.abc import AsyncIterator

from spikard import Spikard
from spikard.di import Provide


class Session:
    """What the dependency hands out."""

    open = True


async def open_session() -> AsyncIterator[Session]:
    """Open a session for one request and close it afterwards."""
    opened = Session()
    yield opened
    opened.open = False


app = Spikard()
app.provide(Session, Provide(open_session))


@app.get("/session")
async def with_session(session: Session) -> dict[str, bool]:
    return {"open": session.open}
