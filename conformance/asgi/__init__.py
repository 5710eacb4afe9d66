"""Every row of the ASGI checklist as a black-box case, runnable against any ASGI server's command line."""
