"""`python -m conformance.http2 --server spikard`."""

import sys

from conformance.http2 import cases
from conformance.runner import main

sys.exit(main([cases.SUITE]))
