"""The suite `faults`: its parts register themselves here."""

from conformance.faults import applications, processes, resources, tls
from conformance.faults.suite import SUITE

__all__ = ["SUITE", "applications", "processes", "resources", "tls"]

SUITE.cases.sort(key=lambda case: case.id.split("-")[0])
