"""`python -m conformance.streams --server spikard`."""

import sys

from conformance.runner import main
from conformance.streams import cases

sys.exit(main([cases.SUITE]))
