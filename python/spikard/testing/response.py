"""What a test client received."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from spikard.datastructures import Headers

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TestResponse"]

_SHOWN_BYTES = 2000  # of a body in the message of a failed assertion


class TestResponse:
    """A complete response.

    Attributes:
        status_code: Of the final response.
        headers: Case-insensitive; `headers.getlist` has all values of a repeated field.
        content: The body, with gzip and deflate undone as any HTTP client does.
        raw: The body as it was sent.
        url: Of the request that it answers.
        history: The redirects that were followed, in order.
        cookies: Name → value of the cookies that it set.
    """

    __test__ = False  # pytest collects classes named Test…

    def __init__(
        self,
        status_code: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        url: str = "",
        history: tuple[TestResponse, ...] = (),
        cookies: dict[str, str] | None = None,
    ) -> None:
        self.status_code = status_code
        self.headers = Headers(raw=headers)
        self.raw = body
        self.content = _decoded(body, self.headers.get("content-encoding", ""))
        self.url = url
        self.history = history
        self.cookies = cookies or {}

    def bytes(self) -> bytes:
        """Return the body."""
        return self.content

    def text(self) -> str:
        """Return the body as text, in the charset of its content type or UTF-8."""
        _, _, parameter = self.headers.get("content-type", "").partition("charset=")
        charset = parameter.partition(";")[0].strip(' "') or "utf-8"
        try:
            return self.content.decode(charset, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body parsed as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.content)

    def assert_status(self, status_code: int) -> Self:
        """Assert the status code and return the response.

        Raises:
            AssertionError: It is another; the message shows the body.
        """
        if self.status_code != status_code:
            body = self.content[:_SHOWN_BYTES].decode("utf-8", "replace")
            raise AssertionError(
                f"expected status {status_code}, got {self.status_code} from {self.url}: {body}"
            )
        return self

    def assert_status_ok(self) -> Self:
        """Assert status 200 and return the response."""
        return self.assert_status(200)

    def __repr__(self) -> str:
        return f"<TestResponse {self.status_code} {self.url}>"


def _decoded(body: bytes, codings: str) -> bytes:
    for coding in reversed([each.strip().lower() for each in codings.split(",") if each.strip()]):
        if not body:
            return body
        if coding in ("gzip", "x-gzip"):
            body = zlib.decompress(body, 16 + zlib.MAX_WBITS)
        elif coding == "deflate":
            body = zlib.decompress(body)
        else:
            return body
    return body
