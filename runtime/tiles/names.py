"""What is taken for a tile by its name, and what stands beside one: world files, labels."""

from __future__ import annotations

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
"""What is taken for a tile inside a folder; a file that is named itself is always tried."""

WORLD_SUFFIXES = {
    ".pgw": (".png",),
    ".pngw": (".png",),
    ".jgw": (".jpg", ".jpeg"),
    ".jpgw": (".jpg",),
    ".jpegw": (".jpeg",),
}
"""Of world files, and of the images that they place on the ground."""
LABELLED_SUFFIX, LABEL_SUFFIX = "_sat.jpg", "_mask.png"
"""An image and the label beside it, in the datasets that dlcv knows."""
IMAGE_FOLDER, LABEL_FOLDERS = "images", ("masks", "labels")
"""Folders beside each other: `masks/NAME.png` is the label of `images/NAME.jpg`."""
