"""An engine as a Python object: `with load("fcn8s.onnx") as model: masks = model(images)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import answers_of
from dlcv.runtime.card import FITS, ModelCard
from dlcv.runtime.errors import UsageError
from dlcv.runtime.fitting import fit_to_card
from dlcv.runtime.provenance import Trust
from dlcv.runtime.sessions import Session, open_session

DEFAULT_BATCH = 8


class Model:
    """A session with fitting: images of any size in, masks of the same sizes or probabilities out.

    Close it, or use it in `with`. `card.classes` are the names of the indices in a mask, or of the probabilities.

    Args:
        session: an opened session; the model closes it.
        fit: see `fitting.py`; None takes the card's.
        batch: windows that go through the session at once.
    """

    def __init__(self, session: Session, *, fit: str | None = None, batch: int = DEFAULT_BATCH) -> None:
        self.session, self._fit = session, fit or session.card.fit
        fits = FITS[session.card.task]
        if self._fit not in fits:
            raise UsageError(f"unknown fit {self._fit!r} for {session.card.task}; it is one of {', '.join(fits)}")
        if batch < 1:
            raise UsageError(f"batch is {batch}, expected at least 1")
        self._batch = min(batch, session.max_batch or batch)

    @property
    def card(self) -> ModelCard:
        """The model card: classes, palette, input size, task."""
        return self.session.card

    @overload
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[Any]: ...

    @overload
    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[Any] | list[NDArray[Any]]: ...

    def __call__(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> NDArray[Any] | list[NDArray[Any]]:
        """What the model says.

        Args:
            images: uint8, RGB: one image (H, W, 3), a stack (n, H, W, 3), or a list of images of any sizes.

        Returns:
            Segmentation: uint8 class indices: (H, W), (n, H, W), or a list of (h, w), as the images came.
            Classification: float32 probabilities in the order of `card.classes`: (C,) for one image, else (n, C).

        Raises:
            UsageError: when an image is not uint8 (H, W, 3).
            TileError: when an image does not fit and `fit` is `pad`.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3:
            return self._answers([images])[0]
        if isinstance(images, np.ndarray):
            if images.ndim != 4:
                raise UsageError(f"expected images as uint8 (H, W, 3), RGB, got {images.dtype} {images.shape}")
        elif not isinstance(images, Sequence):
            raise UsageError(f"expected an image, a stack or a list of images, got {type(images).__name__}")
        answers = self._answers(list(images))
        if self.card.task == "classification":
            return np.stack(answers) if answers else np.empty((0, len(self.card.classes)), np.float32)
        if isinstance(images, np.ndarray):
            return np.stack(answers) if answers else np.empty(images.shape[:3], np.uint8)
        return answers

    def close(self) -> None:
        """Closes the session."""
        self.session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self, images: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
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
        tiles = [fit_to_card(image, self.card, fit=self._fit) for image in images]
        windows = [window for tile in tiles for window in tile.windows]
        answers: list[NDArray[Any]] = []
        for start in range(0, len(windows), self._batch):
            outputs = self.session.run(np.stack(windows[start : start + self._batch]))
            answers.extend(answers_of(outputs, self.card.task))
        remaining = iter(answers)
        return [tile.join([next(remaining) for _ in tile.windows]) for tile in tiles]


def load(
    engine: str | Path, *, device: str = "auto", fit: str | None = None, batch: int = DEFAULT_BATCH,
    require_hash: str | None = None, require_signature: str | None = None,
) -> Model:  # fmt: skip
    """Opens an `.onnx` or a `.plan` as a `Model`.

    Args:
        engine: the file, with a model card.
        device: `auto`, `cpu` or `cuda`.
        fit: segmentation: `windows`, `pad` or `resize`; None takes the card's.
        batch: windows that go through the session at once.
        require_hash: the SHA-256 that the file must have, in hexadecimal.
        require_signature: a public key of minisign, or a file that holds one, with which the file must be signed.

    Raises:
        EngineError, CardError, MissingPackageError: when the file cannot be run or is not the one required, in words.
    """
    trust = Trust.of(() if require_hash is None else require_hash, require_signature)
    return Model(open_session(engine, device=device, trust=trust), fit=fit, batch=batch)
