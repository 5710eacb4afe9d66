"""The server under test: how it is started for a case, and the process with its log, memory and health."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import certificates
from conformance.client import Address, Connection
from conformance.observer import VARIABLE
from conformance.verdict import BrokenError, NotApplicableError, broken, check

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

ROOT = Path(__file__).resolve().parent.parent
APP = "conformance.asgi.apps:app"
START_SECONDS = 15.0
STOP_SECONDS = 10.0

# What a case can ask of a server; found out from its `--help` or by trying, see `Command.capabilities`.
CAPABILITIES = frozenset(
    {
        "http2",
        "websocket",
        "tls",
        "uds",
        "root-path",
        "workers",
        "timers",
        "lifespan-mode",
        "trusted-proxies",
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a server is started. Equal options share one process within a suite.

    Attributes:
        app: `module:attribute` of the application.
        root_path: prefix under which a proxy is said to mount the application.
        environment: further environment variables as (name, value) pairs.
        certificate, key: PEM files other than the run's own.
        port: a port to insist on; 0 takes a free one.
        open_files: limit of open descriptors, 0 for the system's.
        output: what standard output is: the `log`, a `full` pipe that nobody reads, or a `closed` one.
        file_bytes: limit of a file's length, 0 for the system's.
        arguments: further command-line arguments, for flags that only spikard has.
        shrunk_timers: limits of seconds rather than tens of seconds, for the cases that wait for them.
    """

    app: str = APP
    root_path: str = ""
    uds: bool = False
    tls: bool = False
    certificate: str = ""
    key: str = ""
    workers: int = 1
    lifespan: str = "auto"
    trusted_proxies: str = ""
    access_log: bool = False
    port: int = 0
    open_files: int = 0
    output: str = "log"
    file_bytes: int = 0
    shrunk_timers: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()


DEFAULT = Options()

