"""The sockets that the server listens on, bound once by the process that the user started.

On Linux each worker has its own SO_REUSEPORT socket, over which the kernel spreads connections;
elsewhere all workers share one. They stay open in the parent, so that connections that wait in the
queue of a worker that died are served by its successor.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikard.config import ServerConfig

_HINTS = {
    errno.EADDRINUSE: "it is in use; stop the other program, or choose another with --port",
    errno.EACCES: "not allowed; ports below 1024 need a privilege",
    errno.EPERM: "not allowed; ports below 1024 need a privilege",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


_FIRST_ACTIVATED = 3


class ListenError(Exception):
    """The server cannot listen where it should; the message says why in one line."""


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """Listening sockets.

    Attributes:
        per_worker: For each worker its sockets, one per address; workers may share them.
        url: Where a client finds the server.
        path: The Unix socket's file, which `close` removes.
    """

    per_worker: list[list[socket.socket]]
    url: str
    path: str | None = None
    inode: int | None = None

    def close(self) -> None:
        """Close the sockets, and remove the Unix socket's file if it is still ours."""
        for sockets in self.per_worker:
            for item in sockets:
                item.close()
        if self.path is not None:
            with suppress(OSError):
                if os.stat(self.path).st_ino == self.inode:
                    os.unlink(self.path)


def bind(config: ServerConfig) -> Listeners:
    """Return the listening sockets that the configuration asks for.

    Raises:
        ListenError: An address is in use, not allowed or not there.
    """
    scheme = "http" if config.tls is None else "https"
    if config.fd is not None:
        return _inherited(config, scheme, [config.fd])
    if config.uds is not None:
        return _unix(config, scheme)
    activated = _activated()
    if activated:
        return _inherited(config, scheme, activated)
    return _tcp(config, scheme)


def _activated() -> list[int]:
    """Return the descriptors that systemd hands over to a service with a socket unit.

    They begin at 3; `LISTEN_FDS` says how many, `LISTEN_PID` for whom (sd_listen_fds(3)). The
    variables are taken out of the environment, because what the application starts is not meant.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    number = os.environ.get("LISTEN_FDS", "0")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if not number.isdecimal():
        raise ListenError(f"LISTEN_FDS: expected a number of descriptors, got {number!r}")
    descriptors = [*range(_FIRST_ACTIVATED, _FIRST_ACTIVATED + int(number))]
    for descriptor in descriptors:
        with suppress(OSError):  # one that is not open is named later
            os.set_inheritable(descriptor, False)
    return descriptors


def _inherited(config: ServerConfig, scheme: str, descriptors: list[int]) -> Listeners:
    shared: list[socket.socket] = []
    with ExitStack() as opened:
        for descriptor in descriptors:
            try:
                shared.append(socket.socket(fileno=os.dup(descriptor)))
                opened.callback(shared[-1].close)
                shared[-1].listen(config.backlog)
            except OSError as error:
                reason = error.strerror
                raise ListenError(f"cannot listen on descriptor {descriptor}: {reason}") from None
            shared[-1].setblocking(False)
        opened.pop_all()
    name = shared[0].getsockname()
    url = f"unix:{name}" if isinstance(name, str) else _url(scheme, name[0], name[1])
    return Listeners(per_worker=[shared] * config.workers, url=url)


def _unix(config: ServerConfig, scheme: str) -> Listeners:
    path = str(config.uds)
    _remove_stale(path)
    shared = socket.socket(socket.AF_UNIX)
    try:
        shared.bind(path)
        shared.listen(config.backlog)
    except OSError as error:
        shared.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    shared.setblocking(False)
    return Listeners(
        per_worker=[[shared]] * config.workers,
        url=f"{scheme}+unix:{path}",
        path=path,
        inode=os.stat(path).st_ino,
    )


def _remove_stale(path: str) -> None:
    """Remove a socket file that no process listens on any more; refuse to touch anything else."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on {path}: the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
        else:
            raise ListenError(f"cannot listen on {path}: another server is listening there")


def _tcp(config: ServerConfig, scheme: str) -> Listeners:
    try:
        found = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise ListenError(f"cannot listen on {config.host}: no such host") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    per_worker: list[list[socket.socket]] = [[] for _ in range(config.workers)]
    port = config.port
    with ExitStack() as bound:
        for family, address in addresses:
            sockets = _tcp_address(config, family, (address[0], port, *address[2:]))
            for item in sockets:
                bound.callback(item.close)
            for number in range(config.workers):
                per_worker[number].append(sockets[number % len(sockets)])
            port = sockets[0].getsockname()[1]
        bound.pop_all()
    return Listeners(per_worker=per_worker, url=_url(scheme, str(addresses[0][1][0]), port))


def _tcp_address(
    config: ServerConfig, family: socket.AddressFamily, address: tuple[object, ...]
) -> list[socket.socket]:
    if config.workers == 1 or not sys.platform.startswith("linux"):
        return [_bound(family, address, backlog=config.backlog, reuse_port=False)]
    if address[1]:
        # SO_REUSEPORT alone would let two servers of one user share a port unnoticed.
        _bound(family, address, backlog=None, reuse_port=False).close()
    sockets = [_bound(family, address, backlog=config.backlog, reuse_port=True)]
    name = sockets[0].getsockname()
    sockets += [
        _bound(family, name, backlog=config.backlog, reuse_port=True)
        for _ in range(1, config.workers)
    ]
    return sockets


def _bound(
    family: socket.AddressFamily,
    address: tuple[object, ...],
    *,
    backlog: int | None,
    reuse_port: bool,
) -> socket.socket:
    """Return a bound socket, listening unless `backlog` is None."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
        if backlog is not None:
            made.listen(backlog)
    except (OSError, OverflowError) as error:
        made.close()
        number = error.errno if isinstance(error, OSError) else None
        reason = _HINTS.get(number or 0, str(error))
        raise ListenError(f"cannot listen on {address[0]} port {address[1]}: {reason}") from None
    made.setblocking(False)
    return made


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
