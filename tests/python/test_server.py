"""`spikard._server` and `spikard._thread`: what a server does beside answering.

Inside a user's own loop, in a thread, with clients that go away and with handlers that raise what
should end a program.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import subprocess
import sys
import threading
import weakref
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from spikard import Spikard
from spikard._listen import ListenError
from spikard.config import ServerConfig
from spikard.testing import serve_in_thread
from spikard_asgi.exceptions import ClientDisconnected
from spikard_asgi.lifespan import LifespanFailed
from spikard_asgi.server import serve

PATIENCE = 20  # seconds, for anything that should happen at all
ANY_PORT = ServerConfig(port=0)


def on_http(function) -> Any:
    """Return an ASGI application of a function for HTTP connections; it has no lifespan."""

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await function(scope, receive, send)

    return app


async def answer(send, body=b"answered") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), PATIENCE)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


# Handlers that raise what ends a program.


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("awaits", [False, True], ids=["at once", "after an await"])
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        BaseException(),
        RuntimeError("broken"),
        StopAsyncIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_handler_raises_is_a_500_and_the_server_lives_on(error, awaits, caplog):
    async def app(scope, receive, send):
        if scope["path"] == "/raise":
            if awaits:
                await asyncio.sleep(0.001)
            raise error
        await answer(send)

    with serve_in_thread(on_http(app)) as url, httpx.Client(timeout=PATIENCE) as client:
        for _ in range(2):
            assert client.get(f"{url}/raise").status_code == 500
            assert client.get(url).text == "answered"
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize("awaits", [False, True], ids=["at once", "after an await"])
@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), RuntimeError("broken")])
def test_whatever_a_native_handler_raises_is_a_500_and_the_server_lives_on(error, awaits):
    app = Spikard()

    @app.get("/raise")
    async def fail() -> str:
        if awaits:
            await asyncio.sleep(0.001)
        raise error

    @app.get("/")
    async def index() -> str:
        return "answered"

    with serve_in_thread(app) as url, httpx.Client(timeout=PATIENCE) as client:
        assert client.get(f"{url}/raise").status_code == 500
        assert client.get(url).status_code == 200


# Clients that go away.


@pytest.mark.parametrize("leaves", ["closes", "half-closes", "resets"])
@pytest.mark.parametrize("request_bytes", [GET, POST + b"0123456789", POST + b"01"])
def test_application_hears_of_a_client_that_has_gone(leaves, request_bytes, caplog):
    waiting, over = threading.Event(), threading.Event()
    heard: list[Any] = []

    async def app(scope, receive, send):
        if scope["method"] == "POST":
            await receive()
        waiting.set()
        while not heard or heard[-1] != "http.disconnect":
            heard.append((await receive())["type"])
        try:
            await answer(send)
        except OSError as error:
            heard.append(type(error))
            raise
        finally:
            over.set()

    with serve_in_thread(on_http(app)) as url:
        client = connected(url)
        client.sendall(request_bytes)
        assert waiting.wait(PATIENCE)
        leave(client, leaves)
        assert over.wait(PATIENCE)
        client.close()
    assert heard[-2:] == ["http.disconnect", ClientDisconnected]
    assert not caplog.records


def leave(client: socket.socket, how: str) -> None:
    if how == "closes":
        client.close()
    elif how == "half-closes":
        client.shutdown(socket.SHUT_WR)
    else:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()


def test_application_hears_of_a_client_that_left_unread_bytes_behind():
    # Nobody reads the connection, and the bytes hide the end behind them.
    waiting, over = threading.Event(), threading.Event()

    async def app(scope, receive, send):
        waiting.set()
        event = await receive()
        assert event == {"type": "http.request", "body": b"", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}
        over.set()

    with serve_in_thread(on_http(app)) as url:
        client = connected(url)
        client.sendall(GET * 2)
        assert waiting.wait(PATIENCE)
        client.close()
        assert over.wait(PATIENCE)


@pytest.mark.parametrize("wrapped", ["bare", "cause", "group"])
def test_send_to_a_client_that_has_gone_raises_and_is_not_logged(wrapped, caplog):
    started, over = threading.Event(), threading.Event()

    async def stream(send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
            started.set()
            await asyncio.sleep(0)

    async def app(scope, receive, send):
        try:
            if wrapped == "group":
                import anyio

                async with anyio.create_task_group() as group:
                    group.start_soon(stream, send)
            else:
                await stream(send)
        except OSError as error:
            if wrapped == "bare":
                raise
            raise RuntimeError("the framework's own") from error
        finally:
            over.set()

    with serve_in_thread(on_http(app)) as url:
        with connected(url) as client:
            client.sendall(GET)
            assert started.wait(PATIENCE)
        assert over.wait(PATIENCE)
    assert not caplog.records


def test_error_of_the_application_itself_is_logged_although_the_client_has_gone(caplog):
    waiting = threading.Event()

    async def app(scope, receive, send):
        waiting.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        raise LookupError("a mistake of its own")

    with serve_in_thread(on_http(app)) as url, connected(url) as client:
        client.sendall(GET)
        assert waiting.wait(PATIENCE)
    assert "a mistake of its own" in caplog.text


@pytest.mark.parametrize("leaves", ["closes", "half-closes", "resets"])
def test_native_handler_is_cancelled_when_its_client_has_gone(leaves, caplog):
    app = Spikard()
    waiting, cancelled = threading.Event(), threading.Event()

    @app.get("/")
    async def wait() -> str:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "never"

    with serve_in_thread(app) as url:
        client = connected(url)
        client.sendall(GET)
        assert waiting.wait(PATIENCE)
        leave(client, leaves)
        assert cancelled.wait(PATIENCE)
        client.close()
    assert not caplog.records


def test_nothing_of_a_request_is_kept_after_it():
    class Marker:
        """Something that a request holds on to."""

    markers: list[weakref.ref[Marker]] = []
    tasks: list[int] = []

    async def app(scope, receive, send):
        scope["marker"] = marker = Marker()
        markers.append(weakref.ref(marker))
        if scope["path"] == "/tasks":
            reactor = asyncio.get_running_loop()._selector.reactor  # type: ignore[attr-defined]
            tasks.append(len(reactor.tasks()))
        elif scope["path"] == "/fails":
            await asyncio.sleep(0)
            raise LookupError("as asked")
        elif scope["path"] == "/waits":
            while (await receive())["type"] != "http.disconnect":
                pass
        await receive()
        with contextlib.suppress(OSError):
            await answer(send, bytes(100_000))

    logging.getLogger("spikard.error").setLevel(logging.CRITICAL)
    try:
        with serve_in_thread(on_http(app)) as url, httpx.Client(timeout=PATIENCE) as client:
            for _ in range(20):
                client.get(f"{url}/ends")
                client.get(f"{url}/fails")
                with connected(url) as gone:
                    gone.sendall(GET.replace(b"/ ", b"/waits "))
                with connected(url) as gone:
                    gone.sendall(GET)
                    gone.recv(1)
            while not tasks or tasks[-1] > 0:
                client.get(f"{url}/tasks")
    finally:
        logging.getLogger("spikard.error").setLevel(logging.NOTSET)
    gc.collect()
    assert len(markers) > 50
    assert [marker for marker in markers if marker() is not None] == []


# Inside a user's own loop.


def loops() -> list[Any]:
    return [
        pytest.param(asyncio.run, id="asyncio"),
        pytest.param(run_on_uvloop, id="uvloop"),
    ]


def run_on_uvloop(main) -> Any:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@contextlib.asynccontextmanager
async def served(app: Any, config: ServerConfig = ANY_PORT) -> Any:
    """Serve in a task of the running loop; yield its URL."""
    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve(app, config=config, on_ready=ready.set_result))
    await asyncio.wait([serving, ready], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not ready.done():
            await serving  # it raises why
        yield ready.result()
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@pytest.mark.parametrize("run", loops())
def test_serve_runs_the_application_on_the_loop_it_was_awaited_on(run):
    async def main() -> None:
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        phases = []

        async def app(scope, receive, send):
            assert asyncio.get_running_loop() is loop
            assert threading.get_ident() == thread
            if scope["type"] == "lifespan":
                for phase in ("startup", "shutdown"):
                    assert (await receive())["type"] == f"lifespan.{phase}"
                    phases.append(phase)
                    await send({"type": f"lifespan.{phase}.complete"})
                return
            body = b""
            while True:
                event = await receive()
                body += event["body"]
                if not event["more_body"]:
                    break
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for start in range(0, len(body), 30_000):
                chunk = body[start : start + 30_000]
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})

        async with served(app) as url, httpx.AsyncClient(timeout=PATIENCE) as client:
            bodies = [bytes([number]) * 100_000 for number in range(8)]
            answers = await asyncio.gather(*(client.post(url, content=body) for body in bodies))
            assert [each.content for each in answers] == bodies
            assert phases == ["startup"]
        assert phases == ["startup", "shutdown"]

    run(main())


@pytest.mark.parametrize("run", loops())
def test_serve_tells_the_application_of_a_client_that_has_gone(run):
    async def main() -> None:
        asked, heard = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            await receive()
            # A receive that is given up must not take the next event with it.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0.01)
            asked.set()
            assert await receive() == {"type": "http.disconnect"}
            with pytest.raises(ClientDisconnected):
                await answer(send)
            heard.set()

        async with served(on_http(app)) as url:
            with connected(url) as client:
                client.sendall(GET)
                await asyncio.wait_for(asked.wait(), PATIENCE)
            await asyncio.wait_for(heard.wait(), PATIENCE)

    run(main())


@pytest.mark.parametrize("run", loops())
def test_serve_finishes_requests_in_flight_when_it_is_cancelled(run):
    async def main() -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            asked.set()
            await go_on.wait()
            await answer(send)

        ready = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(
            serve(on_http(app), config=ANY_PORT, on_ready=ready.set_result)
        )
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answered = asyncio.ensure_future(client.get(await ready))
            await asyncio.wait_for(asked.wait(), PATIENCE)
            serving.cancel()
            await asyncio.sleep(0)
            go_on.set()
            assert (await answered).text == "answered"
        with pytest.raises(asyncio.CancelledError):
            await serving

    run(main())


@pytest.mark.parametrize("run", loops())
def test_files_are_sent_by_path_and_by_descriptor(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)

    async def app(scope, receive, send):
        assert {"http.response.pathsend", "http.response.zerocopysend"} <= {*scope["extensions"]}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/path":
            await send({"type": "http.response.pathsend", "path": str(path)})
            return
        with path.open("rb") as file:
            file.seek(256)
            part = {"type": "http.response.zerocopysend", "file": file}
            await send({**part, "count": 100_000, "more_body": True})
            assert file.tell() == 100_256
            await send(part)

    async def main() -> None:
        async with (
            served(on_http(app), ANY_PORT) as url,
            httpx.AsyncClient(timeout=PATIENCE) as client,
        ):
            whole = await client.get(f"{url}/path")
            rest = await client.get(f"{url}/descriptor")
        assert whole.headers["content-length"] == "256000"
        assert whole.content == path.read_bytes()
        assert rest.content == path.read_bytes()[256:]

    run(main())


@pytest.mark.parametrize("run", loops())
def test_serve_raises_what_the_start_up_raised(run):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        with pytest.raises(LifespanFailed, match="no database"):
            await serve(app, config=ANY_PORT)

    run(main())


class Numbers(msgspec.Struct):
    values: list[int]


@pytest.mark.parametrize("run", loops())
def test_spikard_application_serves_in_the_loop_under_the_given_configuration(run):
    app = Spikard(config=ServerConfig(max_body_size=10))

    @app.post("/total")
    async def total(numbers: Numbers) -> int:
        await asyncio.sleep(0)
        return sum(numbers.values)

    async def main() -> None:
        config = ServerConfig(port=0, max_body_size=100)
        async with served(app, config) as url, httpx.AsyncClient(timeout=PATIENCE) as client:
            small = await client.post(f"{url}/total", json={"values": [*range(10)]})
            large = await client.post(f"{url}/total", json={"values": [*range(100)]})
        assert (small.status_code, small.json()) == (200, 45)
        assert large.status_code == 413

    run(main())


def test_two_servers_share_a_loop_and_stop_in_any_order():
    async def app(scope, receive, send):
        await answer(send)

    async def main() -> None:
        async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
            await first.enter_async_context(served(on_http(app)))
            url = await second.enter_async_context(served(on_http(app)))
            await first.aclose()
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                assert (await client.get(url)).text == "answered"

    asyncio.run(main())


def test_serve_refuses_several_workers():
    with pytest.raises(ValueError, match="workers: expected 1 inside a running loop, got 2"):
        asyncio.run(serve(on_http(None), config=ServerConfig(workers=2)))


def test_handlers_that_outlive_their_connection_end_with_the_server():
    async def main() -> None:
        asked, ended = asyncio.Event(), []

        async def app(scope, receive, send):
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        async with served(on_http(app), ServerConfig(port=0, shutdown_timeout=0)) as url:
            with connected(url) as client:
                client.sendall(GET)
                await asyncio.wait_for(asked.wait(), PATIENCE)
        assert ended == [True]

    asyncio.run(main())


# In a thread.


def test_thread_ends_with_its_block_and_runs_the_lifespan():
    phases = []

    async def app(scope, receive, send):
        assert threading.current_thread().name == "spikard server"
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                phases.append(phase)
                await send({"type": f"lifespan.{phase}.complete"})
            return
        await answer(send)

    with serve_in_thread(app) as url:
        assert httpx.get(url, timeout=PATIENCE).text == "answered"
    assert phases == ["startup", "shutdown"]
    assert "spikard server" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=PATIENCE)


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_thread_hands_a_failed_lifespan_to_the_caller(phase):
    async def app(scope, receive, send):
        if phase == "shutdown":
            await receive()
            await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": f"lifespan.{phase}.failed", "message": "no database"})

    with pytest.raises(LifespanFailed, match="no database"), serve_in_thread(app):
        assert phase == "shutdown"


def test_thread_hands_a_port_in_use_to_the_caller():
    with serve_in_thread(on_http(None)) as url:
        port = urlsplit(url).port
        assert port
        with pytest.raises(ListenError, match="in use"), serve_in_thread(on_http(None), port):
            pass


def test_several_threads_serve_side_by_side():
    async def app(scope, receive, send):
        await asyncio.sleep(0)
        await answer(send, str(scope["server"][1]).encode())

    with serve_in_thread(on_http(app)) as one, serve_in_thread(on_http(app)) as other:
        for url in (one, other, one):
            assert httpx.get(url, timeout=PATIENCE).text == str(urlsplit(url).port)


# Programs that end.

PROGRAM = """
import asyncio, signal, sys
from spikard_asgi.server import serve
from spikard.config import ServerConfig

