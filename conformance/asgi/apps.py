"""Applications under test. One ASGI application whose first path segment names a handler and whose second is the trial's tag.

What a handler sees goes to the runner by datagram (`conformance.observer`), never through the server. Every handler
is called as `handler(call)`; `call.note(label, value)` reports.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import ctypes
import functools
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MIB = 1 << 20
_OBSERVER = os.environ.get("CONFORMANCE_OBSERVER", "")
_LONGEST = 1 << 14  # of a string in an observation: a datagram has to hold all of it
_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)


def note(tag: str, label: str, value: Any = None) -> None:
    """Report one observation; values other than plain ones are reported by their `repr`."""
    if _OBSERVER:
        _socket.sendto(repr((tag, label, _plain(value))).encode(), _OBSERVER)


def _plain(value: Any) -> Any:
    if isinstance(value, (str, bytes)) and len(value) > _LONGEST:
        return f"<{type(value).__name__} of {len(value)}>"
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, int):
        return int(value)
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is tuple:
        return tuple(_plain(item) for item in value)
    if type(value) is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    return f"<{type(value).__name__}> {value!r}"


def describe(error: BaseException) -> Message:
    """Return what a case may ask about an exception."""
    return {
        "class": type(error).__name__,
        "os_error": isinstance(error, OSError),
        "text": str(error),
    }


class Call:
    """One call of the application, with its tag and recording `receive`."""

    def __init__(self, scope: Message, receive: Receive, send: Send, tag: str, suffix: str) -> None:
        self.scope = scope
        self.send = send
        self.tag = tag
        self.suffix = suffix
        self.server_receive = receive

    def note(self, label: str, value: Any = None) -> None:
        """Report one observation."""
        note(self.tag, label, value)

    async def receive(self) -> Message:
        """Receive, and report a message that is not made of the types of the specification."""
        message = await self.server_receive()
        for problem in improper(message):
            self.note("improper", problem)
        return message

    async def body(self) -> bytes:
        """Return the whole request body."""
        parts, more = [], True
        while more:
            message = await self.receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(parts)

    async def attempt(self, message: Message) -> bool:
        """Send `message` and report the outcome: None, or a description of the exception."""
        try:
            await self.send(message)
        except Exception as error:
            self.note("sent", describe(error))
            return False
        self.note("sent", None)
        return True

    async def answer(self, body: bytes = b"ok", status: int = 200, headers: Any = ()) -> None:
        """Send a complete answer with a content-length."""
        fields = [*headers, (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": fields})
        await self.send({"type": "http.response.body", "body": body})

    async def start(self, status: int = 200, headers: Any = (), **extra: Any) -> None:
        """Send `http.response.start`."""
        await self.send(
            {"type": "http.response.start", "status": status, "headers": list(headers), **extra}
        )

    async def part(self, body: bytes, *, more: bool = True) -> None:
        """Send `http.response.body`."""
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def until_disconnect(self) -> Message:
        """Receive until a disconnect message and return it."""
        while not (message := await self.receive())["type"].endswith("disconnect"):
            pass
        return message


def improper(message: Any) -> Iterator[str]:
    """Yield what is wrong with the types in a message (asgi.rst, "Events")."""
    if type(message) is not dict:
        yield f"message is a {type(message).__name__}"
        return
    if "." not in message.get("type", ""):
        yield f"type is {message.get('type')!r}"
    pending: list[Any] = list(message.values())
    while pending:
        value = pending.pop()
        if type(value) is dict:
            pending += value.values()
            yield from (f"key {key!r}" for key in value if type(key) is not str)
        elif type(value) is list:
            pending += value
        elif not isinstance(value, (bytes, str, int, float, type(None))):
            yield f"{message['type']} holds a {type(value).__name__}"


Handler = Callable[[Call], Awaitable[None]]
HTTP: dict[str, Handler] = {}
WEBSOCKET: dict[str, Handler] = {}


def http(handler: Handler) -> Handler:
    """Register a handler of HTTP requests under its name, `_` as `-`."""
    HTTP[handler.__name__.replace("_", "-")] = handler
    return handler


def websocket(handler: Handler) -> Handler:
    """Register a handler of WebSocket connections in the same way."""
    WEBSOCKET[handler.__name__.replace("_", "-")] = handler
    return handler


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Dispatch to the handler that the path names."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    root = scope.get("root_path", "").rstrip("/")
    path = scope["path"]
    while root and path.startswith(root + "/"):
        path = path[len(root) :]
    segments = path.split("/", 3)[1:]
    name, tag, suffix = [*segments, "", "", ""][:3]
    handlers = HTTP if scope["type"] == "http" else WEBSOCKET
    call = Call(scope, receive, send, tag or path, suffix)
    call.note("called", scope["type"])
    await handlers.get(name, missing)(call)


async def missing(call: Call) -> None:
    """Report the scope of a target that names no handler and answer 404."""
    call.note("scope", call.scope)
    note("unnamed", "scope", call.scope)
    if call.scope["type"] == "http":
        await call.answer(b"no such handler", status=404)


async def lifespan(scope: Message, receive: Receive, send: Send) -> None:
    """Follow the lifespan protocol and leave a shared and an unshared value in the state."""
    note("lifespan", "scope", scope)
    note("lifespan", "loop", id(asyncio.get_running_loop()))
    state = scope.get("state")
    if state is not None:
        state["shared"] = []
        state["answer"] = 42
    while True:
        message = await receive()
        for problem in improper(message):
            note("lifespan", "improper", problem)
        note("lifespan", "message", message["type"])
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


# ---- HTTP: what a request looks like ----


@http
async def ping(call: Call) -> None:
    await call.answer(str(os.getpid()).encode())


@http
async def smug(call: Call) -> None:
    note(call.tag, "smug", call.scope["method"])
    await call.answer(b"smuggled")


@http
async def scope(call: Call) -> None:
    call.note("loop", id(asyncio.get_running_loop()))
    call.note("scope", {**call.scope, "headers": [tuple(pair) for pair in call.scope["headers"]]})
    call.note("types", {key: type(value).__name__ for key, value in call.scope.items()})
    await call.answer()


@http
async def echo(call: Call) -> None:
    body = await call.body()
    call.note("body", len(body))
    await call.answer(body)


@http
async def mutate(call: Call) -> None:
    """Report what an earlier request left in the scope, then leave something everywhere."""
    scope, marks = call.scope, []
    for key, value in {
        "scope": scope,
        "asgi": scope["asgi"],
        "extensions": scope.get("extensions"),
    }.items():
        if isinstance(value, dict):
            marks += [key] if "left-behind" in value else []
            value["left-behind"] = True
    if isinstance(scope["headers"], list):
        marks += ["headers"] if (b"left-behind", b"") in scope["headers"] else []
        scope["headers"].append((b"left-behind", b""))
    call.note("left-behind", marks)
    await call.answer()


@http
async def state(call: Call) -> None:
    """Report the state, then assign a key of its own and change the shared list."""
    found = call.scope.get("state")
    call.note("state", found)
    if found is not None:
        found["assigned"] = True
        found["shared"].append(1)
    await call.answer()


# Python 3.10 has none.
_exception_group: Any = getattr(builtins, "ExceptionGroup", None)
_context: contextvars.ContextVar[str] = contextvars.ContextVar("context", default="unset")


@http
async def context(call: Call) -> None:
    call.note("context", _context.get())
    _context.set(call.tag)
    await asyncio.sleep(0)
    await call.answer()


# ---- HTTP: receive ----


@http
async def messages(call: Call) -> None:
    """Report each body message's length and `more_body`, then answer."""
    more = True
    while more:
        message = await call.receive()
        body = message.get("body")
        call.note(
            "message",
            (message["type"], None if body is None else len(body), message.get("more_body")),
        )
        more = message.get("more_body", False)
    await call.answer()


