"""FastAPI's ``openapi`` package: `utils` makes the document."""
