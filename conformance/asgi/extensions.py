"""Rows E1 to E8: extensions. An extension that a server does not offer is not applicable, one that it offers has to work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance import certificates
from conformance.asgi.suite import SUITE
from conformance.case import MUST, USED
from conformance.http2_client import Http2
from conformance.server import Options
from conformance.verdict import NotApplicableError, check, equal
from conformance.websocket_client import handshake, refusal

if TYPE_CHECKING:
    from conformance.trial import Trial

CONTENT = b"0123456789"
LONG = 1_000_000  # more than any buffer on the way


def offered(trial: Trial, name: str, *headers: str) -> None:
    """End the trial unless an HTTP/1.1 request with these headers is offered the extension."""
    if name not in trial.scope(headers=headers).get("extensions", {}):
        raise NotApplicableError(f"{name} is not offered")
    trial.new_tag()


def outcomes(trial: Trial, *, count: int = 1) -> list[object]:
    """Return the outcomes of the sends that the handler attempted."""
    return trial.all_seen("sent", count=count)


@SUITE.case(
    "E1",
    MUST,
    "websocket.http.response: a denial with headers and a streamed body",
    needs={"websocket"},
)
def denial(trial: Trial) -> None:
    if "websocket.http.response" not in _websocket_extensions(trial):
        raise NotApplicableError("websocket.http.response is not offered")
    trial.new_tag()
    answer = refusal(trial, "ws-send", "/deny")
    equal((answer.status, answer.body), (401, b"no way"), "answer")
    equal(answer.all(b"x-a"), [b"1", b"2"], "headers")
    equal(
        answer.all(b"upgrade") + answer.all(b"sec-websocket-accept"),
        [],
        "headers of an accepted handshake",
    )
    for script in ("deny-101", "deny-then-accept", "deny-after-accept"):
        trial.new_tag()
        handshake(trial, "ws-send", f"/{script}")
        trial.seen("done")
        check(trial.observer.all(trial.tag, "sent")[-1] is not None, f"{script}: send took it")


def _websocket_extensions(trial: Trial) -> dict[str, object]:
    trial.new_tag()
    connection, _ = handshake(trial, "ws-scope")
    connection.close()
    extensions: dict[str, object] = trial.seen("scope").get("extensions", {})
    return extensions


@SUITE.case("E2", MUST, "http.response.pathsend: a whole file by its path")
def pathsend(trial: Trial) -> None:
    offered(trial, "http.response.pathsend")
    connection = trial.connect()
    answer = connection.ask(trial.target("pathsend"))
    equal((answer.status, answer.body), (200, CONTENT), "answer")
    equal(
        connection.ask(trial.target("pathsend"), method="HEAD").header(b"content-length"),
        b"10",
        "content-length of HEAD",
    )
    equal(connection.ask("/ping").status, 200, "status of the next request")
    trial.new_tag()
    answer = trial.ask("pathsend", "/long")
    equal((len(answer.body), answer.body[-7:]), (LONG, b"the end"), "length and end of a long one")
    if "http2" in trial.capabilities:
        trial.new_tag()
        equal(Http2(trial).ask("pathsend").body, CONTENT, "body over HTTP/2")
        trial.new_tag()
        over_http2 = Http2(trial).ask("pathsend", "/long").body
        equal((len(over_http2), over_http2[-7:]), (LONG, b"the end"), "a long one over HTTP/2")
    if "tls" in trial.capabilities:
        server = trial.start(Options(tls=True))
        trial.new_tag()
        over_tls = trial.connect(server=server).ask(trial.target("pathsend", "/long")).body
        equal((len(over_tls), over_tls[-7:]), (LONG, b"the end"), "a long one over TLS")
    for mistake in ("directory", "missing", "relative", "twice"):
        trial.new_tag()
        trial.connect().request(trial.target("pathsend", f"/{mistake}"))
        sent = outcomes(trial, count=2 if mistake == "twice" else 1)
        if mistake != "twice":  # ignored after the complete response, as any message
            check(sent[-1] is not None, f"{mistake}: send took it")


@SUITE.case(
    "E3", MUST, "http.response.zerocopysend: parts of an open file, mixed with body messages"
)
def zerocopysend(trial: Trial) -> None:
    offered(trial, "http.response.zerocopysend")
    for suffix in ("/fd", "/object"):
        trial.new_tag()
        equal(trial.ask("zerocopysend", suffix).body, b"345-789", f"body from {suffix}")
        equal(outcomes(trial, count=3), [None] * 3, "outcomes of send")
        equal(trial.seen("file-open"), True, "the file is the application's to close")
        equal(trial.seen("position"), 10, "the file's position afterwards")
    trial.new_tag()
    trial.connect().request(trial.target("zerocopysend", "/pipe"))
    check(outcomes(trial)[0] is not None, "send took a pipe")
    if "http2" in trial.capabilities:
        trial.new_tag()
        equal(Http2(trial).ask("zerocopysend", "/fd").body, b"345-789", "body over HTTP/2")
    if "tls" in trial.capabilities:
        server = trial.start(Options(tls=True))
        trial.new_tag()
        equal(
            trial.connect(server=server).ask(trial.target("zerocopysend", "/fd")).body,
            b"345-789",
            "body over TLS",
        )


SUITE.left_out("E4", "http.response.push", "left out on purpose: browsers dropped it")


@SUITE.case(
    "E5", MUST, "http.response.early_hint: 103 with links, several times, never to HTTP/1.0"
)
def early_hint(trial: Trial) -> None:
    offered(trial, "http.response.early_hint")
    _check_hints(trial.ask("early-hint").interim)
    trial.new_tag()
    equal(trial.ask("early-hint", version="1.0").interim, [], "interim answers to HTTP/1.0")
    if "http2" in trial.capabilities:
        trial.new_tag()
        _check_hints(Http2(trial).ask("early-hint").interim)


def _check_hints(interim: object) -> None:
    assert isinstance(interim, list)  # noqa: S101 - both clients' answers have this shape
    equal([hint.status for hint in interim], [103, 103], "interim statuses")
    equal(len(interim[0].all(b"link")), 2, "number of links in the first")
    equal(interim[1].all(b"link"), [b"</c.css>; rel=preload"], "links in the second")


@SUITE.case("E6", MUST, "http.response.trailers: sent when the client says TE: trailers")
def trailers(trial: Trial) -> None:
    offered(trial, "http.response.trailers", "TE: trailers", "Connection: TE")
    connection = trial.connect()
    sent = [(b"x-sum", b"1"), (b"x-more", b"2")]
    answer = connection.ask(trial.target("trailers"), headers=["TE: trailers", "Connection: TE"])
    equal((answer.body, answer.trailers), (b"body", sent), "body and trailers")
    answer = connection.ask(trial.target("trailers"))
    equal((answer.body, answer.trailers), (b"body", []), "body and trailers without TE")
    equal(connection.ask("/ping").status, 200, "status of the next request")
    equal(set(outcomes(trial, count=2)), {None}, "outcomes of send")
    if "http2" in trial.capabilities:
        trial.new_tag()
        over_http2 = Http2(trial).ask("trailers", headers=[("te", "trailers")])
        equal(
            (over_http2.body, over_http2.trailers), (b"body", sent), "body and trailers over HTTP/2"
        )


@SUITE.case(
    "E7", MUST, "tls: certificates, version and cipher suite of the connection", needs={"tls"}
)
def tls(trial: Trial) -> None:
    server = trial.start(Options(tls=True))
    connection = trial.connect(server=server)
    connection.ask(trial.target("scope"))
    found = trial.seen("scope").get("extensions", {}).get("tls")
    check(found is not None, "tls is not offered")
    pem = certificates.server().certificate.read_text()
    check(
        found["server_cert"] is None or found["server_cert"].strip() == pem.strip(),
        "server_cert is another certificate",
    )
    equal(found["client_cert_chain"], [], "client_cert_chain")
    equal(found["client_cert_name"], None, "client_cert_name")
    equal(
        found["tls_version"],
        {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}[connection.tls_version()],
        "tls_version",
    )
    equal(type(found["cipher_suite"]), int, "type of cipher_suite")
    check("client_cert_error" in found, "client_cert_error is missing")


@SUITE.case("E8", USED, "http.response.debug is not offered")
def debug(trial: Trial) -> None:
    check("http.response.debug" not in trial.scope().get("extensions", {}), "it is offered")