# What a shell starts in the background inherits that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})

async def main():
    await serve(app, config=ServerConfig(port=0), on_ready=lambda url: print(url, flush=True))
    print("served", flush=True)

if "uvloop" in sys.argv:
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@contextlib.contextmanager
def program(source: str, *arguments: str):
    """Run a Python program; end it whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, "served"), (signal.SIGINT, "interrupted")]
)
def test_signal_stops_a_server_in_a_users_loop_gracefully(loop, number, end):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with program(PROGRAM, loop) as process:
        url = process.stdout.readline().strip()
        assert httpx.get(url, timeout=PATIENCE).text == "answered"
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE) == (f"shut down\n{end}\n", "")
        assert process.returncode == 0


SHORT_LIFE = """
import asyncio, logging, socket, sys
from spikard.testing import serve_in_thread
from spikard_asgi.server import serve
from spikard.config import ServerConfig
from urllib.parse import urlsplit

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    left.append(asyncio.ensure_future(asyncio.sleep(3600)))
    if scope["path"] == "/wait":
        await asyncio.Event().wait()
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})

def ask(url, path):
    client = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 20)
    client.sendall(b"GET %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % path)
    if path == b"/":
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        client.close()
    clients.append(client)

async def main():
    ready = asyncio.get_running_loop().create_future()
    config = ServerConfig(port=0, shutdown_timeout=0)
    serving = asyncio.ensure_future(serve(app, config=config, on_ready=ready.set_result))
    url = await ready
    await asyncio.to_thread(ask, url, b"/")
    await asyncio.to_thread(ask, url, b"/wait")
    serving.cancel()
    await asyncio.wait([serving])

left, clients = [], []
logging.getLogger("spikard").setLevel(logging.ERROR)
if sys.argv[1] == "loop":
    asyncio.run(main())
elif sys.argv[1] == "thread":
    with serve_in_thread(app, config=ServerConfig(shutdown_timeout=0)) as url:
        ask(url, b"/")
        ask(url, b"/wait")
else:
    abandoned = serve_in_thread(app, config=ServerConfig(shutdown_timeout=0))
    ask(abandoned.__enter__(), b"/")
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["loop", "thread", "abandoned"])
def test_short_lived_programs_end_without_a_word(way):
    # With a connection open, a request in flight and a task left behind, in 3 times 68 programs.
    def run(ends):
        for _ in range(34):
            with program(SHORT_LIFE, way) as process:
                said = process.communicate(timeout=PATIENCE)
                ends.append((process.returncode, *said))

    ends: list[tuple[int, str, str]] = []
    runners = [threading.Thread(target=run, args=(ends,)) for _ in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert ends == [(0, "", "")] * 68
