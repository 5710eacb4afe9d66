"""Middleware classes that become policies of the server, and directories to mount."""

from __future__ import annotations

from typing import Any

import pytest

from spikard import (
    CORSMiddleware,
    GZipMiddleware,
    HTTPSRedirectMiddleware,
    Spikard,
    StaticFiles,
    TestClient,
    TrustedHostMiddleware,
)


def app_with(middleware: Any, **kwargs: Any) -> Spikard:
    app = Spikard()
    app.add_middleware(middleware, **kwargs)

    @app.get("/text")
    async def text() -> str:
        return "x" * 2000

    return app


def test_cors_becomes_the_policy():
    origin = "https://a.example"
    app = app_with(
        CORSMiddleware,
        allow_origins=[origin],
        allow_methods=["*"],
        allow_headers=["*"],
        allow_credentials=True,
    )
    with TestClient(app) as client:
        plain = client.get("/text", headers={"origin": origin})
        asked = {
            "origin": origin,
            "access-control-request-method": "PUT",
            "access-control-request-headers": "x-token",
        }
        preflight = client.options("/text", headers=asked)
    assert plain.headers["access-control-allow-origin"] == origin
    assert plain.headers["access-control-allow-credentials"] == "true"
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "x-token"


def test_gzip_becomes_the_policy():
    with TestClient(app_with(GZipMiddleware, minimum_size=1000)) as client:
        response = client.get("/text", headers={"accept-encoding": "br, gzip"})
    assert response.headers["content-encoding"] == "gzip"


def test_trusted_hosts_become_the_policy():
    app = app_with(TrustedHostMiddleware, allowed_hosts=["*.example.com"])
    with TestClient(app, base_url="http://a.example.com") as client:
        assert client.get("/text").status_code == 200
    with TestClient(app, base_url="http://other.example") as client:
        assert client.get("/text").status_code == 400


def test_trusted_hosts_refuse_a_star_inside_a_name():
    with pytest.raises(ValueError, match="a\\*b"):
        TrustedHostMiddleware(allowed_hosts=["a*b.example"])


def test_https_redirect_becomes_the_policy():
    app = app_with(HTTPSRedirectMiddleware)
    with TestClient(app, follow_redirects=False) as client:
        response = client.get("/text?x=1")
    assert response.status_code == 307
    assert response.headers["location"] == "https://testserver/text?x=1"


def test_middleware_given_to_the_constructor_may_be_a_policy():
    app = Spikard(middleware=[HTTPSRedirectMiddleware])
    with TestClient(app, follow_redirects=False) as client:
        assert client.get("/").status_code == 307


def test_arguments_of_a_policy_are_checked_when_it_is_added():
    app = Spikard()
    with pytest.raises(ValueError, match="allow_origins"):
        app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)
    with pytest.raises(TypeError, match="allow_orgins"):
        app.add_middleware(CORSMiddleware, allow_orgins=["*"])


def test_mounted_directory_is_served(tmp_path):
    (tmp_path / "a.txt").write_text("file")
    (tmp_path / "index.html").write_text("page")
    app = Spikard()
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.mount("/site", StaticFiles(directory=tmp_path, html=True))
    with TestClient(app) as client:
        assert client.get("/static/a.txt").text() == "file"
        assert client.get("/static/b.txt").status_code == 404
        assert client.get("/static/").status_code == 404
        assert client.get("/site/").text() == "page"


def test_directory_that_does_not_exist_is_an_error_at_once(tmp_path):
    with pytest.raises(RuntimeError, match="nowhere"):
        StaticFiles(directory=tmp_path / "nowhere")
