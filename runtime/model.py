"""An engine as a Python object: `with load("fcn8s.onnx") as model: masks = model(images)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import UsageError
from dlcv.runtime.fitting import FITS, fit_tile
from dlcv.runtime.pipeline import mask_of
from dlcv.runtime.sessions import Session, open_session

DEFAULT_BATCH = 8


class Model:
    """A session with fitting: images of any size in, masks of the same sizes out. Close it, or use it in `with`.

    Args:
        session: an opened session; the model closes it.
        fit: see `fitting.py`; None takes the card's.
        batch: windows that go through the session at once.
    """

    def __init__(self, session: Session, *, fit: str | None = None, batch: int = DEFAULT_BATCH) -> None:
        self.session, self._fit = session, fit or session.card.fit
        if self._fit not in FITS:
            raise UsageError(f"unknown fit {self._fit!r}; it is one of {', '.join(FITS)}")
        if batch < 1:
            raise UsageError(f"batch is {batch}, expected at least 1")
        self._batch = min(batch, session.max_batch or batch)

    @property
    def card(self) -> ModelCard:
        """The model card: classes, palette, input size."""
        return self.session.card

    @overload
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]: ...

    @overload
    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]: ...

    def __call__(
        self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
    ) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        """Class masks.

        Args:
            images: uint8, RGB: one image (H, W, 3), a stack (n, H, W, 3), or a list of images of any sizes.

        Returns:
            uint8 class indices: (H, W), (n, H, W), or a list of (h, w), as the images came.

        Raises:
            UsageError: when an image is not uint8 (H, W, 3).
            TileError: when an image does not fit and `fit` is `pad`.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3:
            return self._masks([images])[0]
        if isinstance(images, np.ndarray):
            if images.ndim != 4:
                raise UsageError(f"expected images as uint8 (H, W, 3), RGB, got {images.dtype} {images.shape}")
            return np.stack(self._masks(list(images))) if len(images) else np.empty(images.shape[:3], np.uint8)
        if not isinstance(images, Sequence):
            raise UsageError(f"expected an image, a stack or a list of images, got {type(images).__name__}")
        return self._masks(list(images))

    def close(self) -> None:
        """Closes the session."""
        self.session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _masks(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        for image in images:
            if (
                not isinstance(image, np.ndarray)
                or image.dtype != np.uint8
                or image.ndim != 3
                or image.shape[2] != 3
                or not image.size
            ):
                got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
                raise UsageError(f"expected images as uint8 (H, W, 3), RGB, got {got}")
        tiles = [fit_tile(image, self.card.input_size_hw, self._fit) for image in images]
        windows = [window for tile in tiles for window in tile.windows]
        masks: list[NDArray[np.uint8]] = []
        for start in range(0, len(windows), self._batch):
            masks.extend(mask_of(self.session.run(np.stack(windows[start : start + self._batch]))))
        remaining = iter(masks)
        return [tile.join([next(remaining) for _ in tile.windows]) for tile in tiles]


def load(engine: str | Path, *, device: str = "auto", fit: str | None = None, batch: int = DEFAULT_BATCH) -> Model:
    """Opens an `.onnx` or a `.plan` as a `Model`.

    Args:
        engine: the file, with a model card.
        device: `auto`, `cpu` or `cuda`.
        fit: `windows`, `pad` or `resize`; None takes the card's.
        batch: windows that go through the session at once.

    Raises:
        EngineError, CardError, MissingPackageError: when the file cannot be run, in words.
    """
    return Model(open_session(engine, device=device), fit=fit, batch=batch)
