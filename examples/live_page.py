"""A page that hears events, talks over a WebSocket and uploads a file: `spikard live_page:app`."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from msgspec import Struct

from spikard import HTMLResponse, Spikard, SseEvent, UploadFile

app = Spikard(title="Live page")
_ticked: list[int] = []

PAGE = """<!doctype html>
<html lang="en">
<title>Live page</title>
<h1>Live page</h1>
<p>Heard: <output id="heard"></output></p>
<form id="chat"><input name="text"><button>Say</button></form>
<p>Answered: <output id="answered"></output></p>
<form id="upload"><input type="file" name="file"><button>Upload</button></form>
<p>Uploaded: <output id="uploaded"></output></p>
<script>
const show = (id, text) => { document.getElementById(id).value += text + ";" };

const events = new EventSource("/ticks");
events.addEventListener("tick", event => {
  show("heard", event.lastEventId + "=" + JSON.parse(event.data).number);
  if (event.lastEventId === "5") events.close();
});

const socket = new WebSocket(location.origin.replace("http", "ws") + "/chat");
socket.onmessage = event => show("answered", event.data);
document.getElementById("chat").onsubmit = event => {
  event.preventDefault();
  socket.send(JSON.stringify({text: event.target.elements.text.value}));
};

document.getElementById("upload").onsubmit = async event => {
  event.preventDefault();
  const answer = await fetch("/files", {method: "POST", body: new FormData(event.target)});
  const stored = await answer.json();
  show("uploaded", stored.name + " " + stored.size + " " + stored.sha256);
};
</script>
</html>
"""


class Tick(Struct):
    """What an event tells."""

    number: int


class Said(Struct):
    """A message of the chat."""

    text: str


class Stored(Struct):
    """What became of an upload."""

    name: str
    size: int
    sha256: str


@app.get("/")
async def page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE)


@app.sse("/ticks", replay=10)
async def ticks() -> AsyncIterator[Tick | SseEvent]:
    """Count to five, two numbers for each connection: the browser comes back for more."""
    last = len(_ticked)
    for number in range(last + 1, min(last + 2, 5) + 1):
        await asyncio.sleep(0.05)
        _ticked.append(number)
        yield SseEvent(Tick(number), event_type="tick", id=str(number), retry=50)


@app.websocket("/chat")
async def chat(message: Said) -> Said:
    """Answer in capitals."""
    return Said(message.text.upper())


@app.post("/files")
async def files(file: UploadFile) -> Stored:
    """Hash an upload."""
    digest = hashlib.sha256()
    while chunk := await file.aread(1 << 16):
        digest.update(chunk)
    return Stored(file.filename or "", file.size, digest.hexdigest())
