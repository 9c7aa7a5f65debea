"""An engine as a Python object: `with load("fcn8s.onnx") as model: masks = model(images)`.

The way of an image is the pipeline's: `fitting.py` to the engine's size, `BatchRunner` through the session, `answers.py`, and back. What
differs is that the images come from the caller (`given_images.py`, `read_ahead.py`), and the answers go back in their order
(`windows_in_batches.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import Segmented, answers_for, answers_of, confident_answers_of, segmented_of
from dlcv.runtime.card.card import FITS, ModelCard
from dlcv.runtime.errors import EngineError, TileError, UsageError
from dlcv.runtime.fitting.fitting import FittedTile, fit_to_card
from dlcv.runtime.model.given_images import Image, checked, is_one, listed
from dlcv.runtime.model.read_ahead import reading_ahead
from dlcv.runtime.model.windows_in_batches import answers_in_order
from dlcv.runtime.pipeline.batching import BatchRunner
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.settings import DEFAULT_OVERLAP
from dlcv.runtime.provenance import Trust
from dlcv.runtime.sessions import Session, open_session

if TYPE_CHECKING:
    from dlcv.runtime.tiles.decode import DecodeOptions

DEFAULT_BATCH = 8
DECODERS = 4
"""Threads of `stream` that read files: what a session of two batches in flight keeps waiting for is rarely more."""

S = TypeVar("S")


class Model:
    """A session with fitting: images of any size in, masks of the same sizes or probabilities out.

    Close it, or use it in `with`. `card.classes` are the names of the indices in a mask, or of the probabilities. Several threads
    may use one model at a time; as many batches as the session allows (`session.parallel`) are in flight then, and other threads
    wait. `close` waits for those that are inside.

    Args:
        session: an opened session; the model closes it.
        fit: see `fitting.py`; None takes the card's.
        batch: windows that go through the session at once; fewer when memory runs out.
        overlap: segmentation: of windows, as a share of their side; None: 0.25.
        blend: segmentation: whether probabilities are blended where windows overlap; None: where the engine gives them.
        tta: `none`, `flips` or `full`, see `tta.py`.
        engine: its name, for sentences.

    Raises:
        UsageError: when one of these is not for the engine's task or head, in words.
    """

    def __init__(
        self,
        session: Session,
        *,
        fit: str | None = None,
        batch: int = DEFAULT_BATCH,
        overlap: float | None = None,
        blend: bool | None = None,
        tta: str = "none",
        engine: str | Path = "the engine",
    ) -> None:
        from dlcv.runtime.work.settings import refuse_without_probabilities  # it knows all outputs: not at each start

        self.session, self._fit = session, fit or session.card.fit
        fits = FITS[session.card.task]
        if self._fit not in fits:
            raise UsageError(f"unknown fit {self._fit!r} for {session.card.task}; it is one of {', '.join(fits)}")
        if batch < 1:
            raise UsageError(f"batch is {batch}, expected at least 1")
        if session.card.task == "classification" and not (overlap is None and blend is None):
            raise UsageError("overlap, blend: for segmentation only, and this is a classification model; leave it out")
        if overlap is not None and not 0 <= overlap < 1:
            raise UsageError(f"the overlap of windows is {overlap:g}, expected 0 or more and less than 1")
        refuse_without_probabilities(session.card, Path(engine), blend, tta)
        self._overlap, self._blend, self._tta = DEFAULT_OVERLAP if overlap is None else overlap, blend is not False, tta
        self.notices: list[str] = []
        """Lines for people about what had to change on the way, such as a smaller batch."""
        batch = min(batch, session.max_batch or batch)
        self._runner = BatchRunner(session, self._answers_of, batch, self.notices.append, gives_up=False)
        self._changed, self._inside, self._closing = Condition(), 0, False

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
            TileError: when an image does not fit and `fit` is `pad`, or the engine fails on it alone.
            EngineError: when the engine fails, or the model is closed.
        """
        given = listed(images)
        if self.card.task == "classification":
            probs = list(self._answers(given))
            if is_one(images):
                return probs[0]
            return np.stack(probs) if probs else np.empty((0, len(self.card.classes)), np.float32)
        masks = [segmented_of(answer).mask for answer in self._answers(given)]
        if is_one(images):
            return masks[0]
        if isinstance(images, np.ndarray):
            return np.stack(masks) if masks else np.empty(images.shape[:3], np.uint8)
        return list(masks)

    @overload
    def segment(self, images: NDArray[np.uint8]) -> Segmented | list[Segmented]: ...

    @overload
    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmented]: ...

    def segment(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> Segmented | list[Segmented]:
        """Masks with the confidence of each pixel, where the engine gives probabilities (`--head probs` or `logits`).

        Args:
            images: as for a call.

        Returns:
            One `Segmented` for one image, else a list; its `confidence` is None where the engine returns masks.

        Raises:
            UsageError: for a classifier, too; else as for a call.
        """
        if self.card.task != "segmentation":
            raise UsageError(f"{self.card.model} classifies and gives no masks; call the model for its probabilities")
        found = [segmented_of(answer) for answer in self._answers(listed(images))]
        return found[0] if is_one(images) else found

    def stream(
        self,
        images: Iterable[S],
        *,
        decode: DecodeOptions | None = None,
        decoders: int = DECODERS,
        tile_timeout_s: float = 60.0,
        live: bool = False,
    ) -> Iterator[Outcome[S, NDArray[Any]]]:
        """What the model says about images of any number, in their order; memory stays bounded.

        Files are read ahead in threads while the session is at work, and images share batches; so the first answer comes when some
        images have been taken.

        Args:
            images: files, or images uint8 (h, w, 3), RGB; taken one by one as there is room.
            decode: limits and 16-bit scale of files; None for the defaults.
            decoders: threads that read.
            tile_timeout_s: an image whose reading takes longer fails, in seconds; 0 waits for ever.
            live: each image is answered before the next is taken, as the frames of a camera want it; no batches, nothing read ahead.

        Yields:
            An `Outcome` an image: `tile` is what came in, `result` the mask, uint8 (h, w), or the probabilities, float32 (C,); or
            None, and `error`, a `TileError`, says why: one bad file does not end the stream.

        Raises:
            UsageError, EngineError: as for a call.
            DatasetError: when the reading of too many hangs.
        """
        if decoders < 1:
            raise UsageError(f"decoders is {decoders}, expected at least 1")
        if not tile_timeout_s >= 0:
            raise UsageError(f"tile_timeout_s is {tile_timeout_s:g}, expected seconds, or 0 to wait for ever")
        segmentation = self.card.task == "segmentation"
        for item, answer in self._streamed(images, decode, decoders, tile_timeout_s, live):
            if isinstance(answer, TileError):
                yield Outcome(item, error=answer)
            else:
                yield Outcome(item, result=segmented_of(answer).mask if segmentation else answer)

    def close(self) -> None:
        """Waits for the threads that are inside, and closes the session."""
        with self._changed:
            self._closing = True
            while self._inside:
                self._changed.wait()
            self.session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._changed:
            if self._closing:
                raise EngineError("the session is closed; open it again")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def _answers_of(self, outputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
        card = self.card
        if card.task == "classification" or card.head == "mask":
            return answers_of(outputs, card.task)
        return (answers_for(card, blend=self._blend, tta=self._tta) or confident_answers_of)(outputs)

    def _fitted(self, image: Image) -> FittedTile:
        return fit_to_card(
            image, self.card, fit=self._fit, overlap=self._overlap, blend=self._blend, tta=self._tta
        )  # fmt: skip

    def _answers(self, images: Sequence[Image]) -> Iterator[NDArray[Any]]:
        """The answers in their order; the first image that fails ends them."""
        with self._at_work():
            for _, answer in answers_in_order(((None, self._fitted(image)) for image in images), self._runner):
                if isinstance(answer, TileError):
                    raise answer
                yield answer

    def _streamed(
        self, images: Iterable[S], decode: DecodeOptions | None, decoders: int, tile_timeout_s: float, live: bool
    ) -> Iterator[tuple[S, NDArray[Any] | TileError]]:
        from dlcv.runtime.tiles.decode import decode_file

        def fitted(item: S) -> FittedTile | TileError:
            try:
                if isinstance(item, (str, os.PathLike)):
                    return self._fitted(decode_file(Path(item), decode))
                return self._fitted(checked(item))
            except TileError as error:
                return error

        threads, ahead = (1, 0) if live else (decoders, 2 * decoders)
        with reading_ahead(images, fitted, threads, ahead, tile_timeout_s or None) as tiles:
            yield from answers_in_order(tiles, self._runner, self._at_work, at_once=live)


def load(
    engine: str | Path,
    *,
    device: str = "auto",
    session: str = "auto",
    compute: str = "card",
    fit: str | None = None,
    batch: int = DEFAULT_BATCH,
    overlap: float | None = None,
    blend: bool | None = None,
    tta: str = "none",
    lanes: int = 1,
    window_hw: tuple[int, int] | None = None,
    require_hash: str | None = None,
    require_signature: str | None = None,
) -> Model:
    """Opens an `.onnx` or a `.plan` as a `Model`.

    Args:
        engine: the file, with a model card.
        device: `auto`, `cpu` or `cuda`.
        session, compute: the library, and what a float32 graph may be computed in: see `open_session`.
        fit: segmentation: `windows`, `pad` or `resize`; None takes the card's.
        batch: windows that go through the session at once.
        overlap, blend, tta: of windows, and averaging over flips and turns: see `Model`.
        lanes: batches in flight on a CPU: 1 answers one caller soonest, one a core gets most out of many threads.
        window_hw: height and width to run it at, in pixels, where the card says that they vary; None takes the card's.
        require_hash: the SHA-256 that the file must have, in hexadecimal.
        require_signature: a public key of minisign, or a file that holds one, with which the file must be signed.

    Raises:
        UsageError: when the engine does not run at that size, or one of the others is not for its task or head.
        EngineError, CardError, MissingPackageError: when the file cannot be run or is not the one required, in words.
    """
    trust = Trust.of(() if require_hash is None else require_hash, require_signature)
    opened = open_session(
        engine, device=device, session=session, compute=compute, lanes=lanes, trust=trust, window_hw=window_hw
    )
    try:
        return Model(opened, fit=fit, batch=batch, overlap=overlap, blend=blend, tta=tta, engine=engine)
    except BaseException:
        opened.close()
        raise
