"""Faults of applications, processes, descriptors and TLS peers: groups B, T, W and X of limits and faults."""
