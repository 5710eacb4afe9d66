"""`python -m conformance.asgi --server 'uvicorn {app} --port {port}'`."""

import sys

from conformance.asgi import cases
from conformance.runner import main

sys.exit(main([cases.SUITE]))
