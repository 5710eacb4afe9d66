"""Group T and B10: TLS peers that stall, speak old versions or show no certificate; certificates that change."""

from __future__ import annotations

import re
import shutil
import signal
import ssl
import struct
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import certificates
from conformance.case import MUST, SHOULD, USED
from conformance.client import Connection
from conformance.faults.suite import SUITE
from conformance.http2_client import Http2
from conformance.server import Options
from conformance.verdict import NotApplicableError, broken, check, equal, eventually

if TYPE_CHECKING:
    from conformance.trial import Trial

NEEDS = {"tls"}
TLS = Options(tls=True)
SHRUNK = Options(tls=True, shrunk_timers=True)
ALERT = 0x15


def hello(
    version: int, suites: tuple[int, ...] = (0xC02F, 0xC02B, 0x009C, 0x002F, 0x000A)
) -> bytes:
    """Return a ClientHello without extensions, which offers nothing above `version`."""
    offered = b"".join(struct.pack("!H", suite) for suite in suites)
    body = (
        struct.pack("!H", version)
        + bytes(32)
        + b"\0"
        + struct.pack("!H", len(offered))
        + offered
        + b"\x01\0"
    )
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


def plain(trial: Trial) -> Connection:
    """Open a TCP connection to the TLS port."""
    trial.connections += 1
    return trial.enter_context(Connection(trial.server.address))