@http
async def count(call: Call) -> None:
    """Report how many messages a body came in and its length."""
    number, length, more = 0, 0, True
    while more:
        message = await call.receive()
        number, length = number + 1, length + len(message.get("body", b""))
        more = message.get("more_body", False)
    call.note("count", (number, length))
    await call.answer(headers=[(b"x-count", str(number).encode())])


@http
async def receive_for_ever(call: Call) -> None:
    """Receive until disconnected, and three times more."""
    while True:
        message = await call.receive()
        call.note("received", message)
        if message["type"] == "http.disconnect":
            break
    for _ in range(2):
        call.note("again", (await call.receive())["type"])


@http
async def receive_past_response(call: Call) -> None:
    """Have a `receive` waiting while the response is completed."""
    await call.body()
    waiting = asyncio.ensure_future(call.receive())
    await call.answer()
    call.note("received", await asyncio.wait_for(waiting, 2))


@http
async def never_receive(call: Call) -> None:
    """Leave the body unread until a second request to `/release` asks for it."""
    release = _releases.setdefault(call.tag, asyncio.Event())
    await release.wait()
    await call.answer()


_releases: dict[str, asyncio.Event] = {}


@http
async def release(call: Call) -> None:
    _releases.setdefault(call.tag, asyncio.Event()).set()
    await call.answer()


