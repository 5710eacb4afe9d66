"""Security schemes as dependencies: they read a credential, refuse without one, and document it.

`user: Annotated[str, Depends(OAuth2PasswordBearer("/token"))]` gives the token, answers 401
where there is none, and adds the scheme to the OpenAPI document (OpenAPI 3.1 §4.8.27). None of
them checks a credential: that is the program's part, or that of `ServerConfig(jwt_auth=…)`.
"""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

from spikard.datastructures import Request  # noqa: TC001 - signatures are read when injected
from spikard.exceptions import HTTPException
from spikard.params import Form

__all__ = [
    "APIKeyCookie",
    "APIKeyHeader",
    "APIKeyQuery",
    "HTTPAuthorizationCredentials",
    "HTTPBasic",
    "HTTPBasicCredentials",
    "HTTPBearer",
    "HTTPDigest",
    "OAuth2",
    "OAuth2AuthorizationCodeBearer",
    "OAuth2PasswordBearer",
    "OAuth2PasswordRequestForm",
    "OAuth2PasswordRequestFormStrict",
    "OpenIdConnect",
    "SecurityScheme",
    "SecurityScopes",
]


class SecurityScopes:
    """What `Security(..., scopes=[...])` asks for on the way from the handler to a dependency.

    Attributes:
        scopes: The handler's first.
        scope_str: The same, joined by spaces, as RFC 6750 §3 wants them in a challenge.
    """

    __slots__ = ("scope_str", "scopes")

    def __init__(self, scopes: list[str] | None = None) -> None:
        self.scopes = list(scopes or ())
        self.scope_str = " ".join(self.scopes)

    def __repr__(self) -> str:
        return f"SecurityScopes({self.scopes!r})"


class SecurityScheme(ABC):
    """What every scheme shares.

    Attributes:
        scheme_name: Its key among the document's ``securitySchemes``.
        model: Its entry there: ``{"type": "http", "scheme": "bearer"}``.
        auto_error: Answer 401 when the credential is missing; otherwise inject None.
    """

    challenge = "Bearer"

    def __init__(
        self,
        model: dict[str, Any],
        scheme_name: str | None,
        description: str | None,
        auto_error: bool,
    ) -> None:
        self.model = {name: value for name, value in model.items() if value is not None}
        if description is not None:
            self.model["description"] = description
        self.scheme_name = scheme_name or type(self).__name__
        self.auto_error = auto_error

    @abstractmethod
    async def __call__(self, request: Request) -> Any:
        """Return the credential."""

    def make_not_authenticated_error(self) -> HTTPException:
        """Return the 401; subclasses may say more."""
        return HTTPException(401, "Not authenticated", {"WWW-Authenticate": self.challenge})

    def refused(self) -> None:
        """Refuse a request without a credential, as `auto_error` says."""
        if self.auto_error:
            raise self.make_not_authenticated_error()


@dataclass
class HTTPAuthorizationCredentials:
    """The two halves of an ``authorization`` field."""

    scheme: str
    credentials: str


@dataclass
class HTTPBasicCredentials:
    """What HTTP Basic transports (RFC 7617); compare with `secrets.compare_digest`."""

    username: str
    password: str


class _HTTPScheme(SecurityScheme):
    """A scheme of the ``authorization`` field that hands both halves on."""

    scheme = ""

    async def __call__(self, request: Request) -> HTTPAuthorizationCredentials | None:
        """Return the credentials.

        Raises:
            HTTPException: 401, there are none of this scheme.
        """
        scheme, credentials = _authorization(request)
        if scheme.lower() != self.scheme or not credentials:
            self.refused()
            return None
        return HTTPAuthorizationCredentials(scheme, credentials)