@SUITE.case(
    "T01", MUST, "old versions and weak suites end in an alert", needs=NEEDS, on=TLS, hostile=True
)
def old_versions(trial: Trial) -> None:
    for name, data in {
        "SSL 3.0": hello(0x0300),
        "TLS 1.0": hello(0x0301),
        "TLS 1.1": hello(0x0302),
        "NULL suites": hello(0x0303, (0x0000, 0x0001, 0x0002)),
        "EXPORT suites": hello(0x0303, (0x0003, 0x0008)),
        "SSL 2.0": bytes.fromhex(
            "802e010002001500000010010080020080030080040080050080060040070 0c0".replace(" ", "")
        )
        + bytes(16),
        "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    }.items():
        connection = plain(trial)
        connection.send(data)
        answer = connection.rest()
        check(
            not answer or answer[0] == ALERT or answer.startswith(b"HTTP/1.1 400"),
            f"{name} is answered with {answer[:20]!r}",
        )


@SUITE.case("T02", MUST, "TLS 1.2 and 1.3 are spoken, HTTP/1.1 by ALPN", needs=NEEDS, on=TLS)
def versions(trial: Trial) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certificates.client_context()
        context.minimum_version = context.maximum_version = version
        with Connection(trial.server.address, tls=context) as connection:
            equal(connection.ask("/ping").status, 200, "status")
            equal(connection.tls_version(), version.name.replace("_", "."), "version")
            assert isinstance(connection.socket, ssl.SSLSocket)  # noqa: S101 - the context was given
            equal(connection.socket.selected_alpn_protocol(), "http/1.1", "ALPN")


@SUITE.case(
    "T03",
    MUST,
    "HTTP/2 by ALPN; an ALPN without a common protocol is refused",
    needs={"tls", "http2"},
    on=TLS,
)
def alpn(trial: Trial) -> None:
    connection = Connection(
        trial.server.address, tls=certificates.client_context(alpn=("h2", "http/1.1"))
    )
    trial.enter_context(connection)
    assert isinstance(connection.socket, ssl.SSLSocket)  # noqa: S101 - the context was given
    equal(connection.socket.selected_alpn_protocol(), "h2", "ALPN")
    Http2(trial, connection=connection).ask("scope")
    scope = trial.seen("scope")
    equal((scope["http_version"], scope["scheme"]), ("2", "https"), "http_version and scheme")
    check("tls" in scope.get("extensions", {}), "tls is not offered")
    try:
        with Connection(
            trial.server.address, tls=certificates.client_context(alpn=("smtp",))
        ) as other:
            other.ask("/ping")
    except ssl.SSLError:
        return
    broken("a foreign ALPN protocol is taken")


@SUITE.case(
    "B10",
    MUST,
    "a handshake that stalls is ended",
    needs={"tls", "timers"},
    on=SHRUNK,
    hostile=True,
)
def stalled_handshake(trial: Trial) -> None:
    for data in (b"", hello(0x0303)[:6]):
        connection = plain(trial)
        connection.send(data)
        connection.closed(within=3)


def s_client(trial: Trial, said: bytes, *options: str) -> str:
    """Return what OpenSSL's client shows of a connection on which it says `said`, up to its end."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise NotApplicableError("no openssl on this machine")
    trial.connections += 1
    host, port = trial.server.address[:2]
    line = [openssl, "s_client", "-connect", f"{host}:{port}", *options]
    client = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with client:
        timer = threading.Timer(10, client.kill)
        timer.start()
        shown = b""
        if client.stdin and client.stdout:
            client.stdin.write(said)
            client.stdin.flush()  # and stays open: the client would leave at its end
            shown = client.stdout.read()
        timer.cancel()
    return shown.decode(errors="replace")


@SUITE.case("T04", SHOULD, "renegotiation is refused", needs=NEEDS, on=TLS, hostile=True)
def renegotiation(trial: Trial) -> None:
    shown = s_client(trial, b"R\n", "-tls1_2")
    check("RENEGOTIATING" in shown, "the client did not try")
    after = shown[shown.index("RENEGOTIATING") :]
    check("eof" in after or "no renegotiation" in after, f"not refused: {after}")


@SUITE.case("T12", USED, "no early data (0-RTT) is taken", needs=NEEDS, on=TLS)
def early_data(trial: Trial) -> None:
    request = b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    shown = s_client(trial, request, "-tls1_3", "-ign_eof")
    check("HTTP/1.1 200" in shown, "no answer")
    tickets = re.findall(r"Max Early Data: (\d+)", shown)
    check(bool(tickets), "no session ticket was shown")
    equal(set(tickets), {"0"}, "bytes of early data that tickets allow")


SUITE.left_out("T05", "a handshake that stalls", "B10 is the same")


@SUITE.case("T06", MUST, "a TLS connection that is cut is a disconnect", needs=NEEDS, on=TLS)
def cut(trial: Trial) -> None:
    for leave in (Connection.close, Connection.reset):
        trial.new_tag()
        connection = trial.connect()
        connection.request(trial.target("receive-for-ever"))
        trial.seen("called")
        leave(connection)
        trial.seen("again", timeout=1)


@SUITE.case(
    "T10",
    MUST,
    "SIGHUP changes the certificate; a broken one is refused and logged",
    needs={"tls", "timers"},
)
def reload(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory, "cert.pem"), Path(directory, "key.pem")

        def install(chain: certificates.Chain) -> None:
            shutil.copy(chain.certificate, certificate)
            shutil.copy(chain.key, key)

        install(certificates.server(1))
        server = trial.start(Options(tls=True, certificate=str(certificate), key=str(key)))
        old = trial.connect(server=server)
        equal(_serial(old), 2, "serial number")
        install(certificates.server(2))
        server.signal(signal.SIGHUP)
        check(server.wait_exit(within=0.2) is None, "SIGHUP ended the server")
        eventually(
            lambda: _new_serial(trial, server.address) == 3, "the new certificate is not in use"
        )
        equal(old.ask("/ping").status, 200, "status on the old connection")
        certificate.write_text("broken")
        server.mark_log()
        server.signal(signal.SIGHUP)
        eventually(
            lambda: bool(server.log_since_mark().strip()), "the broken certificate is not logged"
        )
        equal(_new_serial(trial, server.address), 3, "serial number after a broken reload")


def _serial(connection: Connection) -> int:
    assert isinstance(connection.socket, ssl.SSLSocket)  # noqa: S101 - only used over TLS
    return int(str((connection.socket.getpeercert() or {}).get("serialNumber")), 16)


def _new_serial(trial: Trial, address: object) -> int:
    assert isinstance(address, tuple)  # noqa: S101 - these servers listen on TCP
    with Connection(address, tls=certificates.client_context()) as connection:
        return _serial(connection)


@SUITE.case(
    "T11",
    MUST,
    "client certificates: demanded, checked and shown to the application",
    needs={"tls", "timers"},
)
def client_certificates(trial: Trial) -> None:
    arguments = ("--ssl-ca-certs", str(certificates.authority()), "--ssl-cert-reqs", "required")
    server = trial.start(Options(tls=True, arguments=arguments), ready=False)
    chain = certificates.client()
    context = certificates.client_context(certificate=chain)
    eventually(
        lambda: _connects(server.address, context), "no connection with a certificate", within=10
    )
    with Connection(server.address, tls=context) as connection:
        connection.ask(trial.target("scope"))
    found = trial.seen("scope")["extensions"]["tls"]
    leaf = found["client_cert_chain"][0].strip()  # OpenSSL sends the authority behind it
    equal(leaf, chain.certificate.read_text().strip(), "client_cert_chain[0]")
    equal(found["client_cert_name"], "CN=client", "client_cert_name")
    trial.new_tag()
    try:
        with Connection(server.address, tls=certificates.client_context()) as connection:
            connection.request(trial.target("scope"))
            check(connection.outcome() is None, "a client without a certificate is answered")
    except ssl.SSLError:
        pass
    equal(trial.observer.all(trial.tag, "called"), [], "calls without a certificate")


def _connects(address: object, context: ssl.SSLContext) -> bool:
    assert isinstance(address, tuple)  # noqa: S101 - these servers listen on TCP
    try:
        with Connection(address, tls=context) as connection:
            return connection.ask("/ping").status == 200
    except OSError:
        return False
