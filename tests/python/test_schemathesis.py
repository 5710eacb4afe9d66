"""Generated requests meet no answer that the OpenAPI document does not announce, and no 5xx.

Schemathesis makes requests from the document of examples/bookshop.py, fitting ones and others,
and holds every answer against it; deterministic, so that a failure is one tomorrow too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spikard.testing import serve_in_thread

EXAMPLES = Path(__file__).parents[2] / "examples"
OPTIONS = ["--checks=all", "--max-examples=10", "--generation-deterministic", "--no-color"]

MSGPACK = """
import msgspec, schemathesis
from schemathesis.transport.requests import REQUESTS_TRANSPORT

@REQUESTS_TRANSPORT.serializer("application/msgpack")
def msgpack(context, value):
    return {"data": msgspec.msgpack.encode(value)}
"""


@pytest.mark.timeout(240)
@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
)
def test_the_bookshop_answers_as_its_document_says(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    app = importlib.import_module("bookshop").app
    (tmp_path / "msgpack_hooks.py").write_text(MSGPACK)
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "msgpack_hooks", "PYTHONPATH": str(tmp_path)}
    with serve_in_thread(app, config=app.config) as url:
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", *OPTIONS, f"{url}/openapi.json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 4" in done.stdout
