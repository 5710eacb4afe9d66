"""`Jinja2Templates`: Spikard's own."""

from spikard.templating import Jinja2Templates

__all__ = ["Jinja2Templates"]
