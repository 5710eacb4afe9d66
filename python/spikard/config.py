"""Configuration: frozen, keyword-only classes that cannot hold a wrong value.

Each field carries its rule (range, unit, help, flag). The checks on construction, the command line,
the environment variables and docs/configuration.md are made from it: see `_rules` and `_settings`.
Sizes are in bytes and times in seconds, as floats; None switches a limit off.
"""

from __future__ import annotations

import os
import stat
import warnings
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from spikard._rules import (
    Choice,
    Document,
    FilePath,
    Headers,
    Integer,
    NamedParts,
    Network,
    Number,
    Part,
    Parts,
    Rule,
    Seconds,
    Size,
    Switch,
    Text,
    TextOrTexts,
    Texts,
    UrlPath,
    is_token,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

__all__ = [
    "ApiKeyConfig",
    "CertificateConfig",
    "CompressionConfig",
    "ContactInfo",
    "CorsConfig",
    "DecompressionConfig",
    "JwtConfig",
    "LicenseInfo",
    "OpenApiConfig",
    "RateLimitConfig",
    "SecurityHeadersConfig",
    "SecuritySchemeInfo",
    "ServerConfig",
    "ServerInfo",
    "StaticFilesConfig",
    "TlsConfig",
]

NOT_BUILT: frozenset[str] = frozenset(
    {
        "ServerConfig.grpc_max_metadata_size",
        "ServerConfig.grpc_max_receive_size",
        "ServerConfig.grpc_max_send_size",
        "ServerConfig.json_max_depth",
        "ServerConfig.max_query_pairs",
        "ServerConfig.max_requests",
        "ServerConfig.max_requests_jitter",
    }
)
"""Fields whose feature does not exist yet.

They keep their default: another value is an error, they have no flag and no variable, and the Rust
side is not told about them. Whoever builds a feature takes its name out of here.
"""

_POLICIES_OFF: dict[str, Any] = {
    "allowed_hosts": (),
    "api_key_auth": None,
    "compression": None,
    "cors": None,
    "decompression": None,
    "enable_request_id": False,
    "headers": (),
    "https_redirect": False,
    "jwt_auth": None,
    "max_body_size": None,
    "max_concurrency": None,
    "rate_limit": None,
    "request_timeout": None,
    "security_headers": None,
    "static_files": (),
    "trusted_proxies": (),
    "ws_allowed_origins": ("*",),
}
"""Fields that put the pipeline to work, and their values that do not."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

JwtAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
    "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
]  # fmt: skip
_JWT_ALGORITHMS = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
    "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
)  # fmt: skip


def knob(default: Any, rule: Rule, group: str = "") -> Any:
    """Return a dataclass field with a rule; `group` is its heading in `--help`."""
    return field(default=default, metadata={"rule": rule, "group": group})


class Config:
    """What all configuration classes share."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __post_init__(self) -> None:
        owner = type(self).__name__
        for item in fields(self):
            value = getattr(self, item.name)
            try:
                checked = item.metadata["rule"].check(value)
            except ValueError as error:
                raise ValueError(f"{owner}.{item.name}: {error}") from None
            if checked is not value:
                object.__setattr__(self, item.name, checked)
            if f"{owner}.{item.name}" in NOT_BUILT and checked != item.default:
                raise ValueError(f"{owner}.{item.name}: not available yet in this version")
        self._check_together()

    def _check_together(self) -> None:
        """Raise ValueError where two fields contradict each other."""

    def copy(self, **changes: Any) -> Self:
        """Return the same configuration with some fields changed, checked again."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{item.name}={self._shown(item.name, secret=item.metadata['rule'].secret)}"
            for item in fields(self)
            if getattr(self, item.name) != item.default
        )
        return f"{type(self).__name__}({parts})"

    def _shown(self, name: str, *, secret: bool) -> str:
        value = getattr(self, name)
        return "'***'" if secret and value is not None else repr(value)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class CompressionConfig(Config):
    """Compression of responses, in the coding that the client likes best.

    A response that holds a secret and repeats something of the request tells of the secret by its
    length (BREACH): such a route says `compress=False`.

    Example:
        >>> CompressionConfig(min_size=2048, quality=9).quality
        9
    """

    gzip: bool = knob(True, Switch("Offer gzip"))
    brotli: bool = knob(True, Switch("Offer brotli"))
    zstd: bool = knob(True, Switch("Offer zstd"))
    min_size: int = knob(1024, Size("Smallest body to compress", low=0))
    quality: int = knob(6, Integer("Effort, clamped to each coding's range", high=11))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class DecompressionConfig(Config):
    """Decompression of request bodies, before anybody reads them; without it they are refused.

    `max_body_size` counts the plain bytes. A body is refused too once it is longer than 64 KiB and
    more than `max_ratio` times as long as its coded form.
    """

    gzip: bool = knob(True, Switch("Undo gzip"))
    deflate: bool = knob(True, Switch("Undo deflate, in zlib's format"))
    brotli: bool = knob(True, Switch("Undo brotli"))
    zstd: bool = knob(True, Switch("Undo zstd"))
    max_ratio: int = knob(100, Integer("Times its size a body may grow to", low=1, high=2**32 - 1))
    max_members: int = knob(
        16, Integer("Most gzip members or zstd frames of a body", low=1, high=2**32 - 1)
    )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class RateLimitConfig(Config):
    """A limit of requests per client (GCRA): `burst` at once, then `per_second` a second."""

    per_second: float = field(
        metadata={"rule": Number("Requests a second once the burst is used", low=0.001)}
    )
    burst: int = field(metadata={"rule": Integer("Requests at once", low=1)})
    ip_based: bool = knob(True, Switch("Count per client address instead of all together"))
    by: str | None = knob(
        None,
        Text("What to count instead: ip, global, api_key or claim:NAME", optional=True),
    )

    def _check_together(self) -> None:
        is_claim = self.by is not None and self.by.startswith("claim:") and self.by != "claim:"
        if not is_claim and self.by not in (None, "ip", "global", "api_key"):
            raise ValueError(
                'RateLimitConfig.by: expected "ip", "global", "api_key" or "claim:NAME", '
                f"got {self.by!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class JwtConfig(Config):
    """Bearer tokens (RFC 7519) on every route that does not say `require_auth=False`.

    `secret` is the shared secret of an HS algorithm, or the PEM public key of the others; `jwks`
    takes its place where keys are chosen by the token's `kid`: a set as a mapping or its JSON, or
    the path of a file. To rotate keys, add the new one to the set, sign with it, and take the old
    one out once its tokens have expired. `exp` is required unless `required_claims` leaves it out.
    """

    secret: str | None = knob(
        None, Text("Shared secret, or PEM public key", optional=True, secret=True, multiline=True)
    )
    algorithm: JwtAlgorithm = knob(
        "HS256", Choice("The one accepted algorithm", choices=_JWT_ALGORITHMS)
    )
    audience: str | Sequence[str] | None = knob(
        None, TextOrTexts("Accepted `aud` values", optional=True, required=True)
    )
    issuer: str | Sequence[str] | None = knob(
        None, TextOrTexts("Accepted `iss` values", optional=True, required=True)
    )
    leeway: int = knob(0, Integer("Seconds of tolerance for `exp` and `nbf`", high=86_400))
    required_claims: Sequence[str] = knob(("exp",), Texts("Claims a token must have"))
    jwks: str | os.PathLike[str] | Mapping[str, Any] | None = knob(
        None, Document("JSON Web Key Set, or the path of a file with it", optional=True)
    )

    def _shown(self, name: str, *, secret: bool) -> str:
        # A set may hold shared secrets; the path of one does not.
        is_set = name == "jwks" and not isinstance(self.jwks, str)
        return super(JwtConfig, self)._shown(name, secret=secret or is_set)

    def _check_together(self) -> None:
        if (self.secret is None) == (self.jwks is None):
            raise ValueError("JwtConfig.secret: expected either secret or jwks, got both or none")
        if self.secret is None:
            return
        is_pem = self.secret.lstrip().startswith("-----BEGIN")
        if self.algorithm.startswith("HS"):
            if is_pem:
                # A public key is known to everyone: as an HMAC secret it would let anyone sign.
                raise ValueError(
                    "JwtConfig.secret: expected a shared secret with "
                    f"{self.algorithm}, got a PEM key"
                )
            if len(self.secret.encode()) < 32:
                warnings.warn(
                    "JwtConfig.secret: shorter than 32 bytes, which can be guessed offline",
                    stacklevel=4,
                )
        elif not is_pem:
            raise ValueError(
                f"JwtConfig.secret: expected a PEM public key for {self.algorithm}, got other text"
            )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ApiKeyConfig(Config):
    """API keys, compared in constant time; in the query string only when `query_param` names it."""

    keys: Sequence[str] = field(
        metadata={"rule": Texts("Accepted keys", secret=True, required=True)}
    )
    header_name: str = knob("X-API-Key", Text("Header that carries the key"))
    query_param: str | None = knob(None, Text("Query parameter that may carry it", optional=True))

    def _check_together(self) -> None:
        if not is_token(self.header_name):
            raise ValueError(
                f"ApiKeyConfig.header_name: expected a header name, got {self.header_name!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class CorsConfig(Config):
    """Cross-origin requests (WHATWG Fetch)."""

    allow_origins: Sequence[str] = knob((), Texts('Origins that may call, or "*"'))
    allow_origin_regex: str | None = knob(
        None, Text("Expression that a whole origin may match instead", optional=True)
    )
    allow_methods: Sequence[str] = knob(
        ("GET", "POST", "PUT", "PATCH", "DELETE"), Texts('Methods they may use, or "*"')
    )
    allow_headers: Sequence[str] = knob((), Texts('Headers they may send, or "*"'))
    allow_credentials: bool = knob(False, Switch("Cookies and authorization allowed"))
    expose_headers: Sequence[str] = knob((), Texts("Response headers that scripts may read"))
    max_age: int = knob(600, Integer("Seconds a preflight may be kept", high=86400))

    def _check_together(self) -> None:
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError(
                'CorsConfig.allow_origins: expected named origins with allow_credentials, got "*"'
            )
        for origin in self.allow_origins:
            if origin not in ("*", "null") and ("://" not in origin or origin.endswith("/")):
                raise ValueError(
                    'CorsConfig.allow_origins: expected origins such as "https://a.example", '
                    f"got {origin!r}"
                )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class StaticFilesConfig(Config):
    """A directory served under a path."""

    directory: str | os.PathLike[str] = field(
        metadata={"rule": FilePath("Directory with the files")}
    )
    route_prefix: str = field(metadata={"rule": UrlPath("Path they appear under")})
    index_file: bool = knob(True, Switch("Answer a directory with index.html"))
    cache_control: str | None = knob(None, Text("cache-control header", optional=True))
    public: bool = knob(False, Switch("Serve without authentication"))
    spa_fallback: bool = knob(False, Switch("Answer a page that is not there with index.html"))
    precompressed: bool = knob(True, Switch("Send the .br, .zst or .gz file beside one instead"))
    follow_symlinks: bool = knob(False, Switch("Let symbolic links lead out of the directory"))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SecurityHeadersConfig(Config):
    """Response headers that ask browsers to be careful; None leaves one out."""

    content_type_options: bool = knob(True, Switch("Send x-content-type-options: nosniff"))
    frame_options: str | None = knob("DENY", Text("x-frame-options", optional=True))
    referrer_policy: str | None = knob(
        "strict-origin-when-cross-origin", Text("referrer-policy", optional=True)
    )
    content_security_policy: str | None = knob(None, Text("content-security-policy", optional=True))
    permissions_policy: str | None = knob(None, Text("permissions-policy", optional=True))
    cross_origin_opener_policy: str | None = knob(
        "same-origin", Text("cross-origin-opener-policy", optional=True)
    )
    hsts_max_age: int | None = knob(
        31_536_000, Integer("Seconds of strict-transport-security, over TLS only", optional=True)
    )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class CertificateConfig(Config):
    """A further certificate, for clients that ask for one of its names (SNI)."""

    certfile: str | os.PathLike[str] = field(
        metadata={"rule": FilePath("Certificate chain (PEM)", text=False)}
    )
    keyfile: str | os.PathLike[str] = field(
        metadata={"rule": FilePath("Private key (PEM)", text=False)}
    )
    key_password: str | None = knob(
        None, Text("Password of the key", optional=True, secret=True, text=False)
    )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class TlsConfig(Config):
    """TLS with a certificate chain and key in PEM files."""

    certfile: str | os.PathLike[str] = field(
        metadata={"rule": FilePath("Certificate chain (PEM)", flag="--ssl-certfile")}
    )
    keyfile: str | os.PathLike[str] = field(
        metadata={"rule": FilePath("Private key (PEM)", flag="--ssl-keyfile")}
    )
    key_password: str | None = knob(
        None, Text("Password of the key", optional=True, secret=True, flag="--ssl-keyfile-password")
    )
    client_ca: str | os.PathLike[str] | None = knob(
        None, FilePath("CA of client certificates (PEM)", optional=True, flag="--ssl-ca-certs")
    )
    client_cert: Literal["none", "optional", "required"] = knob(
        "none",
        Choice(
            "Whether clients show a certificate",
            choices=("none", "optional", "required"),
            flag="--ssl-cert-reqs",
        ),
    )
    min_version: Literal["1.2", "1.3"] = knob(
        "1.2", Choice("Oldest TLS version", choices=("1.2", "1.3"), flag="--ssl-min-version")
    )
    certificates: Sequence[CertificateConfig] = knob(
        (), Parts("Further certificates", of=CertificateConfig, text=False)
    )

    def _check_together(self) -> None:
        if (self.client_cert == "none") != (self.client_ca is None):
            raise ValueError(
                "TlsConfig.client_ca: expected together with client_cert "
                f'"optional" or "required", got client_cert={self.client_cert!r}'
            )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ServerInfo(Config):
    """An entry of OpenAPI's `servers`."""

    url: str = field(metadata={"rule": Text("URL")})
    description: str | None = knob(None, Text("Description", optional=True))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ContactInfo(Config):
    """OpenAPI's `info.contact`."""

    name: str | None = knob(None, Text("Name", optional=True))
    email: str | None = knob(None, Text("Address", optional=True))
    url: str | None = knob(None, Text("URL", optional=True))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class LicenseInfo(Config):
    """OpenAPI's `info.license`."""

    name: str = field(metadata={"rule": Text("Name")})
    url: str | None = knob(None, Text("URL", optional=True))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SecuritySchemeInfo(Config):
    """An entry of OpenAPI's `components.securitySchemes`."""

    type: Literal["apiKey", "http", "oauth2", "openIdConnect", "mutualTLS"] = field(
        metadata={
            "rule": Choice(
                "Kind", choices=("apiKey", "http", "oauth2", "openIdConnect", "mutualTLS")
            )
        }
    )
    description: str | None = knob(None, Text("Description", optional=True))
    name: str | None = knob(None, Text("Name of the apiKey", optional=True))
    location: Literal["query", "header", "cookie"] | None = knob(
        None, Choice("Where the apiKey is", choices=("query", "header", "cookie"), optional=True)
    )
    scheme: str | None = knob(None, Text("Scheme of http", optional=True))
    bearer_format: str | None = knob(None, Text("Format of the token", optional=True))

    def _check_together(self) -> None:
        if self.type == "apiKey" and (self.name is None or self.location is None):
            raise ValueError("SecuritySchemeInfo.name: expected name and location with apiKey")
        if self.type == "http" and self.scheme is None:
            raise ValueError("SecuritySchemeInfo.scheme: expected a scheme with http, got None")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class OpenApiConfig(Config):
    """The OpenAPI document and the pages that show it."""

    enabled: bool = knob(False, Switch("Serve document and pages", text=False))
    title: str = knob("API", Text("Title"))
    version: str = knob("1.0.0", Text("Version of the API"))
    description: str | None = knob(None, Text("Description", optional=True, multiline=True))
    swagger_ui_path: str | None = knob("/docs", UrlPath("Path of Swagger UI", optional=True))
    redoc_path: str | None = knob("/redoc", UrlPath("Path of ReDoc", optional=True))
    scalar_path: str | None = knob(None, UrlPath("Path of Scalar", optional=True))
    openapi_json_path: str = knob("/openapi.json", UrlPath("Path of the document"))
    contact: ContactInfo | None = knob(
        None, Part("Contact", of=ContactInfo, optional=True, text=False)
    )
    license: LicenseInfo | None = knob(
        None, Part("Licence", of=LicenseInfo, optional=True, text=False)
    )
    servers: Sequence[ServerInfo] = knob((), Parts("Servers", of=ServerInfo, text=False))
    security_schemes: Mapping[str, SecuritySchemeInfo] = field(
        default_factory=dict[str, SecuritySchemeInfo],
        metadata={"rule": NamedParts("Security schemes", of=SecuritySchemeInfo, text=False)},
    )
    public: bool = knob(False, Switch("Serve without authentication"))

    def _check_together(self) -> None:
        paths = [self.swagger_ui_path, self.redoc_path, self.scalar_path, self.openapi_json_path]
        taken = [path for path in paths if path is not None]
        if len(set(taken)) != len(taken):
            raise ValueError(
                f"OpenApiConfig.openapi_json_path: expected distinct paths, got {taken}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ServerConfig(Config):
    """Everything about the server: where it listens, how it runs, and what it allows.

    `SPIKARD_…` variables and the command line go over it, field by field (docs/configuration.md).

    Example:
        >>> ServerConfig(port=0, max_body_size=None).copy(workers=4).workers
        4

    Raises:
        ValueError: A value is outside its range or contradicts another; names field, value, range.
    """

    host: str = knob("127.0.0.1", Text("Address to listen on"), "Listening")
    port: int = knob(8000, Integer("TCP port; 0 takes any free one", high=65535), "Listening")
    uds: str | os.PathLike[str] | None = knob(
        None, FilePath("Unix socket to listen on instead", optional=True), "Listening"
    )
    fd: int | None = knob(
        None, Integer("Inherited listening descriptor to use instead", optional=True), "Listening"
    )
    backlog: int = knob(
        2048, Integer("Connections the kernel may queue", low=1, high=65535), "Listening"
    )
    http: Literal["auto", "1", "2"] = knob(
        "auto", Choice("HTTP version to speak", choices=("auto", "1", "2")), "Listening"
    )
    tls: TlsConfig | None = knob(None, Part("TLS", of=TlsConfig, optional=True), "Listening")
    root_path: str = knob(
        "", UrlPath("Path that a proxy in front cuts off", empty=True), "Listening"
    )
    trusted_proxies: Sequence[str] = knob(
        (),
        Texts(
            "Proxies whose forwarded headers count", item=Network(""), flag="--forwarded-allow-ips"
        ),
        "Listening",
    )
    workers: int = knob(1, Integer("Worker processes", low=1, high=1024), "Processes")
    lifespan: Literal["auto", "on", "off"] = knob(
        "auto", Choice("Run the application's lifespan", choices=("auto", "on", "off")), "Processes"
    )
    graceful_shutdown: bool = knob(
        True, Switch("Finish running requests before stopping"), "Processes"
    )
    shutdown_timeout: float = knob(
        30.0,
        Seconds(
            "Time that running requests get when stopping",
            low=0.0,
            flag="--timeout-graceful-shutdown",
        ),
        "Processes",
    )
    max_requests: int | None = knob(
        None,
        Integer(
            "Requests after which a worker is replaced",
            low=1,
            optional=True,
            flag="--limit-max-requests",
        ),
        "Processes",
    )
    max_requests_jitter: int = knob(
        0,
        Integer(
            "Up to how many requests above that, at random",
            flag="--limit-max-requests-jitter",
        ),
        "Processes",
    )
    worker_heartbeat_timeout: float | None = knob(
        60.0,
        Seconds(
            "Silence after which a worker whose loop is stuck is replaced", low=1.0, optional=True
        ),
        "Processes",
    )
    access_log: bool = knob(True, Switch("Log each request"), "Logging")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = knob(
        "info",
        Choice("Least level to log", choices=("critical", "error", "warning", "info", "debug")),
        "Logging",
    )
    max_body_size: int | None = knob(
        10 * MIB, Size("Largest request body", optional=True), "Requests and responses"
    )
    request_timeout: float | None = knob(
        30.0,
        Seconds("Time for a whole request in the application", optional=True),
        "Requests and responses",
    )
    cancel_abandoned_streams: bool = knob(
        False,
        Switch("Cancel ASGI applications that wait in a response whose client has left"),
        "Requests and responses",
    )
    enable_request_id: bool = knob(
        True,
        Switch("Give each request an x-request-id", flag="--request-id"),
        "Requests and responses",
    )
    compression: CompressionConfig | None = knob(
        CompressionConfig(),
        Part("Compress responses", of=CompressionConfig, optional=True),
        "Requests and responses",
    )
    decompression: DecompressionConfig | None = knob(
        None,
        Part("Decompress request bodies", of=DecompressionConfig, optional=True),
        "Requests and responses",
    )
    error_format: Literal["problem", "detail"] = knob(
        "problem",
        Choice(
            'Body of the errors that the server makes: RFC 9457, or {"detail": ...}',
            choices=("problem", "detail"),
        ),
        "Requests and responses",
    )
    headers: Sequence[tuple[str, str]] = knob(
        (), Headers("Header added to every response", flag="--header"), "Requests and responses"
    )
    server_header: bool = knob(False, Switch("Send a server header"), "Requests and responses")
    static_files: Sequence[StaticFilesConfig] = knob(
        (), Parts("Directories to serve", of=StaticFilesConfig), "Requests and responses"
    )
    openapi: OpenApiConfig | None = knob(
        None,
        Part("OpenAPI document and pages", of=OpenApiConfig, optional=True),
        "Requests and responses",
    )
    allowed_hosts: Sequence[str] = knob(
        (), Texts("Hosts that are served, or *.example.com; none given: all"), "Access"
    )
    https_redirect: bool = knob(
        False, Switch("Send requests without TLS to the same address with it"), "Access"
    )
    security_headers: SecurityHeadersConfig | None = knob(
        None,
        Part("Headers that ask browsers to be careful", of=SecurityHeadersConfig, optional=True),
        "Access",
    )
    cors: CorsConfig | None = knob(
        None, Part("Cross-origin requests", of=CorsConfig, optional=True), "Access"
    )
    rate_limit: RateLimitConfig | None = knob(
        None, Part("Limit of requests", of=RateLimitConfig, optional=True), "Access"
    )
    jwt_auth: JwtConfig | None = knob(
        None, Part("Bearer tokens", of=JwtConfig, optional=True, flag="--jwt"), "Access"
    )
    api_key_auth: ApiKeyConfig | None = knob(
        None, Part("API keys", of=ApiKeyConfig, optional=True, flag="--api-key"), "Access"
    )
    max_connections: int = knob(
        10_000,
        Integer(
            "Open connections of a worker, if a quarter of its descriptors (256 at most) is left;"
            " above it the longest idle one goes",
            low=1,
        ),
        "Connection limits",
    )
    max_concurrency: int | None = knob(
        None,
        Integer(
            "Requests in the application at once, of a worker",
            low=1,
            optional=True,
            flag="--limit-concurrency",
        ),
        "Connection limits",
    )
    max_queue: int = knob(
        1000, Integer("Requests that wait above max_concurrency"), "Connection limits"
    )
    max_requests_per_connection: int = knob(
        10_000,
        Integer("Requests on one connection before it is closed", low=1),
        "Connection limits",
    )
    protocol_detect_timeout: float = knob(
        5.0, Seconds("Time to the first byte of a connection"), "Connection limits"
    )
    tls_handshake_timeout: float = knob(
        10.0, Seconds("Time for the TLS handshake"), "Connection limits"
    )
    keep_alive_timeout: float = knob(
        75.0,
        Seconds("Idle time between two requests", flag="--timeout-keep-alive"),
        "Connection limits",
    )
    header_timeout: float = knob(
        10.0, Seconds("Time for a whole request head"), "Connection limits"
    )
    body_timeout: float = knob(
        30.0, Seconds("Time a request body may stand still"), "Connection limits"
    )
    min_body_rate: int = knob(
        240,
        Integer("Bytes a second below which a request body is refused; 0 is off"),
        "Connection limits",
    )
    write_stall_timeout: float = knob(
        30.0, Seconds("Time a client may take nothing of a response"), "Connection limits"
    )
    min_write_rate: int = knob(
        240,
        Integer("Bytes a second below which a client reads too slowly; 0 is off"),
        "Connection limits",
    )
    max_request_line: int = knob(16 * KIB, Size("Longest request line", low=64), "HTTP/1.1")
    max_header_size: int = knob(32 * KIB, Size("Largest request head", low=1024), "HTTP/1.1")
    max_header_field: int = knob(16 * KIB, Size("Longest header line", low=64), "HTTP/1.1")
    max_headers: int = knob(
        100, Integer("Most header lines of a request", low=1, high=10000), "HTTP/1.1"
    )
    strict_http1: bool = knob(
        True, Switch("Refuse messages that parsers read in different ways"), "HTTP/1.1"
    )
    max_concurrent_streams: int = knob(
        100, Integer("Open streams of a connection", low=1), "HTTP/2"
    )
    h2_max_pending_reset_streams: int = knob(
        20, Integer("Streams a client may reset before they were accepted", low=1), "HTTP/2"
    )
    h2_max_local_reset_streams: int = knob(
        32, Integer("Streams we may reset for a client's errors", low=1), "HTTP/2"
    )
    h2_stream_window: int = knob(
        256 * KIB, Size("Flow-control window of a stream", low=65535, high=2**31 - 1), "HTTP/2"
    )
    h2_connection_window: int = knob(
        1 * MIB, Size("Flow-control window of a connection", low=65535, high=2**31 - 1), "HTTP/2"
    )
    h2_send_buffer: int = knob(64 * KIB, Size("Unsent bytes held for a stream", low=1024), "HTTP/2")
    h2_stall_timeout: float = knob(
        30.0, Seconds("Time a stream may wait on a closed window"), "HTTP/2"
    )
    h2_ping_interval: float | None = knob(
        30.0, Seconds("Time between pings on a quiet connection", optional=True), "HTTP/2"
    )
    h2_ping_timeout: float = knob(10.0, Seconds("Time for the answer to a ping"), "HTTP/2")
    ws_max_message_size: int = knob(
        16 * MIB, Size("Largest message", flag="--ws-max-size"), "WebSocket"
    )
    ws_max_fragments: int = knob(1024, Integer("Most frames of a message", low=1), "WebSocket")
    ws_ping_interval: float | None = knob(
        20.0, Seconds("Time between pings", optional=True), "WebSocket"
    )
    ws_ping_timeout: float | None = knob(
        20.0, Seconds("Time for the answer to a ping", optional=True), "WebSocket"
    )
    ws_close_timeout: float = knob(
        5.0, Seconds("Time for the answer to a close frame"), "WebSocket"
    )
    ws_write_buffer: int = knob(
        1 * MIB, Size("Unsent bytes held for a connection", low=1024), "WebSocket"
    )
    ws_max_queue: int = knob(
        16, Integer("Messages read ahead of the application", low=1), "WebSocket"
    )
    ws_allowed_origins: Sequence[str] | None = knob(
        None,
        Texts("Origins that may connect; none given: the same host", optional=True),
        "WebSocket",
    )
    max_form_parts: int = knob(
        1000, Integer("Most fields and files of a form", low=1), "Forms and JSON"
    )
    max_form_field_size: int = knob(
        1 * MIB, Size("Largest field of a form that is not a file"), "Forms and JSON"
    )
    max_query_pairs: int = knob(
        1000, Integer("Most pairs of a query string", low=1), "Forms and JSON"
    )
    spool_memory: int = knob(
        1 * MIB,
        Size("Bytes of an upload kept in memory before it goes to disk", low=0),
        "Forms and JSON",
    )
    spool_quota: int | None = knob(
        1 * GIB,
        Size("Bytes of a worker's uploads on disk at once", optional=True),
        "Forms and JSON",
    )
    json_max_depth: int = knob(
        128, Integer("Deepest nesting of a JSON body", low=1, high=1000), "Forms and JSON"
    )
    grpc_max_receive_size: int = knob(4 * MIB, Size("Largest message received"), "gRPC")
    grpc_max_send_size: int = knob(16 * MIB, Size("Largest message sent"), "gRPC")
    grpc_max_metadata_size: int = knob(
        16 * KIB, Size("Largest metadata of a call", low=1024), "gRPC"
    )

    def _check_together(self) -> None:
        if self.uds is not None and self.fd is not None:
            raise ValueError("ServerConfig.fd: expected either uds or fd, got both")
        if self.max_requests_jitter and self.max_requests is None:
            raise ValueError(
                "ServerConfig.max_requests_jitter: expected together with max_requests, "
                f"got {self.max_requests_jitter} alone"
            )
        for larger, smaller in (
            ("max_header_size", "max_header_field"),
            ("max_header_size", "max_request_line"),
            ("h2_connection_window", "h2_stream_window"),
        ):
            if getattr(self, smaller) > getattr(self, larger):
                raise ValueError(
                    f"ServerConfig.{smaller}: expected at most {larger} "
                    f"({getattr(self, larger)}), got {getattr(self, smaller)}"
                )

    def for_foreign_app(self) -> ServerConfig:
        """Return the configuration as an ASGI application that is not ours gets it.

        The policies that change its requests or responses by default are off, so that a program
        that runs under another server behaves the same here; another value than the default, a
        flag or a variable turns each on again.
        """
        policies = {
            "compression": None,
            "enable_request_id": False,
            "max_body_size": None,
            "request_timeout": None,
            "ws_allowed_origins": ("*",),
        }
        default = ServerConfig()
        return self.copy(
            **{
                name: value
                for name, value in policies.items()
                if getattr(self, name) == getattr(default, name)
            }
        )

    def has_policies(self) -> bool:
        """Return whether anything stands around handlers: the pipeline has work to do."""
        return any(getattr(self, name) != off for name, off in _POLICIES_OFF.items())

    def without_policies(self) -> ServerConfig:
        """Return what is left of the configuration when others care for the policies."""
        return self.copy(**_POLICIES_OFF)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, base: ServerConfig | None = None
    ) -> ServerConfig:
        """Return `base` with the fields that `SPIKARD_…` variables give.

        Args:
            environ: Variables to read; default: those of the process.
            base: What the variables go over; default: `ServerConfig()`.

        Raises:
            ValueError: A variable is malformed or misspelt; names it.
        """
        from spikard._settings import from_env

        return from_env(os.environ if environ is None else environ, base or cls())

    def to_json(self) -> bytes:
        """Return the fields that are built as a JSON object, for the Rust side.

        Sizes are integers in bytes, times floats in seconds, tuples arrays, None null. It contains
        the secrets.
        """
        # Not msgspec: a worker of a foreign application need not load it.
        import json

        built = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if f"ServerConfig.{item.name}" not in NOT_BUILT
        }
        text = json.dumps(built, default=_as_dict, ensure_ascii=False, separators=(",", ":"))
        return text.encode()

    def check_files(self) -> list[str]:
        """Check, when the server starts, the files and directories that the configuration names.

        Returns:
            Warnings, one sentence each.

        Raises:
            ValueError: One is missing; names field and path.
        """
        found: list[str] = []
        for index, static in enumerate(self.static_files):
            if not os.path.isdir(static.directory):
                raise ValueError(
                    f"ServerConfig.static_files[{index}].directory: expected a directory, "
                    f"got {os.fspath(static.directory)!r}"
                )
        jwks = None if self.jwt_auth is None else self.jwt_auth.jwks
        if isinstance(jwks, str) and not os.path.isfile(jwks):
            raise ValueError(f"JwtConfig.jwks: expected a file, got {jwks!r}")
        if self.tls is not None:
            parts: list[TlsConfig | CertificateConfig] = [self.tls, *self.tls.certificates]
            for part in parts:
                for name in ("certfile", "keyfile", "client_ca"):
                    path = getattr(part, name, None)
                    if path is not None and not os.path.isfile(path):
                        kind = type(part).__name__
                        raise ValueError(f"{kind}.{name}: expected a file, got {path!r}")
                if os.stat(part.keyfile).st_mode & (stat.S_IROTH | stat.S_IWOTH):
                    found.append(f"every user of this machine can read the key {part.keyfile}")
        return found


def _as_dict(part: Config) -> dict[str, Any]:
    """Return the fields of a configuration's part."""
    return {item.name: getattr(part, item.name) for item in fields(part)}
