"""The suite `policies`: its parts register themselves here, in the catalogue's order."""

from conformance.policies import (
    authentication,
    compression,
    configuration,
    cors,
    matrix,
    overrides,
    proxies,
    rate_limit,
    responses,
    static,
)
from conformance.policies.suite import SUITE

__all__ = [
    "SUITE",
    "authentication",
    "compression",
    "configuration",
    "cors",
    "matrix",
    "overrides",
    "proxies",
    "rate_limit",
    "responses",
    "static",
]

_GROUPS = "SRJKLOZPV"
SUITE.cases.sort(key=lambda case: (_GROUPS.index(case.id[0]), case.id.split("-")[0]))
