"""ASGI for applications and servers: typed events, an application wrapper and a server facade."""
