"""The smallest typed Spikard application: `spikard --app-dir examples quickstart:app`.

It shows itself at /docs and /redoc; the pages come with `pip install "spikard[docs]"`.
"""

from msgspec import Struct

from spikard import Spikard
from spikard.config import OpenApiConfig, ServerConfig

app = Spikard(config=ServerConfig(openapi=OpenApiConfig(enabled=True, title="Quickstart")))


class User(Struct):
    """A user as the API shows it."""

    id: int
    name: str


@app.get("/users/{id:int}")
async def get_user(id: int) -> User:  # noqa: A002 - the name of the path parameter
    """Return one user."""
    return User(id=id, name="Alice")


if __name__ == "__main__":
    app.run()
