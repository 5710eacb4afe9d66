"""Uploads, streams, events and WebSockets of a native application, and what remains of their peers."""