_SHRUNK = {
    "SPIKARD_PROTOCOL_DETECT_TIMEOUT": "0.6",
    "SPIKARD_HEADER_TIMEOUT": "0.8",
    "SPIKARD_BODY_TIMEOUT": "0.8",
    "SPIKARD_TIMEOUT_KEEP_ALIVE": "0.8",
    "SPIKARD_TIMEOUT_GRACEFUL_SHUTDOWN": "2",
    "SPIKARD_TLS_HANDSHAKE_TIMEOUT": "0.8",
    "SPIKARD_WRITE_STALL_TIMEOUT": "1",
    "SPIKARD_H2_STALL_TIMEOUT": "1",
    "SPIKARD_WS_PING_INTERVAL": "0.5",
    "SPIKARD_WS_PING_TIMEOUT": "0.5",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """How a server spells its options; an empty tuple where it has no such flag."""

    default: str
    bind: tuple[str, ...] = ("--host", "127.0.0.1", "--port", "{port}")
    always: tuple[str, ...] = ()
    root_path: tuple[str, ...] = ("--root-path", "{}")
    uds: tuple[str, ...] = ("--uds", "{}")
    tls: tuple[str, ...] = ("--ssl-certfile", "{cert}", "--ssl-keyfile", "{key}")
    workers: tuple[str, ...] = ("--workers", "{}")
    lifespan: tuple[str, ...] = ("--lifespan", "{}")
    trusted_proxies: tuple[str, ...] = ("--forwarded-allow-ips", "{}")
    access_log: tuple[str, ...] = ("--access-log",)
    no_access_log: tuple[str, ...] = ("--no-access-log",)


KNOWN = {
    "spikard": Flags(default="spikard {app} --host 127.0.0.1 --port {port}"),
    "uvicorn": Flags(
        default="uvicorn {app} --host 127.0.0.1 --port {port}",
        no_access_log=("--no-access-log", "--log-level", "warning"),
    ),
    "granian": Flags(
        default="granian {app} --interface asgi --no-respawn-failed-workers --host 127.0.0.1 --port {port}",
        root_path=("--url-path-prefix", "{}"),
        tls=("--ssl-certificate", "{cert}", "--ssl-keyfile", "{key}"),
        lifespan=(),
        trusted_proxies=(),
    ),
    "hypercorn": Flags(
        default="hypercorn {app} --bind 127.0.0.1:{port}",
        bind=("--bind", "127.0.0.1:{port}"),
        tls=("--certfile", "{cert}", "--keyfile", "{key}"),
        uds=("--bind", "unix:{}"),
        lifespan=(),
        trusted_proxies=(),
        access_log=("--access-logfile", "-"),
        no_access_log=(),
    ),
}


class Command:
    """A server's command line: a name such as `spikard`, or a template with `{app}` and `{port}`."""

    def __init__(self, text: str) -> None:
        self.name = Path(shlex.split(text)[0]).name
        if self.name.startswith("python"):
            self.name = next(word for word in shlex.split(text) if word in KNOWN)
        self._flags = KNOWN.get(self.name, KNOWN["uvicorn"])
        words = shlex.split(
            text if "{app}" in text else self._flags.default.replace(self.name, text, 1)
        )
        self._words = _executable(words)
        self.capabilities = self._announced()

    def line(self, options: Options, port: int, uds: str) -> list[str]:
        """Return the words that start the server with `options`."""
        flags = self._flags
        words = self._words
        if options.uds:
            words = _without(words, flags.bind)
        words = [word.replace("{app}", options.app).replace("{port}", str(port)) for word in words]
        wanted = [
            (options.uds, flags.uds, uds),
            (options.root_path, flags.root_path, options.root_path),
            (options.workers > 1, flags.workers, str(options.workers)),
            (options.lifespan != "auto", flags.lifespan, options.lifespan),
            (options.trusted_proxies, flags.trusted_proxies, options.trusted_proxies),
            (options.tls, flags.tls, ""),
            (options.access_log, flags.access_log, ""),
            (not options.access_log, flags.no_access_log, ""),
        ]
        certificate, key = options.certificate, options.key
        if options.tls and not certificate:
            chain = certificates.server()
            certificate, key = str(chain.certificate), str(chain.key)
        for on, template, value in wanted:
            if on:
                words += [word.format(value, cert=certificate, key=key) for word in template]
        return [*words, *options.arguments]

    def environment(self, options: Options, observer: str) -> dict[str, str]:
        """Return the environment in which the server runs."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        shrunk = self._shrunk if options.shrunk_timers else {}
        return {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            VARIABLE: observer,
            **shrunk,
            **dict(options.environment),
        }

    def _announced(self) -> frozenset[str]:
        words = [word for word in self._words if "{" not in word and not word.startswith("-")]
        prefix = (
            words[: 3 if "-m" in self._words[:2] else 1]
            if "-m" not in self._words
            else self._words[:3]
        )
        try:
            text = subprocess.run(
                [*prefix, "--help"],
                capture_output=True,
                text=True,
                timeout=START_SECONDS,
                check=False,
            ).stdout
        except OSError as error:
            raise SystemExit(f"conformance: cannot run {prefix[0]}: {error.strerror}") from None
        self._shrunk = {name: value for name, value in _SHRUNK.items() if _flag(name) in text}
        flags = self._flags
        by_flag = {
            "tls": flags.tls,
            "uds": flags.uds,
            "root-path": flags.root_path,
            "workers": flags.workers,
            "lifespan-mode": flags.lifespan,
            "trusted-proxies": flags.trusted_proxies,
        }
        found = {name for name, words in by_flag.items() if words and words[0] in text}
        return frozenset(found | ({"timers"} if self.name == "spikard" else set()))


class Server:
    """A running server process; ask it for an address, and for signs of damage."""

    def __init__(self, command: Command, options: Options, observer: str) -> None:
        self.options = options
        self._directory = tempfile.TemporaryDirectory(prefix="conformance-server-")
        self._log = Path(self._directory.name, "log")
        self._seen = 0
        uds = str(Path(self._directory.name, "socket"))
        port = 0 if options.uds else options.port or _free_port()
        self.address: Address = uds if options.uds else ("127.0.0.1", port)
        self._pipe = contextlib.ExitStack()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                _limited(command.line(options, port, uds), options),
                stdin=subprocess.DEVNULL,
                stdout=log if options.output == "log" else self._deaf(options.output),
                stderr=log,
                env=command.environment(options, observer),
                cwd=ROOT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _deaf(self, output: str) -> int:
        """Return the writing end of a pipe that nobody reads."""
        reader, writer = os.pipe()
        self._pipe.callback(os.close, writer)
        if output == "closed":
            os.close(reader)
            return writer
        self._pipe.callback(os.close, reader)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(writer, bytes(65536)):
                pass
        os.set_blocking(writer, True)
        return writer

    def connect(self, *, receive_buffer: int | None = None) -> Connection:
        """Open a connection, over TLS if the server speaks it."""
        tls = certificates.client_context() if self.options.tls else None
        return Connection(self.address, tls=tls, receive_buffer=receive_buffer)

    def wait_ready(self) -> None:
        """Wait until it accepts connections.

        Raises:
            BrokenError: it ended instead, or took too long.
        """
        for _ in range(int(START_SECONDS / 0.02)):
            with contextlib.suppress(OSError), self.connect():
                return
            if self.wait_exit(within=0.02) is not None:
                broken(f"the server ended with {self.process.returncode}: {self.last_line()}")
        broken(f"the server did not listen within {START_SECONDS:g} s")

    def wait_exit(self, *, within: float) -> int | None:
        """Return the exit code, or None if the process still runs after `within` seconds."""
        try:
            return self.process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            return None

    def ping(self, *, within: float = 2.0) -> str:
        """Return the worker's process id as the application answers it on a fresh connection.

        Raises:
            BrokenError: no proper answer within `within` seconds.
        """
        try:
            with self.connect() as connection:
                connection.request("/ping", headers=["Connection: close"])
                answer = connection.response(within=within)
        except (OSError, BrokenError) as error:
            raise BrokenError(f"/ping: {error}") from None
        check(answer.status == 200, f"/ping answers {answer.status}")
        return answer.body.decode()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the parent process."""
        self.process.send_signal(number)

    def log(self) -> str:
        """Return everything it has printed."""
        return self._log.read_text(errors="replace")

    def log_since_mark(self) -> str:
        """Return what it has printed since the last `mark_log`."""
        return self._log.read_bytes()[self._seen :].decode(errors="replace")

    def mark_log(self) -> None:
        """Begin a new section of the log."""
        self._seen = self._log.stat().st_size

    def last_line(self) -> str:
        """Return the last line of the log that is not blank."""
        return next(
            (line.strip() for line in reversed(self.log().splitlines()) if line.strip()),
            "(no output)",
        )

    def pids(self) -> list[int]:
        """Return the ids of the server's processes, the parent first."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += map(int, (task / "children").read_text().split())
        return found

    def memory(self) -> int:
        """Return the resident bytes of all its processes."""
        pages = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End every process of the server, politely at first."""
        if self.process.poll() is None:
            self.process.terminate()
            self.wait_exit(within=STOP_SECONDS if self.options.shrunk_timers else 3.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the group is this server's own session
        self.process.wait()
        self._pipe.close()
        self._directory.cleanup()


def _flag(variable: str) -> str:
    return "--" + variable.removeprefix("SPIKARD_").lower().replace("_", "-")


def _limited(words: list[str], options: Options) -> list[str]:
    limits = [f"ulimit -n {options.open_files}"] if options.open_files else []
    # In blocks of 512 bytes (POSIX).
    limits += [f"ulimit -f {options.file_bytes // 512}"] if options.file_bytes else []
    return ["sh", "-c", " && ".join([*limits, 'exec "$@"']), "sh", *words] if limits else words


def _executable(words: list[str]) -> list[str]:
    beside = Path(sys.executable).with_name(words[0])
    if beside.exists():
        return [str(beside), *words[1:]]
    if shutil.which(words[0]):
        return words
    return [sys.executable, "-m", *words]


def _without(words: list[str], bind: tuple[str, ...]) -> list[str]:
    for start in range(len(words)):
        if tuple(words[start : start + len(bind)]) == bind:
            return words[:start] + words[start + len(bind) :]
    raise NotApplicableError(
        "its command line names a port in a way that cannot be replaced by a socket path"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
