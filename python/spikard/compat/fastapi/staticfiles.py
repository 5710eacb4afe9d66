"""`StaticFiles`: Spikard's own, a directory that the server itself sends."""

from spikard.staticfiles import StaticFiles

__all__ = ["StaticFiles"]