@http
async def reply_unread(call: Call) -> None:
    """Answer at once without receiving; the suffix is the status."""
    await call.answer(b"unread", status=int(call.suffix or 200))


@http
async def wait_then_receive(call: Call) -> None:
    """Receive the body only once released."""
    await _releases.setdefault(call.tag, asyncio.Event()).wait()
    await call.answer(await call.body())


# ---- HTTP: send ----

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"ok"}

# Messages sent one after the other, each outcome reported; `send` stops at the first exception.
SCRIPTS: dict[str, list[Any]] = {
    "unknown-type": [{"type": "http.response.nonsense"}],
    "foreign-type": [{"type": "websocket.send", "text": "x"}],
    "no-type": [{"status": 200}],
    "no-status": [{"type": "http.response.start", "headers": []}],
    "str-status": [{"type": "http.response.start", "status": "200"}],
    "float-status": [{"type": "http.response.start", "status": 200.5}],
    "str-header": [{"type": "http.response.start", "status": 200, "headers": [("a", "b")]}],
    "int-header": [{"type": "http.response.start", "status": 200, "headers": [(b"a", 1)]}],
    "lone-header": [{"type": "http.response.start", "status": 200, "headers": [(b"a",)]}],
    "str-body": [START, {"type": "http.response.body", "body": "text"}],
    "list-body": [START, {"type": "http.response.body", "body": [1, 2]}],
    "body-first": [BODY],
    "second-start": [START, START],
    "start-after-body": [START, {**BODY, "more_body": True}, START],
    "extra-keys": [{**START, "extra": 1}, {**BODY, "extra": object}],
    "minimal": [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}],
    "after-final": [START, BODY, BODY, START, {**BODY, "more_body": True}],
    "tuple-headers": [{**START, "headers": ((b"x-a", b"1"), (b"x-b", b"2"))}, BODY],
    "list-headers": [{**START, "headers": [[b"x-a", b"1"], [b"x-b", b"2"]]}, BODY],
    "generator-headers": [{**START, "headers": iter(())}, BODY],
    "bytearray-body": [START, {**BODY, "body": bytearray(b"ok")}],
    "memoryview-body": [START, {**BODY, "body": memoryview(b"ok")}],
    "own-framing": [
        {
            **START,
            "headers": [
                (b"transfer-encoding", b"chunked"),
                (b"set-cookie", b"a=1"),
                (b"x", b"y"),
                (b"set-cookie", b"b=2"),
            ],
        },
        {**BODY, "more_body": True},
        BODY,
    ],
    "too-long": [
        {**START, "headers": [(b"content-length", b"3")]},
        {**BODY, "body": b"abc" + b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 11},
    ],
    "too-long-parts": [
        {**START, "headers": [(b"content-length", b"3")]},
        {**BODY, "body": b"ab", "more_body": True},
        {**BODY, "body": b"cXXXX"},
    ],
    "too-short": [{**START, "headers": [(b"content-length", b"100")]}, {**BODY, "body": b"abcde"}],
    "status-204": [{**START, "status": 204}, {**BODY, "body": b""}],
    "status-304": [{**START, "status": 304}, {**BODY, "body": b""}],
    "status-204-body": [{**START, "status": 204}, {**BODY, "body": b"never"}],
    "status-304-body": [{**START, "status": 304}, {**BODY, "body": b"never"}],
    **{
        f"status-{status}": [{**START, "status": status}, BODY]
        for status in (-1, 99, 100, 103, 600, 1000, 70000)
    },
    "cr-in-value": [{**START, "headers": [(b"x-a", b"a\rb")]}, BODY],
    "lf-in-value": [{**START, "headers": [(b"x-a", b"a\nb")]}, BODY],
    "crlf-in-value": [{**START, "headers": [(b"x-a", b"a\r\nset-cookie: b=1")]}, BODY],
    "nul-in-value": [{**START, "headers": [(b"x-a", b"a\0b")]}, BODY],
    "space-in-name": [{**START, "headers": [(b"x a", b"b")]}, BODY],
    "colon-in-name": [{**START, "headers": [(b"x:a", b"b")]}, BODY],
    "crlf-in-name": [{**START, "headers": [(b"x\r\na", b"b")]}, BODY],
    "empty-name": [{**START, "headers": [(b"", b"b")]}, BODY],
}


