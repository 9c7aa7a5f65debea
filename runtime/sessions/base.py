"""The contract of a session: what an engine file becomes once it is opened.

numpy only, so that a Python with numpy, tensorrt and pycuda alone can import the sessions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import EngineError


class Session(ABC):
    """An engine, opened: batches of images in, named outputs out.

    Attributes:
        card: the model card that the engine's file carries.
        description: library, version and device, in words, such as `ONNX Runtime 1.31.1 on CPU`.
        device: `cpu` or `cuda`.
        max_batch: the largest batch that `run` takes; None where there is no bound.
        parallel: how many threads may be inside `run` at the same time (batches in flight).

    Use it as a context manager, or call `close`.
    """

    card: ModelCard
    description: str
    device: str = "cpu"
    max_batch: int | None = None
    parallel: int = 1
    _closed: bool = False

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Runs one batch.

        Args:
            images: uint8 (n, H, W, 3), RGB, 0..255, C-contiguous; H and W as in `card.input_size_hw`.

        Returns:
            A new array for each output, the caller's to keep: `mask` uint8 (n, H, W), or `probs` / `logits` float32
            (n, C, H, W) for segmentation; `probs` float32 (n, C) for classification.

        Raises:
            EngineError: when the batch does not fit the engine, the session is closed, or the engine fails.
        """
        self._check(images)
        return self._run(images)

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """`run`, after the check of the batch."""

    def close(self) -> None:
        """Frees what the session holds; a closed session cannot run."""
        self._closed = True

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, images: NDArray[np.uint8]) -> None:
        if self._closed:
            raise EngineError("the session is closed; open it again")
        height, width = self.card.input_size_hw
        if images.ndim != 4 or images.shape[1:] != (height, width, 3) or images.dtype != np.uint8:
            raise EngineError(
                f"expected images as uint8 (n, {height}, {width}, 3), got {images.dtype} {images.shape}; fit tiles with dlcv.runtime.fitting"
            )
        if len(images) == 0 or (self.max_batch is not None and len(images) > self.max_batch):
            most = f"1 to {self.max_batch}" if self.max_batch else "1 or more"
            raise EngineError(f"expected a batch of {most} images, got {len(images)}; pass another --batch")
