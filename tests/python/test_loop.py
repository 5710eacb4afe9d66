"""`spikard._loop`: asyncio on the reactor does what asyncio does.

Several cases are regression tests of traps that this design has; docs/architecture.md lists them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from spikard._loop import ReactorSelector, can_host, new_event_loop, reactor_on
from spikard.testing import serve_in_thread

PATIENCE = 20  # seconds, for anything that should happen at all


def answering(function) -> Any:
    """Return an ASGI application that answers with the text that `await function(scope)` gives."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        text = str(await function(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    return app


def answer_of(function) -> str:
    """Serve `function` for one request and return the answer."""
    with serve_in_thread(answering(function)) as url:
        response = httpx.get(url, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    return response.text


async def a_task_is_running_from_the_first_step(scope):
    task = asyncio.current_task()
    assert task in asyncio.all_tasks()
    await asyncio.sleep(0)
    assert asyncio.current_task() is task
    return "done"


async def timeout_ends_a_wait(scope):
    if sys.version_info < (3, 11):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
    return "done"


async def anyio_task_group_and_cancel_scope(scope):
    gathered = []

    async def work(number):
        await anyio.sleep(0.001 * number)
        gathered.append(number)

    async with anyio.create_task_group() as group:
        for number in (2, 1, 0):
            group.start_soon(work, number)
    with anyio.move_on_after(0.01) as limit:
        await anyio.sleep_forever()
    assert limit.cancelled_caught
    assert sorted(gathered) == [0, 1, 2]
    return "done"


async def a_thread_of_the_executor(scope):
    name = contextvars.ContextVar("name", default="none")
    name.set("request")
    assert await asyncio.to_thread(name.get) == "request"
    assert await asyncio.to_thread(threading.get_ident) != threading.get_ident()
    return "done"


async def a_process(scope):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print('from a process')", stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert said == b"from a process\n"
    return "done"


async def call_later_in_order(scope):
    loop = asyncio.get_running_loop()
    called: list[str] = []
    last = loop.create_future()
    loop.call_later(0.02, last.set_result, None)
    loop.call_later(0.01, called.append, "later")
    loop.call_soon(called.append, "soon")
    await last
    assert called == ["soon", "later"]
    return "done"


async def call_soon_threadsafe_wakes_the_loop(scope):
    loop = asyncio.get_running_loop()
    woken = loop.create_future()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(woken.set_result, "done"))
    thread.start()
    said = await woken
    thread.join()
    return said


async def a_reader_that_takes_one_of_ten_bytes(scope):
    # The reactor hears of the inner selector edge-triggered: nine bytes must not be forgotten.
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        taken, all_taken = [], loop.create_future()

        def take_one():
            taken.append(near.recv(1))
            if len(taken) == 10:
                all_taken.set_result(None)

        loop.add_reader(near, take_one)
        far.send(b"0123456789")
        await all_taken
        loop.remove_reader(near)
    assert b"".join(taken) == b"0123456789"
    return "done"


async def streams_of_asyncio(scope):
    async def echo(reader, writer):
        writer.write(await reader.readexactly(100_000))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(100_000))
        assert await reader.readexactly(100_000) == bytes(100_000)
        writer.close()
        await writer.wait_closed()
    return "done"


async def a_timer_after_the_loop_has_thrown_many_away(scope):
    # asyncio then puts a new list in the place of its heap of timers.
    loop = asyncio.get_running_loop()
    for timer in [loop.call_later(3600, print) for _ in range(300)]:
        timer.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return "done"


@pytest.mark.parametrize(
    "behaviour",
    [
        a_task_is_running_from_the_first_step,
        timeout_ends_a_wait,
        anyio_task_group_and_cancel_scope,
        a_thread_of_the_executor,
        a_process,
        call_later_in_order,
        call_soon_threadsafe_wakes_the_loop,
        a_reader_that_takes_one_of_ten_bytes,
        streams_of_asyncio,
        a_timer_after_the_loop_has_thrown_many_away,
    ],
    ids=lambda function: function.__name__,
)
def test_a_handler_may_use(behaviour):
    assert answer_of(behaviour) == "done"


