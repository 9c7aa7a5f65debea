"""An engine as a Python object: `load`, and what a `Model` does with images in memory."""
