"""Routers, marks, names and conflicts."""

from __future__ import annotations

import sys
import types
from typing import Annotated, Any
from uuid import UUID

import pytest

from spikard import (
    Header,
    Provide,
    Query,
    RouteError,
    Router,
    Spikard,
    TestClient,
    get,
    post,
    route,
    sse,
    websocket,
)
from spikard.di import Depends
from spikard.exceptions import DependencyError, RegistrationError


def paths(app: Spikard) -> list[tuple[tuple[str, ...], str]]:
    return [(each.methods, each.path) for each in app.routes]


def test_every_verb_registers_its_method():
    app = Spikard()

    async def handler() -> None: ...

    verbs = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
    for verb in verbs:
        assert getattr(app, verb)("/x")(handler) is handler
    app.route("/y", methods=["get", "POST"])(handler)
    app.register_route("purge", "/z", handler)
    assert paths(app) == [
        *(((verb.upper(),), "/x") for verb in verbs),
        (("GET", "POST"), "/y"),
        (("PURGE",), "/z"),
    ]
    assert [spec.path for spec in app.freeze()] == [path for _, path in paths(app)]


def test_routers_nest_and_add_prefix_tags_and_names():
    inner = Router(prefix="/b", tags=["inner"], include_in_schema=False)
    outer = Router(prefix="/a", tags=["outer"], responses={404: {"description": "no"}})

    @inner.get("/{x}", tags=["route"], name="deep")
    async def handler(x: int) -> None: ...

    outer.include_router(inner, prefix="/v1", tags=["include"])
    app = Spikard()
    app.include_router(outer, prefix="/api")

    @inner.get("")
    async def late() -> None: ...

    deep, bare = app.routes
    assert deep.path == "/api/a/v1/b/{x}"
    assert deep.tags == ("outer", "include", "inner", "route")
    assert not deep.include_in_schema
    assert deep.responses == {404: {"description": "no"}}
    assert app.url_path_for("deep", x=3) == "/api/a/v1/b/3"
    assert bare.path == "/api/a/v1/b"


def test_url_path_for_encodes_and_complains():
    app = Spikard()

    @app.get("/{name}/{rest:path}")
    async def read(name: str, rest: str) -> None: ...

    assert app.url_path_for("read", name="a/b c", rest="x/y z") == "/a%2Fb%20c/x/y%20z"
    with pytest.raises(RouteError, match="takes"):
        app.url_path_for("read", name="a")
    with pytest.raises(RouteError, match="no route is named"):
        app.url_path_for("write")


def test_marks_are_collected_from_functions_and_modules():
    @get("/a")
    @post("/b", status_code=201)
    async def marked() -> None: ...

    @sse("/events")
    async def events() -> Any:
        yield 1

    @websocket("/ws")
    async def chat(message: dict[str, Any]) -> None: ...

    @route("/r", methods=("PUT",))
    async def routed() -> None: ...

    module = types.ModuleType("handlers")
    vars(module).update(events=events, again=events, chat=chat, routed=routed, sys=sys)
    app = Spikard(handlers=[marked])
    app.register(module)
    assert paths(app) == [
        (("POST",), "/b"),
        (("GET",), "/a"),
        (("GET",), "/events"),
        (("GET",), "/ws"),
        (("PUT",), "/r"),
    ]
    assert [each.route.protocol for each in app.routes[2:4]] == ["sse", "websocket"]
    with pytest.raises(RegistrationError, match="no route"):
        app.register(paths)


@pytest.mark.parametrize("second", ["/a/{y}", "/a/{y:int}", "/a/{x}"])
def test_conflict_is_an_error_at_registration(second):
    app = Spikard()
    app.get("/a/{x}")(lambda x: x)
    with pytest.raises(RouteError, match="conflicts"):
        app.get(second)(lambda **kw: kw)


def _line(function: Any) -> str:
    return f"test_routing.py:{function.__code__.co_firstlineno}"


def _twice(value: Annotated[int, Query(), Header()]) -> None: ...


def _many(*args: int) -> None: ...


def _plain() -> None: ...


@pytest.mark.parametrize(
    ("path", "handler", "options", "said"),
    [
        ("/", _twice, {}, "parameter 'value': has more than one marker"),
        ("/", _many, {}, "parameter '*args': cannot be filled"),
        ("/{x:complex}", _plain, {}, "path '/{x:complex}': unknown converter 'complex'"),
        ("/", _plain, {"status_code": 42}, "path '/': status_code must be 100 to 599, got 42"),
        ("/", _plain, {"colour": "red"}, "path '/': unknown option 'colour'"),
    ],
)
def test_registration_errors_say_in_one_line_whose_and_where(path, handler, options, said):
    with pytest.raises((RouteError, RegistrationError)) as caught:
        Spikard().post(path, **options)(handler)
    message = str(caught.value)
    head, _, rest = message.partition(": ")
    assert head.startswith(f"handler {handler.__qualname__!r} (")
    assert head.endswith(f"{_line(handler)})")
    assert rest.startswith(said)
    assert "\n" not in message


