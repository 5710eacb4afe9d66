"""OAuth 2 with signed tokens and scopes, HTTP Basic and bearer, API keys."""

import base64
import hashlib
import hmac
import json
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Security, status
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
    HTTPDigest,
    OAuth2AuthorizationCodeBearer,
    OAuth2PasswordBearer,
    OAuth2PasswordRequestForm,
    OAuth2PasswordRequestFormStrict,
    OpenIdConnect,
    SecurityScopes,
)
from pydantic import BaseModel

SECRET = b"secret"

app = FastAPI()
oauth2 = OAuth2PasswordBearer(
    tokenUrl="token", scopes={"me": "Read about yourself", "items": "Read items"}
)


class Token(BaseModel):
    access_token: str
    token_type: str


class User(BaseModel):
    username: str
    disabled: bool | None = None


USERS = {"ann": {"username": "ann"}, "bob": {"username": "bob", "disabled": True}}


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(payload: dict) -> str:
    body = f"{encoded(b'{}')}.{encoded(json.dumps(payload).encode())}"
    return f"{body}.{encoded(hmac.digest(SECRET, body.encode(), hashlib.sha256))}"


def verified(token: str) -> dict:
    body, _, signature = token.rpartition(".")
    if not hmac.compare_digest(
        encoded(hmac.digest(SECRET, body.encode(), hashlib.sha256)), signature
    ):
        raise ValueError("bad signature")
    payload = body.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@app.post("/token")
async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Token:
    if form.username not in USERS or form.password != "pw":
        raise HTTPException(status_code=400, detail="Incorrect username or password")
    payload = {"sub": form.username, "scopes": form.scopes}
    return Token(access_token=signed(payload), token_type="bearer")


@app.post("/strict-token")
async def strict(form: Annotated[OAuth2PasswordRequestFormStrict, Depends()]):
    return {"grant_type": form.grant_type, "scopes": form.scopes, "client": form.client_id}


async def current_user(scopes: SecurityScopes, token: Annotated[str, Depends(oauth2)]) -> User:
    challenge = f'Bearer scope="{scopes.scope_str}"' if scopes.scopes else "Bearer"
    refused = HTTPException(
        status_code=status.HTTP_401_UNAUTHORIZED,
        detail="Could not validate credentials",
        headers={"WWW-Authenticate": challenge},
    )
    try:
        payload = verified(token)
    except ValueError:
        raise refused from None
    for scope in scopes.scopes:
        if scope not in payload["scopes"]:
            raise HTTPException(401, "Not enough permissions", {"WWW-Authenticate": challenge})
    return User(**USERS[payload["sub"]])


async def active_user(user: Annotated[User, Security(current_user, scopes=["me"])]):
    if user.disabled:
        raise HTTPException(status_code=400, detail="Inactive user")
    return user


@app.get("/users/me")
async def me(user: Annotated[User, Depends(active_user)]) -> User:
    return user


@app.get("/users/me/items")
async def items(user: Annotated[User, Security(active_user, scopes=["items"])]):
    return [{"owner": user.username}]


@app.get("/status")
async def plain_status(user: Annotated[User, Depends(current_user)]):
    return {"status": "ok"}


@app.get("/basic")
def basic(credentials: Annotated[HTTPBasicCredentials, Depends(HTTPBasic(realm="here"))]):
    return {"username": credentials.username, "password": credentials.password}


@app.get("/bearer")
def bearer(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]):
    return {"scheme": credentials.scheme, "credentials": credentials.credentials}


@app.get("/maybe")
def maybe(
    credentials: Annotated[
        HTTPAuthorizationCredentials | None,
        Security(HTTPBearer(auto_error=False, scheme_name="maybe", bearerFormat="JWT")),
    ],
):
    return credentials


@app.get("/digest")
def digest(credentials: Annotated[HTTPAuthorizationCredentials, Security(HTTPDigest())]):
    return credentials.credentials


@app.get("/keys")
def keys(
    header: Annotated[str, Security(APIKeyHeader(name="X-Key", description="In a header"))],
    query: Annotated[str, Security(APIKeyQuery(name="key"))],
    cookie: Annotated[str | None, Security(APIKeyCookie(name="key", auto_error=False))],
):
    return [header, query, cookie]


@app.get("/code")
def code(
    token: Annotated[
        str, Depends(OAuth2AuthorizationCodeBearer("auth", "token", scopes={"a": "A"}))
    ],
):
    return token


@app.get("/oidc")
def oidc(token: Annotated[str, Depends(OpenIdConnect(openIdConnectUrl="/.well-known"))]):
    return token


BASIC = base64.b64encode(b"ann:p:w").decode()


def bearing(token: str) -> dict:
    return {"headers": {"authorization": f"Bearer {token}"}}


REQUESTS = [
    ("POST", "/token", {"data": {"username": "ann", "password": "pw", "scope": "me items"}}),
    ("POST", "/token", {"data": {"username": "ann", "password": "no"}}),
    ("POST", "/token", {"data": {"username": "ann"}}),
    ("POST", "/token", {"data": {"username": "ann", "password": "pw", "grant_type": "x"}}),
    ("POST", "/strict-token", {"data": {"username": "ann", "password": "pw"}}),
    (
        "POST",
        "/strict-token",
        {"data": {"username": "a", "password": "b", "grant_type": "password"}},
    ),
    ("GET", "/users/me"),
    ("GET", "/users/me", bearing("a.b.c")),
    ("GET", "/users/me", bearing(signed({"sub": "ann", "scopes": ["me"]}))),
    ("GET", "/users/me", bearing(signed({"sub": "bob", "scopes": ["me"]}))),
    ("GET", "/users/me/items", bearing(signed({"sub": "ann", "scopes": ["me"]}))),
    ("GET", "/users/me/items", bearing(signed({"sub": "ann", "scopes": ["me", "items"]}))),
    ("GET", "/status", bearing(signed({"sub": "ann", "scopes": []}))),
    ("GET", "/basic"),
    ("GET", "/basic", {"headers": {"authorization": f"Basic {BASIC}"}}),
    ("GET", "/basic", {"headers": {"authorization": "Basic %%%"}}),
    ("GET", "/basic", {"auth": ("ann", "pw")}),
    ("GET", "/bearer"),
    ("GET", "/bearer", bearing("t")),
    ("GET", "/bearer", {"headers": {"authorization": "Other t"}}),
    ("GET", "/maybe"),
    ("GET", "/maybe", bearing("t")),
    ("GET", "/digest"),
    ("GET", "/digest", {"headers": {"authorization": "Digest d"}}),
    ("GET", "/keys"),
    ("GET", "/keys?key=q", {"headers": {"x-key": "h", "cookie": "key=c"}}),
    ("GET", "/code", bearing("t")),
    ("GET", "/code"),
    ("GET", "/oidc"),
    ("GET", "/oidc", bearing("t")),
]
