"""Normalisation, pixel by pixel."""

from __future__ import annotations

import numpy as np
import torch

from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from dlcv.train.preprocess import normalise


def test_each_channel_by_hand() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    result = normalise(torch.from_numpy(images), IMAGENET_MEAN_RGB, IMAGENET_STD_RGB)
    assert result.shape == (2, 3, 3, 4) and result.dtype == torch.float32
    for n, y, x, c in np.ndindex(*images.shape):
        expected = (float(images[n, y, x, c]) - IMAGENET_MEAN_RGB[c]) / IMAGENET_STD_RGB[c]
        assert abs(float(result[n, c, y, x]) - expected) < 1e-6  # a float32 division of values around 2


def test_mean_and_deviation_are_those_that_torchvision_publishes() -> None:
    # there in 0..1: mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225
    assert np.allclose(np.array(IMAGENET_MEAN_RGB) / 255, (0.485, 0.456, 0.406), atol=1e-9)
    assert np.allclose(np.array(IMAGENET_STD_RGB) / 255, (0.229, 0.224, 0.225), atol=1e-9)


def test_the_memory_stays_channels_last() -> None:
    result = normalise(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), (0, 0, 0), (1, 1, 1))
    assert result.is_contiguous(memory_format=torch.channels_last)
