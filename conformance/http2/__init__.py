"""Hostile HTTP/2 (group D of limits and faults, and the frame rules of RFC 9113) by raw frames."""
