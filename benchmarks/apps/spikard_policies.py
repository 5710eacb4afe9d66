"""Spikard with one route under three configurations: no policy, the defaults, everything on."""

from __future__ import annotations

from benchmarks.apps.models_msgspec import User
from benchmarks.workloads import POLICIES_SECRET
from spikard import ServerConfig, Spikard
from spikard.config import CorsConfig, JwtConfig, RateLimitConfig

OFF = ServerConfig(
    enable_request_id=False, compression=None, max_body_size=None, request_timeout=None
)
GUARDED = OFF.copy(
    enable_request_id=True,
    jwt_auth=JwtConfig(secret=POLICIES_SECRET),
    rate_limit=RateLimitConfig(per_second=1_000_000, burst=1_000_000),
    cors=CorsConfig(allow_origins=["https://example.com"]),
)


def make(config: ServerConfig | None) -> Spikard:
    """Return the application under a configuration."""
    app = Spikard(config=config)

    @app.get("/users/{id:int}")
    async def user(id: int) -> User:
        return User(id=id, name="Alice")

    return app


off, default, guarded = make(OFF), make(None), make(GUARDED)
