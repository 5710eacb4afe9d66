"""Security schemes as dependencies: what they read, how they refuse, what they document."""

import base64
from typing import Annotated, Any

import pytest

from spikard import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    Depends,
    HTTPBasic,
    HTTPBearer,
    HTTPDigest,
    OAuth2AuthorizationCodeBearer,
    OAuth2PasswordBearer,
    OAuth2PasswordRequestForm,
    OAuth2PasswordRequestFormStrict,
    OpenIdConnect,
    Security,
    SecurityScopes,
    Spikard,
    TestClient,
)

BASIC = "Basic " + base64.b64encode(b"ann:p:w").decode()


def app_with(scheme: Any) -> Spikard:
    app = Spikard()

    @app.get("/me")
    async def me(credential: Annotated[object, Depends(scheme)]) -> object:
        return credential

    return app


@pytest.mark.parametrize(
    ("scheme", "headers", "expected"),
    [
        (HTTPBearer(), {"authorization": "Bearer t"}, {"scheme": "Bearer", "credentials": "t"}),
        (HTTPDigest(), {"authorization": "Digest d"}, {"scheme": "Digest", "credentials": "d"}),
        (HTTPBasic(), {"authorization": BASIC}, {"username": "ann", "password": "p:w"}),
        (APIKeyHeader(name="X-Key"), {"x-key": "k"}, "k"),
        (APIKeyCookie(name="key"), {"cookie": "key=k"}, "k"),
        (OAuth2PasswordBearer("/token"), {"authorization": "bearer t"}, "t"),
        (OAuth2AuthorizationCodeBearer("/auth", "/token"), {"authorization": "Bearer t"}, "t"),
        (OpenIdConnect(openIdConnectUrl="/oidc"), {"authorization": "Any x"}, "Any x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scheme_gives_the_credential(scheme, headers, expected):
    with TestClient(app_with(scheme)) as client:
        assert client.get("/me", headers=headers).json() == expected


@pytest.mark.parametrize(
    ("scheme", "headers", "challenge"),
    [
        (HTTPBearer(), {}, "Bearer"),
        (HTTPBearer(), {"authorization": "Basic x"}, "Bearer"),
        (HTTPDigest(), {}, "Digest"),
        (HTTPBasic(realm="shop"), {}, 'Basic realm="shop"'),
        (HTTPBasic(), {"authorization": "Basic %%%"}, "Basic"),
        (HTTPBasic(), {"authorization": "Basic " + base64.b64encode(b"ann").decode()}, "Basic"),
        (APIKeyHeader(name="X-Key"), {}, "APIKey"),
        (APIKeyQuery(name="key"), {}, "APIKey"),
        (APIKeyCookie(name="key"), {}, "APIKey"),
        (OAuth2PasswordBearer("/token"), {"authorization": "Basic x"}, "Bearer"),
        (OpenIdConnect(openIdConnectUrl="/oidc"), {}, "Bearer"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_missing_or_malformed_credential_is_401_with_a_challenge(scheme, headers, challenge):
    with TestClient(app_with(scheme)) as client:
        response = client.get("/me", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == challenge
    assert response.json()["detail"] == "Not authenticated"


def test_key_in_the_query_string():
    with TestClient(app_with(APIKeyQuery(name="key"))) as client:
        assert client.get("/me?key=k").json() == "k"


def test_without_auto_error_the_handler_decides():
    with TestClient(app_with(HTTPBearer(auto_error=False))) as client:
        assert client.get("/me").json() is None


def test_schemes_of_dependencies_are_documented():
    app = Spikard()
    bearer = OAuth2PasswordBearer("/token", scopes={"read": "Read"})

    async def user(token: Annotated[str, Depends(bearer)]) -> str:
        return token

    @app.get("/items")
    async def items(user: Annotated[str, Security(user, scopes=["read"])]) -> str:
        return user

    document = app.openapi()
    assert document["components"]["securitySchemes"] == {
        "OAuth2PasswordBearer": {
            "type": "oauth2",
            "flows": {"password": {"tokenUrl": "/token", "scopes": {"read": "Read"}}},
        }
    }
    operation = document["paths"]["/items"]["get"]
    assert operation["security"] == [{"OAuth2PasswordBearer": ["read"]}]
    assert "401" in operation["responses"]


def test_scopes_are_those_on_the_way_to_the_dependency():
    app = Spikard()
    calls = []

    async def user(scopes: SecurityScopes) -> str:
        calls.append(scopes.scope_str)
        return scopes.scope_str

    async def active(user: Annotated[str, Security(user, scopes=["me"])]) -> str:
        return user

    @app.get("/scopes")
    async def scopes(
        one: Annotated[str, Security(active, scopes=["items"])],
        two: Annotated[str, Security(user, scopes=["other"])],
        three: Annotated[str, Depends(user)],
        four: Annotated[str, Depends(user)],
    ) -> list[str]:
        return [one, two, three, four]

    with TestClient(app) as client:
        assert client.get("/scopes").json() == ["items me", "other", "", ""]
    assert sorted(calls) == ["", "items me", "other"]


def test_scopes_must_be_a_list():
    with pytest.raises(TypeError, match="list of strings"):
        Security(lambda: None, scopes="items")


@pytest.mark.parametrize(
    ("form", "data", "status"),
    [
        (OAuth2PasswordRequestForm, {"username": "a", "password": "b"}, 200),
        (OAuth2PasswordRequestForm, {"username": "a"}, 422),
        (OAuth2PasswordRequestFormStrict, {"username": "a", "password": "b"}, 422),
        (
            OAuth2PasswordRequestFormStrict,
            {"grant_type": "password", "username": "a", "password": "b"},
            200,
        ),
        (
            OAuth2PasswordRequestForm,
            {"grant_type": "other", "username": "a", "password": "b"},
            422,
        ),
    ],
)
def test_password_form(form, data, status):
    app = Spikard()

    @app.post("/token")
    async def token(given: Annotated[Any, Depends(form)]) -> dict[str, Any]:
        return {"user": given.username, "scopes": given.scopes}

    with TestClient(app) as client:
        response = client.post("/token", data={**data, "scope": "a b"})
    assert response.status_code == status
    if status == 200:
        assert response.json() == {"user": "a", "scopes": ["a", "b"]}
