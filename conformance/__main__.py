"""`python -m conformance --server spikard` runs every suite."""

import sys

from conformance.asgi import cases as asgi
from conformance.faults import cases as faults
from conformance.http1 import cases as http1
from conformance.http2 import cases as http2
from conformance.runner import main
from conformance.websocket import cases as websocket

sys.exit(main([asgi.SUITE, http1.SUITE, http2.SUITE, websocket.SUITE, faults.SUITE]))
