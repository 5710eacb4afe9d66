"""Middleware that is none: classes for ``app.add_middleware`` that become server policies.

Each stands for fields of `ServerConfig`. Nothing is wrapped around the application, so routes
stay on the native path, and the policy holds for static files and documentation pages too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikard.config import ServerConfig

__all__ = [
    "CORSMiddleware",
    "GZipMiddleware",
    "HTTPSRedirectMiddleware",
    "PolicyMiddleware",
    "TrustedHostMiddleware",
]


class PolicyMiddleware(ABC):
    """A policy in middleware's clothes; its arguments are checked when it is added."""

    @abstractmethod
    def configured(self, config: ServerConfig) -> ServerConfig:
        """Return the configuration with this policy in it."""


class CORSMiddleware(PolicyMiddleware):
    """``ServerConfig(cors=CorsConfig(...))``; the arguments are those of Starlette's class.

    Raises:
        ValueError: As `CorsConfig`, which refuses any origin together with credentials.
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
        from spikard.config import CorsConfig

        self.cors = CorsConfig(
            allow_origins=allow_origins,
            allow_methods=allow_methods,
            allow_headers=allow_headers,
            allow_credentials=allow_credentials,
            allow_origin_regex=allow_origin_regex,
            expose_headers=expose_headers,
            max_age=max_age,
        )

    def configured(self, config: ServerConfig) -> ServerConfig:
        """Return the configuration with this policy in it."""
        return config.copy(cors=self.cors)


class GZipMiddleware(PolicyMiddleware):
    """``ServerConfig(compression=CompressionConfig(...))`` with gzip alone.

    Args:
        minimum_size: Bytes of the smallest body to compress.
        compresslevel: 0 to 9, the effort.
    """

    def __init__(self, *, minimum_size: int = 500, compresslevel: int = 9) -> None:
        from spikard.config import CompressionConfig

        self.compression = CompressionConfig(
            gzip=True, brotli=False, zstd=False, min_size=minimum_size, quality=compresslevel
        )

    def configured(self, config: ServerConfig) -> ServerConfig:
        """Return the configuration with this policy in it."""
        return config.copy(compression=self.compression)


class TrustedHostMiddleware(PolicyMiddleware):
    """``ServerConfig(allowed_hosts=...)``: requests for other hosts are answered with 400.

    Args:
        allowed_hosts: Names, ``*.example.com`` for every subdomain, ``*`` for all.
        www_redirect: Accepted for Starlette's sake; a host that lacks only the ``www.`` is
            refused, not redirected.
    """

    def __init__(
        self, *, allowed_hosts: Sequence[str] | None = None, www_redirect: bool = True
    ) -> None:
        self.allowed_hosts = tuple(allowed_hosts if allowed_hosts is not None else ("*",))
        self.www_redirect = www_redirect
        for pattern in self.allowed_hosts:
            if "*" in pattern.removeprefix("*.") and pattern != "*":
                raise ValueError(
                    "TrustedHostMiddleware.allowed_hosts: expected names, '*.example.com' or "
                    f"'*', got {pattern!r}"
                )

    def configured(self, config: ServerConfig) -> ServerConfig:
        """Return the configuration with this policy in it."""
        return config.copy(allowed_hosts=self.allowed_hosts)


class HTTPSRedirectMiddleware(PolicyMiddleware):
    """``ServerConfig(https_redirect=True)``: requests without TLS are sent to TLS, with 307."""

    def configured(self, config: ServerConfig) -> ServerConfig:
        """Return the configuration with this policy in it."""
        return config.copy(https_redirect=True)


def is_policy(middleware: Any) -> bool:
    """Return whether a class given to ``add_middleware`` is a policy."""
    return isinstance(middleware, type) and issubclass(middleware, PolicyMiddleware)
