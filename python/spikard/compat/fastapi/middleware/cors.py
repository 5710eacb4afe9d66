"""`CORSMiddleware` with Starlette's meaning, as a policy of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikard import middleware

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CORSMiddleware"]

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
"""What Starlette's ``*`` stands for."""


class CORSMiddleware(middleware.CORSMiddleware):
    """See `spikard.middleware.CORSMiddleware`.

    Any origin together with credentials is allowed here, as it is there: each origin is
    answered with its own name.
    """

    def __init__(
        self,
        *,
        allow_origins: Sequence[str] = (),
        allow_methods: Sequence[str] = ("GET",),
        allow_headers: Sequence[str] = (),
        allow_credentials: bool = False,
        allow_origin_regex: str | None = None,
        expose_headers: Sequence[str] = (),
        max_age: int = 600,
    ) -> None:
        if allow_credentials and "*" in allow_origins:
            allow_origins, allow_origin_regex = (), ".*"
        if "*" in allow_methods:
            allow_methods = _METHODS
        if "*" not in allow_headers:
            # Starlette counts a body's type among the headers that every request may have.
            allow_headers = (*allow_headers, "Content-Type")
        super().__init__(
            allow_origins=allow_origins,
            allow_methods=allow_methods,
            allow_headers=allow_headers,
            allow_credentials=allow_credentials,
            allow_origin_regex=allow_origin_regex,
            expose_headers=expose_headers,
            max_age=max_age,
        )
