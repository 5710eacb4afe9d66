"""Faults of applications, processes, descriptors and TLS peers: groups B, T and X of limits and faults."""