@http
async def send(call: Call) -> None:
    """Receive the body, then follow the script that the suffix names."""
    await call.body()
    for message in SCRIPTS[call.suffix]:
        if call.suffix == "generator-headers" and "headers" in message:
            message = {**message, "headers": (pair for pair in [(b"x-a", b"1"), (b"x-b", b"2")])}
        if not await call.attempt(message):
            break
    call.note("done")


@http
async def header_from_path(call: Call) -> None:
    """Reflect the decoded suffix in a header, as a careless redirect does."""
    await call.answer(headers=[(b"location", call.suffix.encode())])


@http
async def headers_get(call: Call) -> None:
    """Answer GET and HEAD alike with a body of five bytes."""
    await call.answer(b"12345", headers=[(b"x-same", b"1")])


@http
async def stream_headers(call: Call) -> None:
    """Answer in two parts without a content-length."""
    await call.start()
    await call.part(b"one")
    await call.part(b"two", more=False)


@http
async def fail_after_start(call: Call) -> None:
    """Send the start, wait to be released, then raise."""
    await call.start()
    call.note("started")
    await _releases.setdefault(call.tag, asyncio.Event()).wait()
    raise RuntimeError(f"boom {call.tag}")


@http
async def fail(call: Call) -> None:
    """Raise at the point that the suffix names."""
    if call.suffix != "before":
        await call.start()
    if call.suffix == "in-body":
        await call.part(b"some")
    raise RuntimeError(f"boom {call.tag}")


@http
async def leave(call: Call) -> None:
    """Return at the point that the suffix names."""
    if call.suffix != "before":
        await call.start()
    if call.suffix == "in-body":
        await call.part(b"some")


@http
async def raise_kind(call: Call) -> None:
    """Raise an exception that is not an `Exception`."""
    call.note("raising")
    raise {
        "cancelled": asyncio.CancelledError,
        "interrupt": KeyboardInterrupt,
        "exit": SystemExit,
        "generator": GeneratorExit,
    }[call.suffix]


@http
async def part_then_wait(call: Call) -> None:
    """Send one part and keep the response open until released."""
    await call.start()
    await call.part(b"first")
    call.note("sent-first")
    await _releases.setdefault(call.tag, asyncio.Event()).wait()
    await call.part(b"last", more=False)


