"""`jsonable_encoder`: Spikard's own."""

from spikard.encoders import jsonable_encoder

__all__ = ["jsonable_encoder"]
