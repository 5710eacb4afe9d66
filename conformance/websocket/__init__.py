"""Hostile WebSocket frames (group E of limits and faults), for an ASGI application, with a raw frame client."""
