"""Connected sockets on the reactor's loop: the same as on asyncio's own, callback by callback."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import os
import socket
import ssl
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from spikard._loop import new_event_loop, reactor_on
from spikard._transport import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

SECONDS = 20


@pytest.fixture(params=["asyncio", "reactor"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine function on asyncio's own loop, and on the reactor's."""
    on_reactor = request.param == "reactor"
    loop = new_event_loop() if on_reactor else asyncio.SelectorEventLoop()

    def runner(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        bounded = asyncio.wait_for(main(), SECONDS)
        if not on_reactor:
            return loop.run_until_complete(bounded)
        with reactor_on(loop):
            return loop.run_until_complete(bounded)

    yield runner
    loop.close()


class Recorder(asyncio.Protocol):
    """Notes what asyncio calls."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.data = b""
        self.transport: Any = None
        self.ended: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.seen.append("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.data += data
        self.more.set()

    def eof_received(self) -> bool | None:
        self.seen.append("eof")
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.seen.append(("lost", type(exc)))
        self.ended.set_result(exc)

    async def received(self, count: int) -> bytes:
        while len(self.data) < count:
            self.more.clear()
            await self.more.wait()
        return self.data


async def connected(protocol: Callable[[], asyncio.BaseProtocol]) -> tuple[Any, Any, socket.socket]:
    """Return a transport, its protocol and the other end, which does not block."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, made = await asyncio.get_running_loop().create_connection(protocol, sock=ours)
    return transport, made, theirs


def test_the_reactors_loop_has_transports_of_its_own() -> None:
    loop = new_event_loop()

    async def main() -> type:
        transport, _, theirs = await connected(Recorder)
        transport.abort()
        theirs.close()
        return type(transport)

    with reactor_on(loop):
        assert loop.run_until_complete(main()) is SocketTransport
    loop.close()


def test_echo_through_streams(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            writer.writelines([b"(", line.rstrip(), b")\n"])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> list[bytes]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            lines = []
            for n in range(100):
                writer.write(b"line %d\n" % n)
                lines += [await reader.readline(), await reader.readline()]
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        return lines

    assert run(main) == [
        each for n in range(100) for each in (b"LINE %d\n" % n, b"(line %d)\n" % n)
    ]


def test_large_bodies_both_ways(run: Run) -> None:
    size = 8 * 1024 * 1024
    content = os.urandom(size)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(size))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for start in range(0, size, 100_000):
                writer.write(content[start : start + 100_000])
                await writer.drain()
            answer = await reader.read(-1)
            writer.close()
            await writer.wait_closed()
            return answer

    assert run(main) == content


def test_writes_that_the_socket_does_not_take_are_kept_in_order(run: Run) -> None:
    pieces = [bytes([n % 256]) * 70_001 for n in range(60)]

    async def main() -> tuple[bool, bytes]:
        transport, _, theirs = await connected(Recorder)
        for n, piece in enumerate(pieces):
            if n % 3 == 0:
                transport.writelines([piece[:5], piece[5:]])
            else:
                transport.write(piece if n % 3 == 1 else memoryview(piece))
        waits = transport.get_write_buffer_size() > 0
        transport.close()
        loop, got = asyncio.get_running_loop(), bytearray()
        while data := await loop.sock_recv(theirs, 1 << 20):
            got += data
        theirs.close()
        return waits, bytes(got)

    assert run(main) == (True, b"".join(pieces))


def test_the_protocol_is_told_to_pause_and_to_resume(run: Run) -> None:
    class Pausing(Recorder):
        def pause_writing(self) -> None:
            self.seen.append("pause")

        def resume_writing(self) -> None:
            self.seen.append("resume")
            self.more.set()

    async def main() -> list[Any]:
        transport, protocol, theirs = await connected(Pausing)
        transport.set_write_buffer_limits(high=1000, low=10)
        transport.write(b"x" * 4_000_000)
        loop, left = asyncio.get_running_loop(), 4_000_000
        while left:
            left -= len(await loop.sock_recv(theirs, 1 << 20))
        await protocol.more.wait()
        transport.close()
        await protocol.ended
        theirs.close()
        return list(protocol.seen)

    assert run(main) == ["made", "pause", "resume", ("lost", type(None))]


def test_reading_pauses_and_resumes(run: Run) -> None:
    async def main() -> None:
        transport, protocol, theirs = await connected(Recorder)
        theirs.send(b"one")
        await protocol.received(3)
        transport.pause_reading()
        assert not transport.is_reading()
        theirs.send(b"two")
        for _ in range(20):
            await asyncio.sleep(0)
        assert protocol.data == b"one"
        transport.resume_reading()
        assert await protocol.received(6) == b"onetwo"
        transport.close()
        await protocol.ended
        theirs.close()

    run(main)


def test_pausing_within_data_received_stops_at_once(run: Run) -> None:
    class Once(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> list[int]:
        transport, protocol, theirs = await connected(Once)
        theirs.setblocking(True)
        theirs.send(b"a" * 10)
        await protocol.received(10)
        theirs.send(b"b" * 10)
        sizes = [len(protocol.data)]
        transport.resume_reading()
        await protocol.received(20)
        sizes.append(len(protocol.data))
        transport.close()
        await protocol.ended
        theirs.close()
        return sizes

    assert run(main) == [10, 20]


def test_half_closed_by_the_peer_and_kept_open(run: Run) -> None:
    class Keeping(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            self.more.set()
            return True

    async def main() -> tuple[list[Any], bytes]:
        transport, protocol, theirs = await connected(Keeping)
        theirs.send(b"last words")
        theirs.shutdown(socket.SHUT_WR)
        await protocol.received(10)
        while "eof" not in protocol.seen:
            protocol.more.clear()
            await protocol.more.wait()
        transport.write(b"answer")
        answer = await asyncio.get_running_loop().sock_recv(theirs, 100)
        transport.close()
        await protocol.ended
        theirs.close()
        return protocol.seen, answer

    assert run(main) == (["made", "eof", ("lost", type(None))], b"answer")


def test_the_peers_end_closes(run: Run) -> None:
    async def main() -> list[Any]:
        _, protocol, theirs = await connected(Recorder)
        theirs.close()
        await protocol.ended
        return list(protocol.seen)

    assert run(main) == ["made", "eof", ("lost", type(None))]


def test_a_reset_is_told(run: Run) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            _, protocol = await loop.create_connection(Recorder, *listener.getsockname())
            theirs, _ = listener.accept()
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        theirs.close()
        error: Any = await protocol.ended
        return [*protocol.seen, error.errno]

    assert run(main) == ["made", ("lost", ConnectionResetError), errno.ECONNRESET]


@pytest.mark.parametrize("write", ["write", "writelines"])
def test_writing_to_a_peer_that_has_gone(run: Run, write: str) -> None:
    async def main() -> list[Any]:
        transport, protocol, theirs = await connected(Recorder)
        transport.pause_reading()
        theirs.close()
        data: Any = b"x" if write == "write" else [b"x", b"y"]
        getattr(transport, write)(data)
        error = await protocol.ended
        return [*protocol.seen, error.errno]

    assert run(main) == ["made", ("lost", BrokenPipeError), errno.EPIPE]


def test_what_data_received_raises_ends_the_connection_and_is_reported(run: Run) -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("broken")

    async def main() -> tuple[list[Any], list[Any]]:
        reported: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        transport, protocol, theirs = await connected(Broken)
        theirs.send(b"x")
        await protocol.ended
        theirs.close()
        assert reported[0]["transport"] is transport
        assert reported[0]["protocol"] is protocol
        return protocol.seen, [(each["message"], str(each["exception"])) for each in reported]

    assert run(main) == (
        ["made", ("lost", ValueError)],
        [("Fatal error: protocol.data_received() call failed.", "broken")],
    )


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
def test_an_exit_leaves_the_loop(run: Run, raised: type[BaseException]) -> None:
    class Leaving(Recorder):
        def data_received(self, data: bytes) -> None:
            raise raised

    made: list[Any] = []
    main_task: list[asyncio.Task[Any] | None] = []

    async def main() -> None:
        main_task.append(asyncio.current_task())
        made.extend(await connected(Leaving))
        made[2].send(b"x")
        await asyncio.Event().wait()

    async def clean() -> None:
        own = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not own and task in waiting:
                task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        made[0].abort()
        await made[1].ended
        made[2].close()

    with pytest.raises(raised):
        run(main)
    waiting = [task for task in main_task if task is not None]
    run(clean)


def test_callbacks_run_in_the_context_of_the_connecting_task(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Looking(Recorder):
        def data_received(self, data: bytes) -> None:
            assert asyncio.current_task() is None
            assert asyncio.get_running_loop() is self.ended.get_loop()
            seen.append(variable.get())
            variable.set("changed within")
            super().data_received(data)

    async def main() -> str:
        variable.set("the task's")
        transport, protocol, theirs = await connected(Looking)
        for n in range(2):
            theirs.send(b"x")
            await protocol.received(n + 1)
        transport.close()
        await protocol.ended
        theirs.close()
        return variable.get()

    assert run(main) == "the task's"
    assert seen == ["the task's", "changed within"]


def test_the_protocol_may_change_while_it_reads(run: Run) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.room = bytearray(4)
            self.data = b""
            self.more = asyncio.Event()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.room

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.room[:nbytes]
            self.more.set()

    async def main() -> tuple[bytes, bytes, bytes]:
        transport, first, theirs = await connected(Recorder)
        theirs.send(b"first")
        await first.received(5)
        second = Buffered()
        transport.set_protocol(second)
        theirs.send(b"second")
        while len(second.data) < 6:
            second.more.clear()
            await second.more.wait()
        third = Recorder()
        transport.set_protocol(third)
        assert transport.get_protocol() is third
        theirs.send(b"third")
        await third.received(5)
        transport.close()
        await third.ended
        theirs.close()
        return first.data, second.data, third.data

    assert run(main) == (b"first", b"second", b"third")


def test_the_number_of_a_closed_socket_is_free_for_the_next(run: Run) -> None:
    async def main() -> int:
        count = 0
        for n in range(50):
            transport, protocol, theirs = await connected(Recorder)
            theirs.send(b"%d" % n)
            await protocol.received(1)
            count += 1
            transport.abort() if n % 2 else transport.close()
            await protocol.ended
            theirs.close()
        return count

    assert run(main) == 50


def test_misuse_raises_as_in_asyncio(run: Run) -> None:
    async def main() -> list[str]:
        transport, protocol, theirs = await connected(Recorder)
        said = []
        for wrong in ("text", None):
            with pytest.raises(TypeError) as raised:
                transport.write(wrong)
            said.append(str(raised.value))
        transport.write(b"")
        transport.writelines([])
        transport.write_eof()
        for write, data in ((transport.write, b"x"), (transport.writelines, [b"x"])):
            with pytest.raises(RuntimeError) as late:
                write(data)
            said.append(str(late.value))
        transport.close()
        await protocol.ended
        theirs.close()
        return said

    said = run(main)
    assert len(said) == 4
    assert "str" in said[0]
    assert "write_eof" in said[2]


def test_writes_after_the_end_are_dropped(run: Run) -> None:
    async def main() -> list[Any]:
        transport, protocol, theirs = await connected(Recorder)
        transport.close()
        transport.write(b"closing")
        await protocol.ended
        transport.set_protocol(protocol)
        transport.write(b"after the end")
        data = await asyncio.get_running_loop().sock_recv(theirs, 100)
        theirs.close()
        return [data, *protocol.seen]

    assert run(main) == [b"", "made", ("lost", type(None))]


def test_a_transport_needs_the_garbage_collector_no_more_than_asyncios() -> None:
    async def main() -> weakref.ref[Any]:
        transport, protocol, theirs = await connected(Recorder)
        theirs.send(b"x")
        await protocol.received(1)
        transport.close()
        await protocol.ended
        protocol.transport = None
        theirs.close()
        return weakref.ref(transport)

    def is_freed(loop: asyncio.AbstractEventLoop) -> bool:
        gone = loop.run_until_complete(main())
        loop.run_until_complete(asyncio.sleep(0))
        return gone() is None

    plain, ours = asyncio.SelectorEventLoop(), new_event_loop()
    gc.disable()
    try:
        with reactor_on(ours):
            assert is_freed(ours) or not is_freed(plain)
    finally:
        gc.enable()
        plain.close()
        ours.close()


def test_transports_go_on_when_the_server_has_gone_and_when_it_comes() -> None:
    loop = new_event_loop()

    async def exchange(protocol: Recorder, theirs: socket.socket) -> bytes:
        before = len(protocol.data)
        theirs.send(b"x")
        return await asyncio.wait_for(protocol.received(before + 1), SECONDS)

    _, protocol, theirs = loop.run_until_complete(connected(Recorder))
    for _ in range(2):
        loop.run_until_complete(exchange(protocol, theirs))
        with reactor_on(loop):
            loop.run_until_complete(exchange(protocol, theirs))
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            loop.run_until_complete(exchange(protocol, theirs))
    loop.run_until_complete(exchange(protocol, theirs))
    assert protocol.data == b"x" * 7
    protocol.transport.close()
    loop.run_until_complete(protocol.ended)
    theirs.close()
    loop.close()


def test_debug_mode_uses_asyncios_own_reading() -> None:
    loop = new_event_loop()
    loop.set_debug(True)

    async def main() -> bytes:
        transport, protocol, theirs = await connected(Recorder)
        theirs.send(b"x")
        data: bytes = await protocol.received(1)
        transport.close()
        await protocol.ended
        theirs.close()
        return data

    with reactor_on(loop):
        assert loop.run_until_complete(main()) == b"x"
        assert not loop._reading  # type: ignore[attr-defined]
    loop.close()


def test_an_upgrade_to_tls(run: Run) -> None:
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)

    async def upgrade(plain: Recorder) -> None:
        await plain.received(9)
        plain.transport.write(b"go\n")
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(plain.transport, Recorder(), server_side, server_side=True)
        assert transport is not None
        transport.write(b"secret\n")
        transport.close()

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        upgrading = []

        class Serving(Recorder):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                upgrading.append(asyncio.ensure_future(upgrade(self)))

        server = await loop.create_server(Serving, "127.0.0.1", 0)
        async with server:
            transport, protocol = await loop.create_connection(
                Recorder, *server.sockets[0].getsockname()
            )
            transport.write(b"STARTTLS\n")
            await protocol.received(3)
            later = Recorder()
            upgraded = await loop.start_tls(
                transport, later, client_side, server_hostname="127.0.0.1"
            )
            assert upgraded is not None
            data = await later.received(7)
            upgraded.close()
            await asyncio.gather(*upgrading)
            return data

    assert run(main) == b"secret\n"


def test_a_file_is_sent_by_the_kernel(run: Run, tmp_path: Any) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await connected(Recorder)

        async def receive() -> bytes:
            got = b""
            while len(got) < len(content) + 10:
                got += await loop.sock_recv(theirs, 1 << 20)
            return got

        receiving = asyncio.ensure_future(receive())
        transport.write(b"head:")
        with (tmp_path / "file").open("rb") as file:
            await loop.sendfile(transport, file)
        transport.write(b":tail")
        got = await receiving
        theirs.send(b"still reads")
        await protocol.received(11)
        transport.close()
        await protocol.ended
        theirs.close()
        return got

    assert run(main) == b"head:" + content + b":tail"


@pytest.mark.parametrize("ending", ["close", "abort", "write_eof"])
def test_small_writes_are_made_before_the_end(run: Run, ending: str) -> None:
    async def main() -> bytes:
        transport, protocol, theirs = await connected(Recorder)
        for n in range(10):  # more than are written at once
            transport.write(b"%d" % n)
        transport.writelines([b"a", b"b"])
        getattr(transport, ending)()
        loop, got = asyncio.get_running_loop(), b""
        while data := await loop.sock_recv(theirs, 100):
            got += data
        theirs.close()
        await protocol.ended
        return got

    assert run(main) == b"0123456789ab"


def test_small_writes_of_many_transports_in_one_step(run: Run) -> None:
    async def main() -> list[bytes]:
        every = [await connected(Recorder) for _ in range(8)]
        for n in range(3):
            for transport, _, _ in every:
                transport.writelines([b"%d" % n, b"-"])
        loop = asyncio.get_running_loop()
        answers = []
        for transport, protocol, theirs in every:
            got = b""
            while len(got) < 6:
                got += await loop.sock_recv(theirs, 100)
            answers.append(got)
            transport.close()
            await protocol.ended
            theirs.close()
        return answers

    assert run(main) == [b"0-1-2-"] * 8


def test_small_and_large_writes_stay_in_order(run: Run) -> None:
    pieces: list[Any] = [
        b"a" * 10,
        bytearray(b"b" * 10),
        b"c" * 30_000,
        b"d" * 10,
        b"",
        [b"e", b"", memoryview(b"f")],
        [b"%d" % n for n in range(200)],
        b"g" * 2_000_000,
        b"h" * 10,
        [b"i" * 5, b"j" * 5],
    ]
    content = b"".join(b"".join(each) if isinstance(each, list) else each for each in pieces)

    async def main() -> bytes:
        transport, protocol, theirs = await connected(Recorder)
        for _ in range(5):  # whichever is the third write of a turn
            for piece in pieces:
                (transport.writelines if isinstance(piece, list) else transport.write)(piece)
        loop, got = asyncio.get_running_loop(), bytearray()
        while len(got) < 5 * len(content):
            got += await loop.sock_recv(theirs, 1 << 20)
        transport.close()
        await protocol.ended
        theirs.close()
        return bytes(got)

    assert run(main) == content * 5


def test_the_size_of_the_buffer_is_what_the_socket_has_not_taken(run: Run) -> None:
    async def main() -> list[int]:
        transport, protocol, theirs = await connected(Recorder)
        sizes = []
        for _ in range(4):
            transport.write(b"x" * 100)
            sizes.append(transport.get_write_buffer_size())
        transport.write(b"x" * 4_000_000)
        left = 4_000_400 - transport.get_write_buffer_size()
        theirs.setblocking(True)
        while left > 0:
            left -= len(theirs.recv(left))
        transport.abort()
        await protocol.ended
        theirs.close()
        return sizes

    assert run(main) == [0, 0, 0, 0]


def test_what_is_written_in_the_last_step_of_the_loop_is_sent(run: Run) -> None:
    made: list[Any] = []

    async def write() -> None:
        made.extend(await connected(Recorder))
        for n in range(5):
            made[0].write(b"%d" % n)

    async def end() -> None:
        made[0].close()
        await made[1].ended

    run(write)
    assert made[2].recv(100) == b"01234"
    run(end)
    made[2].close()


def test_a_later_turn_writes_again(run: Run) -> None:
    async def main() -> bytes:
        transport, protocol, theirs = await connected(Recorder)
        loop, got = asyncio.get_running_loop(), b""
        for n in range(6):
            for _ in range(n):
                transport.write(b"%d" % n)
            while len(got) < sum(range(n + 1)):
                got += await loop.sock_recv(theirs, 100)
        transport.close()
        await protocol.ended
        theirs.close()
        return got

    assert run(main) == b"".join(b"%d" % n * n for n in range(6))


def test_writing_to_peers_that_have_gone_in_one_step(run: Run) -> None:
    async def main() -> list[Any]:
        every = [await connected(Recorder) for _ in range(5)]
        for transport, _, theirs in every:
            transport.pause_reading()
            theirs.close()
        for transport, _, _ in every:
            transport.write(b"x")
        return [type(await protocol.ended) for _, protocol, _ in every]

    assert run(main) == [BrokenPipeError] * 5


def test_a_write_from_another_thread_goes_out(run: Run) -> None:
    async def main() -> bytes:
        transport, protocol, theirs = await connected(Recorder)
        await asyncio.to_thread(transport.write, b"not asyncio's rule, but it works there")
        got = await asyncio.get_running_loop().sock_recv(theirs, 100)
        transport.close()
        await protocol.ended
        theirs.close()
        return got

    assert run(main) == b"not asyncio's rule, but it works there"


def test_a_lost_transport_keeps_nothing() -> None:
    loop = new_event_loop()

    async def main() -> Any:
        transport, protocol, theirs = await connected(Recorder)
        transport.write(b"x")
        transport.close()
        await protocol.ended
        theirs.close()
        transport.write(b"too late")  # asyncio takes it, and warns from the fifth on
        transport.close()
        transport.abort()
        return transport.io

    with reactor_on(loop):
        assert loop.run_until_complete(main()) is None
    loop.close()