class HTTPBearer(_HTTPScheme):
    """A bearer token (RFC 6750)."""

    scheme = "bearer"

    def __init__(
        self,
        *,
        bearerFormat: str | None = None,  # noqa: N803 - OpenAPI's name
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        model = {"type": "http", "scheme": "bearer", "bearerFormat": bearerFormat}
        super().__init__(model, scheme_name, description, auto_error)


class HTTPDigest(_HTTPScheme):
    """HTTP Digest (RFC 7616); the response's arithmetic is the program's part."""

    scheme = "digest"
    challenge = "Digest"

    def __init__(
        self,
        *,
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        super().__init__({"type": "http", "scheme": "digest"}, scheme_name, description, auto_error)


class HTTPBasic(SecurityScheme):
    """HTTP Basic (RFC 7617).

    Args:
        realm: What the browser's dialogue shows.
        scheme_name: In the document; default the class's name.
        description: In the document.
        auto_error: Answer 401 without credentials. Malformed ones are always refused.
    """

    challenge = "Basic"

    def __init__(
        self,
        *,
        scheme_name: str | None = None,
        realm: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        super().__init__({"type": "http", "scheme": "basic"}, scheme_name, description, auto_error)
        self.realm = realm
        if realm:
            self.challenge = f'Basic realm="{realm}"'

    async def __call__(self, request: Request) -> HTTPBasicCredentials | None:
        """Return user and password.

        Raises:
            HTTPException: 401, there are none, or they are malformed.
        """
        scheme, encoded = _authorization(request)
        if scheme.lower() != "basic":
            self.refused()
            return None
        try:
            text = base64.b64decode(encoded).decode("ascii")
        except (ValueError, binascii.Error) as exc:
            raise self.make_not_authenticated_error() from exc
        username, colon, password = text.partition(":")
        if not colon:
            raise self.make_not_authenticated_error()
        return HTTPBasicCredentials(username, password)


class _APIKey(SecurityScheme):
    """A key in one place of the request."""

    challenge = "APIKey"
    location = ""

    def __init__(
        self,
        *,
        name: str,
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        model = {"type": "apiKey", "in": self.location, "name": name}
        super().__init__(model, scheme_name, description, auto_error)
        self.name = name

    async def __call__(self, request: Request) -> str | None:
        """Return the key.

        Raises:
            HTTPException: 401, there is none.
        """
        key = self.found(request)
        if not key:
            self.refused()
            return None
        return key

    @abstractmethod
    def found(self, request: Request) -> str | None:
        """Return the key where this scheme looks for it."""


class APIKeyQuery(_APIKey):
    """A key in the query string."""

    location = "query"

    def found(self, request: Request) -> str | None:
        """Return the query parameter."""
        return request.query_params.get(self.name)


class APIKeyHeader(_APIKey):
    """A key in a header."""

    location = "header"

    def found(self, request: Request) -> str | None:
        """Return the header."""
        return request.headers.get(self.name)


class APIKeyCookie(_APIKey):
    """A key in a cookie."""

    location = "cookie"

    def found(self, request: Request) -> str | None:
        """Return the cookie."""
        return request.cookies.get(self.name)


class _AuthorizationField(SecurityScheme):
    """A scheme that hands the whole ``authorization`` field on."""

    async def __call__(self, request: Request) -> str | None:
        """Return the field.

        Raises:
            HTTPException: 401, there is none.
        """
        field = request.headers.get("authorization")
        if not field:
            self.refused()
            return None
        return field


class OpenIdConnect(_AuthorizationField):
    """OpenID Connect, described at a URL of its own."""

    def __init__(
        self,
        *,
        openIdConnectUrl: str,  # noqa: N803 - OpenAPI's name
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        model = {"type": "openIdConnect", "openIdConnectUrl": openIdConnectUrl}
        super().__init__(model, scheme_name, description, auto_error)


class OAuth2(_AuthorizationField):
    """OAuth 2 (RFC 6749) with any flows.

    Args:
        flows: OpenAPI's: ``{"password": {"tokenUrl": "/token", "scopes": {}}}``.
        scheme_name: In the document; default the class's name.
        description: In the document.
        auto_error: Answer 401 without an ``authorization`` field; otherwise inject None.
    """

    def __init__(
        self,
        *,
        flows: dict[str, dict[str, Any]] | None = None,
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        kept = {
            name: {key: value for key, value in flow.items() if value is not None}
            for name, flow in (flows or {}).items()
        }
        model: dict[str, Any] = {"type": "oauth2", "flows": kept}
        super().__init__(model, scheme_name, description, auto_error)


class _OAuth2Bearer(OAuth2):
    """OAuth 2 whose access token is a bearer token."""

    async def __call__(self, request: Request) -> str | None:
        """Return the token.

        Raises:
            HTTPException: 401, there is none.
        """
        scheme, token = _authorization(request)
        if scheme.lower() != "bearer":
            self.refused()
            return None
        return token


class OAuth2PasswordBearer(_OAuth2Bearer):
    """The token of the password flow, from the ``authorization`` field."""

    def __init__(
        self,
        tokenUrl: str,  # noqa: N803 - OpenAPI's name
        scheme_name: str | None = None,
        scopes: dict[str, str] | None = None,
        description: str | None = None,
        auto_error: bool = True,
        refreshUrl: str | None = None,  # noqa: N803 - OpenAPI's name
    ) -> None:
        flow = {"tokenUrl": tokenUrl, "refreshUrl": refreshUrl, "scopes": dict(scopes or {})}
        super().__init__(
            flows={"password": flow},
            scheme_name=scheme_name,
            description=description,
            auto_error=auto_error,
        )


class OAuth2AuthorizationCodeBearer(_OAuth2Bearer):
    """The token of the authorization code flow, from the ``authorization`` field."""

    def __init__(
        self,
        authorizationUrl: str,  # noqa: N803 - OpenAPI's name
        tokenUrl: str,  # noqa: N803 - OpenAPI's name
        refreshUrl: str | None = None,  # noqa: N803 - OpenAPI's name
        scheme_name: str | None = None,
        scopes: dict[str, str] | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        flow = {
            "authorizationUrl": authorizationUrl,
            "tokenUrl": tokenUrl,
            "refreshUrl": refreshUrl,
            "scopes": dict(scopes or {}),
        }
        super().__init__(
            flows={"authorizationCode": flow},
            scheme_name=scheme_name,
            description=description,
            auto_error=auto_error,
        )


class OAuth2PasswordRequestForm:
    """The form of the password flow (RFC 6749 §4.3.2), as a dependency.

    Attributes:
        scopes: The form's ``scope``, split at spaces.
    """

    def __init__(
        self,
        *,
        grant_type: Annotated[str | None, Form(pattern="^password$")] = None,
        username: Annotated[str, Form()],
        password: Annotated[str, Form()],
        scope: Annotated[str, Form()] = "",
        client_id: Annotated[str | None, Form()] = None,
        client_secret: Annotated[str | None, Form()] = None,
    ) -> None:
        self.grant_type = grant_type
        self.username = username
        self.password = password
        self.scopes = scope.split()
        self.client_id = client_id
        self.client_secret = client_secret


class OAuth2PasswordRequestFormStrict(OAuth2PasswordRequestForm):
    """As `OAuth2PasswordRequestForm`, with the ``grant_type`` that the RFC asks for."""

    def __init__(
        self,
        grant_type: Annotated[str, Form(pattern="^password$")],
        username: Annotated[str, Form()],
        password: Annotated[str, Form()],
        scope: Annotated[str, Form()] = "",
        client_id: Annotated[str | None, Form()] = None,
        client_secret: Annotated[str | None, Form()] = None,
    ) -> None:
        super().__init__(
            grant_type=grant_type,
            username=username,
            password=password,
            scope=scope,
            client_id=client_id,
            client_secret=client_secret,
        )


def _authorization(request: Request) -> tuple[str, str]:
    """Return scheme and credentials of the ``authorization`` field, empty when it is absent."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return scheme, credentials.strip()
