"""Tiles as files: which there are, where they lie, and their pixels."""
