"""What type checkers say of programs that use the package: of the page's, of examples/, of ours."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # a type checker reads a standard library first

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PREFIXES = ("page", "wrong")
SNIPPETS = Path(__file__).with_name("spec_page").joinpath("snippets.txt").read_text()

# What the page's snippets take for granted.
PREAMBLE = {
    "router": "from spikard import Spikard\napp = Spikard()\n",
    "dependency": "class Made: ...\ndef create_pool() -> object: return Made()\n",
    "grpc": """
from typing import Any
def get_items(request: Any) -> list[Any]: return []
def aggregate_items(items: list[Any]) -> Any: return items
async def process_bidi_item(request: Any) -> Any: return request
""",
}
APP = "from spikard import Spikard\napp = Spikard()\n"

STRICT = '''"""The `Annotated` spelling, which is the fully typed one."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import Meta, Struct

from spikard import (
    BackgroundTasks, Body, Cookie, Depends, Form, Header, HTTPException, Path, Provide, Query,
    Request, Response, Router, Spikard, State, StreamingResponse, TestClient, UploadFile,
)


class Item(Struct):
    name: str
    price: Annotated[float, Meta(ge=0)] = 0.0


class Pool:
    async def close(self) -> None: ...


async def make_pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close()


def user(token: Annotated[str, Header(alias="x-token")]) -> str:
    return token


async def lifespan(app: Spikard) -> AsyncIterator[dict[str, Any]]:
    yield {"started": True}


app = Spikard(lifespan=lifespan, title="Typed")
app.provide(Pool, Provide(make_pool, singleton=True))
router = Router("/items", tags=["items"], dependencies=[Depends(user)])


@router.get("/{item_id:int}", status_code=200)
async def read(
    item_id: Annotated[int, Path(ge=1)],
    q: Annotated[str | None, Query(max_length=9)] = None,
    session: Annotated[str, Cookie()] = "",
    who: Annotated[str, Depends(user)] = "",
    *,
    pool: Pool,
    state: State,
    request: Request,
) -> Item:
    if q is None:
        raise HTTPException(404)
    name: str = q + session + who + request.method
    return Item(name)


@router.post("/", response_model=Item)
def create(item: Annotated[Item, Body()], tasks: BackgroundTasks, response: Response) -> Item:
    tasks.add_task(print, item.name)
    response.headers["x-name"] = item.name
    response.set_cookie("a", "b")
    return item


@router.put("/file")
async def upload(file: UploadFile, note: Annotated[str, Form()] = "") -> dict[str, object]:
    return {"size": file.size, "content": await file.aread(), "note": note}


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.on_request
async def mark(request: Request) -> None:
    request.state.marked = request["method"]


@app.on_response
def stamp(request: Request, response: Response) -> Response:
    return response


@app.exception_handler(ValueError)
async def wrong(request: Request, exc: ValueError) -> Response:
    return Response(str(exc), 400)


app.include_router(router)


async def ask() -> int:
    async with TestClient(app) as client:
        answer = (await client.get("/items/1", params={"q": "x"})).assert_status_ok()
        return answer.status_code


def ask_plainly() -> str:
    with TestClient(app) as client:
        return client.post("/items/", json={"name": "x"}).text()


async def script() -> Pool:
    async with app.container() as container:
        return await container.get(Pool)
'''

WRONG = {
    "unknown option": '@app.get("/", statuscode=1)\nasync def f() -> None: ...\n',
    "status of text": '@app.get("/", status_code="1")\nasync def f() -> None: ...\n',
    "unknown setting": "ServerConfig(prot=1)\n",
    "a handler stays what it was": '@app.get("/")\nasync def f() -> int: return 1\nf(1)\n',
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("programs")
    found = re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", SNIPPETS, re.DOTALL | re.MULTILINE)
    assert len(found) > 20
    for name, code in found:
        code = code.replace("body.body.description", "body.description")
        needs_app = re.search(r"\bapp\b", code) and "app = " not in code
        text = (APP if needs_app else "") + PREAMBLE.get(name, "") + code
        (directory / f"page_{name}.py").write_text(text)
    (directory / "user_pb2.pyi").write_text(
        "from typing import Any\ndef __getattr__(name: str) -> Any: ...\n"
    )
    (directory / "strict.py").write_text(STRICT)
    for number, code in enumerate(WRONG.values()):
        text = f"from spikard import ServerConfig, Spikard\napp = Spikard()\n{code}"
        (directory / f"wrong_{number}.py").write_text(text)
    return directory


def mypy(directory: Path, strict: bool, files: list[str]) -> list[str]:
    """Run mypy as an author would, without our own configuration; return ``file:line: error``."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    cache = str(ROOT / ".mypy_cache" / "programs")
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--no-error-summary"]
    command += ["--strict" if strict else "--check-untyped-defs", "--cache-dir", cache, *files]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if ": note:" not in line]


def pyright(directory: Path, strict: bool, files: list[str]) -> list[str]:
    """Run pyright in one of its modes; return ``file:line: error``."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    mode = "strict" if strict else "standard"
    settings = {"typeCheckingMode": mode, "include": files, "extraPaths": [str(ROOT / "python")]}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(files)
    return [
        f"{Path(each['file']).name}:{each['range']['start']['line'] + 1}: {each['message']}"
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    ]


CHECKERS = [pytest.param(mypy, id="mypy"), pytest.param(pyright, id="pyright")]


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_page_passes_as_printed_and_mistakes_do_not(programs, checker):
    page, wrong = ([path.name for path in programs.glob(f"{each}_*.py")] for each in PREFIXES)
    assert len(page) > 20
    found = checker(programs, False, page + wrong)
    assert [line for line in found if line.startswith("page_")] == []
    assert {line.partition(":")[0] for line in found} == set(wrong)


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_annotated_spelling_and_the_examples_pass_in_strict_mode(programs, checker):
    # That of FastAPI is checked by what FastAPI says of its own types.
    examples = [path for path in EXAMPLES.glob("*.py") if path.name != "fastapi_app.py"]
    for path in examples:
        (programs / path.name).write_text(path.read_text())
    assert checker(programs, True, ["strict.py", *(path.name for path in examples)]) == []
