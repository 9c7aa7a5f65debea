"""The engine of one run of `dlcv-infer` in this process."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.sessions import Session, open_session
from dlcv.runtime.sessions.restarting import RestartingSession
from dlcv.runtime.work.settings import InferSettings


class RunEngine:
    """The engine of a run in this process: opened where it is needed, and opened anew only while it is the same file.

    Attributes:
        identity: of the run, as `run.json` holds it; known once the engine is open.
    """

    def __init__(self, settings: InferSettings, card: ModelCard, stack: ExitStack) -> None:
        self._engine, self._window_hw, self._stack = settings.engine, settings.fitting.window, stack
        self._card = card
        self.identity: dict[str, Any] = {}

    def opened(self) -> RestartingSession:
        """The session; it is closed with the run."""
        engine = self._engine
        session = RestartingSession(self._open_once(), self._reopen)
        self._stack.enter_context(session)
        # what was loaded is not what was read before
        if session.card != self._card.at_size(self._window_hw, str(engine.path)):
            raise EngineError(f"{engine.path} was exchanged while the run began; start again")
        return session

    def _open_once(self) -> Session:
        engine = self._engine
        return open_session(engine.path, **engine.how(), lanes=cpu_count(), window_hw=self._window_hw)

    def _reopen(self) -> Session:
        engine, identity = self._engine, self.identity
        if sha256_of(engine.path) != identity["engine_sha256"]:
            raise EngineError(f"{engine.path} was exchanged while the run went on; start again with --overwrite")
        return self._open_once()