@http
async def hang(call: Call) -> None:
    """Wait for ever; a stubborn one does not even end when it is cancelled."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # noqa: PERF203 - it seldom loops
            call.note("cancelled")
            if call.suffix != "stubborn":
                raise


@http
async def block(call: Call) -> None:
    """Never give the event loop back."""
    call.note("blocking", os.getpid())
    while True:
        pass


@http
async def fail_heavily(call: Call) -> None:
    """Raise from a frame with a megabyte in its locals."""
    ballast = bytearray(MIB)
    raise RuntimeError(f"boom {len(ballast)}")


@http
async def census(call: Call) -> None:
    """Answer with the number of open descriptors and of unfinished tasks."""
    descriptors = len(os.listdir("/proc/self/fd"))
    await call.answer(f"{descriptors} {len(asyncio.all_tasks())}".encode())


@http
async def allocate(call: Call) -> None:
    """Ask for more memory than there is."""
    await call.answer(bytearray(1 << 62))


@http
async def leave_tasks(call: Call) -> None:
    """Leave ten thousand tasks behind that end only by being cancelled."""
    tasks = [asyncio.ensure_future(asyncio.Event().wait()) for _ in range(10_000)]
    _left_behind.extend(tasks)
    await call.answer(b"left")


_left_behind: list[asyncio.Future[bool]] = []


@http
async def open_files(call: Call) -> None:
    """Open as many files as a busy application may have open at once, and answer."""
    descriptors: list[int] = []
    try:
        for _ in range(8):
            descriptors.append(os.open(_FILE, os.O_RDONLY))  # noqa: PERF401 - closed if one fails
        await call.answer(b"opened")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@http
async def release_later(call: Call) -> None:
    """Answer half a second later, as work in flight while the server stops."""
    await asyncio.sleep(0.5)
    await call.answer(b"late")


@http
async def die(call: Call) -> None:
    """End the process: by an exit code, a segmentation fault or an abort."""
    call.note("dying", os.getpid())
    if call.suffix == "segfault":
        ctypes.string_at(0)
    if call.suffix == "abort":
        os.abort()
    os._exit(int(call.suffix))


@http
async def flood(call: Call) -> None:
    """Send 64 MiB in parts of 64 KiB, reporting every MiB and the error that ends it."""
    await call.start()
    part = b"x" * 65536
    try:
        for number in range(1024):
            await call.part(part)
            if number % 16 == 15:
                call.note("mib", (number + 1) // 16)
        await call.part(b"", more=False)
    except Exception as error:
        call.note("flood-error", describe(error))
        raise
    call.note("flood-done")


@http
async def send_to_nobody(call: Call) -> None:
    """Wait for the disconnect, then send; let the error out in the form that the suffix names."""
    await call.until_disconnect()
    call.note("disconnected")
    try:
        await call.start()
        for _ in range(100):
            await call.part(b"x" * 1024)
            await asyncio.sleep(0)
    except Exception as error:
        call.note("send-error", describe(error))
        if call.suffix == "chained":
            raise RuntimeError("chained") from error
        if call.suffix == "context":
            raise RuntimeError("in context")  # noqa: B904 - the implicit context is what is tried
        if call.suffix == "group" and _exception_group:
            raise _exception_group("outer", [_exception_group("inner", [error])]) from None
        raise
    call.note("send-error", None)


@http
async def as_tasks(call: Call) -> None:
    """Read and answer by tasks made of `receive()` and `send()`."""
    loop = asyncio.get_running_loop()
    body = b""
    while True:
        message = await loop.create_task(call.server_receive())  # type: ignore[arg-type]
        body += message["body"]
        if not message["more_body"]:
            break
    listener = loop.create_task(call.server_receive())  # type: ignore[arg-type]
    start = {"type": "http.response.start", "status": 200}
    for event in (start, {"type": "http.response.body", "body": body}):
        await loop.create_task(call.send(event))  # type: ignore[arg-type]
    call.note("listener", await listener)


@http
async def from_a_thread(call: Call) -> None:
    """Read and answer from a thread, as adapters of WSGI applications do."""
    loop = asyncio.get_running_loop()

    def wait(awaitable: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, loop).result(5)  # type: ignore[arg-type]

    def answer() -> None:
        body = b""
        while True:
            message = wait(call.server_receive())
            body += message["body"]
            if not message["more_body"]:
                break
        wait(call.send({"type": "http.response.start", "status": 200}))
        wait(call.send({"type": "http.response.body", "body": body}))

    await loop.run_in_executor(None, answer)


@websocket
async def ws_from_a_thread(call: Call) -> None:
    """Accept and echo one message from a thread; whoever gave up before takes none."""
    loop = asyncio.get_running_loop()

    def wait(awaitable: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, loop).result(5)  # type: ignore[arg-type]

    await call.server_receive()
    await call.send(ACCEPT)
    loop.create_task(call.server_receive()).cancel()  # type: ignore[arg-type]

    def converse() -> None:
        message = wait(call.server_receive())
        wait(call.send({"type": "websocket.send", "text": message["text"]}))

    await loop.run_in_executor(None, converse)


@http
async def end_to_nobody(call: Call) -> None:
    """Send all of a body, wait for the client to leave with it, then send the empty last piece."""
    await call.start()
    await call.part(b"whole")
    await call.until_disconnect()
    try:
        await call.part(b"", more=False)
    except Exception as error:
        call.note("end-error", describe(error))
        raise
    call.note("end-error", None)


@http
async def complete_then_send(call: Call) -> None:
    """Complete the response, wait for the client to go, and send again."""
    await call.body()
    await call.answer()
    await call.until_disconnect()
    await call.attempt({**BODY})


# ---- HTTP: extensions ----


@http
async def early_hint(call: Call) -> None:
    if "http.response.early_hint" in call.scope.get("extensions", {}):
        await call.attempt(
            {
                "type": "http.response.early_hint",
                "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"],
            }
        )
        await call.attempt(
            {"type": "http.response.early_hint", "links": [b"</c.css>; rel=preload"]}
        )
    await call.answer()


@http
async def trailers(call: Call) -> None:
    """Send trailers in two messages, if this request is offered them."""
    offered = "http.response.trailers" in call.scope.get("extensions", {})
    await call.start(headers=[(b"trailer", b"x-sum, x-more")], trailers=offered)
    await call.part(b"body", more=False)
    parts = [([(b"x-sum", b"1")], True), ([(b"x-more", b"2")], False)]
    for headers, more in parts if offered else []:
        message = {"type": "http.response.trailers", "headers": headers, "more_trailers": more}
        await call.attempt(message)


_FILE = Path(__file__).with_name("digits.txt")  # 0123456789


@functools.cache
def _long_file() -> Any:
    """Return an open temporary file of 1,000,000 bytes, which lives as long as the server."""
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - the server's end closes it
    file.write(b"." * 999_993 + b"the end")
    file.flush()
    return file


@http
async def pathsend(call: Call) -> None:
    """Answer with a file by its path; the suffix may ask for a long one or a mistake."""
    path = {
        "directory": str(_FILE.parent),
        "missing": "/nonexistent/file",
        "relative": _FILE.name,
        "long": _long_file().name,
    }.get(call.suffix, str(_FILE))
    message = {"type": "http.response.pathsend", "path": path}
    length = b"1000000" if call.suffix == "long" else b"10"
    await call.start(headers=[(b"content-length", length), (b"content-type", b"text/plain")])
    if await call.attempt(message) and call.suffix == "twice":
        await call.attempt(message)


@http
async def zerocopysend(call: Call) -> None:
    """Answer with parts of a file, mixed with a body message: 345, -, and 789 from the file's own position."""
    if call.suffix == "pipe":
        reader, writer = os.pipe()
        await call.start()
        await call.attempt({"type": "http.response.zerocopysend", "file": reader})
        os.close(reader)
        os.close(writer)
        return
    descriptor = os.open(_FILE, os.O_RDONLY)
    try:
        file: Any = (
            descriptor if call.suffix == "fd" else os.fdopen(descriptor, "rb", closefd=False)
        )
        await call.start(headers=[(b"content-length", b"7")])
        parts: list[Message] = [
            {"type": "http.response.zerocopysend", "file": file, "offset": 3, "count": 3},
            {"type": "http.response.body", "body": b"-"},
        ]
        for part in parts:
            await call.attempt({**part, "more_body": True})
        if call.suffix == "fd":
            os.lseek(descriptor, 7, os.SEEK_SET)
        else:
            file.seek(0)
            file.read(7)  # it reads ahead of its descriptor
        await call.attempt({"type": "http.response.zerocopysend", "file": file})
        os.fstat(descriptor)
        position = os.lseek(descriptor, 0, os.SEEK_CUR) if call.suffix == "fd" else file.tell()
        call.note("position", position)
        call.note("file-open", True)
    finally:
        os.close(descriptor)


