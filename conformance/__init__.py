"""Black-box conformance suites: a case is one table line or one short function, judged against a running server.

`python -m conformance --server spikard` runs every suite; README.md says how to add a case.
"""
