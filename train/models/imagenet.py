"""What images are normalised with, unless a model says otherwise. No torch here."""

from __future__ import annotations

IMAGENET_MEAN_RGB = (123.675, 116.28, 103.53)
"""Mean of ImageNet's training images by channel, in 8-bit levels; what the published VGG16 weights expect."""
IMAGENET_STD_RGB = (58.395, 57.12, 57.375)
"""Standard deviation likewise."""
