"""Requests and the values they are made of: headers, query, forms, state, uploaded files."""

from __future__ import annotations

from spikard._headers import Headers, encode_header, field_pairs
from spikard._multidict import FormData, MultiDict, QueryParams, form_pairs
from spikard._request import Exchange, Request, RequestHead, cookie_pairs
from spikard._state import State
from spikard._uploads import SPOOL_MAX_BYTES, UploadFile

__all__ = [
    "SPOOL_MAX_BYTES",
    "Exchange",
    "FormData",
    "Headers",
    "MultiDict",
    "QueryParams",
    "Request",
    "RequestHead",
    "State",
    "UploadFile",
    "cookie_pairs",
    "encode_header",
    "field_pairs",
    "form_pairs",
]
