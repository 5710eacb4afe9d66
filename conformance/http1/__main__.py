"""`python -m conformance.http1 --server spikard`."""

import sys

from conformance.http1 import cases
from conformance.runner import main

sys.exit(main([cases.SUITE]))
