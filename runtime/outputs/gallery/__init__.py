"""The gallery of a run: a folder with one page that a browser opens without a network."""

from dlcv.runtime.outputs.gallery.gallery import Gallery

__all__ = ["Gallery"]
