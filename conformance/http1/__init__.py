"""Hostile and odd HTTP/1 input as raw bytes: groups A, B, C and Q of limits and faults, for a foreign ASGI application."""
