"""What is called how beside the answers: files that belong to a tile, named after its key alone.

`run.json` lists the kinds that a run writes, so that `--overwrite` knows what of the folder is the run's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

OVERLAY_JPG, OVERLAY_PNG, OVERLAY_TIF = "overlays.jpg", "overlays.png", "overlays.tif"
CONFIDENCE_TIF = "confidence.tif"
"""Of large images: Cloud Optimized GeoTIFFs, as `OVERLAY_TIF`."""
CONFIDENCE, POLYGONS = "confidence.png", "polygons.geojson"
THUMBNAIL, MASK_THUMBNAIL = "gallery.jpg", "gallery.png"
KINDS = (OVERLAY_JPG, OVERLAY_PNG, OVERLAY_TIF, CONFIDENCE, CONFIDENCE_TIF, POLYGONS, THUMBNAIL, MASK_THUMBNAIL)
"""A kind is the folder, and what the names in it end in."""


def beside(kind: str, key: str) -> str:
    """The file's path below the output folder.

    Args:
        kind: one of `KINDS`.
        key: the tile's.

    Returns:
        `overlays/a/b.jpg.jpg` for `a/b.jpg`; in the gallery, where a page refers to the files, a hash that needs no escapes.
    """
    folder, suffix = kind.split(".")
    if folder == "gallery":
        return f"gallery/{hashlib.sha256(os.fsencode(key)).hexdigest()[:20]}.{suffix}"
    return f"{folder}/{key}.{suffix}"


def all_beside(kinds: Iterable[object], keys: Iterable[str]) -> list[str]:
    """Every file of these kinds and tiles; what is no kind has none, and a key that leads out of the folder neither."""
    known = [kind for kind in KINDS if kind in kinds]
    inside = [key for key in keys if not os.path.isabs(key) and ".." not in key.split("/")]
    return [beside(kind, key) for kind in known for key in inside]
