"""Step 2: the old application inside a Spikard one, which has a first route of its own."""

from before import app as old

from spikard import Spikard

app = Spikard()


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the service is up."""
    return {"status": "ok"}


app.mount("/", old)  # what no route of ours takes
