"""Rows B1 to B17, and two that adapters rely on: what every ASGI protocol has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.asgi.suite import SUITE
from conformance.case import MUST, SHOULD, USED
from conformance.server import Options
from conformance.verdict import broken, check, equal
from conformance.websocket_client import TEXT, WebSocket

if TYPE_CHECKING:
    from conformance.trial import Trial

# row, script of conformance.asgi.apps.SCRIPTS, whose last message has to be refused
REFUSED = [
    ("B6", "unknown-type"),
    ("B6", "foreign-type"),
    ("B6", "no-type"),
    ("B7", "no-status"),
    ("B8", "str-status"),
    ("B8", "float-status"),
    ("B8", "str-header"),
    ("B8", "int-header"),
    ("B8", "lone-header"),
    ("B8", "str-body"),
    ("B8", "list-body"),
    ("B10", "body-first"),
    ("B10", "second-start"),
    ("B10", "start-after-body"),
]


def refuses(trial: Trial, row: str) -> None:
    """Follow the scripts of `row`: all messages but the last are taken, the last one raises out of `send`."""
    for script in (script for name, script in REFUSED if name == row):
        trial.new_tag()
        trial.connect().request(trial.target("send", f"/{script}"))
        trial.seen("done")
        outcomes = trial.observer.all(trial.tag, "sent")
        check(outcomes[-1] is not None, f"{script}: send took it")
        check(not any(outcomes[:-1]), f"{script}: an earlier message was refused: {outcomes}")


@SUITE.case("B1", MUST, "the application is called once per connection scope")
def once_per_scope(trial: Trial) -> None:
    connection = trial.connect()
    for _ in range(3):
        trial.new_tag()
        connection.ask(trial.target("echo"), method="POST", body=b"x")
        equal(trial.observer.all(trial.tag, "called"), ["http"], "calls for one request")
    if "websocket" in trial.capabilities:
        trial.new_tag()
        WebSocket(trial, "ws-echo").text("a")
        equal(trial.observer.all(trial.tag, "called"), ["websocket"], "calls for one WebSocket")


@SUITE.case("B2", SHOULD, "a double callable and a plain function returning a coroutine are served")
def other_callables(trial: Trial) -> None:
    for name in ("sync_callable", "instance", "legacy"):
        server = trial.start(Options(app=f"conformance.asgi.apps:{name}"))
        try:
            server.ping()
        except Exception as error:
            broken(f"{name}: {error}")
        server.stop()


@SUITE.case("B3", MUST, "scope is a dict with type and asgi.version 3.0")
def scope_shape(trial: Trial) -> None:
    scope = trial.scope()
    equal(scope["type"], "http", "type")
    equal(type(scope["asgi"]), dict, "type of scope['asgi']")
    equal(scope["asgi"]["version"], "3.0", "asgi.version")
    equal(type(scope["asgi"].get("spec_version")), str, "type of spec_version")


@SUITE.case("B4", USED, "what an application leaves in a scope is never seen by the next")
def fresh_scopes(trial: Trial) -> None:
    connection = trial.connect()
    for _ in range(3):
        trial.new_tag()
        connection.ask(trial.target("mutate"))
        equal(trial.seen("left-behind"), [], "what an earlier request left behind")
    trial.new_tag()
    trial.ask("mutate")
    equal(trial.seen("left-behind"), [], "what another connection left behind")


@SUITE.case("B5", MUST, "messages are dicts of plain types")
def message_types(trial: Trial) -> None:
    tags = [trial.tag]
    trial.ask("echo", method="POST", body=b"body")
    tags.append(trial.new_tag())
    connection = trial.connect()
    connection.request(trial.target("receive-for-ever"))
    trial.seen("received")
    connection.close()
    trial.seen("again", count=2)
    if "websocket" in trial.capabilities:
        tags.append(trial.new_tag())
        socket = WebSocket(trial, "ws-accept")
        socket.text("a")
        socket.close(4000, "bye")
        trial.seen("message", count=3)
    for tag in [*tags, "lifespan"]:
        equal(trial.observer.all(tag, "improper"), [], "improper parts of messages")


@SUITE.case("B6", MUST, "send of an unknown type raises")
def unknown_type(trial: Trial) -> None:
    refuses(trial, "B6")


@SUITE.case("B7", MUST, "send without a mandatory key raises")
def missing_key(trial: Trial) -> None:
    refuses(trial, "B7")


@SUITE.case("B8", MUST, "send of a wrong Python type raises")
def wrong_type(trial: Trial) -> None:
    refuses(trial, "B8")


@SUITE.case("B9", MUST, "unknown keys in a message are ignored")
def extra_keys(trial: Trial) -> None:
    equal(trial.ask("send", "/extra-keys").body, b"ok", "body")
    equal(trial.all_seen("sent", count=2), [None, None], "outcomes of send")


@SUITE.case("B10", MUST, "messages in the wrong order raise")
def wrong_order(trial: Trial) -> None:
    refuses(trial, "B10")


@SUITE.case(
    "B11", MUST, "after a completed response send is a no-op, also when the client has gone"
)
def send_after_completion(trial: Trial) -> None:
    connection = trial.connect()
    connection.ask(trial.target("complete-then-send"))
    connection.close()
    equal(trial.seen("sent"), None, "outcome of send")


@SUITE.case("B12", MUST, "an exception of the application is logged and ends its connection only")
def application_error(trial: Trial) -> None:
    other = trial.connect()
    other.ask("/ping")
    equal(trial.ask("fail", "/before").status, 500, "status")
    check(f"boom {trial.tag}" in trial.server.log_since_mark(), "the exception is not in the log")
    equal(other.ask("/ping").status, 200, "status on another connection")


@SUITE.case(
    "B13", MUST, "the server's own send error coming back out of the application is not logged"
)
def own_error_is_swallowed(trial: Trial) -> None:
    for form in ("plain", "chained", "context", "group"):
        trial.new_tag()
        trial.server.mark_log()
        connection = trial.connect()
        connection.request(trial.target("send-to-nobody", f"/{form}"))
        trial.seen("called")
        connection.close()
        error = trial.seen("send-error")
        check(error and error["os_error"], f"send raised {error}, no OSError to come back")
        trial.server.ping()
        trial.server.ping()
        log = trial.server.log_since_mark()
        check(
            "Traceback" not in log and error["class"] not in log,
            f"{form}: the server logged its own error",
        )


@SUITE.case("B14", MUST, "extensions is a dict of dicts for what this connection supports")
def extensions_of_connection(trial: Trial) -> None:
    for version in ("1.1", "1.0"):
        extensions = trial.scope(version=version).get("extensions", {})
        equal(type(extensions), dict, "type of extensions")
        for name, value in extensions.items():
            equal(type(value), dict, f"type of {name}")
        absent = {"tls", "http.response.push", "http.response.debug", "websocket.http.response"}
        if version == "1.0":
            absent |= {"http.response.trailers", "http.response.early_hint"}
        equal(sorted(absent & set(extensions)), [], f"extensions offered on plain HTTP/{version}")


@SUITE.case("B15", MUST, "an application that raises on unknown scope types is served")
def unknown_scope_type(trial: Trial) -> None:
    trial.start(Options(app="conformance.asgi.apps:http_only")).ping()


@SUITE.case("B16", USED, "each call runs in its own context")
def own_context(trial: Trial) -> None:
    connection = trial.connect()
    for client in (connection, connection, trial.connect()):
        trial.new_tag()
        client.ask(trial.target("context"))
        equal(trial.seen("context"), "unset", "context variable at the start of a call")


@SUITE.case(
    "B17",
    USED,
    "CancelledError and KeyboardInterrupt end the call, SystemExit does not wedge the server",
)
def base_exceptions(trial: Trial) -> None:
    server = trial.start(Options())
    for kind in ("cancelled", "interrupt"):
        trial.new_tag()
        connection = trial.connect(server=server)
        connection.request(trial.target("raise-kind", f"/{kind}"))
        trial.seen("raising")
        check(connection.outcome() in (500, None), f"{kind}: answered as if nothing had happened")
        server.ping()
    connection = trial.connect(server=server)
    connection.request(trial.target("raise-kind", "/exit"))
    connection.outcome()
    if server.wait_exit(within=0.1) is None:
        server.ping()


@SUITE.case("B18", USED, "what receive() and send() return is a coroutine: tasks are made of it")
def tasks_of_messages(trial: Trial) -> None:
    target = trial.target("as-tasks")
    connection = trial.connect()
    answer = connection.ask(target, method="POST", body=b"x" * 300_000)
    equal((answer.status, len(answer.body)), (200, 300_000), "answer")
    equal(trial.seen("listener"), {"type": "http.disconnect"}, "what the listener heard")


@SUITE.case("B19", USED, "receive() and send() called on another thread are done on the loop")
def calls_from_a_thread(trial: Trial) -> None:
    target = trial.target("from-a-thread")
    answer = trial.connect().ask(target, method="POST", body=b"x" * 300_000)
    equal((answer.status, len(answer.body)), (200, 300_000), "answer")
    if "websocket" in trial.capabilities:
        socket = WebSocket(trial, "ws-from-a-thread")
        socket.send(TEXT, b"hello")
        equal(socket.message(), "hello", "message")
