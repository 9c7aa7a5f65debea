"""Batches through a session that may run out of memory or stumble over one image.

A batch that does not fit into memory is halved, for good. A batch that fails otherwise is halved until the image that breaks
it stands alone; whether that image or the session itself is at fault is told by an image that is known to be harmless. A session
that is at fault is opened anew where it can be (`sessions/restarting.py`), and the image is tried once more. Of images that are parts of
the same tile one that fails is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import EngineError, OutOfMemory, SessionLost
from dlcv.runtime.pipeline.gate import Gate
from dlcv.runtime.sessions.base import Session

MOST_IN_A_ROW = 20
"""Images, or tiles of several, that fail one after the other before the session is opened anew once, then given up, harmless image or not."""

Failed = dict[Hashable, EngineError]
"""What was put aside of the images that are asked for together: owner -> its error."""
Answers = Callable[[dict[str, NDArray[Any]]], NDArray[Any]]
AtWork = Callable[[], AbstractContextManager[Any]]


class BatchRunner:
    """Runs batches from several threads at a time.

    Args:
        session: opened.
        answers: a session's outputs -> an array with one answer an image.
        batch: the largest batch.
        say: takes a line when the batch has to become smaller.
        gives_up: whether a session that fails is never tried again; a run ends then, and its threads soon. Where each call
            stands by itself, the next one may have better luck.

    Attributes:
        limit: the largest batch that `run` should be given now.
        calls: how often the session was called.
    """

    def __init__(
        self, session: Session, answers: Answers, batch: int, say: Callable[[str], None], *, gives_up: bool = True
    ) -> None:
        self._session, self._answers, self._say, self._gives_up = session, answers, say, gives_up
        self.limit, self.calls = batch, 0
        self._lock, self._gate = Lock(), Gate(max(1, session.parallel))
        self._harmless: NDArray[np.uint8] | None = None
        self._in_a_row: set[Hashable] = set()
        self._reopened_for_a_row = False
        self._given_up: EngineError | None = None

    def run(
        self, images: NDArray[np.uint8], at_work: AtWork = nullcontext, owners: Sequence[Hashable] | None = None
    ) -> list[NDArray[Any] | EngineError]:
        """The answer of each image, or the error that it alone causes.

        Args:
            images: uint8 (n, H, W, 3), RGB, n from 1 to the `batch` that was asked for.
            at_work: entered while the session itself is at work; waiting for those that are inside it is not.
            owners: what each image is a part of, such as a tile: once one part has failed the others are tried no further, and together
                they count as one failure; None where each stands for itself.

        Raises:
            EngineError: when it is the session that fails, not an image, and it was opened anew in vain, or cannot be.
        """
        owners, failed = owners or [object() for _ in images], Failed()
        if len(images) > self.limit:
            return self._each(images, owners, failed, at_work)
        self._raise_if_given_up()
        answers = self._together(images, owners, failed, at_work)
        return [failed.get(owner, answer) for owner, answer in zip(owners, answers)] if failed else answers

    def _each(
        self, images: NDArray[np.uint8], owners: Sequence[Hashable], failed: Failed, at_work: AtWork
    ) -> list[NDArray[Any] | EngineError]:
        answers: dict[int, NDArray[Any] | EngineError] = {}
        left = list(range(len(images)))
        while left := [k for k in left if owners[k] not in failed]:
            self._raise_if_given_up()
            now, left = left[: self.limit], left[self.limit :]  # the limit may fall meanwhile
            together = images[now[0] : now[-1] + 1] if now[-1] - now[0] < len(now) else images[now]
            answers.update(zip(now, self._together(together, [owners[k] for k in now], failed, at_work)))
        return [failed[owner] if owner in failed else answers[k] for k, owner in enumerate(owners)]

    def _together(
        self, images: NDArray[np.uint8], owners: Sequence[Hashable], failed: Failed, at_work: AtWork
    ) -> list[NDArray[Any] | EngineError]:
        count, allowed, generation = len(images), self._gate.allowed, self._session.generation
        try:
            return list(self._call(images, at_work))
        except OutOfMemory:
            if not self._back_off(count, allowed):
                raise
            return self._each(images, owners, failed, at_work)
        except SessionLost:
            raise
        except EngineError as error:
            if count == 1:
                answer = self._judged(images, owners[0], error, generation, at_work)
                if isinstance(answer, EngineError):
                    failed[owners[0]] = answer
                return [answer]
        found: list[NDArray[Any] | EngineError] = []
        while len(found) < count:  # what breaks sessions, not batches, is to do so once more, not once a halving
            step = (count + 1) // 2 if self._session.generation == generation else 1
            part = slice(len(found), len(found) + step)
            found += self._each(images[part], owners[part], failed, at_work)
        return found

    def _call(self, images: NDArray[np.uint8], at_work: AtWork) -> NDArray[Any]:
        count = len(images)
        if self._session.device != "cpu" and count < self.limit:
            # a GPU's libraries plan, compile or record anew for each size of a batch: a short one is filled up
            images = np.concatenate((images, np.zeros((self.limit - count, *images.shape[1:]), np.uint8)))
        answers = self._answered(images, at_work)[:count]
        if self._in_a_row or self._harmless is None:
            with self._lock:
                self._in_a_row.clear()
                if self._harmless is None:
                    self._harmless = images[:1].copy()
        return answers

    def _answered(self, images: NDArray[np.uint8], at_work: AtWork) -> NDArray[Any]:
        with self._lock:
            self.calls += 1
        try:
            with self._gate, at_work():
                outputs = self._session.run(images)
            return self._answers(outputs)
        except MemoryError as error:
            raise OutOfMemory(f"out of memory on a batch of {len(images)}; pass a smaller --batch") from error

    def _back_off(self, count: int, allowed: int) -> bool:
        """Makes room: smaller batches, then fewer at a time; False when nothing is left to give up.

        Args:
            count: images of the batch for which there was no memory.
            allowed: batches that could be in flight beside it, itself among them.
        """
        with self._lock:
            if count > 1:
                smaller = count // 2
                if smaller < self.limit:
                    self.limit = smaller
                    self._say(f"out of memory on a batch of {count}; going on with batches of {smaller}")
                return True
            if self._gate.narrow(allowed):
                self._say(f"out of memory on a batch of 1; going on with {self._gate.allowed} in flight")
            return allowed > 1

    def abandon(self, thread: int | None) -> None:
        """Counts a thread as no longer inside the session: it hangs there.

        Args:
            thread: its `ident`.
        """
        self._gate.leave(thread)

    def ask(self, error: EngineError, at_work: AtWork) -> None:
        """A session that was opened anew since one hung has to answer on a harmless image; others wait meanwhile.

        Raises:
            EngineError: `error`, when it does not answer, and was opened anew in vain, or cannot be.
        """
        with self._gate.alone():
            if not self._alive(at_work):
                self._revive(error, at_work)

    def _judged(
        self, image: NDArray[np.uint8], owner: Hashable, error: EngineError, generation: int, at_work: AtWork
    ) -> NDArray[Any] | EngineError:
        """What becomes of an image on which the session failed: the error, its own fault, or an answer after a restart.

        Raises:
            EngineError: when the session is at fault, and remains so.
        """
        with self._gate.alone():  # so that none is blamed for what another thread does to the session
            self._raise_if_given_up()
            alive = not self._has_failed_in_a_row(owner, error) and self._alive(at_work)
            if alive and self._session.generation == generation:
                return error
            if not alive:
                self._revive(error, at_work)
            try:  # in a session that is known to answer
                answer: NDArray[Any] = self._call(image, at_work)[0]
                return answer
            except (SessionLost, OutOfMemory):
                raise
            except EngineError as again:
                if not self._alive(at_work):
                    self._revive(again, at_work)
                self._session.excuse()
                return again

    def _revive(self, error: EngineError, at_work: AtWork) -> None:
        """Has the session opened anew; raises `error` when that does not help, or cannot be."""
        try:
            self._session.restart(self._session.generation, error)
            if not self._alive(at_work):
                raise error
        except EngineError as last:
            with self._lock:
                self._give_up(last)
            raise

    def _give_up(self, error: EngineError) -> None:
        """Under the lock."""
        if self._gives_up:
            self._given_up = self._given_up or error

    def _raise_if_given_up(self) -> None:
        """No other thread tries a session on that one of them has given up."""
        with self._lock:
            if self._given_up is not None:
                raise self._given_up

    def _has_failed_in_a_row(self, owner: Hashable, error: EngineError) -> bool:
        """Counts a failure, of one owner once; True when there were too many, for the first time; then it raises."""
        with self._lock:
            self._in_a_row.add(owner)
            if len(self._in_a_row) < MOST_IN_A_ROW:
                return False
            if self._reopened_for_a_row:
                self._give_up(error)
                raise error
            self._in_a_row.clear()
            self._reopened_for_a_row = True
            return True

    def _alive(self, at_work: AtWork) -> bool:
        """Whether the session still answers on a harmless image."""
        with self._lock:
            harmless = self._harmless
        if harmless is None:
            harmless = np.zeros((1, *self._session.card.input_size_hw, 3), np.uint8)
        try:
            self._answered(harmless, at_work)
        except SessionLost:
            raise
        except EngineError:
            return False
        return True
