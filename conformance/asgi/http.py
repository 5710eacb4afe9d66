"""Rows H1 to H43: the HTTP scope and its messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from conformance.asgi.suite import SUITE
from conformance.case import MUST, SHOULD, USED
from conformance.client import ClosedError, Connection, Response
from conformance.http1.judge import judge
from conformance.http2_client import Http2
from conformance.server import Options
from conformance.verdict import check, equal

if TYPE_CHECKING:
    from conformance.trial import Trial

MIB = 1 << 20
FLOOD = 64 * MIB
BUFFERED = 24 * MIB  # more than both sockets' kernel buffers and any sane buffer of the server hold


# ---- scope ----


@SUITE.case("H1", MUST, "type is http")
def scope_type(trial: Trial) -> None:
    equal(trial.scope()["type"], "http", "type")


@SUITE.case("H2", MUST, "spec_version is 2.5, as H29 demands")
def spec_version(trial: Trial) -> None:
    version = trial.scope()["asgi"].get("spec_version")
    check(version in ("2.4", "2.5"), f"spec_version is {version!r}")


@SUITE.case("H3", MUST, "http_version is exactly 1.0, 1.1 or 2")
def http_version(trial: Trial) -> None:
    equal(trial.scope()["http_version"], "1.1", "http_version")
    equal(trial.scope(version="1.0")["http_version"], "1.0", "http_version")
    if "http2" in trial.capabilities:
        trial.new_tag()
        Http2(trial).ask("scope")
        equal(trial.seen("scope")["http_version"], "2", "http_version")


@SUITE.case("H4", MUST, "method is upper case; extension methods pass, an invalid token is refused")
def method(trial: Trial) -> None:
    for name in ("GET", "DELETE", "PURGE", "M-SEARCH"):
        equal(trial.scope(method=name)["method"], name, "method")
    check(trial.ask("scope", method="G@T").status in (400, 501), "G@T is taken for a method")
    trial.new_tag()
    answer = trial.ask("scope", method="get")
    if answer.status == 200:
        equal(trial.seen("scope")["method"], "GET", "method")


@SUITE.case("H5", MUST, "scheme is http, or what a trusted proxy says")
def scheme(trial: Trial) -> None:
    equal(trial.scope()["scheme"], "http", "scheme")
    if "tls" in trial.capabilities:
        _ask_own(trial, Options(tls=True))
        equal(trial.seen("scope")["scheme"], "https", "scheme over TLS")
    if "trusted-proxies" in trial.capabilities:
        _ask_own(trial, Options(trusted_proxies="127.0.0.1"), "X-Forwarded-Proto: https")
        equal(trial.seen("scope")["scheme"], "https", "scheme behind a trusted proxy")
        _ask_own(trial, Options(trusted_proxies="10.1.1.1"), "X-Forwarded-Proto: https")
        equal(trial.seen("scope")["scheme"], "http", "scheme behind a proxy that is not trusted")


def _ask_own(trial: Trial, options: Options, *headers: str) -> None:
    trial.new_tag()
    server = trial.start(options)
    trial.connect(server=server).ask(trial.target("scope"), headers=headers)
    server.stop()


@SUITE.case("H6", MUST, "path is percent- and UTF-8-decoded")
def path(trial: Trial) -> None:
    equal(trial.scope("/a%2Fb%20c%C3%a9%25?x")["path"], f"/scope/{trial.tag}/a/b cé%", "path")
    invalid = trial.scope("/%ff")["path"]
    check(invalid[-1] in "\ufffd\udcff", f"path of invalid UTF-8 is {invalid!r}")


@SUITE.case("H7", MUST, "raw_path is the target's path, untouched")
def raw_path(trial: Trial) -> None:
    equal(
        trial.scope("/a%2Fb%c3%A9%7e?x=%20").get("raw_path"),
        f"/scope/{trial.tag}/a%2Fb%c3%A9%7e".encode(),
        "raw_path",
    )


@SUITE.case("H8", MUST, "absolute-form, asterisk-form and authority-form targets")
def target_forms(trial: Trial) -> None:
    def scope_of(target: str, host: str, method: str = "GET") -> dict[str, Any]:
        connection = trial.connect()
        connection.request(target, host=host, method=method)
        answer = connection.response()
        check(answer.status < 500, f"{target} answers {answer.status}")
        seen: dict[str, Any] = trial.seen("scope")
        return seen

    scope = scope_of(f"http://other{trial.target('scope')}?q", "other")
    equal(scope["path"], trial.target("scope"), "path of absolute-form")
    equal(scope["query_string"], b"q", "query_string of absolute-form")
    trial.new_tag()
    connection = trial.connect()
    connection.request(f"http://other{trial.target('scope')}", host="a")
    if connection.response().status != 400:
        equal(dict(trial.seen("scope")["headers"])[b"host"], b"other", "host of absolute-form")
    trial.tag = "*"
    equal(scope_of("*", "a", "OPTIONS")["path"], "*", "path of asterisk-form")
    connection = trial.connect()
    connection.request("other:80", method="CONNECT")
    check(connection.response().status in (400, 405, 501), "CONNECT is taken")


@SUITE.case("H9", MUST, "a fragment never reaches the path")
def fragment(trial: Trial) -> None:
    if trial.ask("scope", "/a#b").status != 400:
        scope = trial.seen("scope")
        check(
            "#" not in scope["path"] and b"#" not in scope.get("raw_path", b""),
            f"path is {scope['path']!r}",
        )


@SUITE.case("H10", MUST, "query_string is the encoded bytes")
def query_string(trial: Trial) -> None:
    equal(trial.scope("?a=%20b+c&d=?")["query_string"], b"a=%20b+c&d=?", "query_string")
    equal(trial.scope("?")["query_string"], b"", "query_string of a lone ?")
    equal(trial.scope()["query_string"], b"", "query_string of none")


@SUITE.case("H11", MUST, "root_path is '' or a prefix that path includes once")
def root_path(trial: Trial) -> None:
    equal(trial.scope()["root_path"], "", "root_path")
    trial.need("root-path")
    server = trial.start(Options(root_path="/prefix"))
    for prefix in ("", "/prefix"):
        trial.new_tag()
        trial.connect(server=server).ask(prefix + trial.target("scope"))
        scope = trial.seen("scope")
        equal(scope["root_path"], "/prefix", "root_path")
        equal(
            scope["path"],
            f"/prefix{trial.target('scope')}",
            f"path of a request for {prefix or '/'}",
        )


@SUITE.case("H12", MUST, "headers are pairs of bytes; order and duplicates are kept")
def header_order(trial: Trial) -> None:
    sent = ["X-B: 2", "X-A: 1", "x-b: 3", "X-Empty:", "X-Space:  a b \t"]
    headers = trial.scope(headers=sent)["headers"]
    # www.rst: the order of values is kept, that of names is not important.
    for wanted, values in ((b"x-b", [b"2", b"3"]), (b"x-empty", [b""]), (b"x-space", [b"a b"])):
        found = [value for name, value in headers if name.lower() == wanted]
        equal(found, values, f"values of {wanted.decode()}")
    check(
        all(type(name) is bytes and type(value) is bytes for name, value in headers),
        "a header is not bytes",
    )


@SUITE.case("H13", SHOULD, "header names are lower case")
def header_names(trial: Trial) -> None:
    names = [name for name, _ in trial.scope(headers=["X-UPPER: V"])["headers"]]
    check(
        b"x-upper" in names and names == [name.lower() for name in names],
        f"header names are {names}",
    )


@SUITE.case(
    "H14",
    MUST,
    "HTTP/2: no pseudo headers, :authority is host; a conflict is refused",
    needs={"http2"},
)
def pseudo_headers(trial: Trial) -> None:
    client = Http2(trial)
    client.ask("scope", authority="example.com")
    headers = trial.seen("scope")["headers"]
    check(
        not [name for name, _ in headers if name.startswith(b":")],
        "a pseudo header reached the application",
    )
    equal([value for name, value in headers if name == b"host"], [b"example.com"], "host")
    trial.new_tag()
    answer = client.try_ask("scope", authority="example.com", headers=[("host", "other.com")])
    check(answer is None or answer.status == 400, "a host that conflicts with :authority is taken")


@SUITE.case("H15", USED, "HTTP/2: cookie crumbs are joined", needs={"http2"})
def cookie_crumbs(trial: Trial) -> None:
    Http2(trial).ask("scope", headers=[("cookie", "a=1"), ("cookie", "b=2")])
    equal(
        [value for name, value in trial.seen("scope")["headers"] if name == b"cookie"],
        [b"a=1; b=2"],
        "cookie",
    )


@SUITE.case("H16", MUST, "client is (host, port), or None on a Unix socket")
def client(trial: Trial) -> None:
    connection = trial.connect()
    port = connection.socket.getsockname()[1]
    connection.ask(trial.target("scope"))
    found = trial.seen("scope")["client"]
    equal(list(found), ["127.0.0.1", port], "client")
    if "uds" in trial.capabilities:
        _ask_own(trial, Options(uds=True))
        equal(trial.seen("scope")["client"], None, "client on a Unix socket")


@SUITE.case("H17", MUST, "server is (host, port), or (path, None)")
def server(trial: Trial) -> None:
    host, port = trial.scope()["server"]
    equal((host, port), trial.server.address, "server")
    if "uds" in trial.capabilities:
        _ask_own(trial, Options(uds=True))
        path, port = trial.seen("scope")["server"]
        check(path.endswith("/socket"), f"server on a Unix socket is {path!r}")
        equal(port, None, "port on a Unix socket")


@SUITE.case("H18", MUST, "state is a shallow copy per request")
def state(trial: Trial) -> None:
    trial.ask("state")
    first = trial.seen("state")
    equal(first and first.get("answer"), 42, "state['answer']")
    trial.new_tag()
    trial.ask("state")
    second = trial.seen("state")
    check("assigned" not in second, "a key assigned by one request is seen by the next")
    equal(len(second["shared"]), len(first["shared"]) + 1, "length of the shared list")


@SUITE.case("H19", USED, "extensions differ by connection")
def extensions(trial: Trial) -> None:
    trial.need("tls")
    check("tls" not in trial.scope().get("extensions", {}), "tls is offered without TLS")
    _ask_own(trial, Options(tls=True))
    check("tls" in trial.seen("scope").get("extensions", {}), "tls is not offered over TLS")


# ---- receive ----


@SUITE.case("H20", MUST, "http.request: de-chunked; an empty body is one message")
def request_messages(trial: Trial) -> None:
    trial.ask("messages")
    equal(
        trial.observer.all(trial.tag, "message"),
        [("http.request", 0, False)],
        "messages of an empty body",
    )
    trial.new_tag()
    connection = trial.connect()
    head = f"POST {trial.target('echo')} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    connection.send(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n")
    equal(connection.response().body, b"abcde", "de-chunked body")


@SUITE.case(
    "H21", MUST, "the application runs before the body is complete; an unread body is not buffered"
)
def streaming_request(trial: Trial) -> None:
    connection = trial.connect()
    connection.send(
        f"POST {trial.target('messages')} HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc".encode()
    )
    equal(trial.seen("message"), ("http.request", 3, True), "first message")
    connection.send(b"def")
    equal(connection.response().status, 200, "status")
    trial.new_tag()
    trial.connect().ask(trial.target("count"), method="POST", body=b"x" * (4 * MIB))
    number, length = trial.seen("count")
    check(length == 4 * MIB and number > 4, f"{length} bytes came in {number} messages")
    trial.new_tag()
    before = trial.server.memory()
    connection = trial.connect()
    connection.send(
        f"POST {trial.target('never-receive')} HTTP/1.1\r\nHost: a\r\nContent-Length: {FLOOD}\r\n\r\n".encode()
    )
    sent = connection.send_until_blocked(b"x" * FLOOD)
    check(sent < BUFFERED, f"{sent >> 20} MiB of a body that nobody reads were taken")
    grown = trial.server.memory() - before
    check(grown < 8 * MIB, f"memory grew by {grown >> 20} MiB")


@SUITE.case(
    "H22",
    MUST,
    "receive() after the body blocks until the response is complete or the client gone, then disconnects for ever",
)
def receive_after_body(trial: Trial) -> None:
    connection = trial.connect()
    connection.request(trial.target("receive-for-ever"), method="POST", body=b"abc")
    trial.seen("received")
    body = trial.observer.settled(trial.tag, "received")
    equal(
        [message["type"] for message in body],
        ["http.request"] * len(body),
        "messages while the client waits",
    )
    connection.close()
    equal(
        trial.seen("received", count=len(body) + 1),
        {"type": "http.disconnect"},
        "message after the client has gone",
    )
    trial.seen("again", count=2)
    equal(trial.observer.all(trial.tag, "again"), ["http.disconnect"] * 2, "later messages")
    trial.new_tag()
    connection = trial.connect()
    connection.ask(trial.target("receive-past-response"))
    equal(trial.seen("received"), {"type": "http.disconnect"}, "message after the response")


@SUITE.case("H23", MUST, "a client that goes mid-body is http.disconnect, not a short body")
def cut_body(trial: Trial) -> None:
    for framing, part in (
        ("Content-Length: 10", b"abc"),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
    ):
        trial.new_tag()
        connection = trial.connect()
        connection.send(
            f"POST {trial.target('receive-for-ever')} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode()
            + part
        )
        trial.seen("received")
        connection.close()
        trial.seen("again", count=1)
        *messages, last = trial.observer.all(trial.tag, "received")
        check(
            all(message["more_body"] for message in messages),
            f"{framing}: the cut body was called complete",
        )
        equal(last, {"type": "http.disconnect"}, "last message")


# ---- send ----


@SUITE.case("H24", MUST, "headers and body are optional in messages")
def optional_keys(trial: Trial) -> None:
    answer = trial.ask("send", "/minimal")
    equal((answer.status, answer.body), (200, b""), "answer")
    equal(trial.all_seen("sent", count=2), [None, None], "outcomes of send")


@SUITE.case("H25", MUST, "the server frames by itself; duplicates of headers are kept in order")
def response_headers(trial: Trial) -> None:
    answer = trial.ask("send", "/own-framing")
    equal(answer.body, b"okok", "body")
    check(len(answer.all(b"transfer-encoding")) <= 1, "two transfer-encoding headers")
    equal(answer.all(b"set-cookie"), [b"a=1", b"b=2"], "values of set-cookie")
    equal(answer.all(b"x"), [b"y"], "values of x")


@SUITE.case("H25-order", MUST, "the order of all response headers is kept, also between duplicates")
def response_header_order(trial: Trial) -> None:
    answer = trial.ask("send", "/own-framing")
    ours = [pair for pair in answer.headers if pair[0] in (b"set-cookie", b"x")]
    equal(ours, [(b"set-cookie", b"a=1"), (b"x", b"y"), (b"set-cookie", b"b=2")], "headers")


@SUITE.case("H26", SHOULD, "the start waits for the first body, so that a failure is still a 500")
def deferred_start(trial: Trial) -> None:
    connection = trial.connect()
    connection.request(trial.target("fail-after-start"))
    trial.seen("started")
    connection.quiet()
    trial.connect().ask(trial.target("release"))
    equal(connection.response().status, 500, "status")


@SUITE.case("H27", MUST, "body parts are flushed; send blocks while the client does not read")
def flushing_and_backpressure(trial: Trial) -> None:
    connection = trial.connect()
    connection.request(trial.target("part-then-wait"))
    equal(connection.head().status, 200, "status")
    check(b"first" in connection.until(b"first", time.monotonic() + 2), "no first part")
    trial.connect().ask(trial.target("release"))
    trial.new_tag()
    before = trial.server.memory()
    connection = trial.connect(receive_buffer=65536)
    connection.request(trial.target("flood"))
    trial.observer.never(trial.tag, "flood-done", window=0.2)
    sent = max(trial.observer.settled(trial.tag, "mib"), default=0)
    check(sent < BUFFERED / MIB, f"send took {sent} MiB that nobody read")
    grown = trial.server.memory() - before
    check(grown < 8 * MIB, f"memory grew by {grown >> 20} MiB")
    equal(len(connection.response(within=20).body), FLOOD, "length of the body once read")
    trial.seen("flood-done")


@SUITE.case("H28", MUST, "messages after the final body are ignored")
def messages_after_final(trial: Trial) -> None:
    connection = trial.connect()
    answer = connection.ask(trial.target("send", "/after-final"))
    equal((answer.status, answer.body), (200, b"ok"), "answer")
    trial.seen("done")
    equal(trial.observer.all(trial.tag, "sent")[:2], [None, None], "outcomes of send")
    equal(connection.ask("/ping").status, 200, "status of the next request")


@SUITE.case(
    "H29", MUST, "send() to a client that has gone raises OSError, a blocked one too; never logged"
)
def send_to_nobody(trial: Trial) -> None:
    connection = trial.connect()
    connection.request(trial.target("send-to-nobody"))
    trial.seen("called")
    connection.close()
    _check_os_error(trial, "send-error")
    for leave in (Connection.close, Connection.reset):
        trial.new_tag()
        connection = trial.connect(receive_buffer=65536)
        connection.request(trial.target("flood"))
        connection.head()
        trial.observer.settled(trial.tag, "mib")
        leave(connection)
        _check_os_error(trial, "flood-error")
    trial.server.ping()
    check("Traceback" not in trial.server.log_since_mark(), "the error is logged")


def _check_os_error(trial: Trial, label: str) -> None:
    error = trial.seen(label)
    check(error and error["os_error"], f"send raised {error and error['class']}, not an OSError")


@SUITE.case(
    "H29-end", USED, "the empty last piece raises nothing when the client left with all the rest"
)
def end_to_nobody(trial: Trial) -> None:
    for leave in (Connection.close, Connection.reset):
        trial.new_tag()
        connection = trial.connect()
        connection.request(trial.target("end-to-nobody"))
        connection.until(b"whole", time.monotonic() + 2)
        leave(connection)
        equal(trial.seen("end-error"), None, "what send raised")
    trial.server.ping()


@SUITE.case("H30", MUST, "http.disconnect comes promptly on FIN, RST and RST_STREAM")
def prompt_disconnect(trial: Trial) -> None:
    for leave in (Connection.close, Connection.reset):
        trial.new_tag()
        connection = trial.connect()
        connection.request(trial.target("receive-for-ever"))
        trial.seen("received")
        leave(connection)
        equal(trial.seen("received", count=2, timeout=1), {"type": "http.disconnect"}, "message")
    if "http2" in trial.capabilities:
        kept_tag = trial.new_tag()
        client = Http2(trial)
        kept = client.request("receive-for-ever")
        trial.seen("received")
        trial.new_tag()
        cut = client.request("receive-for-ever")
        trial.seen("received")
        client.reset(cut)
        equal(trial.seen("received", count=2, timeout=1), {"type": "http.disconnect"}, "message")
        trial.observer.never(kept_tag, "again")
        client.reset(kept)


@SUITE.case(
    "H31", MUST, "returning without a response is a 500, with half of one a closed connection"
)
def returns_early(trial: Trial) -> None:
    equal(trial.ask("leave", "/before").status, 500, "status")
    for suffix in ("/after-start", "/in-body"):
        trial.new_tag()
        _check_cut(trial, "leave", suffix)


@SUITE.case("H32", MUST, "raising before the start is a 500, within the body a cut connection")
def raises(trial: Trial) -> None:
    answer = trial.ask("fail", "/before")
    equal(answer.status, 500, "status")
    check(b"boom" not in answer.body, "the exception's text is in the answer")
    trial.new_tag()
    _check_cut(trial, "fail", "/in-body")


def _check_cut(trial: Trial, handler: str, suffix: str) -> None:
    """The answer is a 500, or it is visibly incomplete and the connection closed."""
    connection = trial.connect()
    connection.request(trial.target(handler, suffix))
    try:
        answer = connection.response()
    except ClosedError:
        return
    check(
        answer.status == 500,
        f"{suffix}: looks like a complete answer {answer.status} {answer.body!r}",
    )


@SUITE.case(
    "H33",
    USED,
    "a body longer or shorter than content-length never goes out as such, and is logged",
)
def wrong_length(trial: Trial) -> None:
    for script in ("too-long", "too-long-parts", "too-short"):
        trial.new_tag()
        trial.server.mark_log()
        connection = trial.connect()
        connection.request(trial.target("send", f"/{script}"))
        data = connection.rest()
        head, _, body = data.partition(b"\r\n\r\n")
        if b" 200 " in head:
            check(
                len(body) <= 5 and not body.count(b"X"),
                f"{script}: {len(body)} bytes of body on the wire",
            )
            check(
                b"too-long" not in script.encode() or len(body) <= 3,
                f"{script}: {len(body)} bytes of body on the wire",
            )
        trial.seen("done")
        trial.server.ping()
        refused_by_send = any(trial.observer.all(trial.tag, "sent"))
        check(
            trial.server.log_since_mark().strip() or refused_by_send,
            f"{script}: neither logged nor raised",
        )


@SUITE.case("H34", USED, "HEAD, 204 and 304 have no body")
def no_body(trial: Trial) -> None:
    connection = trial.connect()
    got = connection.ask(trial.target("headers-get"))
    head = connection.ask(trial.target("headers-get"), method="HEAD")
    equal(head.header(b"content-length"), b"5", "content-length of HEAD")
    equal([name for name, _ in head.headers], [name for name, _ in got.headers], "headers of HEAD")
    connection.ask(trial.target("stream-headers"), method="HEAD")
    equal(connection.ask("/ping").status, 200, "status after HEAD")
    for status in (204, 304):
        answer = connection.ask(trial.target("send", f"/status-{status}"))
        equal(answer.status, status, "status")
        equal(answer.all(b"transfer-encoding"), [], f"transfer-encoding of {status}")
        if status == 204:
            equal(answer.all(b"content-length"), [], "content-length of 204")
        equal(connection.ask("/ping").status, 200, f"status after {status}")
        other = trial.connect()
        other.request(trial.target("send", f"/status-{status}-body"), headers=["Connection: close"])
        check(b"never" not in other.rest(), f"the body of a {status} is on the wire")


@SUITE.case("H35", USED, "an invalid status raises; the client gets a 500")
def invalid_status(trial: Trial) -> None:
    for status in (-1, 99, 100, 103, 600, 1000, 70000):
        _check_refused_start(trial, f"status-{status}")


@SUITE.case("H36", USED, "an invalid header raises; the client gets a 500")
def invalid_header(trial: Trial) -> None:
    for script in (
        "cr-in-value",
        "lf-in-value",
        "crlf-in-value",
        "nul-in-value",
        "space-in-name",
        "colon-in-name",
        "crlf-in-name",
        "empty-name",
    ):
        _check_refused_start(trial, script)


def _check_refused_start(trial: Trial, script: str) -> None:
    trial.new_tag()
    try:
        answer: Response | None = trial.ask("send", f"/{script}")
    except ClosedError:
        answer = None
    trial.seen("done")
    outcomes = trial.observer.all(trial.tag, "sent")
    check(any(outcomes), f"{script}: send took it")
    check(
        answer is not None and answer.status == 500,
        f"{script}: the client gets {answer.status if answer else 'no answer'}",
    )


@SUITE.case("H37", USED, "HTTP/1.0: never chunked, closed unless asked to keep alive")
def http_1_0(trial: Trial) -> None:
    connection = trial.connect()
    answer = connection.ask(trial.target("stream-headers"), version="1.0")
    equal(answer.all(b"transfer-encoding"), [], "transfer-encoding")
    equal(answer.body, b"onetwo", "body")
    connection = trial.connect()
    connection.ask("/ping", version="1.0")
    connection.closed()
    connection = trial.connect()
    answer = connection.ask("/ping", version="1.0", headers=["Connection: keep-alive"])
    if (answer.header(b"connection") or b"").lower() == b"keep-alive":
        equal(connection.ask("/ping", version="1.0").status, 200, "status of the second request")


@SUITE.case(
    "H38",
    USED,
    "100 Continue goes out when the application first receives, never for a refused body",
)
def expect_continue(trial: Trial) -> None:
    def ask(handler: str, suffix: str = "") -> Connection:
        connection = trial.connect()
        fields = "Host: a\r\nContent-Length: 5\r\nExpect: 100-continue"
        connection.send(
            f"POST {trial.target(handler, suffix)} HTTP/1.1\r\n{fields}\r\n\r\n".encode()
        )
        return connection

    connection = ask("wait-then-receive")
    trial.seen("called")
    connection.quiet()
    trial.connect().ask(trial.target("release"))
    equal(connection.head().status, 100, "interim status")
    connection.send(b"hello")
    equal(connection.response().body, b"hello", "body")
    connection = ask("reply-unread", "/403")
    answer = connection.response()
    equal((answer.status, answer.interim), (403, []), "status without interim answers")
    connection.closed()


@SUITE.case(
    "H39",
    MUST,
    "HTTP/2: each stream is a call of its own, answered on its stream, concurrently",
    needs={"http2"},
)
def streams(trial: Trial) -> None:
    client = Http2(trial)
    waiting, tag = client.request("part-then-wait"), trial.tag
    trial.seen("sent-first")
    for _ in range(3):
        trial.new_tag()
        equal(
            client.ask("echo", method="POST", body=trial.tag.encode()).body,
            trial.tag.encode(),
            "body",
        )
    client.ask("release", tag=tag)
    equal(client.response(waiting).body, b"firstlast", "body of the first stream")


@SUITE.case("H40", USED, "headers may be any iterable of pairs")
def header_iterables(trial: Trial) -> None:
    for script in ("tuple-headers", "list-headers", "generator-headers"):
        trial.new_tag()
        answer = trial.ask("send", f"/{script}")
        equal([answer.header(b"x-a"), answer.header(b"x-b")], [b"1", b"2"], f"{script}: headers")


@SUITE.case("H41", USED, "a body may be bytearray or memoryview")
def body_types(trial: Trial) -> None:
    for script in ("bytearray-body", "memoryview-body"):
        trial.new_tag()
        equal(trial.ask("send", f"/{script}").body, b"ok", f"{script}: body")


@SUITE.case("H42", USED, "no Host, or two, is a 400", hostile=True)
def host_header(trial: Trial) -> None:
    for id, head in (("none", b""), ("two", b"Host: a\r\nHost: b\r\n")):
        judge(trial, b"GET /scope/x HTTP/1.1\r\n" + head + b"\r\n", "400c", id)
    judge(trial, b"GET /ping HTTP/1.0\r\n\r\n", "200c", "HTTP/1.0")


@SUITE.case("H43", USED, "ambiguous framing is a 400 and a closed connection", hostile=True)
def ambiguous_framing(trial: Trial) -> None:
    post = b"POST /echo/x HTTP/1.1\r\nHost: a\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    for id, data in {
        "CL and TE": post + b"Content-Length: 6\r\n" + chunked + b"\r\n0\r\n\r\n",
        "two CL": post + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
        "bare LF": b"GET /scope/x HTTP/1.1\nHost: a\n\n",
        "obs-fold": b"GET /scope/x HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "LF in chunk extension": post + chunked + b"\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
    }.items():
        judge(trial, data, "400c", id)
