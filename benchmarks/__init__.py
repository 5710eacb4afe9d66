"""Benchmarks of servers and frameworks; `benchmarks/README.md` says how to run and read them."""
