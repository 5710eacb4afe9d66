"""The suite object that the parts of `conformance.faults` fill."""

from conformance.case import Suite

SUITE = Suite("faults")