def test_an_http_client_inside_a_handler_reaches_the_same_server():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        body = b"inner"
        if scope["path"] == "/outer":
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                host, port = scope["server"]
                body = b"outer " + (await client.get(f"http://{host}:{port}/inner")).content
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    with serve_in_thread(app) as url:
        assert httpx.get(f"{url}/outer", timeout=PATIENCE).text == "outer inner"


def test_context_variables_of_a_request_stay_its_own():
    seen = contextvars.ContextVar("seen", default="nothing")

    async def mark(scope):
        before = seen.get()
        seen.set(scope["path"])
        await asyncio.sleep(0)
        return f"{before} {seen.get()}"

    with serve_in_thread(answering(mark)) as url, httpx.Client(timeout=PATIENCE) as client:
        for path in ("/1", "/2", "/3"):
            assert client.get(url + path).text == f"nothing {path}"


@pytest.mark.parametrize("what", ["timer", "task", "timer after many"])
def test_what_a_handler_leaves_behind_runs_without_another_request(what, monkeypatch):
    monkeypatch.setattr("spikard._thread.ORPHAN_CHECK_SECONDS", 3600)  # nothing else wakes the loop
    ran = threading.Event()
    left = []

    async def run_later() -> None:
        await asyncio.sleep(0.01)
        ran.set()

    async def leave(scope):
        loop = asyncio.get_running_loop()
        if scope["path"] == "/many":
            for timer in [loop.call_later(3600, print) for _ in range(300)]:
                timer.cancel()
            await asyncio.sleep(0)  # a turn in which the loop throws them away
        elif what == "task":
            left.append(loop.create_task(run_later()))
        else:
            loop.call_later(0.01, ran.set)
        return "left"

    with serve_in_thread(answering(leave)) as url, httpx.Client(timeout=PATIENCE) as client:
        if what == "timer after many":
            client.get(f"{url}/many")
        assert client.get(url).text == "left"
        assert ran.wait(PATIENCE)


def test_python_thread_runs_while_the_server_waits():
    # It could not if the reactor kept the GIL while parked.
    with serve_in_thread(answering(a_task_is_running_from_the_first_step)) as url:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        with socket.create_connection((host, port), PATIENCE) as idle:
            assert sum(range(100_000)) == 4_999_950_000
            idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(15) == b"HTTP/1.1 200 OK"


BUSY_SERVER = """
import asyncio, threading, time
from spikard import Spikard
from spikard.config import ServerConfig

app = Spikard()
turns = 0

@app.get("/turns")
async def read_turns() -> int:
    return turns

def work():
    global turns
    while True:
        turns += 1
        time.sleep(0)  # gives the GIL up: one count is one turn

threading.Thread(target=work, daemon=True).start()
from spikard_asgi.server import serve
config = ServerConfig(port=0, max_requests_per_connection=1_000_000)
asyncio.run(serve(app, config=config, on_ready=lambda url: print(url, flush=True)))
"""


def test_python_thread_gets_its_turn_while_the_server_is_always_busy():
    # Requests that Rust answers alone, in one go: the reactor does not park between them. They are
    # enough for many turns of 5 ms however fast the build is.
    requests = 40_000
    with program(BUSY_SERVER) as process:
        url = urlsplit(process.stdout.readline().strip())
        with socket.create_connection((url.hostname, url.port), PATIENCE) as connection:
            count = b"GET /turns HTTP/1.1\r\nHost: x\r\n\r\n"
            missing = b"HEAD /missing HTTP/1.1\r\nHost: x\r\n\r\n"
            content = count + missing * requests + count
            sending = threading.Thread(target=connection.sendall, args=(content,))
            sending.start()
            stream = connection.makefile("rb")
            first = int(response_body(stream))
            for _ in range(requests):
                response_body(stream, is_head=True)
            last = int(response_body(stream))
            sending.join()
        # The handler's own step gives the GIL up once or twice.
        assert last - first > 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def response_body(stream: IO[bytes], *, is_head: bool = False) -> bytes:
    length = 0
    while (line := stream.readline().strip()) != b"":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return b"" if is_head else stream.read(length)


def test_sockets_are_served_while_asyncio_is_always_busy():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            spinning = asyncio.get_running_loop().create_task(spin())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            spinning.cancel()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b"".join([event["body"] async for event in body_events(receive)])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def spin() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)  # to be busy is its purpose

    with serve_in_thread(app) as url, httpx.Client(timeout=PATIENCE) as client:
        for _ in range(20):
            assert client.post(url, content=bytes(100_000)).content == bytes(100_000)


