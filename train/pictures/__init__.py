"""The pictures of a run: data in, a figure out, kept as PNG with its data beside it."""
