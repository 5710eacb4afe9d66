"""The forms of OAuth 2's password flow, described as FastAPI describes them."""

from __future__ import annotations

from typing import Annotated

from spikard import security
from spikard.compat.fastapi.params import Form

__all__ = ["OAuth2PasswordRequestForm", "OAuth2PasswordRequestFormStrict"]


class OAuth2PasswordRequestForm(security.OAuth2PasswordRequestForm):
    """See `spikard.security.OAuth2PasswordRequestForm`."""

    def __init__(
        self,
        *,
        grant_type: Annotated[str | None, Form(pattern="^password$")] = None,
        username: Annotated[str, Form()],
        password: Annotated[str, Form(json_schema_extra={"format": "password"})],
        scope: Annotated[str, Form()] = "",
        client_id: Annotated[str | None, Form()] = None,
        client_secret: Annotated[str | None, Form(json_schema_extra={"format": "password"})] = None,
    ) -> None:
        super().__init__(
            grant_type=grant_type,
            username=username,
            password=password,
            scope=scope,
            client_id=client_id,
            client_secret=client_secret,
        )


class OAuth2PasswordRequestFormStrict(
    security.OAuth2PasswordRequestFormStrict, OAuth2PasswordRequestForm
):
    """See `spikard.security.OAuth2PasswordRequestFormStrict`."""
