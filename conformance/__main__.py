"""`python -m conformance --server spikard` runs every suite."""

import importlib
import sys

from conformance.asgi import cases as asgi
from conformance.faults import cases as faults
from conformance.http1 import cases as http1
from conformance.http2 import rules as http2
from conformance.policies import cases as policies
from conformance.runner import main
from conformance.streams import cases as streams
from conformance.websocket import cases as websocket

suites = [asgi, http1, http2, websocket, streams, faults, policies]
code = main([suite.SUITE for suite in suites])
# These import the framework and start its servers themselves: no flag of this command concerns them.
if len(sys.argv) == 1 or sys.argv[1:] == ["--server", "spikard"]:
    for suite in ("parity", "input", "fixtures", "hosts"):
        module = importlib.import_module(f"conformance.{suite}.__main__")
        code = module.main([]) or code
sys.exit(code)