# ---- WebSocket ----


@websocket
async def ws_scope(call: Call) -> None:
    call.note("scope", {**call.scope, "headers": [tuple(pair) for pair in call.scope["headers"]]})
    await call.receive()
    await call.send({"type": "websocket.accept"})
    await call.until_disconnect()


@websocket
async def ws_accept(call: Call) -> None:
    """Accept when connected, reporting each message until the disconnect."""
    message = await call.receive()
    call.note("message", message)
    await call.send({"type": "websocket.accept"})
    while message["type"] != "websocket.disconnect":
        message = await call.receive()
        call.note("message", _brief(message))


def _brief(message: Message) -> Message:
    return {
        key: value if not isinstance(value, (bytes, str)) or len(value) < 1024 else len(value)
        for key, value in message.items()
    }


@websocket
async def ws_echo(call: Call) -> None:
    await call.receive()
    await call.send({"type": "websocket.accept"})
    while (message := await call.receive())["type"] == "websocket.receive":
        await call.send(
            {"type": "websocket.send", "bytes": message.get("bytes"), "text": message.get("text")}
        )
    call.note("disconnect", message)


@websocket
async def ws_wait(call: Call) -> None:
    """Wait for the release before accepting, with a second receive pending."""
    call.note("first", await call.receive())
    second = asyncio.ensure_future(call.receive())
    second.add_done_callback(
        lambda done: call.note("second", None if done.cancelled() else done.result())
    )
    await _releases.setdefault(call.tag, asyncio.Event()).wait()
    await call.send({"type": "websocket.accept"})
    await second


ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}
TEXT: Message = {"type": "websocket.send", "text": "x"}
DENY: Message = {
    "type": "websocket.http.response.start",
    "status": 401,
    "headers": [(b"x-a", b"1"), (b"x-a", b"2")],
}
DENY_BODY: Message = {"type": "websocket.http.response.body", "body": b"no"}