async def body_events(receive: Any) -> Any:
    while True:
        event = await receive()
        yield event
        if not event["more_body"]:
            return


def test_asyncio_goes_on_while_sockets_are_always_busy():
    # A reader, a timer and call_soon each get 50 turns while clients never stop asking.
    async def count(scope):
        if scope["path"] != "/count":
            return "busy"
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            for _ in range(50):
                far.send(b"x")
                assert await loop.sock_recv(near, 1) == b"x"
                await asyncio.sleep(0.0001)
                await asyncio.sleep(0)
        return "counted"

    stop = threading.Event()

    def ask(url):
        with httpx.Client(timeout=PATIENCE) as client:
            while not stop.is_set():
                client.get(f"{url}/busy")

    with serve_in_thread(answering(count)) as url:
        clients = [threading.Thread(target=ask, args=(url,)) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            assert httpx.get(f"{url}/count", timeout=PATIENCE).text == "counted"
        finally:
            stop.set()
            for client in clients:
                client.join()


def test_debug_mode_of_asyncio_works():
    async def in_debug_mode(scope):
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        await asyncio.sleep(0.001)
        await asyncio.to_thread(os.getpid)
        return "debug"

    with serve_in_thread(answering(in_debug_mode)) as url, httpx.Client(timeout=PATIENCE) as client:
        assert [client.get(url).text for _ in range(3)] == ["debug"] * 3


# The loop gets back what was changed on it.


def test_loop_is_as_before_when_the_reactor_has_gone():
    loop: Any = asyncio.SelectorEventLoop()
    try:
        before = {**vars(loop)}
        with reactor_on(loop):
            assert loop.run_until_complete(asyncio.sleep(0.001, "ran")) == "ran"
        assert vars(loop)["_selector"] is before["_selector"]
        assert "call_soon" not in vars(loop)
        assert loop.run_until_complete(asyncio.sleep(0.001, "ran")) == "ran"
    finally:
        loop.close()


def test_call_soon_that_somebody_had_set_comes_back():
    loop: Any = asyncio.SelectorEventLoop()
    try:
        own = loop.call_soon
        loop.call_soon = own
        with reactor_on(loop):
            loop.run_until_complete(asyncio.sleep(0))
        assert vars(loop)["call_soon"] is own
    finally:
        loop.close()


def test_reactor_is_shared_until_its_last_user_leaves():
    loop: Any = asyncio.SelectorEventLoop()
    try:
        with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
            reactor = first.enter_context(reactor_on(loop))
            assert second.enter_context(reactor_on(loop)) is reactor
            first.close()
            assert loop.run_until_complete(asyncio.sleep(0.001, "ran")) == "ran"
            assert loop._selector.reactor is reactor
        assert not isinstance(loop._selector, ReactorSelector)
    finally:
        loop.close()


def test_second_loop_of_a_thread_is_refused_while_the_first_has_a_reactor():
    first, second = new_event_loop(), new_event_loop()
    try:
        with (
            reactor_on(first),
            pytest.raises(RuntimeError, match="has a reactor"),
            reactor_on(second),
        ):
            pass
        with reactor_on(second):
            second.run_until_complete(asyncio.sleep(0))
    finally:
        first.close()
        second.close()


def test_loop_without_a_selector_cannot_host():
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        assert not can_host(loop)
        wanted = pytest.raises(RuntimeError, match="expected an event loop with a selector")
        with wanted, reactor_on(loop):
            pass
    finally:
        loop.close()


def test_selector_without_a_descriptor_cannot_host():
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        assert not can_host(loop)
    finally:
        loop.close()


# Signals, in programs of their own.

SIGNALLED = """
import asyncio, os, signal
from spikard._loop import new_event_loop, reactor_on

async def main():
    seen = asyncio.get_running_loop().create_future()
    signal.signal(signal.SIGUSR1, lambda *_: seen.set_result("seen"))
    print("ready", flush=True)
    print(await seen, flush=True)

loop = new_event_loop()
with reactor_on(loop):
    loop.run_until_complete(main())
loop.close()
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


def test_python_signal_handler_runs_while_the_server_waits():
    with program(SIGNALLED) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.communicate(timeout=PATIENCE) == ("seen\n", "")
        assert process.returncode == 0
