"""Form fields, files in every shape, form models."""

from typing import Annotated

from fastapi import FastAPI, File, Form, Request, UploadFile
from pydantic import BaseModel

app = FastAPI()


@app.post("/login")
async def login(username: Annotated[str, Form()], password: Annotated[str, Form(min_length=3)]):
    return {"username": username}


@app.post("/defaults")
async def defaults(
    a: Annotated[str, Form()] = "x",
    b: Annotated[int | None, Form()] = None,
    tags: list[str] = Form(default=[]),
):
    return {"a": a, "b": b, "tags": tags}


class Login(BaseModel):
    model_config = {"extra": "forbid"}

    username: str
    age: int = 3
    tags: list[str] = []


@app.post("/model")
async def model(data: Annotated[Login, Form()]):
    return data


@app.post("/bytes")
async def content(file: Annotated[bytes, File(description="A file as bytes")]):
    return {"size": len(file)}


@app.post("/upload")
async def upload(file: UploadFile):
    content = await file.read()
    await file.seek(0)
    again = await file.read(3)
    await file.close()
    return {
        "name": file.filename,
        "type": file.content_type,
        "size": file.size,
        "content": content.decode(),
        "again": again.decode(),
    }


@app.post("/optional")
async def optional(file: UploadFile | None = None):
    return {"name": file.filename if file else None}


@app.post("/many")
async def many(files: list[UploadFile]):
    return [file.filename for file in files]


@app.post("/many-bytes")
async def many_bytes(files: Annotated[list[bytes], File()]):
    return [len(file) for file in files]


@app.post("/mixed")
async def mixed(file: Annotated[bytes, File()], other: UploadFile, token: Annotated[str, Form()]):
    return {"size": len(file), "type": other.content_type, "token": token}


@app.post("/own")
async def own(request: Request):
    async with request.form() as form:
        names = sorted(form)
        content = await form["file"].read()
    return {"names": names, "content": content.decode()}


FILE = ("a.txt", b"content", "text/plain")

REQUESTS = [
    ("POST", "/login", {"data": {"username": "a", "password": "secret"}}),
    ("POST", "/login", {"data": {"username": "a", "password": "x"}}),
    ("POST", "/login", {"data": {"username": ""}}),
    ("POST", "/login"),
    ("POST", "/login", {"json": {"username": "a", "password": "secret"}}),
    ("POST", "/defaults"),
    ("POST", "/defaults", {"data": {"a": "", "b": "3", "tags": ["x", "y"]}}),
    ("POST", "/defaults", {"data": {"b": "x"}}),
    ("POST", "/model", {"data": {"username": "a", "tags": ["x"]}}),
    ("POST", "/model", {"data": {"age": "x", "more": "1"}}),
    ("POST", "/bytes", {"files": {"file": FILE}}),
    ("POST", "/bytes"),
    ("POST", "/upload", {"files": {"file": FILE}}),
    ("POST", "/upload", {"data": {"file": "text"}}),
    ("POST", "/optional"),
    ("POST", "/optional", {"files": {"file": FILE}}),
    ("POST", "/many", {"files": [("files", FILE), ("files", ("b.txt", b"", "text/plain"))]}),
    (
        "POST",
        "/many-bytes",
        {"files": [("files", FILE), ("files", ("b.txt", b"12", "text/plain"))]},
    ),
    ("POST", "/mixed", {"files": {"file": FILE, "other": FILE}, "data": {"token": "t"}}),
    ("POST", "/mixed", {"files": {"file": FILE}}),
    ("POST", "/own", {"files": {"file": FILE}, "data": {"token": "t"}}),
]
