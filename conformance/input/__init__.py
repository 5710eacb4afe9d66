"""Hostile bodies, parameters and paths for a native application, through three doors."""
