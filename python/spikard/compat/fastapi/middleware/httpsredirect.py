"""`HTTPSRedirectMiddleware`: a policy of the server."""

from spikard.middleware import HTTPSRedirectMiddleware

__all__ = ["HTTPSRedirectMiddleware"]
