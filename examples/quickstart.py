"""The smallest typed Spikard application: `spikard --app-dir examples quickstart:app`."""

from msgspec import Struct

from spikard import Spikard
from spikard.config import ServerConfig

app = Spikard()


class User(Struct):
    """A user as the API shows it."""

    id: int
    name: str


@app.get("/users/{id:int}")
async def get_user(id: int) -> User:  # noqa: A002 - the name of the path parameter
    return User(id=id, name="Alice")


if __name__ == "__main__":
    app.run(config=ServerConfig(port=8000))
