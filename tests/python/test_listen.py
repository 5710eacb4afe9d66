"""`spikard._listen`: sockets that clients reach, or one line that says why not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from spikard import _listen, config
from spikard.config import ServerConfig


@pytest.fixture
def bind(monkeypatch):
    """Return `_listen.bind` for keyword arguments; what it returns is closed at the end."""
    monkeypatch.setattr(config, "NOT_BUILT", frozenset())
    made: list[_listen.Listeners] = []

    def bind(**fields):
        made.append(_listen.bind(ServerConfig(**fields)))
        return made[-1]

    yield bind
    for listeners in made:
        listeners.close()


def port_of(listeners: _listen.Listeners) -> int:
    return int(listeners.per_worker[0][0].getsockname()[1])


def test_port_zero_takes_a_free_one_and_the_url_names_it(bind):
    listeners = bind(port=0)
    assert listeners.url == f"http://127.0.0.1:{port_of(listeners)}"
    socket.create_connection(("127.0.0.1", port_of(listeners)), timeout=5).close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SO_REUSEPORT balances on Linux")
def test_each_worker_has_its_own_socket_on_the_same_port(bind):
    listeners = bind(port=0, workers=3)
    sockets = [item for items in listeners.per_worker for item in items]
    assert len({item.fileno() for item in sockets}) == 3
    assert len({item.getsockname() for item in sockets}) == 1


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_url_has_brackets(bind):
    try:
        listeners = bind(host="::1", port=0)
    except _listen.ListenError:
        pytest.skip("this machine has no IPv6 address")
    assert listeners.url == f"http://[::1]:{port_of(listeners)}"


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_port_in_use_is_refused_whatever_the_workers(bind, first, second):
    port = port_of(bind(port=0, workers=first))
    with pytest.raises(_listen.ListenError, match="in use") as raised:
        bind(port=port, workers=second)
    assert str(port) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "message"),
    [("host.invalid", "no such host"), ("203.0.113.1", "no such address"), ("a" * 70, "no such")],
)
def test_bad_host_is_named(bind, host, message):
    with pytest.raises(_listen.ListenError, match=message) as raised:
        bind(host=host, port=0)
    assert host in str(raised.value)


def test_unix_socket_is_removed_when_closed(bind, tmp_path):
    path = tmp_path / "s"
    listeners = bind(uds=path, workers=2)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listeners.close()
    assert not path.exists()


def test_unix_socket_of_a_successor_is_left_alone(bind, tmp_path):
    path = tmp_path / "s"
    first = bind(uds=path)
    path.rename(tmp_path / "moved")
    bind(uds=path)
    first.close()
    assert path.exists()


def test_stale_unix_socket_is_replaced(bind, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    bind(uds=tmp_path / "s")


def test_unix_socket_in_use_is_refused(bind, tmp_path):
    bind(uds=tmp_path / "s")
    with pytest.raises(_listen.ListenError, match="another server is listening"):
        bind(uds=tmp_path / "s")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_text("data")])
def test_file_that_is_no_socket_is_never_removed(bind, tmp_path, make):
    make(tmp_path / "s")
    with pytest.raises(_listen.ListenError, match="is not a socket"):
        bind(uds=tmp_path / "s")
    assert (tmp_path / "s").exists()


def test_unix_socket_in_a_missing_directory_is_refused(bind, tmp_path):
    with pytest.raises(_listen.ListenError, match="No such file"):
        bind(uds=tmp_path / "none" / "s")


def test_inherited_descriptor_is_shared_by_the_workers(bind):
    with socket.create_server(("127.0.0.1", 0)) as given:
        listeners = bind(fd=given.fileno(), workers=2)
        assert port_of(listeners) == given.getsockname()[1]


ACTIVATED = """
import os, sys
from spikard._listen import ListenError, bind
from spikard.config import ServerConfig

os.environ["LISTEN_PID"] = str(os.getpid())  # the service manager knows it before it starts us
try:
    listeners = bind(ServerConfig(workers=2))
except ListenError as error:
    sys.exit(str(error))
assert not {name for name in os.environ if name.startswith("LISTEN_")}
print([[item.getsockname() for item in items] for items in listeners.per_worker])
"""


def activated(*sockets: socket.socket, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds these sockets at descriptor 3 and above."""
    moves = "".join(f"{3 + index}<&{item.fileno()} " for index, item in enumerate(sockets))
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {moves}', "bash", sys.executable, "-c", ACTIVATED],
        pass_fds=[item.fileno() for item in sockets],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=20,
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash moves the descriptors")
def test_sockets_of_a_service_manager_are_shared_by_the_workers():
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        names = [first.getsockname(), second.getsockname()]
        done = activated(first, second, LISTEN_FDS="2", LISTEN_FDNAMES="a:b")
    assert (done.stdout, done.stderr) == (f"{[names, names]}\n", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash moves the descriptors")
def test_what_a_service_manager_did_not_hand_over_is_refused():
    assert "descriptor 3: " in activated(LISTEN_FDS="1").stderr
    assert "LISTEN_FDS: expected a number" in activated(LISTEN_FDS="many").stderr


def test_sockets_for_another_process_are_left_alone(bind, monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    listeners = bind(port=0)
    assert listeners.url == f"http://127.0.0.1:{port_of(listeners)}"
    assert os.environ["LISTEN_FDS"] == "1"


def test_descriptor_that_is_no_socket_is_refused(bind):
    reader, writer = os.pipe()
    try:
        with pytest.raises(_listen.ListenError, match=f"descriptor {reader}"):
            bind(fd=reader)
    finally:
        os.close(reader)
        os.close(writer)
