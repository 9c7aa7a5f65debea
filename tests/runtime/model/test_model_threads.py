"""One model, several threads: the same answers, no more batches in flight than the session allows, and an orderly end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime import load
from dlcv.runtime.errors import EngineError
from dlcv.runtime.model.model import Model
from dlcv.runtime.sessions import Session

Image = NDArray[np.uint8]


class Watched(Session):
    """A session around another, slow enough for threads to meet in it; counts those that are inside."""

    def __init__(self, inner: Session, parallel: int, seconds: float = 0.02) -> None:
        self.card, self.description, self.parallel = inner.card, inner.description, parallel
        self._inner, self._seconds, self._lock = inner, seconds, threading.Lock()
        self.inside = self.most = 0
        self.entered = threading.Event()
        self.closed_while_inside = False

    def _run(self, images: Image) -> dict[str, NDArray[Any]]:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.set()
        try:
            time.sleep(self._seconds)
            return self._inner.run(images)
        finally:
            with self._lock:
                self.inside -= 1

    def close(self) -> None:
        self.closed_while_inside |= self.inside > 0
        super().close()
        self._inner.close()


def _watched(engine: Path, parallel: int, seconds: float = 0.02) -> tuple[Model, Watched]:
    session = Watched(load(engine).session, parallel, seconds)
    return Model(session, batch=2), session


def _images(count: int) -> list[Image]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (60 + 7 * k, 100 - 5 * k, 3), np.uint8) for k in range(count)]


@pytest.mark.parametrize("head", ["mask", "probs"])
def test_four_threads_get_the_answers_of_one(tiny_graph: Callable[[str], Path], head: str) -> None:
    images = _images(8)
    with load(tiny_graph(head), batch=2, lanes=2) as model:
        alone = [model(image) for image in images]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(model, images * 4))
    for index, mask in enumerate(together):  # each call has the same batches as alone: nothing may differ
        np.testing.assert_array_equal(mask, alone[index % 8])


@pytest.mark.parametrize("parallel", [1, 2])
def test_no_more_batches_in_flight_than_the_session_allows(tiny_onnx: Path, parallel: int) -> None:
    model, session = _watched(tiny_onnx, parallel)
    with model, ThreadPoolExecutor(4) as pool:
        list(pool.map(model, _images(4)))
    assert session.most == parallel


def test_close_waits_for_who_is_inside_and_refuses_who_comes_later(tiny_onnx: Path) -> None:
    model, session = _watched(tiny_onnx, 1, seconds=0.2)
    image = _images(1)[0]
    with ThreadPoolExecutor(2) as pool:
        inside = pool.submit(model, image)
        assert session.entered.wait(30)
        model.close()
        assert not session.closed_while_inside
        assert inside.result(timeout=30).shape == image.shape[:2]
        with pytest.raises(EngineError, match="the session is closed; open it again"):
            pool.submit(model, image).result(timeout=30)
    model.close()  # a second time does nothing


def test_a_stream_that_is_left_open_does_not_hold_up_close(tiny_onnx: Path) -> None:
    model = load(tiny_onnx, batch=1)
    stream = model.stream(iter(_images(8)), decoders=1)
    assert next(stream).result is not None
    model.close()
    with pytest.raises(EngineError, match="the session is closed; open it again"):
        list(stream)
