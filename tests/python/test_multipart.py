"""Uploads: what the parser finds becomes fields and files; the parser is a stand-in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import spikard._multipart as multipart
from spikard import File, Form, HTTPException, Spikard, UploadFile
from spikard.datastructures import SPOOL_MAX_BYTES
from spikard.exceptions import RegistrationError

MEDIA = {"content-type": "multipart/form-data; boundary=b"}


class Script:
    """Plays its events, whatever is pushed."""

    def __init__(self, *events: Any) -> None:
        self.events = list(events)
        self.pushed = 0

    def push(self, chunk: bytes) -> None:
        self.pushed += len(chunk)

    def next_event(self) -> Any:
        event = self.events.pop(0) if self.events else None
        if isinstance(event, Exception):
            raise event
        return event

    def finish(self) -> None:
        if self.pushed == 0:
            raise HTTPException(400, "incomplete")


def text(name: str, value: bytes) -> list[Any]:
    return [("part", name, None, []), ("data", value), ("part_end",)]


def file(name: str, filename: str, *chunks: bytes) -> list[Any]:
    head = ("part", name, filename, [(b"content-type", b"text/plain")])
    return [head, *(("data", chunk) for chunk in chunks), ("part_end",)]


@pytest.fixture
def form(monkeypatch):
    def play(*events: Any) -> None:
        monkeypatch.setattr(multipart, "parser", lambda *_: Script(*events, ("end",)))

    return play


@dataclass
class FileUpload:
    file: UploadFile
    description: str
    copies: int = 1


def test_dataclass_with_a_file_is_filled(form, door):
    app = Spikard()

    @app.post("/upload")
    async def upload_file(body: FileUpload):
        content = body.file.read()
        return {
            "content": content.decode(),
            "filename": body.file.filename,
            "size": body.file.size,
            "content_type": body.file.content_type,
            "description": body.description,
            "copies": body.copies,
        }

    form(*file("file", "a.txt", b"ab", b"cd"), *text("description", b"d"), *text("copies", b"2"))
    assert door(app).post("/upload", body=b"x", headers=MEDIA).json() == {
        "content": "abcd",
        "filename": "a.txt",
        "size": 4,
        "content_type": "text/plain",
        "description": "d",
        "copies": 2,
    }


def test_missing_file_and_bad_field_are_listed(form, door):
    app = Spikard()

    @app.post("/")
    async def handler(body: FileUpload) -> None: ...

    form(*text("copies", b"x"), *text("file", b"no file"))
    assert door(app).post("/", body=b"x", headers=MEDIA).errors() == {
        ("file_type", "body.file"),
        ("missing", "body.description"),
        ("int_parsing", "body.copies"),
    }


def test_parameters_take_files_and_fields(form, door):
    app = Spikard()
    kept: list[UploadFile] = []

    @app.post("/")
    async def handler(
        one: UploadFile,
        many: list[UploadFile],
        marked: File[UploadFile],
        note: Form[str],
        absent: UploadFile | None = None,
    ) -> Any:
        kept.append(one)
        return [
            (await one.aread()).decode(),
            [each.filename for each in many],
            marked.filename,
            note,
            absent,
        ]

    form(
        *file("one", "1", b"one"),
        *file("many", "2"),
        *file("many", "3"),
        *file("marked", "4"),
        *text("note", b"n"),
    )
    answer = door(app).post("/", body=b"x", headers=MEDIA)
    assert kept[0].file.closed
    assert answer.json() == ["one", ["2", "3"], "4", "n", None]


@pytest.mark.parametrize(
    ("media", "status"),
    [("multipart/form-data", 400), ("application/json", 415), ("text/plain", 415)],
)
def test_file_needs_a_multipart_form(media, status, form, door):
    app = Spikard()

    @app.post("/")
    async def handler(one: UploadFile) -> None: ...

    form()
    assert door(app).post("/", body=b"{}", headers={"content-type": media}).status == status


def test_files_are_closed_when_the_form_is_malformed(monkeypatch, door):
    closed: list[str | None] = []
    close = UploadFile.close

    def noted(self: UploadFile) -> None:
        closed.append(self.filename)
        close(self)

    monkeypatch.setattr(UploadFile, "close", noted)
    broken = [*file("a", "1", b"x"), ("part", "b", "2", []), HTTPException(400, "malformed")]
    monkeypatch.setattr(multipart, "parser", lambda *_: Script(*broken))
    app = Spikard()

    @app.post("/")
    async def handler(a: UploadFile) -> None: ...

    assert door(app).post("/", body=b"x", headers=MEDIA).status == 400
    assert closed == ["1", "2"]


async def exercised(upload: UploadFile) -> list[Any]:
    await upload.awrite(b"x" * SPOOL_MAX_BYTES)
    before = upload.rolled_to_disk
    upload.write(b"yz")
    after = upload.rolled_to_disk
    await upload.aseek(-2, 2)
    tail = await upload.aread()
    upload.seek(0)
    copied = upload.as_bytes_io().getbuffer().nbytes
    size = upload.size
    await upload.aclose()
    return [before, after, tail, copied, size]


def test_upload_file_moves_to_disk_above_its_limit():
    import asyncio

    done = asyncio.run(exercised(UploadFile(filename="f")))
    assert done == [False, True, b"yz", SPOOL_MAX_BYTES + 2, SPOOL_MAX_BYTES + 2]


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (file("image", "a", PNG), []),
        ([], [("missing", ["files", "image"])]),
        (text("image", b"x"), [("file_type", ["files", "image"])]),
        (file("image", "a", PNG + b"x" * 100), [("validation_error", ["files", "image"])]),
    ],
)
def test_file_rules_of_a_route_hold(events, expected, form, door):
    app = Spikard()
    rule = {"content_type": ["text/plain"], "max_size": 50}

    @app.register_route("POST", "/", file_params={"image": rule})
    async def handler(image: Any) -> Any:
        return image.filename

    form(*events)
    answer = door(app).post("/", body=b"x", headers=MEDIA)
    errors = answer.json()["errors"] if answer.status == 422 else []
    assert [(each["type"], each["loc"]) for each in errors] == expected


def test_file_of_another_type_than_declared_is_found(form, door):
    app = Spikard()
    rule = {"content_type": "image/jpeg", "validate_magic_numbers": True}

    @app.register_route("POST", "/", file_params={"image": rule})
    async def handler(image: Any) -> Any:
        return image.read()

    head = [("part", "image", "a.jpg", [(b"content-type", b"image/jpeg")])]
    form(*head, ("data", PNG), ("part_end",))
    answer = door(app).post("/", body=b"x", headers=MEDIA)
    assert answer.json()["errors"] == [
        {
            "type": "validation_error",
            "loc": ["files", "image"],
            "msg": "File type mismatch: MIME type is image/jpeg but magic numbers indicate "
            "image/png",
            "input": "a.jpg",
            "ctx": {
                "declared_mime": "image/jpeg",
                "detected_type": "image/png",
                "magic_bytes": "89504e470d0a1a0a",
            },
        }
    ]
    form(*head, ("data", b"\xff\xd8\xff\xe0"), ("part_end",))
    assert door(app).post("/", body=b"x", headers=MEDIA).body == b"\xff\xd8\xff\xe0"


def test_unknown_file_rule_fails_at_registration():
    with pytest.raises(RegistrationError, match="virus_scan"):
        Spikard().register_route(
            "POST", "/", lambda image: 1, file_params={"image": {"virus_scan": True}}
        )


def test_field_that_is_not_utf8_is_a_400(form, door):
    app = Spikard()

    @app.post("/")
    async def handler(note: Form[str]) -> None: ...

    form(*text("note", b"\xff"))
    assert door(app).post("/", body=b"x", headers=MEDIA).status == 400
