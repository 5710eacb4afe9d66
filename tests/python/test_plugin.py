"""The pytest plugin gives tests a client, and says what it needs when it cannot."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION = """
from spikard import Spikard
app = Spikard()
app.on_startup(lambda: print("started"))
@app.get("/")
async def index() -> str:
    return "hello"
"""
TEST = """
def test_index(client):
    assert client.get("/").assert_status_ok().json() == "hello"
"""
CONFTEST = """
import pytest, shop
@pytest.fixture
def app():
    return shop.app
"""


def run(directory: Path, files: dict[str, str]) -> tuple[int, str]:
    for name, text in files.items():
        (directory / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_package_announces_the_plugin():
    found = importlib.metadata.entry_points(group="pytest11", name="spikard")
    assert [each.value for each in found] == ["spikard.testing.plugin"]


@pytest.mark.parametrize(
    "configured",
    [{"pytest.ini": "[pytest]\nspikard_app = shop:app\npythonpath = ."}, {"conftest.py": CONFTEST}],
    ids=["setting", "fixture"],
)
def test_client_is_of_the_application_that_is_named(tmp_path, configured):
    code, said = run(tmp_path, {"shop.py": APPLICATION, "test_shop.py": TEST, **configured})
    assert (code, "1 passed" in said) == (0, True), said


@pytest.mark.parametrize(
    ("ini", "hint"),
    [
        ("[pytest]\n", "set spikard_app = MODULE:ATTRIBUTE"),
        ("[pytest]\nspikard_app = shop.py\n", '"shop.py" names a file'),
        ("[pytest]\nspikard_app = shop:ap\npythonpath = .\n", 'has no "ap"'),
    ],
)
def test_what_is_missing_is_said(tmp_path, ini, hint):
    files = {"shop.py": APPLICATION, "test_shop.py": TEST, "pytest.ini": ini}
    code, said = run(tmp_path, files)
    assert code != 0
    assert hint in said