def test_conflict_says_where_both_handlers_are():
    app = Spikard()
    app.get("/a")(_plain)

    @app.get("/b")
    def second() -> None: ...

    with pytest.raises(RouteError) as caught:
        app.get("/a")(second)
    message = str(caught.value)
    assert message.startswith("handler 'second' (")
    assert f"{_line(second)}): route GET '/a' conflicts with '/a' of handler '_plain' (" in message
    assert message.endswith(f"{_line(_plain)})")


def test_freeze_errors_say_where_the_handler_or_the_dependency_is():
    class Pool:
        def __init__(self, size: int) -> None: ...

    def session(pool: Annotated[Any, Depends("pool")]) -> int:
        return 1

    app = Spikard()
    app.provide("session", session)
    app.get("/")(lambda session: session)
    with pytest.raises(RegistrationError) as caught:
        app.freeze()
    message = str(caught.value)
    assert message.startswith("dependency 'session' (")
    assert f"{_line(session)}): parameter 'pool': nothing provides 'pool'" in message

    app = Spikard()
    app.provide("pool", Provide(Pool, singleton=True))
    app.get("/")(lambda pool: 1)
    with pytest.raises(DependencyError) as singleton:
        app.freeze()
    assert f"{_line(Pool.__init__)}): a singleton cannot depend" in str(singleton.value)


def test_places_are_relative_below_the_working_directory(tmp_path, monkeypatch):
    source = tmp_path / "app" / "users.py"
    source.parent.mkdir()
    source.write_text("def show(*ids): ...\n")
    names: dict[str, Any] = {}
    exec(compile(source.read_text(), str(source), "exec"), names)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RegistrationError, match=r"^handler 'show' \(app/users\.py:1\): parameter"):
        Spikard().get("/")(names["show"])
    # What is not written in Python has no place.
    with pytest.raises(RegistrationError, match=r"^handler 'max': path '/': unknown option"):
        Spikard().get("/", colour="red")(max)  # type: ignore[call-arg]


def test_conflict_of_an_included_router_leaves_the_application_as_it_was():
    app = Spikard()
    app.get("/a")(lambda: 1)
    router = Router()
    router.get("/a")(lambda: 2)
    with pytest.raises(RouteError, match="conflicts"):
        app.include_router(router)
    assert paths(app) == [(("GET",), "/a")]
    app.post("/a")(lambda: 3)
    app.get("/{other}")(lambda other: 4)


def test_router_cannot_include_itself():
    a, b = Router(), Router()
    a.include_router(b)
    with pytest.raises(RouteError, match="itself"):
        b.include_router(a)
    with pytest.raises(RouteError, match="itself"):
        a.include_router(a)


@pytest.mark.parametrize("prefix", ["x", "/x/", "/{"])
def test_bad_prefix_is_refused(prefix):
    with pytest.raises(RouteError):
        Router(prefix=prefix)


def test_unknown_option_and_bad_status_are_refused():
    with pytest.raises(RegistrationError, match="colour"):
        Spikard().get("/", colour="red")(lambda: 1)  # type: ignore[call-arg]
    with pytest.raises(RegistrationError, match="status_code"):
        Spikard().get("/", status_code=99)(lambda: 1)


def test_policy_options_reach_the_server():
    app = Spikard()
    app.get("/", require_auth=False, max_body_size=10, tags=["x"])(lambda: 1)
    assert app.freeze()[0].options == {"require_auth": False, "max_body_size": 10}


def test_frozen_form_is_kept_until_something_is_registered():
    app = Spikard()
    app.get("/a")(lambda: 1)
    first = app.freeze()
    assert app.freeze() is first
    app.get("/b")(lambda: 1)
    assert len(app.freeze()) == 2


def test_converter_that_no_parameter_takes_is_checked_all_the_same():
    app = Spikard()

    @app.get("/items/{id:uuid}")
    async def item() -> int:
        return 1

    with TestClient(app) as client:
        answer = client.get("/items/x").assert_status(422)
        assert answer.json()["errors"][0]["loc"] == ["path", "id"]
        assert client.get(f"/items/{UUID(int=1)}").json() == 1


@pytest.mark.parametrize("status", [99, 600, "200"])
def test_a_status_code_that_is_none_is_refused(status):
    with pytest.raises(RegistrationError, match="status_code must be 100 to 599"):
        Spikard().get("/", status_code=status)(lambda: None)


def test_a_pattern_that_does_not_compile_is_refused_with_the_parameter_s_name():
    def handler(code: Annotated[str, Query(pattern="(")]) -> None: ...

    with pytest.raises(RegistrationError, match="parameter 'code': pattern: missing"):
        Spikard().get("/")(handler)


@pytest.mark.parametrize("option", ["body_schema", "response_schema"])
def test_a_schema_that_is_none_is_refused_with_the_handler_s_name(option):
    async def create(body: Any = None) -> None: ...

    options: Any = {option: {"type": "sting"}}
    with pytest.raises(RegistrationError, match=r"create.*invalid JSON schema"):
        Spikard().register_route("POST", "/", create, **options)