WS_SCRIPTS: dict[str, list[Message]] = {
    "accept": [ACCEPT],
    "accept-subprotocol": [{**ACCEPT, "subprotocol": "two"}],
    "accept-none": [{**ACCEPT, "subprotocol": None, "headers": []}],
    "accept-headers": [
        {
            **ACCEPT,
            "headers": [
                (b"x-a", b"1"),
                (b"set-cookie", b"a=1"),
                (b"x-a", b"2"),
                (b"set-cookie", b"b=2"),
            ],
        }
    ],
    "accept-protocol-header": [{**ACCEPT, "headers": [(b"sec-websocket-protocol", b"one")]}],
    "accept-pseudo-header": [{**ACCEPT, "headers": [(b":status", b"200")]}],
    "accept-foreign-subprotocol": [{**ACCEPT, "subprotocol": "three"}],
    "accept-crlf-subprotocol": [{**ACCEPT, "subprotocol": "one\r\nx: y"}],
    "accept-crlf-header": [{**ACCEPT, "headers": [(b"x-a", b"a\r\nb: c")]}],
    "accept-str-header": [{**ACCEPT, "headers": [("x-a", "b")]}],
    "accept-twice": [ACCEPT, ACCEPT],
    "unknown-type": [ACCEPT, {"type": "websocket.nonsense"}],
    "reject": [CLOSE],
    "reject-then-accept": [CLOSE, ACCEPT],
    "send-first": [TEXT],
    "send-neither": [ACCEPT, {"type": "websocket.send"}],
    "send-nones": [ACCEPT, {"type": "websocket.send", "text": None, "bytes": None}],
    "send-both": [ACCEPT, {**TEXT, "bytes": b"x"}],
    "send-text-bytes": [ACCEPT, {"type": "websocket.send", "text": b"x"}],
    "send-bytes-text": [ACCEPT, {"type": "websocket.send", "bytes": "x"}],
    "send-one-none": [ACCEPT, {**TEXT, "bytes": None}],
    "close": [ACCEPT, CLOSE],
    "close-code": [ACCEPT, {**CLOSE, "code": 4001, "reason": "enough"}],
    "close-then-send": [ACCEPT, CLOSE, TEXT],
    "close-bad-code": [ACCEPT, {**CLOSE, "code": 1005}],
    "deny": [DENY, {**DENY_BODY, "more_body": True}, {**DENY_BODY, "body": b" way"}],
    "deny-101": [{**DENY, "status": 101}],
    "deny-then-accept": [DENY, DENY_BODY, ACCEPT],
    "deny-after-accept": [ACCEPT, DENY],
    "leave-before": [],
}


