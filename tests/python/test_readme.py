"""What README.md shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from spikard.testing import TestClient

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PATIENCE = 30


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Save the program as main.py, and its test beside it."""
    app, test = blocks("python")
    (tmp_path / "main.py").write_text(app)
    (tmp_path / "test_main.py").write_text(test)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("main", None)


def test_answers_are_those_shown(program):
    from main import app  # type: ignore[import-not-found,unused-ignore]  # the page's program

    shown = next(block for block in blocks("console") if "curl" in block)
    found, refused = re.findall(r"^(\{.*)\n( .*)?", shown, re.MULTILINE)
    with TestClient(app) as client:
        assert client.get("/users/1").text() == found[0]
        answer = client.post("/users", json={"id": "x"})
    assert answer.status_code == 422
    problem = answer.json()
    assert len(problem.pop("errors")) == 2
    wanted = "".join(refused).replace(',"errors":[…]', "").replace("\n ", "")
    assert msgspec.json.decode(wanted) == problem


def test_test_passes(program):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_main.py"]
    done = subprocess.run(command, cwd=program, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []
