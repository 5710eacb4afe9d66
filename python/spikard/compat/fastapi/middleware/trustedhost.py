"""`TrustedHostMiddleware`: a policy of the server."""

from spikard.middleware import TrustedHostMiddleware

__all__ = ["TrustedHostMiddleware"]