@websocket
async def ws_send(call: Call) -> None:
    """Follow the script that the suffix names after the connect message, then wait for the end if there is a connection."""
    await call.receive()
    script = WS_SCRIPTS[call.suffix]
    outcomes = [await call.attempt(message) for message in script]
    call.note("done")
    if ACCEPT["type"] == (script[0]["type"] if script else "") and all(outcomes):
        call.note("disconnect", await call.until_disconnect())


@websocket
async def ws_end(call: Call) -> None:
    """Return or raise where the suffix says."""
    await call.receive()
    when, how = call.suffix.split("-")
    if when == "after":
        await call.send(ACCEPT)
    if how == "raise":
        raise RuntimeError(f"boom {call.tag}")


@websocket
async def ws_send_to_nobody(call: Call) -> None:
    """Send after the disconnect message."""
    await call.receive()
    await call.send(ACCEPT)
    await call.until_disconnect()
    try:
        for _ in range(100):
            await call.send({"type": "websocket.send", "bytes": b"x" * 1024})
            await asyncio.sleep(0)
    except Exception as error:
        call.note("send-error", describe(error))
        raise
    call.note("send-error", None)


@websocket
async def ws_flood(call: Call) -> None:
    """Send 64 MiB in messages of 64 KiB."""
    await call.receive()
    await call.send(ACCEPT)
    try:
        for number in range(1024):
            await call.send({"type": "websocket.send", "bytes": b"x" * 65536})
            if number % 16 == 15:
                call.note("mib", (number + 1) // 16)
    except Exception as error:
        call.note("flood-error", describe(error))
        raise
    call.note("flood-done")


@websocket
async def ws_deaf(call: Call) -> None:
    """Accept and receive nothing until released."""
    await call.receive()
    await call.send(ACCEPT)
    await _releases.setdefault(call.tag, asyncio.Event()).wait()
    call.note("disconnect", await call.until_disconnect())


# ---- Applications of other shapes, each served by a process of its own ----


def legacy(scope: Message) -> Callable[[Receive, Send], Awaitable[None]]:
    """ASGI 2: called with the scope, returns a coroutine function of receive and send."""

    async def instance(receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return instance


def sync_callable(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
    """ASGI 3 by a plain function that returns a coroutine."""
    return app(scope, receive, send)


class _Instance:
    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)


instance = _Instance()


async def http_only(scope: Message, receive: Receive, send: Send) -> None:
    """Raise on every scope type but http."""
    note("http-only", "scope", scope["type"])
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await app(scope, receive, send)


async def startup_raises(scope: Message, receive: Receive, send: Send) -> None:
    """Receive the startup message, then raise; report whatever is received after that."""
    if scope["type"] == "lifespan":
        note("startup-raises", "message", (await receive())["type"])
        raise RuntimeError("no lifespan here")
    await app(scope, receive, send)


async def startup_failed(scope: Message, receive: Receive, send: Send) -> None:
    """Send `lifespan.startup.failed`."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is away"})
        return
    await app(scope, receive, send)


async def startup_waits(scope: Message, receive: Receive, send: Send) -> None:
    """Complete startup only after the file that `CONFORMANCE_GATE` names exists."""
    if scope["type"] == "lifespan":
        await receive()
        note("startup-waits", "starting")
        while not Path(os.environ["CONFORMANCE_GATE"]).exists():  # noqa: ASYNC110, ASYNC240 - only a file reaches this process before it listens
            await asyncio.sleep(0.01)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    note("startup-waits", "request")
    await app(scope, receive, send)


async def shutdown_failed(scope: Message, receive: Receive, send: Send) -> None:
    """Start properly, then fail at shutdown."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "the flush went wrong"})
        return
    await app(scope, receive, send)


async def shutdown_hangs(scope: Message, receive: Receive, send: Send) -> None:
    """Start properly, then never complete the shutdown."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()
    await app(scope, receive, send)


async def startup_only(scope: Message, receive: Receive, send: Send) -> None:
    """Return right after startup has completed."""
    if scope["type"] == "lifespan":
        await receive()
        _context.set("set in lifespan")
        await send({"type": "lifespan.startup.complete"})
        return
    await app(scope, receive, send)


async def startup_never(scope: Message, receive: Receive, send: Send) -> None:
    """Never complete the startup."""
    if scope["type"] == "lifespan":
        await asyncio.Event().wait()
    await app(scope, receive, send)
