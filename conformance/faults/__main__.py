"""`python -m conformance.faults --server spikard`."""

import sys

from conformance.faults import cases
from conformance.runner import main

sys.exit(main([cases.SUITE]))
