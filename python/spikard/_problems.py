"""Problem documents (RFC 9457) for every error that the framework answers itself."""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import re
from typing import Any

from spikard._codecs import encode_json
from spikard.exceptions import HTTPException, RequestValidationError, reason_phrase
from spikard.responses import Response

__all__ = ["BASE", "problem", "problem_error", "problem_of", "shown_errors", "too_long"]

BASE = "https://spikard.dev/errors/"

_TITLES = {413: "Payload Too Large"}
"""Reason phrases of which Python's versions have different ones."""

INPUT_LIMIT = 1024
"""Bytes of one ``input`` in an answer: the client knows what it sent."""

ANSWER_LIMIT = 4096
"""Bytes of all ``input`` members of one answer together, so that errors do not amplify."""


class Problem(Response):
    """A response with a problem document."""

    __slots__ = ()
    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes | None:
        """Encode the document."""
        return encode_json(content)


def problem(status: int, detail: Any = None, *, headers: dict[str, str] | None = None) -> Response:
    """Return the problem document of a status as the Rust side makes it."""
    return problem_of(problem_error(status, detail, headers=headers))


def problem_error(
    status: int, detail: Any = None, *, headers: dict[str, str] | None = None
) -> HTTPException:
    """Return the same as an exception, which exception handlers may take."""
    title = _TITLES.get(status) or reason_phrase(status)
    kind = "-".join(re.findall("[a-z0-9]+", title.lower()))
    return HTTPException(status, detail, headers, type=f"{BASE}{kind}", title=title)


def too_long(limit: int | None) -> HTTPException:
    """Return the 413 of a request body over its limit in bytes."""
    return problem_error(413, f"Request body is larger than the limit of {limit} bytes")


def problem_of(exc: HTTPException) -> Response:
    """Return the document of an exception; one without a body for 204 and 304."""
    if exc.status_code in (204, 304) or exc.status_code < 200:
        return Response(None, exc.status_code, exc.headers)
    document: dict[str, Any] = {
        "type": exc.type or "about:blank",
        "title": exc.title,
        "status": exc.status_code,
        "detail": exc.detail,
    }
    if isinstance(exc, RequestValidationError):
        document["errors"] = shown_errors(exc.errors)
    elif exc.extra:
        document.update(exc.extra)
    return Problem(document, exc.status_code, exc.headers)


def shown_errors(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return errors whose inputs, names and texts keep to the limits of an answer."""
    left = ANSWER_LIMIT
    shown = []
    for found in errors:
        item = found.copy()
        if max(map(len, found["loc"]), default=0) > INPUT_LIMIT:
            item["loc"] = [_cut(step, INPUT_LIMIT) for step in found["loc"]]
        if len(found["msg"]) > INPUT_LIMIT:
            item["msg"] = _cut(found["msg"], INPUT_LIMIT)
        if "ctx" in item:
            item["ctx"] = {
                key: _cut(value, INPUT_LIMIT) if isinstance(value, str) else value
                for key, value in found["ctx"].items()
            }
        if "input" in item:
            value, size = _cut_input(found["input"], min(INPUT_LIMIT, left))
            if size > left:  # not even an ellipsis fits
                del item["input"]
            else:
                item["input"] = value
                left -= size
        shown.append(item)
    return shown


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _cut_input(value: Any, limit: int) -> tuple[Any, int]:
    """Return the value or, above the limit, the beginning of its text; and its size in bytes."""
    if isinstance(value, str) and len(value) > limit:
        return _clipped(value, limit)
    try:
        encoded = encode_json(value)
    except (TypeError, ValueError, RecursionError):
        return _clipped(f"<{type(value).__name__}>", limit)
    if len(encoded) <= limit:
        return value, len(encoded)
    return _clipped(value if isinstance(value, str) else encoded.decode(), limit)


def _clipped(text: str, limit: int) -> tuple[str, int]:
    """Return the beginning of a text whose JSON keeps to the limit, and its size."""
    length = limit
    while True:
        clipped = text[:length] + "…"
        size = len(encode_json(clipped))
        if size <= limit or length == 0:
            return clipped, size
        # Characters take up to six bytes in JSON: try again with fewer.
        length = length * 3 // 4
