"""Checkpoints: written, read, begun from, averaged, and run as a session."""
