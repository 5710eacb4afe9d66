"""The suite `http1`: its parts register themselves here."""

from conformance.http1 import framing, limits, slow, targets
from conformance.http1.suite import SUITE

__all__ = ["SUITE", "framing", "limits", "slow", "targets"]

SUITE.cases.sort(key=lambda case: case.id.split("-")[0])
