"""The programs on the pages of docs/ run, and their links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
import textwrap
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.python.test_spec_page import program, stop

import spikard
from spikard.testing import TestClient

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SIDE_BY_SIDE = re.compile(r"# before.*# after", re.IGNORECASE)
"""Two columns of code, which no interpreter reads; examples/migration has their programs."""


def blocks(page: Path) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    return [block for block in found if not SIDE_BY_SIDE.search(block)]


def block(name: str, mark: str) -> str:
    """Return the one block of a page in which a text stands."""
    (found,) = [each for each in blocks(ROOT / "docs" / name) if mark in each]
    return found


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "page", "exec"), names)
    return names


ALL_BLOCKS = [(page.name, index) for page in PAGES for index, _ in enumerate(blocks(page))]


def check_names(code: str) -> None:
    """Assert that code is Python and takes only what is there."""
    tree = compile(code, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spikard"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "app" or hasattr(spikard.Spikard(), node.attr)


@pytest.mark.parametrize(("name", "index"), ALL_BLOCKS)
def test_block_of_a_page_takes_what_is_there(name, index):
    check_names(blocks(ROOT / "docs" / name)[index])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [each for each in targets if not (page.parent / each).exists()] == []


TREES = ("src", "python", "tests", "conformance", "benchmarks", "docs", "examples", ".ci")
FILES = [file for tree in TREES for file in (ROOT / tree).rglob("*") if file.is_file()]
FILES += [file for file in ROOT.iterdir() if file.is_file()]
NAMED = [
    *PAGES,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / tree / "README.md" for tree in ("benchmarks", "conformance")),
]
RUST = "\n".join(file.read_text() for file in FILES if file.suffix == ".rs")
DECLARED = {
    *re.findall(r"\b(?:fn|struct|enum|trait|type|const|static|mod) (\w+)", RUST),
    *re.findall(r"^ +([A-Z]\w+)(?:[,({]| \{|$)", RUST, re.MULTILINE),  # variants
}


OF_READERS = {"main.py"}
"""Files that the pages speak of as the reader's own."""


def missing(text: str) -> set[str]:
    """Return the files, folders and Rust names in backticks that are not in the project."""
    spans = set(re.findall(r"`([^`\n]+)`", text))
    paths = {each for each in spans if re.fullmatch(r"[\w./-]+\.(rs|py|pyi|md|toml)", each)}
    places = {each for each in spans if each.startswith(tuple(f"{tree}/" for tree in TREES))}
    names = {each for each in spans if re.fullmatch(r"\w+(::\w+)+", each)}
    return {
        *(each for each in paths if not any(f"/{file}".endswith(f"/{each}") for file in FILES)),
        *(each for each in places if not (ROOT / each).exists()),
        *(each for each in names if each.split("::")[-1] not in DECLARED),
    } - OF_READERS


def test_missing_names_are_found():
    text = "`src/none/`, `nothing.rs`, `Application::vanished`, `src/pipeline/mod.rs`"
    assert missing(text) == {"src/none/", "nothing.rs", "Application::vanished"}


@pytest.mark.parametrize("page", NAMED, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_rust_names_of_a_page_exist(page):
    assert missing(page.read_text()) == set()


def test_part_mounted_in_fastapi(monkeypatch):
    pytest.importorskip("fastapi")
    part = spikard.Spikard()

    @part.get("/hello")
    async def hello() -> str:
        return "hello"

    main = ModuleType("main")
    main.app = part  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "main", main)
    names = run(block("asgi.md", "whole.mount"))
    with TestClient(names["whole"]) as client:
        assert client.get("/part/hello").json() == "hello"


def test_asgi_server_alone(tmp_path):
    said = "import logging\nlogging.basicConfig(level=logging.INFO)\n"
    process, url = program(tmp_path, said + block("asgi.md", "asyncio.run(serve("))
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            assert response.read() == b"hello"
    finally:
        code = stop(process)
    assert code == 0


def test_program_with_fastapi_s_names():
    names = run(block("fastapi.md", "app = FastAPI()"))
    client = names["TestClient"](names["app"])
    assert client.get("/items/3?q=x").json() == {"item_id": 3, "q": "x"}
    assert client.get("/items/x").status_code == 422


def test_old_application_below_a_new_one(monkeypatch):
    pytest.importorskip("fastapi")
    monkeypatch.syspath_prepend(str(ROOT / "examples/migration"))
    try:
        names = run(block("migration.md", "import app as old"))
    finally:
        sys.modules.pop("before", None)
    with TestClient(names["app"]) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/orders/9").status_code == 404


def examples_of(path: Path) -> list[tuple[str, str]]:
    """Return name → code of the examples in a module's docstrings."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node) or ""
            name = f"{path.stem}.{getattr(node, 'name', '')}"
            codes = re.findall(r"^ *```python\n(.*?)```", docstring, re.DOTALL | re.MULTILINE)
            found += [(name, textwrap.dedent(code)) for code in codes]
    return found


SOURCES = sorted((ROOT / "python").rglob("*.py"))
EXAMPLES = [example for path in SOURCES for example in examples_of(path)]


def test_docstrings_have_examples():
    assert len(EXAMPLES) > 15


@pytest.mark.parametrize(("name", "code"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_example_of_a_docstring_takes_what_is_there(name, code):
    check_names(code)
