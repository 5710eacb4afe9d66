"""Applications under ASGI servers: each server, ours among them, with each kind of application."""
