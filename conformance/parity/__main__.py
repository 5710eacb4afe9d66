"""`python -m conformance.parity`: one application through three doors, equal answers."""

from __future__ import annotations

import argparse
import gzip
import logging
import sys
from typing import TYPE_CHECKING, Any

from conformance import doors
from conformance.parity import application

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikard.testing import TestResponse

GZIP = {"accept-encoding": "gzip"}
FOREIGN = {"origin": "https://elsewhere.example"}
OWN = {"origin": "https://example.com"}
ASK = {**OWN, "access-control-request-method": "POST"}
CODED = {"content-type": "application/json", "content-encoding": "gzip"}
ITEM = b'{"name": "one", "price": 1.5}'
FILE = {"files": {"file": ("a.txt", b"text", "text/plain")}}

# method, target, what `client.request` takes
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/hello", {}),
    ("HEAD", "/hello", {}),
    ("OPTIONS", "/hello", {}),
    ("DELETE", "/hello", {}),
    ("GET", "/nowhere", {}),
    ("GET", "/early", {}),
    ("GET", "/sync", {}),
    ("GET", "/users/7?q=%C3%BC&limit=2", {}),
    ("GET", "/users/x?limit=0", {}),
    ("GET", "/users/99999999999999999999999", {}),
    ("GET", "/files/a/b%20c", {}),
    ("GET", "/files/a%2Fb", {}),
    ("GET", "/users/%FF", {}),
    ("POST", "/items", {"json": {"name": "one", "price": 1.5, "tags": ["a"]}}),
    ("POST", "/items", {"json": {"name": "o", "price": "x", "tags": [1]}}),
    ("POST", "/items", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/items", {"content": b"<a/>", "headers": {"content-type": "application/xml"}}),
    ("POST", "/items", {"data": {"name": "one", "price": "2"}}),
    ("POST", "/items", {}),
    ("POST", "/items", {"content": gzip.compress(ITEM), "headers": CODED}),
    ("POST", "/items", {"content": gzip.compress(ITEM)[:-1], "headers": CODED}),
    ("POST", "/items", {"content": gzip.compress(bytes(20_000)), "headers": CODED}),
    ("POST", "/items", {"content": gzip.compress(bytes(200_000)), "headers": CODED}),
    ("POST", "/items", {"content": ITEM, "headers": {**CODED, "content-encoding": "br"}}),
    ("POST", "/echo", {"content": gzip.compress(ITEM), "headers": CODED}),
    ("POST", "/echo", {"content": [gzip.compress(ITEM)[:9], b"x"], "headers": CODED}),
    ("POST", "/items", {"content": b" " * 20_000}),
    ("POST", "/echo", {"content": b"x" * 5000}),
    ("POST", "/echo", {"content": [b"one", b"two"]}),
    ("POST", "/echo", {"content": [b"x" * 6000, b"x" * 6000]}),
    ("POST", "/upload", FILE),
    ("POST", "/upload", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
    ("GET", "/inputs?tags=1&tags=2", {"headers": {"x-token": "t"}, "cookies": {"session": "s"}}),
    ("GET", "/inputs?tags=x", {}),
    ("GET", "/none", {}),
    ("GET", "/bytes", {}),
    ("GET", "/cookies", {}),
    ("GET", "/moved", {}),
    ("GET", "/stream", {}),
    ("HEAD", "/stream", {}),
    ("GET", "/stream", {"headers": GZIP}),
    ("GET", "/large", {"headers": GZIP}),
    ("HEAD", "/large", {"headers": GZIP}),
    ("HEAD", "/large", {"headers": {"accept-encoding": "br"}}),
    ("GET", "/self", {}),
    ("HEAD", "/self", {}),
    ("GET", "/self", {"headers": {"range": "bytes=0-9"}}),
    ("GET", "/self", {"headers": {"range": "bytes=99999999-"}}),
    ("GET", "/slow", {}),
    ("GET", "/raises", {}),
    ("GET", "/teapot", {}),
    ("GET", "/unfit", {}),
    ("GET", "/depends", {}),
    ("GET", "/seen?a=1&a=2&b=", {}),
    ("GET", "/hello", {"headers": OWN}),
    ("GET", "/hello", {"headers": FOREIGN}),
    ("OPTIONS", "/items", {"headers": ASK}),
    ("OPTIONS", "/items", {"headers": {**ASK, **FOREIGN}}),
]

# Of the connection, not of the application.
_OWN_HEADERS = {b"date", b"server", b"connection", b"transfer-encoding", b"keep-alive"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the doors and return the exit code."""
    argparse.ArgumentParser(description="One application through three doors.").parse_args(
        arguments
    )
    logging.getLogger("spikard").addHandler(logging.NullHandler())
    logging.getLogger("spikard").propagate = False
    variants = {
        "plain": application.make(),
        "hooks": application.make(with_hooks=True),
        "decoding": application.make(application.DECODING),
        "decoding with hooks": application.make(application.DECODING, with_hooks=True),
        "guarded": application.make(application.GUARDED),
    }
    broken: list[str] = []
    compared = 0
    opened = doors.Doors()
    try:
        for variant, app in variants.items():
            answers: dict[str, list[Any]] = {}
            for door in doors.DOORS:
                with opened.client(door, app) as client:
                    answers[door] = []
                    for method, target, options in REQUESTS:
                        client.cookies.clear()
                        answers[door].append(_shown(client.request(method, target, **options)))
            for index, (method, target, _) in enumerate(REQUESTS):
                compared += 1
                seen = {door: answers[door][index] for door in doors.DOORS}
                wrong = _difference(seen)
                if wrong:
                    broken.append(f"{variant} {method} {target} (request {index}): {wrong}")
    finally:
        opened.close()
    for line in broken:
        print(f"  BROKEN {line}")
    print(
        f"parity: {compared - len(broken)} passed, {len(broken)} failed ({', '.join(doors.DOORS)})"
    )
    return 1 if broken else 0


def _shown(answer: TestResponse) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    # How an encoder is fed decides over a few bytes: what is compared is what comes out again.
    ignored = _OWN_HEADERS | (
        {b"content-length"} if "content-encoding" in answer.headers else set()
    )
    headers = sorted(field for field in answer.headers.raw if field[0] not in ignored)
    return answer.status_code, headers, answer.content


def _difference(seen: dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]]) -> str:
    """Return how the answers differ from those in process; empty when they do not."""
    first, *others = seen
    for other in others:
        for name, one, two in zip(
            ("status", "headers", "body"), seen[first], seen[other], strict=True
        ):
            if one != two:
                if isinstance(one, list) and isinstance(two, list):
                    one, two = (sorted(set(one) - set(two)), sorted(set(two) - set(one)))
                return f"{name}: {first} {str(one)[:200]}, {other} {str(two)[:200]}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
