"""`python -m conformance --server spikard` runs every suite."""

import sys

from conformance.asgi import cases as asgi
from conformance.http1 import cases as http1
from conformance.runner import main

sys.exit(main([asgi.SUITE, http1.SUITE]))
