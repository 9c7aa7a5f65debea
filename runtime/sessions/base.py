"""The contract of a session: what an engine file becomes once it is opened.

numpy only, so that a Python with numpy, tensorrt and pycuda alone can import the sessions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions.executed import Executed

if TYPE_CHECKING:
    from dlcv.runtime.datasets.masks.description import DatasetDescription


class Session(ABC):
    """An engine, opened: batches of images in, named outputs out.

    Attributes:
        card: the model card that the engine's file carries.
        description: library, version, device and precision, in words, such as `ONNX Runtime 1.31.1 on CPU, in fp32`.
        device: `cpu` or `cuda`.
        computes: what convolutions and matrix products are computed in: `fp32`, `tf32`, `fp16`, `bf16` or `int8`.
        max_batch: the largest batch that `run` takes; None where there is no bound.
        parallel: how many threads may be inside `run` at the same time (batches in flight).
        hung: set by who found that a call of `run` does not return: the end of `with` then frees nothing, since that would
            wait for it.
        masks: what the masks meant that it learned from, where the file says so: a checkpoint's does.

    Use it as a context manager, or call `close`.
    """

    card: ModelCard
    description: str
    device: str = "cpu"
    computes: str = "fp32"
    max_batch: int | None = None
    parallel: int = 1
    hung: bool = False
    masks: DatasetDescription | None = None
    _closed: bool = False

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Runs one batch.

        Args:
            images: uint8 (n, H, W, 3), RGB, 0..255, C-contiguous; H and W as in `card.input_size_hw`.

        Returns:
            A new array for each output, the caller's to keep. Segmentation: `mask` uint8 (n, H, W), or `probs` / `logits`
            float32 (n, C, H, W). Classification: `probs` / `logits` float32 (n, C).

        Raises:
            EngineError: when the batch does not fit the engine, the session is closed, or the engine fails; OutOfMemory,
                one of them, when a smaller batch may pass.
        """
        self._check(images)
        return self._run(images)

    @abstractmethod
    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """`run`, after the check of the batch."""

    @property
    def notices(self) -> list[str]:
        """For people: what went otherwise than it should, and does no harm to results."""
        return []

    @property
    def generation(self) -> int:
        """How often it was opened anew; see `restart`."""
        return 0

    @property
    def patient_from(self) -> float:
        """By `time.monotonic`, in seconds: the time that a call of `run` takes counts from here at the earliest."""
        return 0.0

    def restart(self, generation: int, error: EngineError, *, why: str = "", hung: bool = False) -> None:
        """Asks for the engine to be opened anew, since a call of `run` failed with `error`, and so does every call.

        Args:
            generation: as it was before that call; where the session was opened anew since, nothing is to be done.
            error: what is raised where it cannot be done.
            why: the reason in words, without advice; empty takes the error's.
            hung: a call does not return; its thread is left behind.

        Raises:
            EngineError: `error`: a session by itself cannot be opened anew. See `restarting.py` for one that can.
        """
        raise error

    def excuse(self) -> None:  # noqa: B027 - a session by itself counts none
        """An image was to blame for the last restarts, not the session: they no longer count towards giving up."""

    def executed(self) -> Executed | None:
        """What each operator with multiply-adds really runs in, where the library tells; else None."""
        return None

    def close(self) -> None:
        """Frees what the session holds; a closed session cannot run."""
        self._closed = True

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.hung:
            self.close()

    def _check(self, images: NDArray[np.uint8]) -> None:
        if self._closed:
            raise EngineError("the session is closed; open it again")
        height, width = self.card.input_size_hw
        if images.ndim != 4 or images.shape[1:] != (height, width, 3) or images.dtype != np.uint8:
            raise EngineError(
                f"expected images as uint8 (n, {height}, {width}, 3), got {images.dtype} {images.shape}; fit tiles with dlcv.runtime.fitting.fitting"
            )
        if len(images) == 0 or (self.max_batch is not None and len(images) > self.max_batch):
            most = f"1 to {self.max_batch}" if self.max_batch else "1 or more"
            raise EngineError(f"expected a batch of {most} images, got {len(images)}; pass another --batch")


def head_output(card: ModelCard) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape, without the batch, of the output that a card's head names."""
    if card.head == "mask":
        return np.dtype(np.uint8), card.input_size_hw
    classes = len(card.classes)
    return np.dtype(np.float32), (classes,) if card.task == "classification" else (classes, *card.input_size_hw)


def check_head(outputs: Mapping[str, tuple[str, Sequence[Any]]], card: ModelCard, source: str) -> None:
    """An engine must return what its card says.

    Args:
        outputs: numpy's name of the type, and the shape without the batch, by the output's name; a side that is no number
            is not known before the engine runs.
        card: its head, task, classes and input size decide.
        source: the engine's file, for the error's sentence.

    Raises:
        EngineError: tells both.
    """
    if card.head not in outputs:
        raise EngineError(
            f"{source}: the card says head {card.head}, the graph returns {', '.join(outputs) or 'nothing'}; export it again"
        )
    dtype, shape = head_output(card)
    kind, sides = outputs[card.head]
    known = [side if isinstance(side, int) else expected for side, expected in zip(sides, shape)]
    if kind != dtype.name or len(sides) != len(shape) or tuple(known) != shape:
        raise EngineError(
            f"{source}: the card says {card.head} {_words(dtype.name, shape)} ({card.task}, {len(card.classes)} classes), "
            f"the graph returns {_words(kind, sides)}; export it again"
        )


def _words(kind: str, sides: Sequence[Any]) -> str:
    return f"{kind} ({', '.join(map(str, ('N', *sides)))})"
