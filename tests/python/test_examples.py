"""The programs in examples/ run under `spikard`, driven by httpx and curl."""

from __future__ import annotations

import re
import shutil
import signal
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 20  # seconds, for anything that should happen at all


@contextmanager
def served(application: str, *options: str):
    """Serve an example on a free port; yield its URL."""
    command = [sys.executable, "-m", "spikard", application, "--port", "0", *options]
    with subprocess.Popen(command, cwd=EXAMPLES, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"serving on (\S+)", line):
                    yield found[1]
                    break
            else:
                raise AssertionError(said)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def shop():
    with served("fastapi_app:app") as url:
        yield url


def test_fastapi_application_serves_its_routes_and_the_state_of_its_lifespan(shop):
    with httpx.Client(base_url=shop, timeout=PATIENCE) as client:
        assert client.get("/items/1").json() == {"name": "tea", "price": 2.5}
        stored = client.put("/items/2", json={"name": "milk", "price": 1})
        assert (stored.status_code, stored.json()["name"]) == (200, "milk")
        assert client.get("/items/2").json()["price"] == 1.0
        assert client.get("/items/9").status_code == 404
        assert client.put("/items/2", json={"name": "milk"}).status_code == 422
        assert client.get("/openapi.json").json()["info"]["title"] == "FastAPI"


def test_fastapi_application_streams(shop):
    with httpx.stream("GET", f"{shop}/count?to=4", timeout=PATIENCE) as response:
        assert response.headers["transfer-encoding"] == "chunked"
        assert "".join(response.iter_text()) == "1\n2\n3\n4\n"


def test_fastapi_application_takes_orders_over_a_websocket(shop):
    url = shop.replace("http://", "ws://", 1) + "/orders"
    with connect(url, open_timeout=PATIENCE, close_timeout=PATIENCE) as customer:
        customer.send('{"number": 1, "count": 2}')
        assert customer.recv(PATIENCE) == '{"number":1,"price":5.0}'
        customer.send('{"number": 9}')
        assert customer.recv(PATIENCE) == '{"number":9,"price":null}'


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_fastapi_application_answers_curl(shop):
    command = ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE)]
    done = subprocess.run(
        [*command, f"{shop}/items/1", f"{shop}/count?to=2"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == '{"name":"tea","price":2.5}1\n2\n'


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Return the PEM file of an authority, with server.pem and server.key beside it."""
    directory = tmp_path_factory.mktemp("tls")
    made = trustme.CA()
    certificate = made.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(directory / "server.key")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(directory / "server.pem", append=True)
    made.cert_pem.write_to_path(directory / "authority.pem")
    return directory / "authority.pem"


@pytest.fixture(scope="module")
def secure_shop(authority):
    certificate, key = authority.with_name("server.pem"), authority.with_name("server.key")
    with served(
        "fastapi_app:app", "--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)
    ) as url:
        assert url.startswith("https://")
        yield url


def test_fastapi_application_answers_http2_over_tls(secure_shop, authority):
    context = ssl.create_default_context(cafile=authority)
    with httpx.Client(base_url=secure_shop, verify=context, http2=True, timeout=PATIENCE) as client:
        answers = [client.get("/items/1"), client.get("/count?to=3"), client.get("/items/x")]
        stored = client.put("/items/2", json={"name": "milk", "price": 1})
    assert {answer.http_version for answer in answers} == {"HTTP/2"}
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert answers[1].text == "1\n2\n3\n"
    assert stored.json()["name"] == "milk"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_fastapi_application_answers_curl_over_tls(secure_shop, authority, version):
    command = ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE)]
    command += [f"--http{version}", "--cacert", str(authority), "--write-out", "%{http_version}"]
    done = subprocess.run(
        [*command, f"{secure_shop}/items/1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == '{"name":"tea","price":2.5}' + version


def test_fastapi_application_takes_orders_over_tls(secure_shop, authority):
    url = secure_shop.replace("https://", "wss://", 1) + "/orders"
    context = ssl.create_default_context(cafile=authority)
    with connect(url, ssl=context, open_timeout=PATIENCE, close_timeout=PATIENCE) as customer:
        customer.send('{"number": 1, "count": 3}')
        assert customer.recv(PATIENCE) == '{"number":1,"price":7.5}'


def test_asgi_application_without_a_framework_answers():
    with served("asgi_hello:app") as url:
        assert httpx.get(f"{url}/hi", timeout=PATIENCE).text == "GET /hi\n"


def test_quickstart_answers_and_shows_itself():
    with served("quickstart:app") as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        assert client.get("/users/3").json() == {"id": 3, "name": "Alice"}
        assert client.get("/users/x").status_code == 422
        assert "swagger-ui-bundle.js" in client.get("/docs").text
        assert client.get("/docs/swagger-ui-bundle.js").status_code == 200
        assert "/users/{id}" in client.get("/openapi.json").json()["paths"]


def test_bookshop_keeps_books():
    with served("bookshop:app") as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:
        added = client.post("/books/", json={"title": "Emma", "price": 9.5, "genre": "novel"})
        assert (added.status_code, added.headers["x-served-by"]) == (201, "bookshop")
        book = added.json()
        assert client.get(added.headers["location"]).json() == book
        client.post("/books/", json={"title": "Odes", "price": 4, "genre": "poetry"})
        assert [each["title"] for each in client.get("/books/").json()["items"]] == ["Odes", "Emma"]
        assert client.get("/books/?genre=novel&max_price=5").json()["total"] == 0
        wrong = client.post("/books/", json={"title": "", "price": -1})
        assert wrong.json()["detail"] == "2 validation errors in request"
        assert client.delete(f"/books/{book['id']}").status_code == 204
        gone = client.get(f"/books/{book['id']}")
        assert (gone.status_code, gone.headers["x-served-by"]) == (404, "bookshop")
