"""`python -m conformance.websocket --server spikard`."""

import sys

from conformance.runner import main
from conformance.websocket import cases

sys.exit(main([cases.SUITE]))
