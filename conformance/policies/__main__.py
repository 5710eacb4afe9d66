"""`python -m conformance.policies --server spikard`."""

import sys

from conformance.policies import cases
from conformance.runner import main

sys.exit(main([cases.SUITE]))
