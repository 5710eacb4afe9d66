"""`GZipMiddleware`: a policy of the server."""

from spikard.middleware import GZipMiddleware

__all__ = ["GZipMiddleware"]
