"""Dependencies: by type, by name, by factory; their order, their life, their mistakes."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated, Any

import pytest

from spikard import (
    BackgroundTasks,
    Depends,
    Header,
    HTTPException,
    Provide,
    Query,
    Request,
    Router,
    Spikard,
    StreamingResponse,
    TestClient,
)
from spikard.exceptions import DependencyError, RegistrationError


class Pool:
    def __init__(self) -> None:
        self.name = "pool"


class Repo:
    def __init__(self, pool: Pool, tenant: Annotated[str, Header()] = "none") -> None:
        self.pool = pool
        self.tenant = tenant


async def async_pool() -> Pool:
    return Pool()


def generated_pool() -> Any:
    yield Pool()


async def async_generated_pool() -> Any:
    yield Pool()


@pytest.mark.parametrize("singleton", [False, True])
@pytest.mark.parametrize("use_cache", [False, True])
@pytest.mark.parametrize(
    "factory", [Pool, lambda: Pool(), async_pool, generated_pool, async_generated_pool]
)
def test_every_kind_of_factory_provides_by_type_and_by_name(factory, use_cache, singleton, door):
    app = Spikard()
    provide = Provide(factory, use_cache=use_cache, singleton=singleton)
    assert app.provide(Pool, provide).provide("by_name", provide) is app

    @app.get("/")
    async def handler(pool: Pool, by_name) -> Any:
        return [type(pool).__name__, type(by_name).__name__]

    assert door(app).get("/").json() == ["Pool", "Pool"]


@pytest.mark.parametrize("value", [{"name": "app"}, 3, None, Pool()])
def test_ready_values_are_provided_as_they_are(value, door):
    app = Spikard()
    app.provide("config", value)
    seen = []

    @app.get("/")
    async def handler(config) -> None:
        seen.append(config)

    door(app).get("/")
    assert seen == [value]


def test_sub_dependencies_take_values_of_the_request(door):
    app = Spikard()
    app.provide(Pool, async_pool).provide(Repo, Repo)

    @app.get("/{item_id}")
    async def handler(repo: Repo, item_id: int) -> Any:
        return [repo.pool.name, repo.tenant, item_id]

    client = door(app)
    assert client.get("/3", headers={"tenant": "t"}).json() == ["pool", "t", 3]
    assert client.get("/x").errors() == {("int_parsing", "path.item_id")}


def test_errors_of_a_dependencys_parameters_are_listed_with_the_handlers(door):
    app = Spikard()

    def paging(page: Query[int], size: int = 10) -> tuple[int, int]:
        return page, size

    @app.get("/")
    async def handler(paging: Annotated[Any, Depends(paging)], q: int) -> Any:
        return paging

    client = door(app)
    assert client.get("/?page=x&size=y").errors() == {
        ("int_parsing", "query.page"),
        ("int_parsing", "query.size"),
        ("missing", "query.q"),
    }
    assert client.get("/?page=2&q=1").json() == [2, 10]


def test_use_cache_makes_it_once_per_request(door):
    made: list[str] = []

    def counter(name: str) -> Any:
        def make() -> int:
            made.append(name)
            return len(made)

        return make

    app = Spikard()
    app.provide("cached", Provide(counter("cached"), use_cache=True))
    app.provide("fresh", Provide(counter("fresh")))
    depends = counter("depends")

    def left(cached, fresh, shared: Annotated[int, Depends(depends)]) -> None: ...
    def right(cached, fresh, shared: Annotated[int, Depends(depends)]) -> None: ...

    @app.get("/")
    async def handler(
        a: Annotated[None, Depends(left)], b: Annotated[None, Depends(right)], cached
    ) -> None: ...

    door(app).get("/")
    assert sorted(made) == ["cached", "depends", "fresh", "fresh"]


def test_singleton_is_made_once_even_by_requests_at_once(door):
    made = []

    async def create_pool() -> Pool:
        made.append(1)
        await asyncio.sleep(0)
        return Pool()

    app = Spikard()
    app.provide(Pool, Provide(create_pool, singleton=True))

    @app.get("/")
    async def handler(pool: Pool) -> int:
        return id(pool)

    async def twice() -> list[Any]:
        client = door(app)
        return await asyncio.gather(
            *(client.answer(client.head("GET", "/", {}), b"") for _ in range(3))
        )

    answers = asyncio.run(twice())
    assert len({answer.body for answer in answers}) == 1
    assert made == [1]


def test_teardown_runs_after_the_response_in_reverse_order(door):
    events: list[str] = []

    def resource(name: str) -> Any:
        async def make() -> Any:
            events.append(f"open {name}")
            yield name
            events.append(f"close {name}")

        return make

    app = Spikard()
    app.provide("first", Provide(resource("first"), use_cache=True))

    def second(first) -> Any:
        events.append("open second")
        yield "second"
        events.append("close second")

    app.provide("second", Provide(second))

    @app.get("/")
    async def handler(second, first, tasks: BackgroundTasks) -> Any:
        tasks.add_task(events.append, "task")
        return [first, second]

    client = door(app)
    client.events = events
    assert client.get("/").json() == ["first", "second"]
    assert events == [
        "open first", "open second", "sent", "task", "close second", "close first",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [ValueError("boom"), HTTPException(418)])
@pytest.mark.parametrize("is_async", [False, True])
def test_exceptions_reach_the_generators_after_the_response(error, is_async, door):
    events: list[Any] = []

    async def async_session() -> Any:
        try:
            yield 1
        except Exception as exc:
            events.append(exc)
            raise
        finally:
            events.append("closed")

    def session() -> Any:
        try:
            yield 1
        except Exception as exc:
            events.append(exc)
            raise
        finally:
            events.append("closed")

    app = Spikard()
    app.provide("session", Provide(async_session if is_async else session))

    @app.get("/")
    async def handler(session) -> None:
        raise error

    client = door(app)
    client.events = events
    answer = client.get("/")
    assert answer.status == (418 if isinstance(error, HTTPException) else 500)
    assert b"boom" not in answer.body
    assert events == ["sent", error, "closed"]


def test_teardown_that_raises_is_logged_and_the_others_still_run(door, caplog):
    closed = []

    def good() -> Any:
        yield 1
        closed.append("good")

    def bad(good) -> Any:
        yield 2
        raise RuntimeError("in teardown")

    app = Spikard()
    app.provide("good", Provide(good, use_cache=True)).provide("bad", Provide(bad))

    @app.get("/")
    async def handler(bad, good) -> Any:
        return bad

    assert door(app).get("/").json() == 2
    assert closed == ["good"]
    assert "in teardown" in caplog.text


def test_a_failing_dependency_closes_those_already_open(door):
    events: list[str] = []

    def opened() -> Any:
        try:
            yield 1
        finally:
            events.append("closed")

    def failing(opened) -> None:
        raise HTTPException(403)

    app = Spikard()
    app.provide("opened", Provide(opened))

    @app.get("/", dependencies=[Depends(failing)])
    async def handler() -> None: ...

    assert door(app).get("/").status == 403
    assert events == ["closed"]


def test_generator_stays_open_while_a_stream_is_sent(door):
    events: list[str] = []

    async def session() -> Any:
        yield "s"
        events.append("closed")

    app = Spikard()
    app.provide("session", Provide(session))

    @app.get("/")
    async def handler(session) -> StreamingResponse:
        async def chunks() -> Any:
            yield "open" if not events else "closed"

        return StreamingResponse(chunks())

    assert door(app).get("/").body == b"open"
    assert events == ["closed"]


def test_independent_coroutines_run_at_once(door):
    app = Spikard()
    arrived = []

    def meeting(name: str) -> Any:
        async def factory() -> str:
            arrived.append(name)
            # Waits for the other: in sequence this would never end.
            while len(arrived) < 2:  # noqa: ASYNC110 - any event would name the order
                await asyncio.sleep(0)
            return name

        return factory

    app.provide("a", Provide(meeting("a"))).provide("b", Provide(meeting("b")))

    @app.get("/")
    async def handler(a, b) -> Any:
        return [a, b]

    assert door(app).get("/").json() == ["a", "b"]


def test_a_failing_coroutine_cancels_its_batch(door):
    app = Spikard()
    cancelled = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise HTTPException(401)

    app.provide("a", Provide(waits)).provide("b", Provide(fails))

    @app.get("/")
    async def handler(a, b) -> None: ...

    assert door(app).get("/").status == 401
    assert cancelled == [True]


def test_dependencies_of_routers_and_routes_run_for_their_effect(door):
    events: list[str] = []

    def noted(name: str) -> Any:
        def run(request: Request) -> None:
            events.append(f"{name} {request.path}")

        return run

    router = Router(prefix="/r", dependencies=[Depends(noted("router"))])

    @router.get("/", dependencies=[Depends(noted("route"))])
    async def handler() -> None: ...

    app = Spikard()
    app.include_router(router, dependencies=[Depends(noted("include"))])
    door(app).get("/r/")
    assert events == ["include /r/", "router /r/", "route /r/"]


def test_overrides_apply_by_key_and_by_factory_and_end_with_their_block(door):
    def current_user() -> str:
        return "real"

    app = Spikard()
    app.provide(Pool, async_pool)

    @app.get("/")
    async def handler(pool: Pool, user: Annotated[str, Depends(current_user)]) -> Any:
        return [pool.name, user]

    client = door(app)
    fake = Pool()
    fake.name = "fake"
    with app.dependency_overrides({Pool: fake, current_user: lambda: "test"}):
        assert client.get("/").json() == ["fake", "test"]
    assert client.get("/").json() == ["pool", "real"]
    with app.dependency_overrides:
        app.dependency_overrides[current_user] = lambda: "inner"
        assert client.get("/").json() == ["pool", "inner"]
    assert client.get("/").json() == ["pool", "real"]
    app.dependency_overrides[Pool] = lambda: fake
    assert client.get("/").json() == ["fake", "real"]
    app.dependency_overrides.clear()
    assert client.get("/").json() == ["pool", "real"]


def test_cycle_is_an_error_at_freeze_that_prints_it():
    app = Spikard()

    def service_a(b) -> None: ...
    def service_b(a) -> None: ...

    app.provide("a", Provide(service_a)).provide("b", Provide(service_b))

    @app.get("/")
    async def handler(a) -> None: ...

    with pytest.raises(DependencyError, match=r"service_a.* → .*service_b.* → .*service_a"):
        app.freeze()


def test_singleton_cannot_depend_on_a_request():
    app = Spikard()

    def create(request: Request) -> Pool:
        return Pool()

    app.provide(Pool, Provide(create, singleton=True))

    @app.get("/")
    async def handler(pool: Pool) -> None: ...

    with pytest.raises(DependencyError, match=r"create.*singleton"):
        app.freeze()


def test_missing_named_dependency_is_an_error_at_freeze():
    app = Spikard()
    app.provide("a", Provide(Pool, depends_on=["nowhere"]))

    @app.get("/")
    async def handler(a) -> None: ...

    with pytest.raises(DependencyError, match="nowhere"):
        app.freeze()


def test_generator_that_never_yields_is_a_500(door):
    app = Spikard()

    def empty() -> Any:
        yield from ()

    app.provide("a", Provide(empty))

    @app.get("/")
    async def handler(a) -> None: ...

    assert door(app).get("/").status == 500


def test_container_gives_dependencies_outside_requests():
    events: list[str] = []

    async def create_pool(dsn: str) -> Any:
        yield Pool()
        events.append(f"closed {dsn}")

    app = Spikard()
    app.provide("dsn", "pg://").provide(Pool, Provide(create_pool))

    async def run() -> None:
        async with app.container() as container:
            pool = await container.get(Pool)
            assert isinstance(pool, Pool)
            assert await container.get("dsn") == "pg://"
            with pytest.raises(DependencyError, match="Repo"):
                await container.get(Repo)
            assert events == []

    asyncio.run(run())
    assert events == ["closed pg://"]


def test_singletons_close_at_shutdown(door):
    events: list[str] = []

    async def create_pool() -> Any:
        events.append("open")
        yield Pool()
        events.append("close")

    app = Spikard()
    app.provide(Pool, Provide(create_pool, singleton=True))

    async def run() -> None:
        async with app._lifespan():
            async with app.container() as container:
                first = await container.get(Pool)
                assert await container.get(Pool) is first
            assert events == ["open"]

    asyncio.run(run())
    assert events == ["open", "close"]


@pytest.mark.parametrize("singleton", [False, True])
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_plain_factory_runs_on_the_loop_unless_it_is_sent_to_a_thread(in_thread, singleton, door):
    threads: list[threading.Thread] = []

    def make() -> Pool:
        threads.append(threading.current_thread())
        return Pool()

    app = Spikard()
    app.provide(Pool, Provide(make, singleton=singleton, sync_to_thread=in_thread))

    @app.get("/")
    async def handler(pool: Pool) -> bool:
        return threading.current_thread() is threads[0]

    client = door(app)
    assert client.get("/").json() is not in_thread


@pytest.mark.parametrize("factory", [async_pool, generated_pool, async_generated_pool])
def test_only_plain_functions_are_sent_to_a_thread(factory):
    with pytest.raises(TypeError, match=f"sync_to_thread.*{factory.__name__}"):
        Provide(factory, sync_to_thread=True)


def test_what_a_factory_returns_may_be_known_to_type_checkers_alone(door):
    def make() -> OnlyForTypeCheckers:  # type: ignore[name-defined]  # noqa: F821
        return "made"

    app = Spikard()
    app.provide("thing", make)

    @app.get("/")
    async def handler(thing: Any) -> Any:
        return thing

    assert door(app).get("/").json() == "made"


@pytest.mark.parametrize("wrong", [3, "text", None])
def test_provide_needs_a_callable(wrong):
    with pytest.raises(TypeError, match="callable"):
        Provide(wrong)


def test_dependency_with_an_unusable_signature_names_itself():
    app = Spikard()

    def factory(*many: int) -> None: ...

    app.provide("a", Provide(factory))

    @app.get("/")
    async def handler(a) -> None: ...

    with pytest.raises(RegistrationError, match=r"dependency 'factory'.*many"):
        app.freeze()


def test_a_cycle_that_no_handler_asks_for_is_an_error_too():
    app = Spikard()
    app.provide("a", lambda b: b)
    app.provide("b", lambda c: c)
    app.provide("c", lambda b: b)
    with pytest.raises(DependencyError, match=r"<lambda> → \S*<lambda> → \S*<lambda>"):
        app.freeze()


def test_depends_on_a_registered_class_is_its_provider():
    app = Spikard()
    app.provide(Pool, Provide(async_pool, singleton=True))

    @app.get("/")
    async def index(one: Annotated[Pool, Depends(Pool)], two: Pool) -> bool:
        return one is two

    with TestClient(app) as client:
        assert client.get("/").json() is True


def lived(app: Spikard) -> list[str]:
    events: list[str] = []

    async def pool() -> Any:
        events.append("pool opened")
        yield Pool()
        events.append("pool closed")

    async def unit(pool: Pool) -> Any:
        events.append("unit opened")
        yield pool
        events.append("unit closed")

    app.provide(Pool, Provide(pool, singleton=True))
    app.provide("unit", Provide(unit, use_cache=True))
    app.provide("both", lambda unit, again: unit is again)
    app.provide("again", lambda unit: unit)
    return events


def test_a_container_closes_what_it_made_and_singletons_that_nobody_else_uses():
    app = Spikard()
    events = lived(app)

    async def script() -> None:
        async with app.container() as outer:
            async with app.container() as inner:
                assert await inner.get(Pool) is await outer.get(Pool)
                assert await inner.get("both") is True
            events.append("left")
        events.append("out")

    asyncio.run(script())
    assert events == ["pool opened", "unit opened", "unit closed", "left", "pool closed", "out"]


def test_a_container_leaves_the_singletons_of_a_running_application_alone():
    app = Spikard()
    events = lived(app)

    async def script() -> None:
        async with TestClient(app):
            async with app.container() as container:
                await container.get(Pool)
            events.append("left")

    asyncio.run(script())
    assert events == ["pool opened", "left", "pool closed"]


def test_a_container_sees_overrides_of_factories():
    app = Spikard()
    app.provide("pair", lambda pool: pool)
    app.provide("pool", async_pool)

    async def needs(pool: Annotated[Any, Depends(async_pool)]) -> Any:
        return pool

    app.provide("needs", needs)

    async def script() -> Any:
        async with app.container() as container:
            return await container.get("needs")

    with app.dependency_overrides({async_pool: lambda: "fake"}):
        assert asyncio.run(script()) == "fake"
    assert isinstance(asyncio.run(script()), Pool)
