"""`Jinja2Templates`."""

from pathlib import Path

import pytest

from spikard import HTMLResponse, Jinja2Templates, Request, Spikard, TestClient


def test_page_is_rendered_and_escaped(tmp_path: Path):
    page = '<p>{{ name }}</p><a href="{{ url_for("user", name="x") }}">{{ extra }}</a>'
    (tmp_path / "user.html").write_text(page)
    templates = Jinja2Templates(tmp_path, context_processors=[lambda request: {"extra": 1}])
    app = Spikard()

    @app.get("/users/{name}")
    async def user(request: Request, name: str) -> HTMLResponse:
        return templates.TemplateResponse(request, "user.html", {"name": name}, status_code=201)

    with TestClient(app) as client:
        response = client.get("/users/<b>")
    assert response.status_code == 201
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    link = "http://testserver/users/x"
    assert response.text() == f'<p>&lt;b&gt;</p><a href="{link}">1</a>'


def test_directory_or_environment_is_needed():
    with pytest.raises(ValueError, match="either a directory or an env"):
        Jinja2Templates()
