"""The pytest plugin: a `client` fixture, in process, for the application of the `app` fixture.

The package announces it (entry point ``pytest11``), so that it is there once both are installed.
It imports nothing but pytest until a test asks for a fixture. What a conftest.py defines under
the same names comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikard.testing.client import SyncTestClient

__all__ = ["app", "client", "pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting that names the application."""
    about = "Application of the `app` fixture, as MODULE:ATTRIBUTE (spikard)"
    parser.addini("spikard_app", about, default="")


@pytest.fixture(scope="session")
def app(pytestconfig: pytest.Config) -> Any:
    """Return the application that the setting `spikard_app` names."""
    from spikard._importer import LoadError, Source

    name = pytestconfig.getini("spikard_app")
    if not name:
        raise pytest.UsageError(
            "the client fixture needs an application: set spikard_app = MODULE:ATTRIBUTE in "
            "pytest's configuration, or define a fixture named app"
        )
    try:
        return Source.parse(name).load().app
    except LoadError as error:
        raise pytest.UsageError(f"spikard_app: {error}\n{error.details}".rstrip()) from error


@pytest.fixture
def client(app: Any) -> Iterator[SyncTestClient]:
    """Yield a client of the application, its lifespan around the test.

    Example:
        ```python
        def test_hello(client):
            assert client.get("/hello").assert_status_ok().json() == "hello"
        ```
    """
    from spikard.testing import TestClient

    with TestClient(app) as opened:
        yield opened
