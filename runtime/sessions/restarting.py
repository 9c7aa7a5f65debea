"""A session that is opened anew when it breaks or hangs, behind the same contract.

Who finds a session broken calls `restart`; the next call of `run` opens the engine again, and callers never see that the session
beneath is another one. A call that hangs cannot be ended: its thread and the session it is in are left behind, and nothing of
that session is freed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Condition
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import EngineError, SessionLost
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.sessions.executed import Executed

MOST_RESTARTS = 10
"""For which no tile was to blame; one that breaks the session costs two or three, until it is put aside."""
MOST_FRUITLESS = 3
"""In succession, without a batch that went through: the device itself is gone then."""
OPENING_S = 600.0
"""Longer than this an engine does not take to be opened anew; then the run ends."""
LAST_CALLS_S = 30.0
"""How long a broken session is waited for by the next one, whose memory may be needed: other threads may still be inside."""


class _Opened:
    """A session, with how many threads are inside."""

    def __init__(self, session: Session) -> None:
        self.session, self.inside, self.dropped = session, 0, False

    @property
    def to_be_closed(self) -> bool:
        """Whether nobody needs it any more; one that hangs is never closed, since that would wait for it."""
        return self.dropped and not self.inside and not self.session.hung


class RestartingSession(Session):
    """An opened session, and how to open it again.

    Args:
        first: opened.
        reopen: opens the same engine in the same way.
        most: restarts, but for those that were excused, before it gives up; `MOST_FRUITLESS` where none of them helped.

    Attributes:
        reasons: why it was restarted, a sentence each time.
    """

    def __init__(self, first: Session, reopen: Callable[[], Session], most: int = MOST_RESTARTS) -> None:
        self.card, self.description, self.device = first.card, first.description, first.device
        self.computes, self.max_batch, self.parallel = first.computes, first.max_batch, first.parallel
        self.reasons: list[str] = []
        self._reopen, self._most = reopen, most
        self._opened, self._changed = _Opened(first), Condition()
        self._opening_since: float | None = None
        self._opened_at, self._fruitless, self._excused = 0.0, 0, 0
        self._lost: SessionLost | None = None

    @property
    def generation(self) -> int:
        """How often it was restarted; `restart` wants the number from before the call that failed."""
        return len(self.reasons)

    @property
    def patient_from(self) -> float:
        """See `Session`; nobody is late while the engine is being opened."""
        since = self._opening_since
        if since is None:
            return self._opened_at
        return math.inf if time.monotonic() - since < OPENING_S else since

    @property
    def notices(self) -> list[str]:
        """For people: that it was restarted and why, and what the session beneath has to say."""
        return [*self.notices_since(0), *self._opened.session.notices]

    def notices_since(self, generation: int) -> list[str]:
        """The `notices` of the restarts after `generation`."""
        reasons = self.reasons[generation:]
        if not reasons:
            return []
        times = "once" if len(reasons) == 1 else f"{len(reasons)} times"
        return [f"the session was restarted {times}: {'; '.join(dict.fromkeys(reasons))}"]

    def restart(self, generation: int, error: EngineError, *, why: str = "", hung: bool = False) -> None:
        """Leaves the session that broke; the next `run` opens the engine anew. See `Session`."""
        with self._changed:
            if self._lost is not None:
                raise self._lost
            since = self._opening_since
            if hung and since is not None and time.monotonic() - since >= OPENING_S:
                raise SessionLost(f"{error}; opening the engine anew takes longer than {OPENING_S:g} s")
            if generation != self.generation:
                return  # another thread was here before, for the same reason
            if len(self.reasons) - self._excused >= self._most or self._fruitless >= MOST_FRUITLESS:
                raise EngineError(f"{error}; {self.notices[0] if self.reasons else 'it is not opened anew'}") from error
            self._fruitless += 1
            self.reasons.append(why or str(error))
            self._opened.dropped = True
            self._opened.session.hung = self._opened.session.hung or hung
            self._changed.notify_all()

    def excuse(self) -> None:
        """See `Session`."""
        with self._changed:
            self._excused = len(self.reasons)

    def executed(self) -> Executed | None:
        """Of the session beneath."""
        return self._opened.session.executed()

    def close(self) -> None:
        """Closes the session beneath."""
        super().close()
        with self._changed:
            self._opened.dropped = True
            close = self._opened.to_be_closed
        if close:
            self._opened.session.close()

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        opened = self._enter()
        try:
            outputs = opened.session.run(images)
            self._fruitless = 0
            return outputs
        finally:
            self._leave(opened)

    def _enter(self) -> _Opened:
        with self._changed:
            while self._opening_since is not None:
                self._changed.wait()
            if self._lost is not None:
                raise self._lost
            if not self._opened.dropped:
                self._opened.inside += 1
                return self._opened
            self._opening_since = time.monotonic()
            old = self._opened
            self._changed.wait_for(lambda: not old.inside or old.session.hung, LAST_CALLS_S)
            close = old.to_be_closed
        try:
            opened = self._anew(old, close)
        except BaseException as error:
            self._lost = SessionLost(f"the session broke ({self.reasons[-1]}) and cannot be opened anew: {error}")
            raise self._lost from error
        finally:
            with self._changed:
                self._opened_at = time.monotonic()
                self._opening_since = None  # last: `patient_from` reads both without the lock
                self._changed.notify_all()
        return opened

    def _anew(self, old: _Opened, close: bool) -> _Opened:
        if close:
            with suppress(EngineError):  # it is broken
                old.session.close()
        fresh = self._reopen()
        if (fresh.card, fresh.description) != (self.card, self.description):
            fresh.close()
            raise EngineError(f"it is {fresh.description} now, and was {self.description}")
        opened = _Opened(fresh)
        opened.inside = 1
        with self._changed:
            self._opened = opened
        return opened

    def _leave(self, opened: _Opened) -> None:
        with self._changed:
            opened.inside -= 1
            close = opened.to_be_closed and (opened is not self._opened or self._closed)
            self._changed.notify_all()
        if close:
            with suppress(EngineError):
                opened.session.close()
