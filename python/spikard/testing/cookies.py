"""The cookies of a test client: the standard library's jar, with the rules of a browser."""

from __future__ import annotations

import email.message
import http.cookiejar
import urllib.request
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikard.datastructures import Headers

__all__ = ["Cookies"]


class Cookies(MutableMapping[str, str]):
    """Name → value of the cookies that a client keeps; assigning sets one for every path."""

    def __init__(self) -> None:
        self.jar = http.cookiejar.CookieJar()

    def header(self, url: str) -> str | None:
        """Return the `Cookie` field for a request to `url`."""
        request = urllib.request.Request(url)  # noqa: S310 - nothing is opened
        self.jar.add_cookie_header(request)
        return request.get_header("Cookie")

    def store(self, url: str, headers: Headers) -> dict[str, str]:
        """Keep what a response from `url` set, and return the names and values."""
        fields = headers.getlist("set-cookie")
        if not fields:
            return {}
        response = _Response(fields)
        request = urllib.request.Request(url)  # noqa: S310 - nothing is opened
        stored: Any = self.jar.make_cookies(response, request)  # type: ignore[arg-type]  # it calls info()
        self.jar.extract_cookies(response, request)  # type: ignore[arg-type]
        return {cookie.name: cookie.value or "" for cookie in stored}

    def __getitem__(self, name: str) -> str:
        for cookie in self.jar:
            if cookie.name == name:
                return cookie.value or ""
        raise KeyError(name)

    def __setitem__(self, name: str, value: str) -> None:
        self.jar.set_cookie(
            http.cookiejar.Cookie(
                version=0,
                name=name,
                value=value,
                port=None,
                port_specified=False,
                domain="",
                domain_specified=False,
                domain_initial_dot=False,
                path="/",
                path_specified=True,
                secure=False,
                expires=None,
                discard=True,
                comment=None,
                comment_url=None,
                rest={},
            )
        )

    def __delitem__(self, name: str) -> None:
        found = [cookie for cookie in self.jar if cookie.name == name]
        if not found:
            raise KeyError(name)
        for cookie in found:
            self.jar.clear(cookie.domain, cookie.path, cookie.name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(cookie.name for cookie in self.jar))

    def __len__(self) -> int:
        return len({cookie.name for cookie in self.jar})

    def __repr__(self) -> str:
        return f"Cookies({dict(self)!r})"


class _Response:
    """As much of a response as `http.cookiejar` looks at."""

    def __init__(self, fields: list[str]) -> None:
        self._message = email.message.Message()
        for field in fields:
            self._message["Set-Cookie"] = field

    def info(self) -> email.message.Message:
        return self._message
