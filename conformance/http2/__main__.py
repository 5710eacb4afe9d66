"""`python -m conformance.http2 --server spikard`."""

import sys

from conformance.http2 import rules
from conformance.runner import main

sys.exit(main([rules.SUITE]))
