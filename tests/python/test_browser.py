"""The example page in a real browser: EventSource, WebSocket, an upload, the real server."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from spikard import LiveTestClient

EXAMPLES = Path(__file__).parents[2] / "examples"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MILLISECONDS = 15_000
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture
def page(tmp_path):
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install --group browser"
    )
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=executable, headless=True, args=OPTIONS
        )
        context.set_default_timeout(WAIT_MILLISECONDS)
        yield context.new_page()
        context.close()


@pytest.mark.timeout(90)
def test_the_page_hears_events_talks_and_uploads(page, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    live_page = importlib.import_module("live_page")

    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(3_000_000))
    try:
        with LiveTestClient(live_page.app) as client:
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(client.base_url)

            # Two numbers for each connection: the browser has come back twice by itself.
            page.wait_for_function("document.getElementById('heard').value.includes('5=5')")
            assert page.locator("#heard").text_content() == "1=1;2=2;3=3;4=4;5=5;"

            page.fill("#chat input", "hello ü")
            page.click("#chat button")
            page.wait_for_function("document.getElementById('answered').value")
            assert page.locator("#answered").text_content() == '{"text":"HELLO Ü"};'

            page.set_input_files("#upload input", path)
            page.click("#upload button")
            page.wait_for_function("document.getElementById('uploaded').value")
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            assert page.locator("#uploaded").text_content() == f"large.bin 3000000 {sha256};"
            assert errors == []
    finally:
        sys.modules.pop("live_page", None)
